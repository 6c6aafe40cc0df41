"""The suite of a dataset: what its rows must satisfy, from its catalogue entry and from what the pipeline needs."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import Bounds, DatasetConfig, Relation
from core.prepare.columns import as_floats, is_numeric, mend_text, not_numbers
from core.prepare.stamps import Stamps
from core.quality.checks import Rule, Severity

_NUMBER_TYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
_LARGEST = float(np.finfo(np.float64).max)
# Integers beyond 2^53 have no exact float64.
_EXACT = 2**53
_BROKEN = {"<": operator.ge, "<=": operator.gt, ">": operator.le, ">=": operator.lt}


class Suite:
    """Rules of a table, with the frame that Great Expectations sees.

    The frame holds features as float64 (text stays text), the series column, and the time column as parsed.
    """

    def __init__(
        self,
        dataset: DatasetConfig,
        table: pa.Table,
        time: str | None,
        stamps: Stamps | None,
        features: tuple[str, ...],
    ) -> None:
        self.dataset = dataset
        self.table = table
        self.time = time
        self.stamps = stamps
        self.features = features
        self.numbers = {
            name: as_floats(table[name]) for name in features if is_numeric(table.schema.field(name).type)
        }

    def frame(self) -> pd.DataFrame:
        """What the rules are checked on, one row per row of the table."""
        columns: dict[str, object] = {}
        for name in self.features:
            columns[name] = self.numbers[name] if name in self.numbers else self.table[name].to_pandas()
        if self.dataset.series is not None and self.dataset.series in self.table.column_names:
            columns[self.dataset.series] = self.table[self.dataset.series].to_pandas()
        if self.time is not None and self.stamps is not None:
            columns[self.time] = self.stamps.labels
        return pd.DataFrame(columns)

    def rules(self, absent: list[str]) -> list[Rule]:
        """Every rule that can be checked; `absent` names columns that the dataset needs and are not there."""
        return [
            self._row_count(),
            *(self._exists(name, there=name not in absent) for name in self._needed()),
            *(rule for name in self.features for rule in self._of_feature(name)),
            *self._relations(),
            *self._series_and_time(),
        ]

    def _needed(self) -> list[str]:
        return needed_columns(self.dataset, self.time)

    def _row_count(self) -> Rule:
        least = max(1, self.dataset.expectations.min_rows)
        return Rule(
            "rows",
            None,
            "critical",
            f"at least {least:,} rows",
            "ExpectTableRowCountToBeBetween",
            {"min_value": least},
            advice="bring more data or lower expectations.min_rows",
        )

    def _exists(self, name: str, *, there: bool) -> Rule:
        names = ", ".join(self.table.column_names)
        return Rule(
            "column exists",
            name,
            "critical",
            "the column is there",
            "ExpectColumnToExist",
            {"column": name},
            advice="" if there else f"the data have {names}; mend the dataset's YAML or the data",
        )

    def _of_feature(self, name: str) -> Iterator[Rule]:
        yield self._numeric(name)
        yield self._not_null(name, "refuse" == self.dataset.missing.policy)
        if name in self.numbers:
            yield self._finite(name)
            yield self._varies(name)
            if pa.types.is_integer(self.table.schema.field(name).type):
                yield self._exact(name)
            bounds = self.dataset.expectations.ranges.get(name)
            if bounds is not None and (bounds.min is not None or bounds.max is not None):
                yield self._range(name, bounds)

    def _numeric(self, name: str) -> Rule:
        column = self.table[name]
        text = name not in self.numbers
        return Rule(
            "numbers",
            name,
            "critical",
            "a column of numbers",
            "ExpectColumnValuesToBeInTypeList",
            {"column": name, "type_list": _NUMBER_TYPES},
            bad=not_numbers(column) if text else None,
            cells=lambda row: repr(column[row].as_py()),
            advice=mend_text(column, name) if text else "",
        )

    def _not_null(self, name: str, refuse: bool) -> Rule:
        missing = np.isnan(self.numbers[name]) if name in self.numbers else _null(self.table[name])
        policy = self.dataset.missing.policy
        severity: Severity = "critical" if refuse else "warning"
        advice = "fill them in, or choose missing.policy=drop_row or forward_fill"
        return self._map(
            "no missing values",
            name,
            severity,
            "a value in every row",
            "ExpectColumnValuesToNotBeNull",
            {},
            missing,
            advice if refuse else f"mended at preparation by missing.policy={policy}",
        )

    def _finite(self, name: str) -> Rule:
        return self._map(
            "finite",
            name,
            "critical",
            "no infinite value",
            "ExpectColumnValuesToBeBetween",
            {"min_value": -_LARGEST, "max_value": _LARGEST},
            np.isinf(self.numbers[name]),
            "mend the cells, or leave them empty and choose a missing.policy",
        )

    def _varies(self, name: str) -> Rule:
        return Rule(
            "varies",
            name,
            "warning",
            "at least 2 different values",
            "ExpectColumnUniqueValueCountToBeBetween",
            {"column": name, "min_value": 2},
            advice=f"a constant column is scaled to 0; leave it out with `columns: {{{name}: drop}}`",
        )

    def _exact(self, name: str) -> Rule:
        return self._map(
            "exact in float64",
            name,
            "warning",
            "integers up to 2^53 in size",
            "ExpectColumnValuesToBeBetween",
            {"min_value": -_EXACT, "max_value": _EXACT},
            np.abs(self.numbers[name]) > _EXACT,
            "larger integers are rounded; subtract an offset if their last digits matter",
        )

    def _range(self, name: str, bounds: Bounds) -> Rule:
        values = self.numbers[name]
        low = -np.inf if bounds.min is None else bounds.min
        high = np.inf if bounds.max is None else bounds.max
        return self._map(
            "range",
            name,
            "critical",
            f"values from {low:g} to {high:g}",
            "ExpectColumnValuesToBeBetween",
            {"min_value": bounds.min, "max_value": bounds.max},
            (values < low) | (values > high),
            "mend the cells or expectations.ranges",
        )

    def _relations(self) -> Iterator[Rule]:
        for text in self.dataset.expectations.relations:
            relation = Relation.parse(text)
            if relation.left in self.numbers and relation.right in self.numbers:
                yield self._relation(text, relation)

    def _relation(self, text: str, relation: Relation) -> Rule:
        left, right = self.numbers[relation.left], self.numbers[relation.right]
        larger, smaller = relation.left, relation.right
        if relation.operator.startswith("<"):
            larger, smaller = smaller, larger
        return Rule(
            "relation",
            text,
            "critical",
            text,
            "ExpectColumnPairValuesAToBeGreaterThanB",
            {
                "column_A": larger,
                "column_B": smaller,
                "or_equal": relation.operator.endswith("="),
                "ignore_row_if": "either_value_is_missing",
            },
            bad=np.asarray(_BROKEN[relation.operator](left, right)),
            cells=lambda row: f"{left[row]:g} and {right[row]:g}",
            advice="mend the cells or expectations.relations",
        )

    def _series_and_time(self) -> Iterator[Rule]:
        series = self.dataset.series
        if series is not None and series in self.table.column_names:
            yield self._map(
                "no missing values",
                series,
                "critical",
                "the name of a series in every row",
                "ExpectColumnValuesToNotBeNull",
                {},
                _null(self.table[series]),
                "fill them in or take the rows out",
            )
        if self.time is not None and self.stamps is not None:
            yield self._readable(self.time, self.stamps)
            yield self._unique(self.time, self.stamps, series)

    def _readable(self, time: str, stamps: Stamps) -> Rule:
        bad = np.zeros(len(stamps.ns), dtype=bool)
        bad[list(stamps.bad)] = True
        cells = self.table[time]
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

    def _unique(self, time: str, stamps: Stamps, series: str | None) -> Rule:
        labels = stamps.labels
        keys = pd.DataFrame({"time": labels})
        arguments: dict[str, object] = {"column": time}
        expectation = "ExpectColumnValuesToBeUnique"
        if series is not None and series in self.table.column_names:
            keys["series"] = self.table[series].to_pandas()
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

    def _map(
        self,
        name: str,
        column: str,
        severity: Severity,
        expected: str,
        expectation: str,
        arguments: dict[str, object],
        bad: NDArray[np.bool_],
        advice: str,
    ) -> Rule:
        """A rule on the cells of one column."""
        cells = self.table[column]
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


def needed_columns(dataset: DatasetConfig, time: str | None) -> list[str]:
    """Columns that the dataset's time, series, roles and expectations name, sorted."""
    relations = [Relation.parse(text) for text in dataset.expectations.relations]
    named = {*dataset.columns, *dataset.expectations.ranges, time, dataset.time.column, dataset.series}
    named |= {side for relation in relations for side in (relation.left, relation.right)}
    return sorted(name for name in named if name is not None)


def _null(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.is_null(nan_is_null=True))
