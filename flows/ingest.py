"""Taking in new data: what a schedule runs often, so that trainings run only when there is something new."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict

from core.config import Dataset
from core.settings import Settings
from flows.environment import configure
from tasks.arrivals import announce, announced, look
from tasks.artifacts import show_link
from tasks.data import ingest as take_in
from tasks.data import validate
from tasks.steps import Steps
from tasks.tracking import tracked_run


class IngestResult(BaseModel):
    """What an `ingest` flow run found."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    digest: str
    rows: int
    new: bool
    """It differs from the snapshot before, passed validation, and was announced."""
    mlflow_run_id: str | None = None
    mlflow_url: str | None = None


@flow(name="ingest", flow_run_name="{dataset.name}")
def ingest(dataset: Dataset) -> IngestResult | State[Any]:
    """Look at a source; copy, validate and announce what is new there.

    Data that differ from the snapshot before emit the event `timeloom.data.new`, once they have passed
    validation. Unchanged data end as `Unchanged`, without an MLflow run.

    Args:
        dataset: A name of the catalogue, the path of a YAML or data file, or a description in place.
    """
    settings = Settings()
    configure(settings)  # again, for whoever calls the flow without the command line: a worker, a script
    lake = settings.lake
    # By its state: outside a run's `Steps` a task that reused its artefact hands back the state itself.
    snapshot = look(dataset, lake, return_state=True).result()
    found = IngestResult(dataset=dataset.name, digest=snapshot.digest, rows=snapshot.rows, new=False)
    if announced(dataset.name, lake) == snapshot.digest:
        message = f"{dataset.name}: unchanged, {snapshot.rows:,} rows, sha256 {snapshot.digest[:16]}"
        return Completed(name="Unchanged", message=message, data=found)
    with tracked_run(dataset, settings, experiment=f"{dataset.name}-data") as run:
        show_link("mlflow-run", run.url, "MLflow run")
        step = Steps(run)
        snapshot = step(take_in, dataset, lake, run)
        step(validate, dataset, snapshot, lake, run)
        announce(snapshot, lake)
    return found.model_copy(update={"new": True, "mlflow_run_id": run.run_id, "mlflow_url": run.url})
