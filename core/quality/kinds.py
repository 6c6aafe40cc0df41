"""Checks of what the columns' kinds ask for: values that can be categories, static ones that never change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.prepare.rows.cells import both_of, distinct, not_binary, too_many, wrong_type
from core.prepare.rows.columns import is_numeric
from core.quality.checks import MAX_BAD_ROWS, BadRow, Check, counted, shown
from core.quality.chunks import Chunk
from core.quality.plan import CATEGORIES, Plan
from core.quality.statistics import MOST_VALUES, ColumnStatistics


def check_kinds(plan: Plan, statistics: dict[str, ColumnStatistics], places: int) -> Iterator[Check]:
    """Whether the values of binary and categorical columns can be those.

    Args:
        plan: The columns.
        statistics: By column, with the values of these.
        places: Number of series, of which a static column has one cell each.
    """
    for name, kind in plan.kinds.items():
        if kind not in CATEGORIES:
            continue
        seen = statistics[name]
        problem = _problem(seen, kind, places if name in plan.roles.static else seen.rows)
        yield Check(
            f"{kind} values",
            name,
            "critical",
            success=problem is None,
            expected="two values, or 0 and 1" if kind == "binary" else "categories that occur again and again",
            found=problem or "as expected",
        )


def _problem(seen: ColumnStatistics, kind: Any, places: int) -> str | None:
    if problem := wrong_type(seen.kind, kind):
        return problem
    values = sorted(value for value in seen.values if not _infinite(value))
    if seen.too_many_values:
        return (
            f"it has more than {MOST_VALUES:,} different values: call the column `continuous` if it holds "
            "quantities, or `drop` it"
        )
    if kind == "binary":
        return None if both_of(values) else not_binary(values)
    return too_many(len(values), places)


def _infinite(value: Any) -> bool:
    # Named by row by the rule on infinite cells.
    return isinstance(value, float) and not np.isfinite(value)


class Constancy:
    """Whether a static column has one value in all rows of a series.

    Args:
        name: The column.
        series: Column that names the series, if any.
        count: Number of series.
    """

    def __init__(self, name: str, series: str | None, count: int) -> None:
        self.name = name
        self.series = series
        self.first = np.zeros(count, dtype=np.uint64)
        self.known = np.zeros(count, dtype=bool)
        self.changed = 0
        self.rows: list[BadRow] = []

    def update(self, chunk: Chunk, codes: NDArray[Any], kept: NDArray[np.bool_] | None = None) -> None:
        """Add the rows of a chunk, the numbers of whose series are `codes`; of them those `kept` alone."""
        rows = np.arange(len(chunk)) if kept is None else np.flatnonzero(kept)
        values, codes = _hashes(chunk, self.name)[rows], codes[rows]
        present, place = np.unique(codes, return_index=True)
        fresh = ~self.known[present]
        self.first[present[fresh]] = values[place[fresh]]
        self.known[present] = True
        changed = rows[values != self.first[codes]]
        self.changed += len(changed)
        for row in changed[: MAX_BAD_ROWS - len(self.rows)].tolist():
            self.rows.append(BadRow(chunk.start + row + 1, self._shown(chunk, row)))

    def check(self) -> Check:
        """What was found."""
        rows = f"{counted(self.changed, 'row')} differ{'s' * (self.changed == 1)}"
        return Check(
            "constant in each series",
            self.name,
            "critical",
            success=self.changed == 0,
            expected="one value in all rows of a series",
            found=f"{rows} from the first of their series" if self.changed else "as expected",
            unexpected=self.changed,
            rows=tuple(self.rows),
            advice="mend them, or give the column a role that may change (categorical, binary, continuous)"
            if self.changed
            else "",
        )

    def _shown(self, chunk: Chunk, row: int) -> str:
        value = chunk.table[self.name][row].as_py()
        place = "" if self.series is None else f" in series {chunk.table[self.series][row].as_py()!r}"
        return shown(f"{value!r}{place}")


def _hashes(chunk: Chunk, name: str) -> NDArray[np.uint64]:
    """Shape (rows,): one number for each value of a column, another for missing cells."""
    column = chunk.table[name]
    if is_numeric(column.type):
        # -0.0 is 0.0, and NaN, which here is every missing cell, has one pattern.
        values = np.where(chunk.missing(name), np.nan, chunk.floats(name) + 0.0)
        return np.asarray(values.view(np.uint64))
    texts, places = distinct(column)
    hashes = pd.util.hash_array(np.array([*map(str, texts), ""], dtype=object), categorize=False)
    hashes[-1] = 0
    return np.asarray(hashes[places])
