"""Look at a champion on new data, and tell what was found."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.config import JobConfig
from core.handles import PreparedRef
from core.pages import markdown_text
from core.prepare.series import PreparedSeries
from core.watch.champion import Champion
from core.watch.freshness import Freshness, freshness
from core.watch.look import WatchRef
from core.watch.look import look as take_look
from core.watch.options import WatchConfig
from core.watch.retraining import full_job, sparse_job
from tasks.artifacts import show_markdown, show_plots, show_table
from tasks.events import DRIFT, STALE, emit
from tasks.factory import outcome, task
from tasks.progress import progress
from tasks.watched_run import WatchedRun

STEP_SECONDS = 4 * 3600


class Told(BaseModel):
    """What a look led to."""

    model_config = ConfigDict(frozen=True)

    freshness: dict[str, Any] | None
    """None where rows carry no time."""
    job: dict[str, Any] | None
    """Parameters of the retraining that is asked for."""
    slot: str | None
    """Name of that retraining: it is done once however often the same drift is found."""


@task("watch", timeout_seconds=STEP_SECONDS)
def watch_champion(job: WatchConfig, prepared: PreparedRef, champion: Champion, lake: Path) -> WatchRef:
    """Judge the rows that came after those that the champion learnt."""
    with progress(f"watch {champion.name}") as report:
        return outcome(take_look(job, prepared, champion, lake, report))


@task("tell", timeout_seconds=600)
def tell(
    job: WatchConfig,
    prepared: PreparedRef,
    champion: Champion,
    found: WatchRef,
    now: datetime,
    run: WatchedRun,
) -> Told:
    """Log and show what was found, then emit events of drift and of stale data.

    Args:
        job: What was asked for.
        prepared: Of all rows there are.
        champion: What was watched.
        found: By the look.
        now: For the age of the data.
        run: Where to log.

    Raises:
        ConfigError: an age is limited, but the rows carry no time.
    """
    series = PreparedSeries.open(prepared.path)
    fresh = freshness(series.stamps, series.manifest["time"], job.max_age, now)
    told = Told(
        freshness=None if fresh is None else asdict(fresh),
        job=_retraining(job, champion, found),
        slot=f"drift {champion.name}/{champion.version} {found.digest[:16]}" if found.retrain else None,
    )
    run.log_metrics(found.metrics | _ages(fresh))
    run.log_folder(found.path, run.folder)
    result = found.model_dump(mode="json", exclude={"path", "reused"}) | told.model_dump(mode="json")
    run.client.log_dict(run.run_id, result, f"{run.folder}/look.json")
    _show(champion, found, fresh)
    name = job.dataset.name
    if found.drift:
        payload: dict[str, Any] = {
            "dataset": name,
            "model": champion.name,
            "version": champion.version,
            "reason": " ".join(found.reasons),
            "retrain": found.retrain,
            "job": told.job,
            "slot": told.slot,
        }
        emit(DRIFT, "dataset", name, payload)
    if fresh is not None and fresh.stale:
        payload = {
            "dataset": name,
            "latest": fresh.latest,
            "age_seconds": fresh.age_seconds,
            "reason": fresh.text,
        }
        emit(STALE, "dataset", name, payload | {"max_age": job.max_age})
    return told


def _retraining(job: WatchConfig, champion: Champion, found: WatchRef) -> dict[str, Any] | None:
    made: JobConfig
    if found.retrain is None:
        return None
    if found.retrain == "full":
        made = full_job(champion.first_job, job.dataset, champion.name)
    else:
        made = sparse_job(champion.job, job, champion.name, champion.version)
    return made.model_dump(mode="json")


def _ages(fresh: Freshness | None) -> dict[str, float]:
    if fresh is None:
        return {}
    ages = {"age_days": fresh.age_seconds / 86_400, "stale": float(fresh.stale)}
    return ages if fresh.sessions is None else ages | {"age_sessions": float(fresh.sessions)}


def _show(champion: Champion, found: WatchRef, fresh: Freshness | None) -> None:
    text = (found.path / "report.md").read_text(encoding="utf-8")
    age = "" if fresh is None else f"\n{markdown_text(fresh.text)}\n"
    show_markdown("watch-report", text + age, f"{champion.name} version {champion.version} on new data")
    rows = [{"what": name, "value": f"{value:.5g}"} for name, value in (found.metrics | _ages(fresh)).items()]
    show_table("watch-metrics", rows, "What is followed over the looks")
    show_plots(found.path / "plots")
