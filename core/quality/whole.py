"""Rules on all rows at once, judged on a small frame of merged statistics."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from core.prepare.rows.columns import is_numeric
from core.quality.checks import WholeRule, severity_of, shown
from core.quality.drift import Drift
from core.quality.plan import CATEGORIES, Plan, expected_columns
from core.quality.statistics import NEARLY_CONSTANT, ColumnStatistics

_INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_NUMBERS = [*_INTEGERS, "float32", "float64"]
_TYPES = {
    "integer": _INTEGERS,
    "number": _NUMBERS,
    "text": ["str"],
    "boolean": ["bool"],
    "time": ["datetime64[ns]"],
}
# Great Expectations knows the type of text by its cells, not by that of the column.
_TEXT = pd.Series(["", ""], dtype=object)


@dataclass
class Whole:
    """The frame of statistics, and the rules on it.

    Two rows: a column of the snapshot has cells of its type there, a statistic is the same in both but for
    extremes, of which the first is the smallest and the second the largest value.

    Args:
        plan: The columns.
        statistics: By column.
        rows: Of the snapshot.
        shares: Of the most frequent value, by column, where one value may be in nearly all rows.
        texts: Columns some of whose cells should be numbers and are not.
        drifts: Against the snapshot before.
    """

    plan: Plan
    statistics: dict[str, ColumnStatistics]
    rows: int
    shares: dict[str, float]
    texts: Collection[str] = ()
    drifts: Sequence[Drift] = ()
    columns: dict[str, Any] = field(default_factory=dict)

    def rules(self) -> list[WholeRule]:
        """Every rule on all rows; fills the frame."""
        self.columns = {each.name: self._typed(each) for each in self.plan.schema}
        return [
            self._row_count(),
            *(self._exists(name) for name in needed_columns(self.plan)),
            *(self._numeric(name) for name in self.plan.checked if self._wants_number_type(name)),
            *(self._sized(name) for name in self._without_size()),
            *(self._varies(name) for name in self._varying()),
            *self._types(),
            *self._max_missing(),
            *(self._drift(drift) for drift in self.drifts),
        ]

    def frame(self) -> pd.DataFrame:
        """What `rules` are judged on."""
        return pd.DataFrame(self.columns)

    def _typed(self, field: pa.Field) -> Any:
        if field.name == self.plan.roles.time and self.plan.stamps is not None:
            readable = not len(self.plan.stamps.bad_rows)
            return np.zeros(2, dtype="datetime64[ns]") if readable else _TEXT
        return _typed(field.type)

    def _statistic(self, name: str, what: str, low: Any, high: Any = None) -> str:
        """Puts a statistic into the frame, under the name that is returned."""
        name = self.plan.aside(name, what)
        self.columns[name] = [low, low if high is None else high]
        return name

    def _row_count(self) -> WholeRule:
        least = max(1, self.plan.dataset.expectations.min_rows)
        return WholeRule(
            "rows",
            None,
            "critical",
            f"at least {least:,} row{'s' * (least != 1)}",
            "ExpectColumnValuesToBeBetween",
            {"column": self._statistic("all", "rows", self.rows), "min_value": least},
            "bring more data or lower expectations.min_rows",
            found=f"{self.rows:,}",
        )

    def _exists(self, name: str) -> WholeRule:
        names = ", ".join(self.plan.schema.names)
        return WholeRule(
            "column exists",
            name,
            "critical",
            "the column is there",
            "ExpectColumnToExist",
            {"column": name},
            f"the data have {names}; mend the dataset's YAML or the data",
        )

    def _wants_number_type(self, name: str) -> bool:
        # Text that holds other things than numbers is named cell by cell.
        return self.plan.kinds.get(name) not in CATEGORIES and name not in self.texts

    def _numeric(self, name: str) -> WholeRule:
        return WholeRule(
            "numbers",
            name,
            "critical",
            "a column of numbers",
            "ExpectColumnValuesToBeInTypeList",
            {"column": name, "type_list": [*_NUMBERS, "bool"]},
            f"all cells read as numbers: store them as such, or leave it out with `columns: {{{name}: drop}}`",
            found=f"text ({self.plan.schema.field(name).type})",
        )

    def _without_size(self) -> Iterator[str]:
        """Time and categories of text that ranges and relations name: no rule on cells can judge them."""
        plan = self.plan
        for name in expected_columns(plan.dataset):
            text = plan.kinds.get(name) in CATEGORIES and name not in plan.numbers
            if name in plan.schema.names and (text or name == plan.roles.time):
                yield name

    def _sized(self, name: str) -> WholeRule:
        return WholeRule(
            "numbers",
            name,
            "critical",
            "numbers, as ranges and relations compare",
            "ExpectColumnValuesToBeInTypeList",
            {"column": name, "type_list": [*_NUMBERS, "bool"]},
            "take it out of expectations.ranges and expectations.relations",
            found="the time column" if name == self.plan.roles.time else "categories",
        )

    def _varying(self) -> Iterator[str]:
        for name in self.plan.features:
            seen = self.statistics[name]
            if is_numeric(seen.kind) or self.plan.kinds[name] in CATEGORIES:
                yield name

    def _varies(self, name: str) -> WholeRule:
        seen, share = self.statistics[name], self.shares.get(name, 0.0)
        severity = severity_of(self.plan.dataset, "varies", "warning")
        drop = f"leave it out with `columns: {{{name}: drop}}`"
        if seen.minimum != seen.maximum and share > NEARLY_CONSTANT:
            return WholeRule(
                "varies",
                name,
                severity,
                f"no value in more than {NEARLY_CONSTANT:.1%} of the rows",
                "ExpectColumnValuesToBeBetween",
                {"column": self._statistic(name, "largest share", share), "max_value": NEARLY_CONSTANT},
                f"a nearly constant column teaches little; {drop} unless the rare values matter",
                found=f"one value in {100 * share:.4g} % of the rows",
            )
        extremes = self._statistic(name, "extremes", seen.minimum, seen.maximum)
        return WholeRule(
            "varies",
            name,
            severity,
            "at least 2 different values",
            "ExpectColumnUniqueValueCountToBeBetween",
            {"column": extremes, "min_value": 2},
            f"a constant column teaches nothing; {drop}",
            found="no value at all" if seen.minimum is None else f"{shown(seen.minimum)} in every row",
        )

    def _types(self) -> Iterator[WholeRule]:
        for name, wanted in self.plan.dataset.expectations.types.items():
            if name not in self.plan.schema.names:
                continue
            given = self.plan.schema.field(name).type
            yield WholeRule(
                "types",
                name,
                severity_of(self.plan.dataset, "types", "critical"),
                f"a column of type {wanted}",
                "ExpectColumnValuesToBeInTypeList",
                {"column": name, "type_list": _TYPES[wanted]},
                "mend the source or expectations.types",
                found=str(given),
            )

    def _max_missing(self) -> Iterator[WholeRule]:
        for name, most in self.plan.dataset.expectations.max_missing.items():
            if name not in self.statistics:
                continue
            seen = self.statistics[name]
            share = seen.missing / max(seen.rows, 1)
            yield WholeRule(
                "missing share",
                name,
                severity_of(self.plan.dataset, "missing values", "critical"),
                f"at most {100 * most:g} % of the cells missing",
                "ExpectColumnValuesToBeBetween",
                {"column": self._statistic(name, "missing share", share), "max_value": most},
                "bring the missing cells, or raise expectations.max_missing",
                found=f"{100 * share:.3g} % ({seen.missing:,} cells)",
                unexpected=seen.missing,
            )

    def _drift(self, drift: Drift) -> WholeRule:
        most = float(self.plan.dataset.expectations.drift or 1)
        return WholeRule(
            "drift",
            drift.column,
            severity_of(self.plan.dataset, "drift", "warning"),
            f"a {drift.measure} distance of at most {most:g} from the snapshot before",
            "ExpectColumnValuesToBeBetween",
            {"column": self._statistic(drift.column, "drift", drift.distance), "max_value": most},
            "see whether the source changed meaning or unit; a generator of the old data is none of these",
            found=f"{drift.distance:.3f}, {drift.middle} {drift.before} before and {drift.now} now",
        )


def needed_columns(plan: Plan) -> list[str]:
    """Columns that the dataset's time, series, roles and expectations name, sorted."""
    dataset = plan.dataset
    expected = dataset.expectations
    named = {
        *dataset.columns,
        *expected_columns(dataset),
        *expected.types,
        *expected.max_missing,
        plan.roles.time,
        dataset.time.column,
        dataset.series,
    }
    return sorted(name for name in named if name is not None)


def _typed(kind: pa.DataType) -> Any:
    """Two cells of the pandas type that stands for an Arrow type, however many of its cells are missing."""
    types = pa.types
    if types.is_timestamp(kind) or types.is_date(kind):
        return np.zeros(2, dtype="datetime64[ns]")
    if types.is_integer(kind) or types.is_boolean(kind):
        return np.zeros(2, dtype=kind.to_pandas_dtype())
    return np.zeros(2) if is_numeric(kind) else _TEXT
