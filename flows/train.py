"""The main job: from a source to a registered generator."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed
from pydantic import BaseModel, ConfigDict

from core.config import JobConfig
from core.settings import Settings
from core.training.device import resolve_device
from flows.environment import configure
from tasks.artifacts import show_link
from tasks.data import ingest, prepare, validate
from tasks.evaluation import evaluate
from tasks.registry.promotion import promote
from tasks.registry.register import register
from tasks.slots import SlotName, claim, keep_result, registry_turn, result_of, slot_of, sole
from tasks.steps import Steps
from tasks.tracking import tracked_run
from tasks.training import train_generator


class TrainResult(BaseModel):
    """What a `train` flow run made and where it is (the JSON of `timeloom run`)."""

    model_config = ConfigDict(frozen=True)

    flow_run_id: str
    mlflow_run_id: str
    mlflow_experiment: str
    mlflow_url: str
    model_name: str | None
    model_version: str | None
    alias: str | None
    promotion: str | None = None
    """Why the version became the champion, or did not."""
    digests: dict[str, str]
    scores: dict[str, float]
    seconds: dict[str, float]
    train_seconds: float
    """Of training, summed over every attempt, also where this run reused it."""
    peak_memory_mib: dict[str, float]
    report: str
    resumed: bool
    cached: list[str]


@flow(name="train", flow_run_name="{job.dataset.name}-{job.model.kind}-seed{job.training.seed}")
def train(job: JobConfig, slot: SlotName | None = None) -> TrainResult | State[Any]:
    """Ingest, validate, prepare, train, evaluate, register and promote.

    Args:
        job: What to do; see docs/configuration.md.
        slot: Name of this piece of work, done once however often it is asked for; a scheduled run has its
            deployment and time for one.
    """
    settings = Settings()
    configure(settings)  # again, for whoever calls the flow without the command line: a worker, a script
    resolve_device(settings.device)  # refused before any work
    slot = slot_of(job, slot)
    try:
        with sole(slot, job.dataset.name, settings) as done:
            if done is None:
                return _run(job, slot, settings)
            result, message = result_of(done, TrainResult), f"{slot} was done by MLflow run {done.info.run_id}"
            return Completed(name="Skipped", message=message, data=result)
    except KeyboardInterrupt:
        return Cancelled(message="stopped by Ctrl-C; run the same job again to resume from the checkpoint")


def _run(job: JobConfig, slot: str | None, settings: Settings) -> TrainResult:
    lake = settings.lake
    started = time.monotonic()
    with tracked_run(job, settings, experiment=job.dataset.name) as run:
        claim(run, slot)
        show_link("mlflow-run", run.url, "MLflow run")
        step = Steps(run)
        snapshot = step(ingest, job.dataset, lake, run)
        validation = step(validate, job.dataset, snapshot, lake, run)
        prepared = step(prepare, job.dataset, job.window, snapshot, validation, lake, run)
        generator = step(train_generator, job, prepared, settings, run)
        evaluation = step(evaluate, job, prepared, generator, lake, run)
        model = promotion = None
        if job.registry.enabled:
            with registry_turn(job.model_name, settings):
                model = step(register, job, generator, evaluation, run)
                promotion = step(promote, job, prepared, generator, evaluation, model, lake, run)
        handles = {
            "snapshot": snapshot,
            "validation": validation,
            "prepared": prepared,
            "generator": generator,
            "evaluation": evaluation,
        }
        result = TrainResult(
            flow_run_id=str(runtime.flow_run.id),
            mlflow_run_id=run.run_id,
            mlflow_experiment=run.experiment,
            mlflow_url=run.url,
            model_name=model.name if model else None,
            model_version=model.version if model else None,
            alias=promotion.alias if promotion else None,
            promotion=promotion.reason if promotion else None,
            digests={name: handle.digest for name, handle in handles.items()},
            scores=evaluation.scores,
            seconds={**step.seconds, "total": time.monotonic() - started},
            train_seconds=generator.seconds,
            peak_memory_mib=step.peak_mib,
            report=str(evaluation.path / "report.html"),
            resumed=generator.resumed,
            cached=step.cached,
        )
        keep_result(run, result)
    return result
