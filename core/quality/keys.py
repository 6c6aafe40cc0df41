"""Rules of the columns that say which series a row belongs to and when it happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.prepare.stamps import Stamps
from core.quality.checks import Rule, Severity


def key_rules(table: pa.Table, series: str | None, time: str | None, stamps: Stamps | None) -> Iterator[Rule]:
    """A series' name and a readable time stamp in every row, and no stamp twice in a series."""
    if series not in table.column_names:
        series = None
    if series is not None:
        yield cell_rule(
            table,
            "no missing values",
            series,
            "critical",
            "the name of a series in every row",
            "ExpectColumnValuesToNotBeNull",
            {},
            null_mask(table[series]),
            "fill them in or take the rows out",
        )
    if time is not None and stamps is not None:
        yield _readable(table, time, stamps)
        yield _unique(table, time, stamps, series)


def cell_rule(
    table: pa.Table,
    name: str,
    column: str,
    severity: Severity,
    expected: str,
    expectation: str,
    arguments: dict[str, Any],
    bad: NDArray[np.bool_],
    advice: str,
) -> Rule:
    """A rule on the cells of one column of `table`; see `Rule` for the rest."""
    cells = table[column]
    return Rule(
        name,
        column,
        severity,
        expected,
        expectation,
        {"column": column, **arguments},
        bad=bad,
        cells=lambda row: cells[row].as_py(),
        advice=advice,
    )


def null_mask(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Shape (rows,): missing cells, NaN included."""
    return np.asarray(column.is_null(nan_is_null=True))


def _readable(table: pa.Table, time: str, stamps: Stamps) -> Rule:
    bad = np.zeros(len(stamps.ns), dtype=bool)
    bad[list(stamps.bad)] = True
    cells = table[time]
    return Rule(
        "time stamps",
        time,
        "critical",
        "a readable time stamp in every row",
        "ExpectColumnValuesToNotBeNull",
        {"column": time},
        bad=bad,
        cells=lambda row: f"{cells[row].as_py()!r}: {stamps.bad[row]}",
        advice="write stamps as 2019-04-09 or 2019-04-09T17:30:00+00:00, all of one offset",
    )


def _unique(table: pa.Table, time: str, stamps: Stamps, series: str | None) -> Rule:
    labels = stamps.labels
    keys = pd.DataFrame({"time": labels})
    expectation = "ExpectColumnValuesToBeUnique"
    arguments: dict[str, Any] = {"column": time}
    if series is not None:
        keys["series"] = table[series].to_pandas()
        expectation = "ExpectCompoundColumnsToBeUnique"
        arguments = {"column_list": [series, time], "ignore_row_if": "any_value_is_missing"}
    return Rule(
        "no time stamp twice",
        time,
        "critical",
        "each time stamp once" + " in a series" * (series is not None),
        expectation,
        arguments,
        bad=np.asarray(keys.duplicated(keep=False) & keys.notna().all(axis=1)),
        cells=lambda row: labels[row],
        advice="keep one row of each, or name the column that tells series apart with `series: COLUMN`",
    )
