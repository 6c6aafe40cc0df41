"""Watching a champion: whether new rows are still those of the series that it learnt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow, runtime
from pydantic import BaseModel, ConfigDict

from core.settings import Settings
from core.watch.options import WatchConfig
from flows.environment import configure
from tasks.artifacts import show_link
from tasks.data import ingest, prepare, validate
from tasks.registry.watched import find_champion
from tasks.steps import Steps
from tasks.watch import tell, watch_champion
from tasks.watched_run import watched_run


class WatchResult(BaseModel):
    """What a `watch` flow run found (the JSON of `timeloom watch`)."""

    model_config = ConfigDict(frozen=True)

    flow_run_id: str
    mlflow_run_id: str
    mlflow_url: str
    dataset: str
    model_name: str
    model_version: str
    look: int
    """Number of this look at the model, the step of its metrics."""
    new_rows: int
    judged: bool
    drift: bool
    reasons: tuple[str, ...]
    findings: tuple[str, ...]
    freshness: dict[str, Any] | None
    job: dict[str, Any] | None
    """Parameters of the retraining that is asked for."""
    slot: str | None
    metrics: dict[str, float]
    report: str
    seconds: dict[str, float]
    cached: list[str]


@flow(name="watch", flow_run_name="{job.dataset.name}")
def watch(job: WatchConfig) -> WatchResult:
    """Ingest, validate and prepare what there is now, and judge the rows that the champion has not learnt.

    A drift emits the event `timeloom.data.drift` with the retraining that is asked for, data that are too old
    `timeloom.data.stale`. The run completes either way.

    Args:
        job: What to watch; see docs/watch.md.
    """
    settings = Settings()
    configure(settings)  # again, for whoever calls the flow without the command line: a worker, a script
    lake, now = settings.lake, datetime.now(UTC)
    champion = find_champion(job.model_name, settings)
    everything = job.dataset.model_copy(update={"holdout": 0.0})  # the new rows are the latest
    with watched_run(job, settings) as run:
        show_link("mlflow-run", run.url, "MLflow run")
        step = Steps(run)
        snapshot = step(ingest, job.dataset, lake, run)
        validation = step(validate, job.dataset, snapshot, lake, run)
        prepared = step(prepare, everything, champion.job.window, snapshot, validation, lake, run)
        found = step(watch_champion, job, prepared, champion, lake)
        told = tell(job, prepared, champion, found, now, run)
    return WatchResult(
        flow_run_id=str(runtime.flow_run.id),
        mlflow_run_id=run.run_id,
        mlflow_url=run.url,
        dataset=job.dataset.name,
        model_name=champion.name,
        model_version=champion.version,
        look=run.look,
        report=str(found.path / "report.html"),
        seconds=step.seconds,
        cached=step.cached,
        **found.model_dump(include={"new_rows", "judged", "drift", "reasons", "findings", "metrics"}),
        **told.model_dump(),
    )
