"""The job that writes synthetic series from a registered model."""

from __future__ import annotations

from prefect import flow, runtime
from pydantic import BaseModel, ConfigDict

from core.generation.options import GenerationConfig
from core.generation.writer import Generated
from core.settings import Settings
from flows.environment import configure
from tasks.artifacts import show_link
from tasks.generation import find_model, write_synthetic
from tasks.tracking import tracked_run


class GenerateResult(BaseModel):
    """What a `generate` flow run wrote and where it is."""

    model_config = ConfigDict(frozen=True)

    flow_run_id: str
    mlflow_run_id: str
    mlflow_url: str
    generated: Generated


@flow(name="generate", flow_run_name="{job.model}")
def generate(job: GenerationConfig) -> GenerateResult:
    """Draw synthetic windows, or one long series, and write them.

    The same job gives the same bytes; one that was cut off goes on from its last finished part.

    Args:
        job: What to draw and where to write it; see docs/generate.md.
    """
    settings = Settings()
    configure(settings)  # again, for whoever calls the flow without the command line: a worker, a script
    model = find_model(job, settings)
    with tracked_run(job, settings, experiment=model.dataset) as run:
        show_link("mlflow-run", run.url, "MLflow run")
        made = write_synthetic(job, model, settings, run)
    return GenerateResult(
        flow_run_id=str(runtime.flow_run.id), mlflow_run_id=run.run_id, mlflow_url=run.url, generated=made
    )
