"""Which column plays which part, and columns as numbers."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import ColumnConfig, DatasetConfig, TimeConfig
from core.errors import ConfigError, DataError
from core.prepare.time.stamps import read_stamps
from core.sources.stored import StoredRows

RESERVED = frozenset({"window", "step"})
TIME_NAMES = frozenset({"date", "time", "datetime", "timestamp"})
_TIME_NAME = re.compile(
    r"^(?:(?:trade|trading|utc|local|event|observation|start)[ _-]?)?"
    r"(?:date|time|date[ _-]?time|time[ _-]?stamp)(?:[ _-]?(?:utc|local))?$|^(?:ts|when|day|period|epoch)$",
    re.IGNORECASE,
)
_GUESS_ROWS = 10_000
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
    return role == "static" or (isinstance(role, ColumnConfig) and role.static)


def missing_columns(names: list[str], dataset: DatasetConfig) -> list[str]:
    """Columns that the dataset's time, series or roles name and `names` lack, sorted."""
    named = {*dataset.columns, *filter(None, (dataset.time.column, dataset.series))}
    return sorted(named - set(names))


def find_time(table: pa.Table | StoredRows, time: TimeConfig, apart: Collection[str] = ()) -> str | None:
    """The time column: the one configured; else the one of a date type, or of a usual name and readable.

    Args:
        table: The rows; of a snapshot at most one batch is read.
        time: What the dataset says.
        apart: Columns with another role: no time column if there is another candidate.

    Raises:
        ConfigError: there is none, or more than one, and the configuration does not say so.
    """
    if time.none or time.column is not None:
        return time.column if not time.none else None
    found = guess_time(table, time, apart)
    if found is None:
        raise ConfigError(
            f"no time column among {', '.join(table.schema.names)}; say `time: {{column: NAME}}`, or "
            "`time: {none: true}` if the order of the rows is the time"
        )
    return found


def guess_time(
    table: pa.Table | StoredRows, time: TimeConfig | None = None, apart: Collection[str] = ()
) -> str | None:
    """The column of a date type, else the one of a usual name and of readable text or numbers; or None.

    Text named date, time, datetime or timestamp is time even where it cannot be read: what is wrong with it
    is said then, instead of losing the time without a word. Arguments are those of `find_time`.

    Raises:
        ConfigError: more than one column may be it.
    """
    types = pa.types
    dates = [
        field.name for field in table.schema if types.is_timestamp(field.type) or types.is_date(field.type)
    ]
    if dates:
        return _only(dates, apart)
    named = [field.name for field in table.schema if _TIME_NAME.match(field.name)]
    readable = [name for name in named if _is_readable(table, name, time)]
    if readable:
        return _only(readable, apart)
    text = (name for name in named if name.lower() in TIME_NAMES and _is_text(table.schema.field(name).type))
    return next(text, None)


def _only(names: list[str], apart: Collection[str]) -> str:
    free = [name for name in names if name not in apart]
    names = free or names
    if len(names) > 1:
        raise ConfigError(
            f"columns {', '.join(map(repr, names))} all hold time stamps: name the one that the rows happened "
            "at with `time: {column: NAME}`, and `drop` the others under `columns`"
        )
    return names[0]


def _is_readable(table: pa.Table | StoredRows, name: str, time: TimeConfig | None) -> bool:
    """Whether all that is there of the first rows is time."""
    if isinstance(table, StoredRows):
        table = next(table.batches([name], rows=_GUESS_ROWS), table.schema.empty_table())
    there = table[name].slice(0, _GUESS_ROWS).drop_null()
    return len(there) > 0 and len(read_stamps(there, time).bad_rows) == 0


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


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
    """A numeric column, shape (rows,), NaN where a cell is missing; read-only where it need not be copied."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    column = column.cast(pa.float64(), safe=False)
    if column.null_count:
        column = column.fill_null(np.nan)
    if column.num_chunks == 1:
        return np.asarray(column.chunk(0).to_numpy(zero_copy_only=False), dtype=np.float64)
    return np.asarray(column.to_numpy(), dtype=np.float64)


def text_floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of text, shape (rows,), NaN where a cell is missing or is no number."""
    return np.asarray(pd.to_numeric(pd.Series(column.to_pandas()), errors="coerce"), dtype=np.float64)


def not_numbers(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Shape (rows,): cells of a column of text (or dates) that are there and are no number."""
    there = np.asarray(column.is_valid())
    if not pa.types.is_string(column.type):
        return there
    return np.asarray(there & np.isnan(text_floats(column)))


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
