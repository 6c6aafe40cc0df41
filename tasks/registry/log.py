"""Logging a generator to MLflow as a self-contained model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

from core.config import JobConfig
from core.generators.bundle import GeneratorBundle
from core.handles import EvaluationRef, GeneratorRef
from core.lake import content_digest
from core.prepare.channels.encode import category_type
from core.prepare.channels.layout import Column
from tasks.registry.packaging import MODEL_SCRIPT, pip_requirements, write_package
from tasks.registry.versions import CHAMPION, KEY_TAG
from tasks.tracking import TrackedRun

EXAMPLE_PARAMS = {"n_samples": 2, "seed": 0}
JUDGED_TAG = "judged"


def log_version(
    job: JobConfig, generator: GeneratorRef, evaluation: EvaluationRef, run: TrackedRun, key: str
) -> ModelVersion:
    """Log the generator as a model of the run and register it as a version."""
    bundle = GeneratorBundle.load(generator.path)
    with tempfile.TemporaryDirectory(prefix="timeloom-") as folder:
        package = write_package(Path(folder))
        # Not `mlflow.pyfunc.log_model`, which takes the active run and the active experiment and no other.
        logged = run.client.create_logged_model(
            run.experiment_id,
            name="generator",
            source_run_id=run.run_id,
            params={name: str(value) for name, value in job.model.model_dump().items()},
            model_type=job.model.kind,
        )
        model = Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run.run_id,
            model_id=logged.model_id,
            python_model=str(MODEL_SCRIPT),
            artifacts={"generator": str(generator.path)},
            code_paths=[str(Path(folder) / package)],
            model_config={"package": package},
            signature=signature_of(bundle),
            input_example=(pd.DataFrame({"window": [0]}), EXAMPLE_PARAMS),
            pip_requirements=pip_requirements(),
            metadata={"dataset": job.dataset.name, "kind": job.model.kind, "digest": generator.digest},
        )
    scores = {name: f"{value:.6f}" for name, value in evaluation.scores.items()}
    tags = {
        KEY_TAG: key,
        JUDGED_TAG: _judging(job),
        "dataset": job.dataset.name,
        "data_digest": bundle.series.digest,
        **scores,
    }
    registered = mlflow.register_model(model.model_uri, job.model_name, tags=tags)
    run.client.update_model_version(job.model_name, registered.version, _description(job, evaluation, run))
    return registered


def _judging(job: JobConfig) -> str:
    """What must agree for two scores to compare: source, columns, conditions, window and judges.

    The data may have grown.
    """
    return content_digest(
        dataset=job.dataset.model_dump(mode="json", include={"source", "columns", "missing", "scaling"}),
        condition=sorted(job.model.condition),
        window=job.window.model_dump(),
        evaluation=job.evaluation.model_dump(exclude={"seed", "plot_windows", "references"}),
    )[:16]


def signature_of(bundle: GeneratorBundle) -> ModelSignature:
    """What the registered model takes and gives."""
    # Written out: inferring it warns that whole numbers might be missing, which `window` and `step` never are.
    layout = bundle.series.layout.own
    columns = [ColSpec("long", name) for name in ("window", "step")]
    columns += [
        ColSpec(_column_type(column), column.name, required=not column.optional)
        for column in (*layout.static, *layout.condition, *layout.temporal)
    ]
    params = ParamSchema(
        [
            ParamSpec("n_samples", "long", 1),
            ParamSpec("seed", "long", 0),
            ParamSpec("condition", "string", ""),
        ]
    )
    return ModelSignature(outputs=Schema(columns), params=params)


def _column_type(column: Column) -> str:
    """MLflow's name of the type that `core.prepare.channels.encode.to_series` gives a column."""
    kind = category_type(column)
    if kind == "integer" and column.optional:
        return "double"
    return {"text": "string", "boolean": "boolean", "integer": "long", "number": "double"}[kind]


def _description(job: JobConfig, evaluation: EvaluationRef, run: TrackedRun) -> str:
    scores = "\n".join(f"- {name}: {value:.4f}" for name, value in evaluation.scores.items())
    return (
        f"{job.model.kind} trained on `{job.dataset.name}`, windows of {job.window.length} steps, seed "
        f"{job.training.seed}. MLflow run `{run.run_id}`.\n\n{scores}\n\n"
        f'Load: `mlflow.pyfunc.load_model("models:/{job.model_name}@{CHAMPION}")'
        '.predict(None, params={"n_samples": 100, "seed": 1})`'
    )
