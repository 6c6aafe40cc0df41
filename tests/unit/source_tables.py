"""Sources of files made on the spot."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa

from core.catalog import DatasetConfig, FileSource
from core.errors import ConfigError, DataError
from core.sources.load import open_source
from core.sources.rows import RowSource, TypesChangedError


def of_file(path: Path, **options: object) -> DatasetConfig:
    return DatasetConfig(name="set", source=FileSource(path=str(path), **options))


def read_all(source: RowSource) -> pa.Table:
    while True:
        try:
            return pa.concat_tables(list(source.chunks()))
        except TypesChangedError:
            continue


def load_table(dataset: DatasetConfig, lake: Path | None = None) -> pa.Table:
    with open_source(dataset, lake) as source:
        return read_all(source)


def complaint(path: Path) -> str:
    """What is said of a file that is refused on purpose; empty if it has rows."""
    try:
        return "" if len(load_table(of_file(path))) else "no rows and no error"
    except (DataError, ConfigError) as error:
        return str(error)


def load_text(folder: Path, text: str | bytes, name: str = "x.csv", **options: object) -> pa.Table:
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return load_table(of_file(path, **options))
