"""Ingest, validate, prepare."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from core.catalog import DatasetConfig
from core.config import WindowConfig
from core.errors import DataError
from core.handles import PreparedRef, SnapshotRef, ValidationRef
from core.prepare.build import prepare as build_prepared
from core.quality import raise_if_failed
from core.quality import validate as check_snapshot
from core.sources.snapshots import snapshot as take_snapshot
from tasks.artifacts import show_link, show_markdown
from tasks.factory import outcome, task
from tasks.progress import progress
from tasks.tracking import TrackedRun, log_dataset

VALIDATION_FILES = ("report.html", "report.md", "report.json", "quarantine.parquet")

STEP_SECONDS = 3600
"""Longest that reading, checking or preparing a dataset may take."""


@task("ingest", timeout_seconds=STEP_SECONDS)
def ingest(dataset: DatasetConfig, lake: Path, run: TrackedRun) -> SnapshotRef:
    """Copy the source into an immutable snapshot; it becomes the MLflow run's input."""
    with progress(f"ingest {dataset.name}") as report:
        snapshot = take_snapshot(dataset, lake, partial(report, "reading"))
    log_dataset(run, snapshot, dataset.description)
    return outcome(snapshot)


@task("validate", timeout_seconds=STEP_SECONDS)
def validate(dataset: DatasetConfig, snapshot: SnapshotRef, lake: Path, run: TrackedRun) -> ValidationRef:
    """Check the snapshot; the report is shown and logged whether it passes or not.

    Raises:
        DataError: a critical check failed.
    """
    with progress(f"validate {dataset.name}") as show:
        report = check_snapshot(dataset, snapshot, lake, progress=partial(show, "rows"))
    show_markdown("validation-report", (report.path / "report.md").read_text(encoding="utf-8"), dataset.name)
    run.log_files(report.path, "validation", VALIDATION_FILES)
    show_link("validation-page", f"{run.url}/artifacts/validation/report.html", "Validation report in MLflow")
    raise_if_failed(report)
    return outcome(report)


@task("prepare", timeout_seconds=STEP_SECONDS)
def prepare(
    dataset: DatasetConfig,
    window: WindowConfig,
    snapshot: SnapshotRef,
    validation: ValidationRef,
    lake: Path,
    run: TrackedRun,
) -> PreparedRef:
    """Order, split at gaps and encode the rows; what was done to them is shown and logged.

    Args:
        dataset: What the rows mean.
        window: How they will be cut.
        snapshot: The rows.
        validation: Of this snapshot: what was not validated is not prepared.
        lake: Where to write.
        run: Where to log.
    """
    if not validation.success:
        raise DataError(f"{dataset.name} did not pass validation: see {validation.path / 'report.html'}")
    prepared = build_prepared(dataset, window, snapshot, lake, validation.excluded())
    show_markdown("preparation-report", (prepared.path / "report.md").read_text(encoding="utf-8"), dataset.name)
    run.log_files(prepared.path, "prepared", ("prepared.json", "report.html", "report.md"))
    counts = {"rows": prepared.rows, "segments": prepared.segments, "windows": prepared.windows}
    run.set_tags({f"data.{name}": str(count) for name, count in counts.items()})
    return outcome(prepared)
