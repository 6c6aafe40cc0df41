"""The columns of a snapshot by what is to be checked of them, and what Great Expectations sees of a chunk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig, Relation
from core.prepare.channels.layout import ColumnKind
from core.prepare.rows.cells import kind_of
from core.prepare.rows.columns import Roles, is_numeric
from core.prepare.time.stamps import Stamps
from core.quality.chunks import Chunk

READS, PRESENT = "reads as a number", "is there"
CATEGORIES = ("binary", "categorical")


@dataclass(frozen=True)
class Plan:
    """The columns of a snapshot by what is to be checked of them."""

    dataset: DatasetConfig
    schema: pa.Schema
    roles: Roles
    stamps: Stamps | None
    """Of the time column `roles.time`; None without time."""

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Temporal and static columns."""
        return (*self.roles.features, *self.roles.static)

    @cached_property
    def checked(self) -> tuple[str, ...]:
        """Features, and what expectations name besides."""
        names, time = set(self.schema.names), self.roles.time
        asked = [name for name in expected_columns(self.dataset) if name in names and name != time]
        return tuple(dict.fromkeys([*self.features, *asked]))

    @cached_property
    def kinds(self) -> dict[str, ColumnKind]:
        """Of the features."""
        return {name: kind_of(self.dataset, name, self.schema.field(name).type) for name in self.features}

    @cached_property
    def not_numbers(self) -> tuple[str, ...]:
        """Checked columns that should be of numbers and are not."""
        return tuple(
            name
            for name in self.checked
            if self.kinds.get(name) not in CATEGORIES and not is_numeric(self.schema.field(name).type)
        )

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Checked columns that read as numbers: those of numbers or booleans, and text that should be."""
        return tuple(
            name
            for name in self.checked
            if is_numeric(kind := self.schema.field(name).type)
            or (pa.types.is_string(kind) and name in self.not_numbers)
        )

    def aside(self, name: str, what: str) -> str:
        """Name of a further column of the frame that says something of the column `name`."""
        name = f"{name} {what}"
        while name in self.schema.names:
            name += "'"
        return name

    def frame(self, chunk: Chunk) -> pd.DataFrame:
        """What Great Expectations sees of a chunk: numbers, stamps, of others which cells are there."""
        columns: dict[str, object] = {}
        for name in self.checked:
            columns[name] = chunk.floats(name) if name in self.numbers else as_presence(chunk.missing(name))
        for name in self.not_numbers:
            columns[self.aside(name, READS)] = as_presence(chunk.no_number(name))
            columns[self.aside(name, PRESENT)] = as_presence(chunk.missing(name))
        series = self.roles.series
        # Numbers stay numbers where a range is asked of them.
        if series is not None and series in self.schema.names and series not in columns:
            columns[series] = as_presence(chunk.missing(series))
        if self.roles.time is not None and chunk.ns is not None and chunk.unreadable is not None:
            stamps = chunk.ns.astype("datetime64[ns]")
            stamps[chunk.unreadable] = np.datetime64("NaT")
            columns[self.roles.time] = stamps
        return pd.DataFrame(columns, copy=False)


def as_presence(missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """NaN for missing cells: Great Expectations hashes what it is given, and text is slow to hash."""
    return np.where(missing, np.float32(np.nan), np.float32(1))


def expected_columns(dataset: DatasetConfig) -> list[str]:
    """Columns that the dataset's ranges and relations name, sorted."""
    relations = [Relation.parse(text) for text in dataset.expectations.relations]
    sides = {side for relation in relations for side in (relation.left, relation.right)}
    return sorted({*dataset.expectations.ranges, *sides})
