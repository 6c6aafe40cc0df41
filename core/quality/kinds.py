"""Checks of what the columns' kinds ask for: values that can be categories, static ones that never change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.prepare.cells import category_problem, changes, coded, kind_of
from core.prepare.columns import Roles, is_numeric
from core.prepare.rows import series_codes
from core.quality.checks import Check, first_rows
from core.quality.rules import CATEGORIES


def check_kinds(dataset: DatasetConfig, table: pa.Table, roles: Roles) -> Iterator[Check]:
    """Binary, categorical and static columns; static ones only where every row names its series."""
    series = _series(table, roles)
    places = table.num_rows if series is None else int(series.max(initial=0)) + 1
    for name in (*roles.features, *roles.static):
        kind = kind_of(dataset, name, table.schema.field(name).type)
        problem = None
        if kind in CATEGORIES:
            count = places if name in roles.static else table.num_rows
            problem = category_problem(table[name], kind, count)
            yield Check(
                f"{kind} values",
                name,
                "critical",
                success=problem is None,
                expected="two values, or 0 and 1"
                if kind == "binary"
                else "categories that occur again and again",
                found=problem or "as expected",
            )
        if name in roles.static and series is not None and problem is None:
            yield _constant(table, name, series, roles.series)


def _series(table: pa.Table, roles: Roles) -> NDArray[np.int64] | None:
    """Number of each row's series, shape (rows,), or None where some rows name none."""
    if roles.series is None:
        return np.zeros(table.num_rows, dtype=np.int64)
    if roles.series not in table.column_names or table[roles.series].null_count:
        return None
    return series_codes(table[roles.series])


def _constant(table: pa.Table, name: str, series: NDArray[np.int64], names: str | None) -> Check:
    column = table[name]
    usable = is_numeric(column.type) or pa.types.is_string(column.type)
    # What is neither is refused by its kind already.
    changed = changes(coded(column)[1], series) if usable else np.zeros(len(column), dtype=bool)
    count = int(changed.sum())
    return Check(
        "constant in each series",
        name,
        "critical",
        success=count == 0,
        expected="one value in all rows of a series",
        found=f"{count:,} rows differ from the first of their series" if count else "as expected",
        unexpected=count,
        rows=first_rows(changed, lambda row: _shown(table, name, row, names)),
        advice="mend them, or give the column a role that may change (categorical, binary, continuous)"
        if count
        else "",
    )


def _shown(table: pa.Table, name: str, row: int, series: str | None) -> str:
    value = table[name][row].as_py()
    return f"{value!r}" if series is None else f"{value!r} in series {table[series][row].as_py()!r}"
