"""Deployments, run by this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import serve
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from core.catalog import DatasetConfig
from core.catalog.dataset import list_datasets
from core.sources.resolve import resolve_dataset
from flows.automations import ensure
from flows.deployments import ScheduleSpec, read_deployments
from flows.train import train


def serve_datasets(datasets: list[DatasetConfig], catalog: Path, when: ScheduleSpec | None) -> None:
    """Register a deployment `train/<dataset>` for each and run what is scheduled until Ctrl-C."""
    _serve(
        [
            train.to_deployment(
                name=dataset.name,
                parameters={"job": {"dataset": _readable(dataset, catalog), "preset": "quick"}},
                schedule=when.schedule() if when else None,
                tags=["train", dataset.name],
                description=dataset.description,
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
            for dataset in datasets
        ]
    )


def serve_all() -> None:
    """Register every deployment of `deploy/prefect.yaml` and run what is scheduled until Ctrl-C."""
    _serve([spec.served() for spec in read_deployments()])


def _readable(dataset: DatasetConfig, catalog: Path) -> str | dict[str, Any]:
    """The name where the catalogue knows it, so that the form shows a word; the whole description if not."""
    if dataset.name in list_datasets(catalog) and resolve_dataset(dataset.name, catalog).dataset == dataset:
        return dataset.name
    return dataset.model_dump(mode="json", exclude_none=True)


def _serve(deployments: list[Any]) -> None:
    """One run at a time: the embedded server keeps its state in SQLite, which parallel flows lock.

    Schedules are paused when this process ends and go on when it starts again.
    """
    served: list[RunnerDeployment] = deployments
    for deployment in served:  # automations name deployments, which have to be there
        deployment.apply()
    ensure()
    serve(*served, limit=1, pause_on_shutdown=True)
