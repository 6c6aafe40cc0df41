"""The job that trains a generator anew after a drift."""

from __future__ import annotations

from typing import Any

from core.catalog import DatasetConfig
from core.config import JobConfig, UpdateConfig
from core.schema import validated
from core.watch.options import WatchConfig


def full_job(first: JobConfig, dataset: DatasetConfig, model: str) -> JobConfig:
    """A training from scratch on all rows there are now.

    Args:
        first: The job that the model's versions go back to: it started from no other version.
        dataset: What is watched.
        model: Name of the registered model.
    """
    return _job(first, dataset, model, {})


def sparse_job(champion: JobConfig, watch: WatchConfig, model: str, version: str) -> JobConfig:
    """A short training on all rows there are now that moves the largest weights of the champion alone.

    It names the version, not the alias: a job that waits, or is retried, shall not start from another one.
    TimeGAN's first two phases are left out; replicas cannot have masks.

    Args:
        champion: The job that the champion was trained by.
        watch: How many weights and iterations.
        model: Name of the registered model.
        version: The champion's.
    """
    changes: dict[str, Any] = {
        "start_from": f"models:/{model}/{version}",
        "joint_iterations": watch.sparse_iterations,
        "replicas": 1,
        "update": UpdateConfig(rule="magnitude", fraction=watch.sparse_fraction).model_dump(),
    }
    if champion.model.kind in {"timegan", "flow_matching"}:
        changes |= {"embedding_iterations": 0, "supervised_iterations": 0}
    return _job(champion, watch.dataset, model, changes)


def _job(job: JobConfig, dataset: DatasetConfig, model: str, training: dict[str, Any]) -> JobConfig:
    """Checked like one that somebody wrote."""
    tree = job.model_dump(mode="json") | {"dataset": dataset.model_dump(mode="json")}
    tree["training"] |= training
    if dataset.name != job.dataset.name or job.model_name != model:
        tree["registry"] |= {"name": model}
    return validated(JobConfig, tree, source="the retraining's configuration")
