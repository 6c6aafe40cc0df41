"""Immutable copies of sources in the lake, named by what is in them."""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.catalog import DatasetConfig, FileSource
from core.errors import StorageError
from core.handles import SnapshotRef
from core.lake import build_once, file_digest, write_json
from core.sources.load import Loaded, read_source

logger = logging.getLogger(__name__)

_ROWS_PER_BATCH = 65_536


def snapshot(dataset: DatasetConfig, lake: Path) -> SnapshotRef:
    """Copy a dataset's source into `lake/snapshots/<dataset>/<digest>/`, unless that content is there.

    The folder holds `data.parquet` (the rows as loaded) and `manifest.json` (source, reader options, digest,
    schema, rows, who took it in and when).

    Raises:
        ConfigError: the source does not exist.
        DataError: the source cannot be used; nothing is written then.
        StorageError: writing failed.
    """
    loaded = read_source(dataset)
    for note in loaded.notes:
        logger.warning("%s: %s", dataset.name, note)
    table = loaded.table
    digest = table_digest(table)
    folder = lake / "snapshots" / dataset.name / digest[:16]

    def build(temporary: Path) -> None:
        pq.write_table(table, temporary / "data.parquet", compression="zstd")
        write_json(temporary / "manifest.json", _manifest(dataset, loaded, digest))

    reused = build_once(folder, build)
    logger.info("%s: %d rows, snapshot %s%s", dataset.name, table.num_rows, digest[:16], " reused" * reused)
    return SnapshotRef(
        path=folder,
        digest=digest,
        reused=reused,
        dataset=dataset.name,
        rows=table.num_rows,
        columns=tuple(table.column_names),
    )


def table_from_snapshot(ref: SnapshotRef) -> pa.Table:
    """The rows of a snapshot.

    Raises:
        StorageError: the file is missing or damaged.
    """
    path = ref.path / "data.parquet"
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise StorageError(
            f"the snapshot {path} cannot be read: {error}; remove its folder and ingest the dataset again"
        ) from error


def table_digest(table: pa.Table) -> str:
    """SHA-256, in hex, of names, types and cells, however the columns are cut into chunks.

    Of each column, Arrow's stream format of its values that are there and of the mask of those that are not:
    what lies in memory below a missing value differs between equal columns.
    """
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name!r}:{column.type}:{len(column)};".encode())
        for values in _canonical(column):
            digest.update(_stream(values))
    return digest.hexdigest()


def _canonical(column: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    # Booleans as bytes: the unused bits of a bit mask's last byte are not specified.
    yield column.is_null().cast(pa.uint8())
    present = column.drop_null()
    yield present.cast(pa.uint8()) if pa.types.is_boolean(column.type) else present


def _stream(values: pa.ChunkedArray) -> pa.Buffer:
    array = values.combine_chunks()
    sink = pa.BufferOutputStream()
    table = pa.table({"": array})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=_ROWS_PER_BATCH)
    return sink.getvalue()


def _manifest(dataset: DatasetConfig, loaded: Loaded, digest: str) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "dataset": dataset.name,
        "source": dataset.source.model_dump(mode="json"),
        "reader": loaded.reader,
        "notes": list(loaded.notes),
        "sha256": digest,
        "rows": loaded.table.num_rows,
        "schema": {field.name: str(field.type) for field in loaded.table.schema},
        "ingested_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "ingested_by": user_name(),
    }
    if isinstance(dataset.source, FileSource):
        path = Path(dataset.source.path).expanduser()
        try:
            manifest["file"] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        except OSError as error:
            raise StorageError(f"{path} went away while it was taken in: {error}") from error
    return manifest


def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's numeric user has no name.
        return f"uid {os.getuid()}"
