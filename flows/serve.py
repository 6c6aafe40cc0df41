"""The `train` flow as deployments, run by this process."""

from __future__ import annotations

from prefect import serve
from prefect.schedules import Cron

from core.config import JobConfig
from flows.train import train


def serve_jobs(jobs: list[JobConfig], cron: str | None, timezone: str) -> None:
    """Register a deployment `train/<dataset>` for each job and run what is scheduled until Ctrl-C.

    One run at a time: the embedded server keeps its state in SQLite, which parallel flows lock.
    """
    deployments = [
        train.to_deployment(
            name=job.dataset.name,
            parameters={"job": job.model_dump(mode="json", exclude_none=True)},
            schedule=Cron(cron, timezone=timezone) if cron else None,
            tags=[job.model.kind],
            description=job.dataset.description,
        )
        for job in jobs
    ]
    serve(*deployments, limit=1)  # type: ignore[arg-type]
