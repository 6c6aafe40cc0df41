"""The jobs of a comparison, one for each kind of generator, checked before the first of them takes hours."""

from __future__ import annotations

from collections.abc import Iterable

from core.config import JobConfig, checked_kinds, with_model
from core.training.check import check_names


def comparison_jobs(job: JobConfig, kinds: Iterable[str] | None = None) -> dict[str, JobConfig]:
    """By kind, every one if none is asked for.

    Raises:
        ConfigError: an unknown kind, or one without a network or parameter that the section `training` names.
    """
    jobs = {kind: with_model(job, kind) for kind in checked_kinds(kinds)}
    for each in jobs.values():
        check_names(each.model.model_dump(), each.training.model_dump(), length=each.window.length)
    return jobs
