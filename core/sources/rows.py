"""Rows of any source as a stream of tables of plain types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.errors import DataError


class TypesChangedError(Exception):
    """Columns turned out to be of other types than the rows given so far: read the source once more."""


class RowSource:
    """The rows of one source; they can be read several times.

    Attributes:
        place: What messages call it.
        path: Of the file or folder; None for what is none.
        total: Of `done`, where it is known.
        done: How much has been read: bytes of files, rows of others.
        reader: Options that were used, detected ones included; JSON-able.
        key: SHA-256 of the source's bytes; None for what is no file, and until a text was read to its end.
    """

    def __init__(self, place: str, *, total: int | None = None, path: Path | None = None) -> None:
        self.place = place
        self.path = path
        self.total = total
        self.done = 0
        self.reader: dict[str, Any] = {}
        self.key: str | None = None
        self._found: list[str] = []
        self._nan: Counter[str] = Counter()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was repaired on the way, a sentence each; whole once the rows have been read."""
        nan = (
            f"{count:,} cells of column {name!r} are NaN and count as missing."
            for name, count in self._nan.items()
        )
        return (*self._found, *nan)

    def chunks(self) -> Iterator[pa.Table]:
        """The rows in order, all chunks of one schema of plain types: numbers, booleans, text, dates, stamps.

        NaN becomes missing: there is one kind of missing cell.

        Raises:
            TypesChangedError: read again from the start; the types are final then, but for odd cases, in
                which they are widened once more.
            ConfigError: the source does not exist, or cannot be read as the options say.
            DataError: it is empty, damaged, ragged, names a column twice, or has columns of other types.
            SourceError: it could not be reached.
        """
        self.done, rows = 0, 0
        self._nan.clear()
        for table in self._tables():
            rows += len(table)
            if len(table):
                yield self._without_nan(plain(table, self.place))
        if rows == 0:
            raise DataError(f"{self.place} has 0 rows; bring data with at least one row")

    def _tables(self) -> Iterator[pa.Table]:
        raise NotImplementedError

    def _without_nan(self, table: pa.Table) -> pa.Table:
        for position, field in enumerate(table.schema):
            if pa.types.is_floating(field.type):
                nan = pc.is_nan(table.column(position))
                if count := pc.sum(nan).as_py():
                    self._nan[field.name] += count
                    there = pc.if_else(nan, pa.scalar(None, field.type), table.column(position))
                    table = table.set_column(position, field, there)
        return table


class TableRows(RowSource):
    """Rows of a table that is in memory: simulated, or carried by a package."""

    def __init__(self, table: pa.Table, place: str) -> None:
        super().__init__(place, total=len(table))
        self.table = table

    def _tables(self) -> Iterator[pa.Table]:
        for start in range(0, len(self.table), 65_536):
            piece = self.table.slice(start, 65_536)
            self.done += len(piece)
            yield piece


def plain_schema(schema: pa.Schema, place: str) -> pa.Schema:
    """Dictionaries as their values, strings of every kind as strings, no metadata: one form for one content.

    Stamps of seconds are in milliseconds and dates in days, as a snapshot gives them back.

    Raises:
        DataError: a name occurs twice, or a type is none of numbers, booleans, text, dates and stamps.
    """
    refuse_twice(schema.names, place)
    return pa.schema([(field.name, _plain_type(field, place)) for field in schema])


def refuse_twice(names: list[str], place: str) -> None:
    """Refuse names that occur more than once.

    Raises:
        DataError: there are such.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        listed = ", ".join(repr(name) for name in twice)
        raise DataError(f"{place} has more than one column named {listed}; give every column its own name")


def plain(table: pa.Table, place: str) -> pa.Table:
    """`table` by the `plain_schema`."""
    schema = plain_schema(table.schema, place)
    try:
        return table.replace_schema_metadata(None) if schema == table.schema else table.cast(schema)
    except pa.ArrowException as error:
        raise DataError(f"{place} cannot be read: {error}") from error


def _plain_type(field: pa.Field, place: str) -> pa.DataType:
    types = pa.types
    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    # As Parquet gives them back, which knows neither seconds nor dates in milliseconds.
    if types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if types.is_date64(kind):
        return pa.date32()
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    time = types.is_date(kind) or types.is_timestamp(kind)
    if number or time or types.is_boolean(kind) or types.is_string(kind) or types.is_null(kind):
        return kind
    raise DataError(
        f"{place}: column {field.name!r} is of type {kind}; expected numbers, booleans, text in UTF-8, dates "
        "or time stamps: leave the column out or save it as one of these"
    )
