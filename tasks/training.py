"""Train a generator in a child process, its curves going to MLflow and its progress to Prefect."""

from __future__ import annotations

from core.config import JobConfig
from core.handles import GeneratorRef, PreparedRef
from core.settings import Settings
from core.training.child import Progress, finished, job_key, run_training
from core.training.job import TrainingJob, check_job
from tasks.artifacts import ProgressArtifact
from tasks.factory import outcome, task
from tasks.progress import progress
from tasks.tracking import CurveForwarder, TrackedRun


@task("train")
def train_generator(job: JobConfig, prepared: PreparedRef, settings: Settings, run: TrackedRun) -> GeneratorRef:
    """Train, or resume, or reuse what the same data, configuration, seed and code gave before.

    The time limit is the configuration's `training.timeout_seconds`, kept by the child's watcher: a Prefect
    timeout would not reach another process.

    Raises:
        TrainingError: see `core.training.child.run_training`.
    """
    order = TrainingJob(
        prepared=str(prepared.path),
        digest=prepared.digest,
        window_length=job.window.length,
        window_stride=job.window.stride,
        model=job.model.model_dump(),
        training=job.training.model_dump(),
        device=settings.device,
        threads=settings.threads,
    )
    check_job(order, prepared.windows)
    key = job_key(order)
    run_dir = settings.lake / "training" / job.dataset.name / key[:16]
    curves = CurveForwarder(run)
    result, reused = finished(run_dir), True
    if result is None:
        reused = False
        bar = ProgressArtifact("training-progress", f"Training {job.model.kind} on {job.dataset.name}")
        with progress("train") as report:

            def on_progress(now: Progress) -> None:
                report(now.phase, now.done, now.total)
                bar(now.done, now.total)

            result = run_training(order, run_dir, on_progress, curves, job.training.timeout_seconds)
    curves.finish(run_dir / "metrics.jsonl")
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
