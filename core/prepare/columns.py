"""Which column plays which part, and columns as numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig, StaticColumn, TimeConfig
from core.errors import ConfigError, DataError
from core.prepare.stamps import read_stamps

RESERVED = frozenset({"window", "step"})
TIME_NAMES = frozenset({"date", "time", "datetime", "timestamp"})
_DECIMAL_COMMA = re.compile(r"^\s*[+-]?\d+,\d+\s*$")
_THOUSANDS = re.compile(r"^\s*[+-]?\d{1,3}(,\d{3})+(\.\d*)?\s*$")


@dataclass(frozen=True)
class Roles:
    """The columns of a table by what they are for."""

    time: str | None
    series: str | None
    features: tuple[str, ...]
    """Temporal columns, in the order of the file."""
    static: tuple[str, ...]
    """One value a series, in the order of the file."""
    dropped: tuple[str, ...]


def split_columns(names: list[str], dataset: DatasetConfig, time: str | None) -> Roles:
    """Parts of the columns `names`.

    Raises:
        DataError: a column that the dataset names is not there, one has the name of a column of generated
            rows, or no feature is left.
    """
    absent = missing_columns(names, dataset)
    if absent:
        raise DataError(
            f"{dataset.name} names columns that the data do not have: {', '.join(absent)}; the data have "
            f"{', '.join(names)}; mend the dataset's YAML or the data"
        )
    roles = sort_columns(names, dataset, time)
    if not roles.features:
        raise DataError(f"{dataset.name} has no feature columns: its columns are {', '.join(names)}")
    if taken := RESERVED & {*roles.features, *roles.static}:
        raise DataError(
            f"{dataset.name} has a column {min(taken)!r}, as rows of generated windows have: rename or drop it"
        )
    return roles


def sort_columns(names: list[str], dataset: DatasetConfig, time: str | None) -> Roles:
    """Parts of the columns `names`, whatever is missing among them."""
    dropped = tuple(name for name in names if dataset.columns.get(name) == "drop")
    aside = {time, dataset.series, *dropped}
    static = tuple(name for name in names if name not in aside and is_static(dataset, name))
    features = tuple(name for name in names if name not in aside and name not in static)
    return Roles(time, dataset.series, features, static, dropped)


def is_static(dataset: DatasetConfig, name: str) -> bool:
    """Whether the dataset says that a column has one value a series."""
    role = dataset.columns.get(name)
    return role == "static" or isinstance(role, StaticColumn)


def missing_columns(names: list[str], dataset: DatasetConfig) -> list[str]:
    """Columns that the dataset's time, series or roles name and `names` lack, sorted."""
    named = {*dataset.columns, *filter(None, (dataset.time.column, dataset.series))}
    return sorted(named - set(names))


def find_time(table: pa.Table, time: TimeConfig) -> str | None:
    """The time column: the one configured; else the first of a date type or of a usual, parsable name.

    Raises:
        ConfigError: there is none and the configuration does not say so.
    """
    if time.none or time.column is not None:
        return time.column if not time.none else None
    found = guess_time(table)
    if found is None:
        raise ConfigError(
            f"no time column among {', '.join(table.column_names)}; say `time: {{column: NAME}}`, or "
            "`time: {none: true}` if the order of the rows is the time"
        )
    return found


def guess_time(table: pa.Table) -> str | None:
    """The first column of a date type, else of a usual name and of text or readable numbers; or None.

    Text of such a name is time even where it cannot be read: what is wrong with it is said then, instead of
    losing the time without a word.
    """
    for field in table.schema:
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            return str(field.name)
    for field in table.schema:
        if field.name.lower() in TIME_NAMES and (
            pa.types.is_string(field.type) or not read_stamps(table[field.name]).bad
        ):
            return str(field.name)
    return None


def is_numeric(kind: pa.DataType) -> bool:
    """Integers, floats, decimals, booleans (as 0 and 1), and a column without any value."""
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    )


def as_floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A numeric column, shape (rows,), NaN where a cell is missing."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    return np.asarray(column.cast(pa.float64(), safe=False).fill_null(np.nan))


def not_numbers(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Shape (rows,): cells of a column of text (or dates) that are there and are no number."""
    there = np.asarray(column.is_valid())
    if not pa.types.is_string(column.type):
        return there
    numbers = pd.to_numeric(pd.Series(column.to_pandas()), errors="coerce")
    return np.asarray(there & np.isnan(np.asarray(numbers, dtype=np.float64)))


def only_decimal_commas(table: pa.Table) -> bool:
    """Whether some columns of text hold nothing but numbers once a comma is taken as the decimal mark."""
    for column in table.columns:
        if pa.types.is_string(column.type):
            bad = column.filter(pa.array(not_numbers(column)))
            if len(bad) and all(_DECIMAL_COMMA.match(text) for text in bad.to_pylist()):
                return True
    return False


def mend_text(column: pa.ChunkedArray, name: str) -> str:
    """What to do about a column that should hold numbers and holds text."""
    bad = column.filter(pa.array(not_numbers(column)))
    sample = [str(value) for value in bad.slice(0, 1000).to_pylist()]
    drop = f"leave the column out with `columns: {{{name}: drop}}`"
    if pa.types.is_string(column.type):
        drop = f"say `columns: {{{name}: categorical}}` if the texts name categories, or {drop}"
    if sample and all(_THOUSANDS.match(text) for text in sample):
        return (
            "write the numbers without thousands separators, set `source.decimal: ','` if the comma is the "
            f"decimal mark, or {drop}"
        )
    if sample and all(_DECIMAL_COMMA.match(text) for text in sample):
        return f"set `source.decimal: ','`, or {drop}"
    return f"mend the cells, or {drop}"
