"""Train a generator in a child process, its curves going to MLflow and its progress to Prefect."""

from __future__ import annotations

import logging
from pathlib import Path

from core.config import JobConfig
from core.handles import GeneratorRef, PreparedRef
from core.settings import Settings
from core.training.child import Progress, finished, job_key, run_training, turn
from core.training.job import TrainingJob, check_job
from core.training.loop import LoopResult
from tasks.artifacts import ProgressArtifact
from tasks.factory import outcome, task
from tasks.gpu import gpu_slot
from tasks.progress import progress
from tasks.registry.versions import resolve_model
from tasks.tracking import CurveForwarder, TrackedRun

logger = logging.getLogger(__name__)

RESULT_FILES = ("result.json", "gradients.jsonl")
"""What is logged of a training beside its curves."""


@task("train")
def train_generator(job: JobConfig, prepared: PreparedRef, settings: Settings, run: TrackedRun) -> GeneratorRef:
    """Train, or resume, or reuse what the same data, configuration, seed and code gave before.

    The time limit is the configuration's `training.timeout_seconds`, kept by the child's watcher: a Prefect
    timeout would not reach another process.

    Another run that does the same training is waited for and its result used. On a GPU the training holds that
    GPU's concurrency limit.

    Raises:
        BusyError: another run still does the same, or holds the GPU, after a day.
        ConfigError: the device, the weights to start from or the masks are not there, or do not fit.
        TrainingError: see `core.training.child.run_training`.
    """
    order = training_job(job, prepared, settings)
    check_job(order, prepared.windows)
    key = job_key(order)
    run_dir = settings.lake / "training" / job.dataset.name / key[:16]
    curves = CurveForwarder(run)
    # A run that does the same now is waited for, and only then the GPU: two that wait for each other never end.
    with turn(run_dir):
        reused = (result := finished(run_dir)) is not None
        if result is None:
            with gpu_slot(settings):
                result = _train(job, order, run_dir, curves, settings.lake / "kernels")
    curves.finish(run_dir / "metrics.jsonl")
    _log_result(result, run_dir, run)
    return outcome(
        GeneratorRef(
            path=run_dir / "model",
            digest=key,
            run_dir=run_dir,
            reused=reused,
            resumed=result.resumed and not reused,
            seconds=result.seconds,
        )
    )


def _train(
    job: JobConfig, order: TrainingJob, run_dir: Path, curves: CurveForwarder, kernels: Path
) -> LoopResult:
    bar = ProgressArtifact("training-progress", f"Training {job.model.kind} on {job.dataset.name}")
    with progress("train") as report:

        def on_progress(now: Progress) -> None:
            report(now.phase, now.done, now.total)
            bar(now.done, now.total)

        return run_training(order, run_dir, on_progress, curves, job.training.timeout_seconds, kernels)


def training_job(job: JobConfig, prepared: PreparedRef, settings: Settings) -> TrainingJob:
    """The order for the child, with every name of a model or file made an absolute path.

    Raises:
        ConfigError: there is no such model to start from.
    """
    training, start_from = job.training.model_dump(), job.training.start_from
    if (masks := job.training.update.file) is not None:
        training["update"]["file"] = str(Path(masks).absolute())
    start = None if start_from is None else resolve_model(start_from.removeprefix("models:/"))
    return TrainingJob(
        prepared=str(prepared.path),
        digest=prepared.digest,
        window_length=job.window.length,
        window_stride=job.window.stride,
        window_min_length=job.window.min_length,
        model=job.model.model_dump(),
        training=training,
        device=settings.device,
        threads=settings.threads,
        start_from=None if start is None else str(start.absolute()),
    )


def _log_result(result: LoopResult, run_dir: Path, run: TrackedRun) -> None:
    for name in RESULT_FILES:
        if (run_dir / name).is_file():
            run.client.log_artifact(run.run_id, str(run_dir / name), "training")
    for name, count in result.alarms.items():
        kind, _, network = name.partition("/")
        logger.warning("training: the gradient of %s was %s, %d times; see training.log", network, kind, count)
    guards = ("collapsed", "memorised")
    for name in (name for name in guards if result.looks.get(name)):
        logger.warning(
            "training: at %d of %d looks the synthetic windows had %s",
            result.looks[name],
            result.looks["looks"],
            name,
        )
