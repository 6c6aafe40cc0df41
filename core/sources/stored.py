"""The rows of a snapshot, read a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import StorageError
from core.handles import SnapshotRef

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class StoredRows:
    """A snapshot's rows, in the order of the source.

    Folder layout: `manifest.json`, and the Parquet files that its `parts` name, one below the other.
    """

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, ref: SnapshotRef) -> StoredRows:
        """The rows of a snapshot.

        Raises:
            StorageError: the folder is missing or damaged.
        """
        return cls.of(ref.path)

    @classmethod
    def of(cls, path: Path) -> StoredRows:
        """The rows of the snapshot in a folder, like `open`."""
        try:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(_damaged(path, error)) from error
        return cls(path, manifest)

    def __len__(self) -> int:
        return int(self.manifest["rows"])

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The Parquet files, in order."""
        return tuple(self.path / part["file"] for part in self.manifest["parts"])

    @cached_property
    def schema(self) -> pa.Schema:
        """Plain types: numbers, booleans, text, dates, stamps; no dictionaries, nothing nested."""
        with self._reading(self.files[0]) as file:
            return file.schema_arrow

    def batches(
        self, columns: Sequence[str] | None = None, *, rows: int = BATCH_ROWS, backwards: bool = False
    ) -> Iterator[pa.Table]:
        """All rows, at most `rows` of them at a time.

        Args:
            columns: Which, in this order; all if None.
            rows: In a batch.
            backwards: From the last row to the first.

        Raises:
            StorageError: a file is missing or damaged.
        """
        for path in reversed(self.files) if backwards else self.files:
            with self._reading(path) as file:
                groups = range(file.num_row_groups)
                for group in reversed(groups) if backwards else groups:
                    yield from _pieces(_group(file, path, group, columns), rows, backwards=backwards)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column, whole, in memory."""
        return self.table([name]).column(0)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Whole columns in memory: for few columns, or few rows."""
        empty = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        return pa.concat_tables([empty.empty_table(), *self.batches(columns)])

    def rows_at(self, index: NDArray[np.int64], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows `index` (from 0, ascending), in memory."""
        found, start = [], 0
        for batch in self.batches(columns):
            low, high = np.searchsorted(index, [start, start + len(batch)])
            if high > low:
                found.append(batch.take(pa.array(index[low:high] - start)))
            start += len(batch)
            if high == len(index):
                break
        empty = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        return pa.concat_tables([empty.empty_table(), *found])

    def _reading(self, path: Path) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise StorageError(_damaged(path, error)) from error


def _group(file: pq.ParquetFile, path: Path, group: int, columns: Sequence[str] | None) -> pa.Table:
    try:
        table = file.read_row_group(group, columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise StorageError(_damaged(path, error)) from error
    # Parquet gives the columns in the order of the file.
    return table if columns is None else table.select(list(columns))


def _pieces(table: pa.Table, rows: int, *, backwards: bool) -> Iterator[pa.Table]:
    starts = range(0, len(table), rows)
    for start in reversed(starts) if backwards else starts:
        piece = table.slice(start, rows)
        yield piece.take(pa.array(np.arange(len(piece))[::-1])) if backwards else piece


def _damaged(path: Path, error: Exception) -> str:
    return f"the snapshot {path} cannot be read: {error}; remove its folder and ingest the dataset again"
