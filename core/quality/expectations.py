"""Expectations that Great Expectations has none of: chronological order, and limits of gaps.

Importing this module imports Great Expectations (seconds) and registers them there.

Both look at neighbouring rows and take two columns: A tells series apart, B grows inside a series. A row whose
A differs from the row before starts a series and is expected, whatever B holds. Great Expectations must not
leave out rows, so no cell of either column may be missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnPairMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnPairMapMetricProvider,
    column_pair_condition_partial,
)


class ChronologicalOrder(ColumnPairMapMetricProvider):  # type: ignore[misc]
    """Rows whose stamp does not come before (or, `strictly`, is later than) the row above; B as numbers."""

    condition_metric_name = "column_pair_values.chronological"
    condition_value_keys = ("strictly", "newest_first")

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805  # the decorator makes it a class method
        column_A: pd.Series[Any],
        column_B: pd.Series[Any],
        strictly: bool = False,
        newest_first: bool = False,
        **_: Any,
    ) -> pd.Series[bool]:
        steps = -_steps(column_B) if newest_first else _steps(column_B)
        forward = steps > 0 if strictly else steps >= 0
        return forward | (column_A != column_A.shift())


class StepsMissing(ColumnPairMapMetricProvider):  # type: ignore[misc]
    """Rows before which at most `most` steps are missing; B is each row's place on the series' grid."""

    condition_metric_name = "column_pair_values.steps_missing"
    condition_value_keys = ("most",)

    @column_pair_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805  # the decorator makes it a class method
        column_A: pd.Series[Any],
        column_B: pd.Series[Any],
        most: int = 0,
        **_: Any,
    ) -> pd.Series[bool]:
        return (_steps(column_B) - 1 <= most) | (column_A != column_A.shift())


def _steps(column: pd.Series[Any]) -> pd.Series[Any]:
    # Series.diff goes through float64, which cannot tell nanoseconds apart.
    values = column.to_numpy()
    return pd.Series(np.diff(values, prepend=values[:1]), index=column.index)


class ExpectColumnPairToBeChronological(ColumnPairMapExpectation):  # type: ignore[misc]
    """Expect the stamps of column B to rise from row to row inside each series of column A."""

    strictly: bool = False
    newest_first: bool = False
    ignore_row_if: str = "neither"

    map_metric = "column_pair_values.chronological"
    success_keys = ("column_A", "column_B", "ignore_row_if", "strictly", "newest_first", "mostly")
    args_keys = ("column_A", "column_B", "strictly", "newest_first")


class ExpectColumnPairGapsToBeAtMost(ColumnPairMapExpectation):  # type: ignore[misc]
    """Expect at most `most` steps missing between neighbouring rows of each series."""

    most: int = 0
    ignore_row_if: str = "neither"

    map_metric = "column_pair_values.steps_missing"
    success_keys = ("column_A", "column_B", "ignore_row_if", "most", "mostly")
    args_keys = ("column_A", "column_B", "most")
