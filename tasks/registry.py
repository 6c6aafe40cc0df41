"""MLflow's model registry: registering a generator, choosing the champion, finding a model by name."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

from core.config import JobConfig
from core.errors import ConfigError
from core.generators.bundle import GeneratorBundle
from core.handles import EvaluationRef, GeneratorRef, Handle
from core.lake import content_digest
from core.prepare.channels.encode import category_type
from core.prepare.channels.layout import Column
from tasks.factory import outcome, task
from tasks.packaging import MODEL_SCRIPT, packaging_digest, pip_requirements, write_package
from tasks.tracking import TrackedRun, without_password

logger = logging.getLogger(__name__)

CHALLENGER, CHAMPION = "challenger", "champion"
STEP_SECONDS = 1800
EXAMPLE_PARAMS = {"n_samples": 2, "seed": 0}
KEY_TAG = "timeloom.key"
SCORE_TAG = "discriminative_mean"
JUDGED_TAG = "judged"
_RUN_ID = re.compile(r"^[0-9a-f]{32}$")


class RegisteredRef(Handle):
    """A version in the registry; `path` is where the generator's files lie here."""

    name: str
    version: str
    alias: str
    """`champion` if this version is the champion now, else `challenger`."""


@task("register", timeout_seconds=STEP_SECONDS)
def register(
    job: JobConfig, generator: GeneratorRef, evaluation: EvaluationRef, run: TrackedRun
) -> RegisteredRef:
    """Register the generator as a model version, once however often it is asked.

    The version becomes `challenger`, and `champion` as `registry.promote` says.
    """
    key = content_digest(
        generator=generator.digest,
        evaluation=evaluation.digest,
        name=job.model_name,
        package=packaging_digest(),
    )
    version = _find_version(run.client, job.model_name, key)
    reused = version is not None
    if version is None:
        version = _log_version(job, generator, evaluation, run, key)
    alias = _choose_champion(job, version, run.client)
    run.set_tags({"model_name": job.model_name, "model_version": str(version.version), "model_alias": alias})
    return outcome(
        RegisteredRef(
            path=generator.path,
            digest=key,
            reused=reused,
            name=job.model_name,
            version=str(version.version),
            alias=alias,
        )
    )


def resolve_model(name: str) -> Path:
    """Folder with a generator's files, downloaded if need be.

    Args:
        name: `name@alias`, `name/version`, an MLflow run id, or a folder.

    Raises:
        ConfigError: there is no such model.
    """
    if (folder := Path(name)).is_dir():
        return _bundle_in(folder)
    try:
        uri = _run_model_uri(name) if _RUN_ID.match(name) else f"models:/{name}"
        return _bundle_in(Path(download_artifacts(artifact_uri=uri)))
    except (MlflowException, OSError) as error:
        raise ConfigError(
            f"there is no model {name!r} at {without_password(mlflow.get_tracking_uri())}; expected "
            f"name@alias, name/version, a run id or a folder; `timeloom models` lists them ({error})"
        ) from error


def list_versions(client: MlflowClient) -> list[dict[str, Any]]:
    """Every registered version: name, version, aliases, dataset, scores, run."""
    rows = []
    for model in client.search_registered_models():
        aliases = model.aliases
        for version in client.search_model_versions(f"name = '{model.name}'"):
            rows += [
                {
                    "name": model.name,
                    "version": str(version.version),
                    "aliases": sorted(a for a, v in aliases.items() if str(v) == str(version.version)),
                    "dataset": version.tags.get("dataset", ""),
                    "discriminative": version.tags.get(SCORE_TAG, ""),
                    "predictive": version.tags.get("predictive_mean", ""),
                    "run_id": version.run_id,
                }
            ]
    return rows


def _log_version(
    job: JobConfig, generator: GeneratorRef, evaluation: EvaluationRef, run: TrackedRun, key: str
) -> ModelVersion:
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
            signature=_signature(bundle),
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


def _signature(bundle: GeneratorBundle) -> ModelSignature:
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


def _find_version(client: MlflowClient, name: str, key: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}' and tags.`{KEY_TAG}` = '{key}'")
    return found[0] if found else None


def _choose_champion(job: JobConfig, version: ModelVersion, client: MlflowClient) -> str:
    """Give the aliases; returns the higher one that the version has now."""
    name = job.model_name
    champion = _champion(client, name)
    if champion is not None and champion.version == version.version:
        return CHAMPION
    client.set_registered_model_alias(name, CHALLENGER, version.version)
    promoted, reason = _promotes(job, version, champion)
    logger.info("%s version %s: %s", name, version.version, reason)
    client.set_model_version_tag(name, version.version, "promotion", reason)
    if promoted:
        client.set_registered_model_alias(name, CHAMPION, version.version)
    return CHAMPION if promoted else CHALLENGER


def _promotes(job: JobConfig, version: ModelVersion, champion: ModelVersion | None) -> tuple[bool, str]:
    rule = job.registry.promote
    if rule != "if_better":
        return rule == "always", f"registry.promote is {rule}"
    if champion is None:
        return True, "there was no champion"
    if version.tags.get(JUDGED_TAG) != champion.tags.get(JUDGED_TAG):
        return False, f"version {champion.version} was judged in another way: the scores do not compare"
    new, old = (float(v.tags.get(SCORE_TAG, "inf")) for v in (version, champion))
    verdict = "no worse than" if new <= old else "worse than"
    return new <= old, (f"discriminative score {new:.4f} is {verdict} {old:.4f} of version {champion.version}")


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        return None


def _run_model_uri(run_id: str) -> str:
    run = MlflowClient().get_run(run_id)
    models = run.outputs.model_outputs if run.outputs else []
    if models:
        return f"models:/{models[-1].model_id}"
    tags = run.data.tags
    if "model_version" in tags:  # it reused the version of an earlier run
        return f"models:/{tags['model_name']}/{tags['model_version']}"
    raise ConfigError(f"the MLflow run {run_id} holds no model")


def _bundle_in(folder: Path) -> Path:
    for candidate in (
        folder,
        folder / "model",
        folder / "artifacts" / "model",
        folder / "artifacts" / "generator",
    ):
        if (candidate / "series.json").is_file():
            return candidate
    raise ConfigError(f"{folder} holds no trained generator (no series.json in it)")
