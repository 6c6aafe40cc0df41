"""The suite of a dataset: what its rows must satisfy by its catalogue entry and by what the pipeline needs."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from core.catalog import Bounds, DatasetConfig, Relation
from core.prepare.cells import kind_of
from core.prepare.columns import Roles, as_floats, is_numeric, mend_text, not_numbers
from core.prepare.stamps import Stamps
from core.quality.checks import Rule, Severity
from core.quality.keys import cell_rule, key_rules, null_mask

_NUMBER_TYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
_LARGEST = float(np.finfo(np.float64).max)
# From 2^53 on float64 no longer tells neighbouring integers apart.
_EXACT = 2**53 - 1
CATEGORIES = ("binary", "categorical")
_BROKEN = {"<": operator.ge, "<=": operator.gt, ">": operator.le, ">=": operator.lt}


class Suite:
    """Rules of a table, with the frame that Great Expectations sees.

    The frame holds features as float64 (text stays text), the series column, and the time column as parsed.

    Args:
        dataset: What must hold.
        table: The rows.
        time: The time column, if any.
        stamps: Its stamps.
        roles: What the columns are for.
    """

    def __init__(
        self,
        dataset: DatasetConfig,
        table: pa.Table,
        time: str | None,
        stamps: Stamps | None,
        roles: Roles,
    ) -> None:
        self.dataset = dataset
        self.table = table
        self.time = time
        self.stamps = stamps
        self.roles = roles
        self.features = (*roles.features, *roles.static)
        asked = [name for name in expected_columns(dataset) if name in table.column_names and name != time]
        self.checked = tuple(dict.fromkeys([*self.features, *asked]))
        self.kinds = {
            name: kind_of(dataset, name, table.schema.field(name).type)
            for name in self.checked
            if name in self.features
        }
        self.numbers = {
            name: as_floats(table[name]) for name in self.checked if is_numeric(table.schema.field(name).type)
        }

    def frame(self) -> pd.DataFrame:
        """What the rules are checked on, one row per row of the table."""
        columns: dict[str, object] = {}
        for name in self.checked:
            columns[name] = self.numbers[name] if name in self.numbers else self.table[name].to_pandas()
        for name in self._needed():
            if name not in columns and name in self.table.column_names:
                columns[name] = self.table[name].to_pandas()
        if self.time is not None and self.stamps is not None:
            columns[self.time] = self.stamps.labels
        return pd.DataFrame(columns)

    def rules(self, absent: list[str]) -> list[Rule]:
        """Every rule that can be checked; `absent` names columns that the dataset needs and are not there."""
        return [
            self._row_count(),
            *(self._exists(name, there=name not in absent) for name in self._needed()),
            *(self._numeric(name) for name in self.checked if self.kinds.get(name) not in CATEGORIES),
            *(rule for name in self.features for rule in self._of_feature(name)),
            *self._ranges(),
            *self._relations(),
            *key_rules(self.table, self.dataset.series, self.time, self.stamps),
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
        policy = self.dataset.missing.policy
        yield self._not_null(name, policy == "refuse" or (name in self.roles.static and policy != "mask"))
        if self.kinds[name] in CATEGORIES:
            yield self._varies(name)
        elif name in self.numbers:
            yield self._finite(name)
            yield self._varies(name)
            if pa.types.is_integer(self.table.schema.field(name).type):
                yield self._exact(name)

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
        missing = np.isnan(self.numbers[name]) if name in self.numbers else null_mask(self.table[name])
        policy = self.dataset.missing.policy
        severity: Severity = "critical" if refuse else "warning"
        advice = "fill them in, or choose missing.policy=drop_row, forward_fill or mask"
        if name in self.roles.static:
            advice = "fill them in, choose missing.policy=mask, or drop the column"
        mended = f"mended at preparation by missing.policy={policy}"
        if policy == "mask":
            mended = "kept as missing (missing.policy=mask): the generator learns where cells are missing"
        return cell_rule(
            self.table,
            "no missing values",
            name,
            severity,
            "a value in every row",
            "ExpectColumnValuesToNotBeNull",
            {},
            missing,
            advice if refuse else mended,
        )

    def _finite(self, name: str) -> Rule:
        return cell_rule(
            self.table,
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
            advice=f"a constant column teaches nothing; leave it out with `columns: {{{name}: drop}}`",
        )

    def _exact(self, name: str) -> Rule:
        return cell_rule(
            self.table,
            "exact in float64",
            name,
            "warning",
            "integers smaller than 2^53 in size",
            "ExpectColumnValuesToBeBetween",
            {"min_value": -_EXACT, "max_value": _EXACT},
            np.abs(self.numbers[name]) > _EXACT,
            "larger integers are rounded; subtract an offset if their last digits matter",
        )

    def _ranges(self) -> Iterator[Rule]:
        for name, bounds in self.dataset.expectations.ranges.items():
            if name in self.numbers and (bounds.min is not None or bounds.max is not None):
                yield self._range(name, bounds)

    def _range(self, name: str, bounds: Bounds) -> Rule:
        values = self.numbers[name]
        low = -np.inf if bounds.min is None else bounds.min
        high = np.inf if bounds.max is None else bounds.max
        return cell_rule(
            self.table,
            "range",
            name,
            "critical",
            _bounds_text(bounds),
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


def needed_columns(dataset: DatasetConfig, time: str | None) -> list[str]:
    """Columns that the dataset's time, series, roles and expectations name, sorted."""
    named = {*dataset.columns, *expected_columns(dataset), time, dataset.time.column, dataset.series}
    return sorted(name for name in named if name is not None)


def expected_columns(dataset: DatasetConfig) -> list[str]:
    """Columns that the dataset's expectations name, sorted."""
    relations = [Relation.parse(text) for text in dataset.expectations.relations]
    sides = {side for relation in relations for side in (relation.left, relation.right)}
    return sorted({*dataset.expectations.ranges, *sides})


def _bounds_text(bounds: Bounds) -> str:
    if bounds.max is None:
        return f"values of at least {bounds.min:g}"
    return (
        f"values of at most {bounds.max:g}"
        if bounds.min is None
        else f"values from {bounds.min:g} to {bounds.max:g}"
    )
