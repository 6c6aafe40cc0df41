"""One table from whatever a dataset names as its source."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.catalog import ArchSource, DatasetConfig, EventsSource, FileSource, SineSource
from core.errors import ConfigError, DataError
from core.sources.csv_file import CSV_ENDINGS, read_csv
from core.sources.events import events_table
from core.sources.parquet_file import PARQUET_ENDINGS, read_parquet
from core.sources.samples import arch_table, sine_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A table and how it was read."""

    table: pa.Table
    reader: dict[str, Any] = field(default_factory=dict)
    """Options that were used, detected ones included; JSON-able."""
    notes: tuple[str, ...] = ()
    """What the reader changed on the way, one sentence each."""


def load_table(dataset: DatasetConfig) -> pa.Table:
    """The rows of a dataset as they come: plain column types, unique names, at least one row.

    Raises:
        ConfigError: the source does not exist or its kind is not known.
        DataError: the source is empty, damaged, ragged, or names a column twice.
    """
    loaded = read_source(dataset)
    for note in loaded.notes:
        logger.warning("%s: %s", dataset.name, note)
    return loaded.table


def read_source(dataset: DatasetConfig) -> Loaded:
    """Like `load_table`, with the reader's options and notes."""
    source = dataset.source
    if isinstance(source, SineSource):
        loaded = Loaded(sine_table(source))
    elif isinstance(source, EventsSource):
        loaded = Loaded(events_table(source))
    elif isinstance(source, ArchSource):
        loaded = Loaded(arch_table(source.table))
    else:
        loaded = _read_file(source)
    table = _plain(loaded.table)
    _check(table, getattr(source, "path", dataset.name))
    return Loaded(table, loaded.reader, loaded.notes)


def _read_file(source: FileSource) -> Loaded:
    path = Path(source.path).expanduser()
    _check_is_file(path)
    kind = source.format if source.format != "auto" else file_format(path)
    try:
        if kind == "parquet":
            return Loaded(read_parquet(path), {"format": kind})
        parsed = read_csv(path, source.delimiter, source.decimal)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}; bring an intact copy") from error
    reader = {"format": kind, "delimiter": parsed.delimiter, "decimal": source.decimal}
    return Loaded(parsed.table, reader, parsed.notes)


def _check_is_file(path: Path) -> None:
    try:
        found, folder = path.is_file(), path.is_dir()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)[:200]!r} is no path: {error}") from error
    if folder:
        raise ConfigError(f"{path} is a folder; name one CSV or Parquet file in it")
    if not found:
        raise ConfigError(f"there is no file {path}; mend `source.path` or put the file there")


def file_format(path: Path) -> str:
    """`"csv"` or `"parquet"`, by the ending of a file's name."""
    name = path.name.lower()
    if name.endswith(CSV_ENDINGS):
        return "csv"
    if name.endswith(PARQUET_ENDINGS):
        return "parquet"
    endings = ", ".join([*CSV_ENDINGS, *PARQUET_ENDINGS])
    raise ConfigError(f"{path} ends like none of {endings}; say which it is with `source.format`")


def _plain(table: pa.Table) -> pa.Table:
    """Dictionaries decoded, large and view strings as strings, no metadata: one form for one content."""
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise DataError(
                f"column {name!r} is of type {kind}; expected numbers, text in UTF-8 or dates: "
                "save the file with such columns alone"
            )
        columns.append(column if kind == column.type else column.cast(kind))
    return pa.table(columns, names=table.column_names)


def _check(table: pa.Table, place: str) -> None:
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        names = ", ".join(repr(name) for name in twice)
        raise DataError(f"{place} has more than one column named {names}; give every column its own name")
    if table.num_rows == 0:
        raise DataError(f"{place} has 0 rows; bring a file with at least one row of data")
