"""The task that registers a generator."""

from __future__ import annotations

from core.config import JobConfig
from core.handles import EvaluationRef, GeneratorRef, Handle
from core.lake import content_digest
from tasks.factory import outcome, task
from tasks.registry.log import log_version
from tasks.registry.packaging import packaging_digest
from tasks.registry.versions import find_version
from tasks.tracking import TrackedRun

STEP_SECONDS = 1800


class RegisteredRef(Handle):
    """A version in the registry; `path` is where the generator's files lie here."""

    name: str
    version: str


@task("register", timeout_seconds=STEP_SECONDS)
def register(
    job: JobConfig, generator: GeneratorRef, evaluation: EvaluationRef, run: TrackedRun
) -> RegisteredRef:
    """Register the generator as a model version, once however often it is asked.

    The task `promote` gives the aliases.
    """
    key = content_digest(
        generator=generator.digest,
        evaluation=evaluation.digest,
        name=job.model_name,
        package=packaging_digest(),
    )
    version = find_version(run.client, job.model_name, key)
    reused = version is not None
    if version is None:
        version = log_version(job, generator, evaluation, run, key)
    run.set_tags({"model_name": job.model_name, "model_version": str(version.version)})
    return outcome(
        RegisteredRef(
            path=generator.path,
            digest=key,
            reused=reused,
            name=job.model_name,
            version=str(version.version),
        )
    )
