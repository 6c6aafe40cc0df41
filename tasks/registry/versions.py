"""Finding models: by alias, version, run or folder; what is registered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from core.errors import ConfigError
from tasks.tracking import without_password

CHALLENGER, CHAMPION = "challenger", "champion"
SCORE_TAG = "discriminative_mean"
KEY_TAG = "timeloom.key"
_RUN_ID = re.compile(r"^[0-9a-f]{32}$")


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


def find_version(client: MlflowClient, name: str, key: str) -> ModelVersion | None:
    """The version that was registered under this key, if any."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{KEY_TAG}` = '{key}'")
    return found[0] if found else None


def champion_of(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version with the alias `champion`, if any."""
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
