"""Logging a generator to MLflow as a self-contained model."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

from core.config import JobConfig
from core.generators.bundle import GeneratorBundle
from core.generators.integrity import manifest_digest
from core.handles import EvaluationRef, GeneratorRef
from core.prepare.channels.encode import category_type
from core.prepare.channels.layout import Column
from tasks.registry.files import FILES_TAG
from tasks.registry.packaging import MAX_CELLS, MODEL_SCRIPT, pip_requirements, write_package
from tasks.registry.versions import KEY_TAG, SCORE_TAGS
from tasks.tracking import TrackedRun

EXAMPLE = {"n_samples": 2, "seed": 0}


def log_version(
    job: JobConfig, generator: GeneratorRef, evaluation: EvaluationRef, run: TrackedRun, key: str
) -> ModelVersion:
    """Log the generator as a model of the run and register it as a version."""
    bundle, files = GeneratorBundle.load(generator.path), manifest_digest(generator.path)
    with tempfile.TemporaryDirectory(prefix="timeloom-") as folder, _import_path_kept():
        package = write_package(Path(folder))
        # Not `mlflow.pyfunc.log_model`, which takes the active run and the active experiment and no other.
        logged = run.client.create_logged_model(
            run.experiment_id,
            name="generator",
            source_run_id=run.run_id,
            params={name: str(value) for name, value in job.model.model_dump().items()},
            tags={FILES_TAG: files},
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
            model_config={"package": package, "max_cells": MAX_CELLS},
            signature=signature_of(bundle),
            input_example=pd.DataFrame([EXAMPLE]),
            pip_requirements=pip_requirements(),
            metadata={"dataset": job.dataset.name, "kind": job.model.kind, "digest": generator.digest},
        )
    # The others are metrics of the run: as tags they would fill MLflow's page of the model.
    scores = {name: f"{evaluation.scores[name]:.6f}" for name in SCORE_TAGS if name in evaluation.scores}
    tags = {
        KEY_TAG: key,
        FILES_TAG: files,
        "dataset": job.dataset.name,
        "data_digest": bundle.series.digest,
        **scores,
    }
    return mlflow.register_model(model.model_uri, job.model_name, tags=tags)


@contextmanager
def _import_path_kept() -> Iterator[None]:
    """MLflow tries the example and leaves the package's folder, soon gone, on the path: one for each model."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


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
