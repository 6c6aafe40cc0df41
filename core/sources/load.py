"""Rows from whatever a dataset names as its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from core.catalog import (
    ArchSource,
    DatasetConfig,
    EventsSource,
    FileSource,
    SampleSource,
    SineSource,
    SqlSource,
)
from core.errors import ConfigError
from core.sources.csv_file import CSV_ENDINGS, CsvRows
from core.sources.events import events_table
from core.sources.parquet_file import FEATHER_ENDINGS, PARQUET_ENDINGS, FeatherRows, ParquetRows
from core.sources.remote import is_remote, local_copy
from core.sources.rows import RowSource, TableRows
from core.sources.samples import arch_table, sample_table, sine_table
from core.sources.sql import SqlRows

ENDINGS = (*CSV_ENDINGS, *PARQUET_ENDINGS, *FEATHER_ENDINGS)


@contextmanager
def open_source(dataset: DatasetConfig, lake: Path | None = None) -> Iterator[RowSource]:
    """The rows of a dataset, to be read while this context lasts.

    Args:
        dataset: Names the source.
        lake: Where a file behind a URL is kept meanwhile (`downloads`); the system's temporary folder if None.

    Raises:
        ConfigError: the source does not exist, or must not be read.
        DataError: it is damaged or empty.
        SourceError: it could not be reached.
    """
    source = dataset.source
    if isinstance(source, SqlSource):
        yield SqlRows(source)
    elif isinstance(source, FileSource):
        with local_copy(source, lake) as path:
            yield file_rows(path, source)
    else:
        yield TableRows(_table(source), dataset.name)


def _table(source: ArchSource | SampleSource | SineSource | EventsSource) -> pa.Table:
    if isinstance(source, SineSource):
        return sine_table(source)
    if isinstance(source, EventsSource):
        return events_table(source)
    return arch_table(source.table) if isinstance(source, ArchSource) else sample_table(source.table)


def file_rows(path: Path, source: FileSource) -> RowSource:
    """The rows of a file or folder on this machine.

    Raises:
        ConfigError: its ending says no format, or it is no folder of Parquet files.
        DataError: it is damaged or empty.
    """
    place = source.path if is_remote(source.path) else str(path)
    kind = source.format if source.format != "auto" else file_format(path)
    if kind == "parquet":
        return ParquetRows(path, place)
    if path.is_dir():
        raise ConfigError(f"{place} is a folder; name one file in it, or a folder of Parquet files")
    return FeatherRows(path, place) if kind == "feather" else CsvRows(path, source, place)


def file_format(path: Path) -> str:
    """`"csv"`, `"parquet"` or `"feather"`, by the ending of a file's name; a folder is one of Parquet files."""
    name = path.name.lower()
    if path.is_dir() or name.endswith(PARQUET_ENDINGS):
        return "parquet"
    if name.endswith(CSV_ENDINGS):
        return "csv"
    if name.endswith(FEATHER_ENDINGS):
        return "feather"
    raise ConfigError(f"{path} ends like none of {', '.join(ENDINGS)}; say which it is with `source.format`")
