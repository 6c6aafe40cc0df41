"""The paper's comparison: several generators trained and judged on one dataset, in a table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

from prefect import flow
from pydantic import BaseModel, ConfigDict

from core.comparison import comparison_jobs, write_report
from core.config import JobConfig
from core.errors import TimeloomError
from core.evaluation.report.published import published_scores
from core.settings import Settings
from flows.environment import configure
from flows.train import TrainResult, train
from tasks.artifacts import show_markdown, show_table

logger = logging.getLogger(__name__)


class Comparison(BaseModel):
    """One generator's row."""

    model_config = ConfigDict(frozen=True)

    model: str
    error: str | None = None
    """Why there are no scores."""
    discriminative: float | None = None
    discriminative_std: float | None = None
    """None of a single judge."""
    predictive: float | None = None
    predictive_std: float | None = None
    paper_discriminative: float | None = None
    """What the paper reports for its dataset of this name."""
    paper_predictive: float | None = None
    real_discriminative: float | None = None
    """Real halves against each other: what a perfect generator would get."""
    real_predictive: float | None = None
    train_seconds: float | None = None
    mlflow_run_id: str | None = None
    report: str | None = None


@flow(name="compare", flow_run_name="{job.dataset.name}")
def compare(job: JobConfig, models: list[str] | None = None) -> list[Comparison]:
    """Train and judge generators on one dataset with the same training and evaluation; nothing is registered.

    A generator that fails has its error in the table, and the others go on. Where two or more have scores,
    there is a report of all.

    Args:
        job: What to do for each; its model is taken for the generator of that kind, the others have their own
            defaults.
        models: Kinds, every one if empty.

    Raises:
        ConfigError: see `core.comparison.comparison_jobs`; nothing was trained.
        TimeloomError: it was cancelled.
    """
    jobs = comparison_jobs(job, models)
    configure(Settings())
    rows = []
    for kind, its_job in jobs.items():
        rows.append(_compare_one(its_job, kind))
        show_table("comparison", [_shown(row) for row in rows], f"Generators on {job.dataset.name}")
    judged = {row.model: Path(row.report).parent for row in rows if row.report}
    if len(judged) > 1:
        folder = write_report(job.dataset.name, judged, Settings().lake)
        text = (folder / "comparison.md").read_text(encoding="utf-8")
        show_markdown("comparison-report", text, f"Generators on {job.dataset.name}")
        logger.info("report of all: %s", folder / "comparison.html")
    else:
        logger.warning("no report of all: %d of %d generators have scores", len(judged), len(rows))
    return rows


def _compare_one(job: JobConfig, kind: str) -> Comparison:
    quiet = job.model_copy(update={"registry": job.registry.model_copy(update={"enabled": False})})
    state = train(quiet, return_state=True)
    if state.is_cancelled():
        raise TimeloomError(f"cancelled: {state.message}")
    published = published_scores(kind, job.dataset.name) or (None, None)
    try:
        result = cast("TrainResult", state.result())
    except TimeloomError as error:
        logger.error("%s could not be compared: %s", kind, error)  # noqa: TRY400 - the train flow logs where
        return Comparison(
            model=kind, error=str(error), paper_discriminative=published[0], paper_predictive=published[1]
        )
    scores = result.scores
    return Comparison(
        model=kind,
        discriminative=scores["discriminative_mean"],
        discriminative_std=scores.get("discriminative_std"),
        predictive=scores["predictive_mean"],
        predictive_std=scores.get("predictive_std"),
        paper_discriminative=published[0],
        paper_predictive=published[1],
        real_discriminative=scores.get("discriminative_real_halves"),
        real_predictive=scores.get("predictive_real"),
        train_seconds=result.train_seconds,
        mlflow_run_id=result.mlflow_run_id,
        report=result.report,
    )


def _shown(row: Comparison) -> dict[str, str]:
    values = row.model_dump(exclude={"mlflow_run_id", "report"})
    return {
        name: f"{value:.4f}" if isinstance(value, float) else str(value or "") for name, value in values.items()
    }
