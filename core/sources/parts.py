"""The Parquet files of a snapshot, written as rows come, or shared with the snapshot before."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import StorageError
from core.sources.digest import GROUP_ROWS, chained, regroup, schema_digest
from core.sources.stored import StoredRows

logger = logging.getLogger(__name__)

_COMPRESSION = "snappy"


def newest(parent: Path) -> StoredRows | None:
    """The snapshot that was taken last of those in a folder, if its files are as its manifest says."""
    found = []
    # Not what another process is writing: that has a hidden name.
    for path in parent.glob("[!.]*/manifest.json"):
        with suppress(StorageError, OSError):
            rows = StoredRows.of(path.parent)
            found.append((rows.manifest["ingested_at"], path.stat().st_mtime_ns, rows))
    if not found:
        return None
    last = max(found, key=lambda item: item[:2])[2]
    with suppress(OSError, KeyError):
        if all((last.path / part["file"]).stat().st_size == part["bytes"] for part in last.manifest["parts"]):
            return last if "groups" in last.manifest else None
    logger.warning("the snapshot %s is not whole: nothing is shared with it", last.path)
    return None


class Files:
    """The files of one snapshot on their way: parts of the one before, and what is written.

    Attributes:
        folder: Where they lie.
        parts: Name, rows and bytes of each, as the manifest says them.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.parts: list[dict[str, Any]] = []
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def share(self, before: StoredRows) -> None:
        """Take all files of another snapshot."""
        for part in before.manifest["parts"]:
            source, target = before.path / part["file"], self.folder / part["file"]
            try:
                os.link(source, target)
            except OSError as error:
                logger.warning("%s is copied, for it cannot be linked: %s", source, error)
                shutil.copyfile(source, target)
            self.parts.append(part)

    def write(self, table: pa.Table) -> None:
        """Write rows below the others, as a row group."""
        if self._writer is None:
            # Of numbers a dictionary costs time and saves nothing.
            text = [field.name for field in self._schema if pa.types.is_string(field.type)]
            self._writer = pq.ParquetWriter(
                self.folder / self._name(), self._schema, compression=_COMPRESSION, use_dictionary=text
            )
        self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self._rows += len(table)

    def close(self) -> None:
        """Finish the file that is being written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            name = self._name()
            size = (self.folder / name).stat().st_size
            self.parts.append({"file": name, "rows": self._rows, "bytes": size})

    def _name(self) -> str:
        return f"data-{len(self.parts) + 1}.parquet" if self.parts else "data.parquet"


class Parts:
    """Rows on their way into a snapshot.

    As long as they are those of the snapshot before, nothing is written. If all of its rows came and more
    follow, its files are shared; if others came, those that agreed are copied.

    Args:
        schema: Of the rows.
        before: The newest snapshot of the dataset.
        make_folder: Makes the folder to write to, called once if at all.
    """

    def __init__(self, schema: pa.Schema, before: StoredRows | None, make_folder: Callable[[], Path]) -> None:
        self.rows = 0
        self.digest = schema_digest(schema)
        self._schema = schema
        self._before = before if before is not None and before.schema == schema else None
        self._make_folder = make_folder
        self._groups: list[str] = []
        self._files: Files | None = None
        self._shared: StoredRows | None = None

    def add(self, group: pa.Table) -> None:
        """Take the next 131,072 rows, or the last ones.

        Raises:
            OSError: writing failed.
            StorageError: the snapshot before cannot be read.
        """
        digest = chained(self.digest, group)
        same = self._agreeing(digest, group) if self._files is None else 0
        if same < len(group):
            self._files = self._files or self._begin(self.rows + same)
            self._files.write(group.slice(same))
        self.digest = digest
        self._groups.append(digest)
        self.rows += len(group)

    def finish(self) -> Path | None:
        """The folder with its files finished; None if the rows are those of the snapshot before."""
        if self._files is None:
            if self._before is not None and self.rows == len(self._before):
                return None
            self._files = self._begin(self.rows)
        self._files.close()
        return self._files.folder

    def manifest(self) -> dict[str, Any]:
        """What the manifest says of the rows and files."""
        parts = [] if self._files is None else self._files.parts
        found: dict[str, Any] = {
            "sha256": self.digest,
            "groups": self._groups,
            "rows": self.rows,
            "bytes": sum(part["bytes"] for part in parts),
            "parts": parts,
            "schema": {field.name: str(field.type) for field in self._schema},
        }
        if self._shared is not None:
            found |= {"appended_to": self._shared.path.name, "appended_rows": self.rows - len(self._shared)}
        return found

    def _agreeing(self, digest: str, group: pa.Table) -> int:
        """Rows at the group's beginning that are the next group of the snapshot before; 0 if they differ."""
        if self._before is None:
            return 0
        there = min(len(self._before) - self.rows, GROUP_ROWS)
        if there <= 0 or len(group) < there:
            return 0
        if len(group) > there:
            digest = chained(self.digest, group.slice(0, there))
        return there if digest == self._before.manifest["groups"][len(self._groups)] else 0

    def _begin(self, same: int) -> Files:
        """Files with the first `same` rows of the snapshot before."""
        files = Files(self._make_folder(), self._schema)
        if self._before is None or same == 0:
            return files
        if same == len(self._before):
            files.share(self._before)
            self._shared = self._before
            return files
        left = same
        for group in regroup(self._before.batches()):
            files.write(group.slice(0, left))
            left -= len(group)
            if left <= 0:
                break
        return files
