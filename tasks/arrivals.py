"""New data: looking at a source often and cheaply, and telling once that it has changed."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from core.catalog import DatasetConfig
from core.errors import StorageError
from core.handles import SnapshotRef
from core.lake import write_json
from core.sources.snapshots import snapshot as take_snapshot
from tasks.data import STEP_SECONDS
from tasks.events import NEW_DATA, deliver
from tasks.factory import outcome, task
from tasks.progress import progress

logger = logging.getLogger(__name__)


@task("look", timeout_seconds=STEP_SECONDS)
def look(dataset: DatasetConfig, lake: Path) -> SnapshotRef:
    """Copy the source into a snapshot, unless its content is there; nothing goes to MLflow."""
    with progress(f"look at {dataset.name}") as report:
        return outcome(take_snapshot(dataset, lake, partial(report, "reading")))


def announced(dataset: str, lake: Path) -> str | None:
    """Digest of the snapshot that was announced last, if any was.

    Raises:
        StorageError: the file that says so is damaged.
    """
    path = _mark(dataset, lake)
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged ({error}): remove it, and the data count as new") from error


def announce(snapshot: SnapshotRef, lake: Path) -> None:
    """Tell the automations of a snapshot that differs from the one before, then remember that.

    In this order, so that a run that dies in between tells again rather than never; the event's slot makes sure
    that what it asks for is done once.

    Raises:
        StorageError: what was announced before cannot be read, or this one not be remembered.
        TrackingError: the Prefect server did not take the event; nothing is remembered.
    """
    before = announced(snapshot.dataset, lake)
    start = "nothing" if before is None else before[:16]
    payload = {
        "dataset": snapshot.dataset,
        "digest": snapshot.digest,
        "before": before,
        "rows": snapshot.rows,
        "reason": f"{snapshot.rows:,} rows, not those of the snapshot before",
        "slot": f"new data {snapshot.dataset} {start}-{snapshot.digest[:16]}",
    }
    deliver(NEW_DATA, "dataset", snapshot.dataset, payload)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(_mark(snapshot.dataset, lake), {"digest": snapshot.digest, "rows": snapshot.rows, "at": now})
    logger.info("%s: new data: %d rows, sha256 %s", snapshot.dataset, snapshot.rows, snapshot.digest[:16])


def _mark(dataset: str, lake: Path) -> Path:
    return lake / "snapshots" / dataset / ".announced.json"
