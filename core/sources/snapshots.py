"""Immutable copies of sources in the lake, named by what is in them."""

from __future__ import annotations

import getpass
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from core.catalog import DatasetConfig
from core.handles import SnapshotRef
from core.lake import code_digest, content_digest, file_digest, publish, workspace, write_atomically, write_json
from core.sources.digest import regroup
from core.sources.load import open_source
from core.sources.parts import Parts, newest
from core.sources.rows import RowSource, TypesChangedError
from core.sources.span import time_span
from core.sources.stored import StoredRows

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Called with how much is read, and of how much: bytes of files, rows of others; None if it is not known."""

_READ = ".read"


def snapshot(dataset: DatasetConfig, lake: Path, progress: Progress | None = None) -> SnapshotRef:
    """Copy a dataset's source into `lake/snapshots/<dataset>/<digest>/`, unless that content is there.

    The folder holds the rows as Parquet files (see `core.sources.stored`) and `manifest.json`: source, reader
    options, digests, schema, rows, who took it in and when. A file whose bytes were read before is not read
    again. Where the source is the newest snapshot with further rows below it, the folder shares that one's
    files and adds one of the further rows.

    Raises:
        ConfigError: the source does not exist.
        DataError: the source cannot be used; nothing is written then.
        SourceError: the source could not be reached.
        StorageError: writing failed.
    """
    parent = lake / "snapshots" / dataset.name
    started = time.monotonic()
    with open_source(dataset, lake) as source:
        known = _read_before(parent, dataset, source)
        if known is not None:
            logger.info("%s: the file is the one of snapshot %s", dataset.name, known.name)
            return _handle(known, reused=True)
        while True:
            try:
                folder, reused = _take(parent, dataset, source, started, progress or _no_progress)
                break
            except TypesChangedError:
                logger.info("%s: columns change type further down; reading once more", dataset.name)
        _remember(parent, dataset, source, folder)
    for note in source.notes:
        logger.warning("%s: %s", dataset.name, note)
    handle = _handle(folder, reused=reused)
    logger.info("%s: %d rows, snapshot %s%s", dataset.name, handle.rows, folder.name, " reused" * reused)
    return handle


def _take(
    parent: Path, dataset: DatasetConfig, source: RowSource, started: float, progress: Progress
) -> tuple[Path, bool]:
    """The snapshot's folder, and whether it was there."""
    with ExitStack() as stack:
        groups = regroup(source.chunks())
        first = next(groups)
        parts = Parts(first.schema, newest(parent), lambda: stack.enter_context(workspace(parent)))
        for group in chain([first], groups):
            parts.add(group)
            progress(source.done, source.total)
        temporary = parts.finish()
        folder = parent / parts.digest[:16]
        if temporary is None:
            return folder, True
        manifest = _manifest(dataset, source) | parts.manifest()
        manifest["time"] = time_span(dataset, StoredRows(temporary, manifest))
        write_json(temporary / "manifest.json", manifest | {"seconds": round(time.monotonic() - started, 3)})
        return folder, publish(temporary, folder)


def _manifest(dataset: DatasetConfig, source: RowSource) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "dataset": dataset.name,
        "source": dataset.source.model_dump(mode="json"),
        "reader": source.reader,
        "notes": list(source.notes),
        "ingested_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "ingested_by": user_name(),
    }
    if source.key is not None:
        manifest["file"] = {"bytes": source.total, "sha256": source.key}
    return manifest


def _handle(folder: Path, *, reused: bool) -> SnapshotRef:
    manifest = StoredRows.of(folder).manifest
    return SnapshotRef(
        path=folder,
        digest=manifest["sha256"],
        reused=reused,
        dataset=manifest["dataset"],
        rows=manifest["rows"],
        columns=tuple(manifest["schema"]),
    )


def _read_before(parent: Path, dataset: DatasetConfig, source: RowSource) -> Path | None:
    """The snapshot that this file gave when it was read with these options by this code."""
    path = source.path
    if path is None or not any((parent / _READ).glob(f"{source.total}-*")):
        return None
    source.key = source.key or file_digest(path)
    mark = _mark(parent, dataset, source)
    folder = parent / mark.read_text(encoding="ascii") if mark.is_file() else None
    return folder if folder is not None and (folder / "manifest.json").is_file() else None


def _remember(parent: Path, dataset: DatasetConfig, source: RowSource, folder: Path) -> None:
    if source.path is not None:
        mark = _mark(parent, dataset, source)
        mark.parent.mkdir(exist_ok=True)
        write_atomically(mark, folder.name)


def _mark(parent: Path, dataset: DatasetConfig, source: RowSource) -> Path:
    options = dataset.source.model_dump(mode="json", exclude={"path", "fetch"})
    key = content_digest(
        options=options, reader=source.reader, sha256=source.key, code=code_digest("sources", "catalog")
    )
    return parent / _READ / f"{source.total}-{key[:32]}"


def _no_progress(done: int, total: int | None) -> None:
    pass


def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's numeric user has no name.
        return f"uid {os.getuid()}"
