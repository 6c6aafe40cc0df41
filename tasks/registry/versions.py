"""Finding models: by alias, version, run or folder; what is registered."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

from core.errors import ConfigError, TimeloomError, TrackingError
from tasks.registry.files import check_files, pinned
from tasks.tracking import without_password

CHALLENGER, CHAMPION = "challenger", "champion"
SCORE_TAGS = ("discriminative_mean", "predictive_mean")
KEY_TAG = "timeloom.key"
PROMOTION_TAG = "promotion"
"""Of a version: whether it became the champion, and why."""
_RUN_ID = re.compile(r"^[0-9a-f]{32}$")
_VERSION = re.compile(r"^(?P<name>[^/:@]+)(?:/(?P<version>[0-9]{1,9})|@(?P<alias>[A-Za-z0-9_.-]{1,255}))$")
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow says of a model or an alias that is not there."""


def resolve_model(name: str) -> Path:
    """Folder with a generator's files, downloaded if need be.

    Args:
        name: `name@alias`, `name/version`, an MLflow run id, or a folder.

    Raises:
        ConfigError: there is no such model.
        StorageError: its files are not those that were registered.
        TrackingError: the server does not answer.
    """
    if (folder := Path(name)).is_dir():
        return bundle_in(folder)
    try:
        uri, digest = pinned(_run_model_uri(name) if _RUN_ID.match(name) else f"models:/{name}")
        found = bundle_in(_downloaded(uri))
    except (MlflowException, OSError) as error:
        raise _not_found(name, error) from error
    check_files(found, uri, digest)
    return found


def _downloaded(uri: str) -> Path:
    """A model's folder: where it is stored if that is here, else a copy for as long as this process lives."""
    stored = ModelsArtifactRepository(uri)
    if isinstance(stored.repo, LocalArtifactRepository):
        return Path(stored.download_artifacts(""))
    return Path(stored.download_artifacts("", dst_path=tempfile.mkdtemp(dir=_copies().name)))


@cache
def _copies() -> tempfile.TemporaryDirectory[str]:
    """Removed as the process ends: what MLflow downloads by itself stays for ever."""
    return tempfile.TemporaryDirectory(prefix="timeloom-")


def _not_found(name: str, error: MlflowException | OSError) -> TimeloomError:
    """What to say where a model cannot be had: a server that does not answer is not one without it."""
    where = without_password(mlflow.get_tracking_uri())
    absent = isinstance(error, FileNotFoundError)
    if isinstance(error, MlflowException):
        absent = error.error_code in _ABSENT
    if not absent:
        return TrackingError(f"the model {name!r} cannot be had from {where}: {without_password(str(error))}")
    model, _, alias = name.partition("@")
    client = MlflowClient()
    if alias and has_model(client, model) and find_alias(client, model, alias) is None:
        more = f"`timeloom models {model}` shows the versions"
        if alias == CHAMPION:
            more += f" and why none passed its gates, `timeloom promote {model}/VERSION` makes one the champion"
        return ConfigError(f"there is no model {name!r}: no version of {model} has this alias; {more}")
    return ConfigError(
        f"there is no model {name!r} at {where}; expected name@alias, name/version, a run id or a folder; "
        f"`timeloom models` lists them ({error})"
    )


@contextmanager
def fetched(name: str) -> Iterator[Path]:
    """Folder with the files of `name@alias` or `name/version`, for as long as the block lasts.

    Raises:
        ConfigError: they are not where the registry says.
        StorageError: they are not those that were registered.
        MlflowException: the registry does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="timeloom-") as folder:
        try:
            uri, digest = pinned(f"models:/{name}")
            found = bundle_in(Path(download_artifacts(artifact_uri=uri, dst_path=folder)))
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            raise ConfigError(f"the files of the model {name} cannot be found: {error}") from error
        except FileNotFoundError as error:
            raise ConfigError(f"the files of the model {name} cannot be found: {error}") from error
        check_files(found, uri, digest)
        yield found


def list_versions(client: MlflowClient, name: str | None = None) -> list[dict[str, Any]]:
    """Every registered version: name, version, aliases, dataset, scores, promotion, run.

    Args:
        client: Of the registry.
        name: Of this model alone.
    """
    rows = []
    for model in _registered(client, _named(name) if name else None):
        aliases = model.aliases
        for version in client.search_model_versions(_named(model.name)):
            rows += [
                {
                    "name": model.name,
                    "version": str(version.version),
                    "aliases": sorted(a for a, v in aliases.items() if str(v) == str(version.version)),
                    "dataset": version.tags.get("dataset", ""),
                    "discriminative": version.tags.get(SCORE_TAGS[0], ""),
                    "predictive": version.tags.get(SCORE_TAGS[1], ""),
                    "promotion": version.tags.get(PROMOTION_TAG, ""),
                    "run_id": version.run_id,
                }
            ]
    return rows


def _named(name: str) -> str:
    """A filter for this name; models that others registered may have quotes in theirs."""
    quote = '"' if "'" in name else "'"
    return f"name = {quote}{name}{quote}"


def _registered(client: MlflowClient, only: str | None) -> Iterator[RegisteredModel]:
    page: str | None = None
    while page is None or page:
        found = client.search_registered_models(filter_string=only, page_token=page)
        yield from found
        page = found.token or ""


def find_version(client: MlflowClient, name: str, key: str) -> ModelVersion | None:
    """The version that was registered under this key, if any."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{KEY_TAG}` = '{key}'")
    return found[0] if found else None


def find_number(client: MlflowClient, name: str, version: str) -> ModelVersion | None:
    """The version of this number, None if it has been deleted."""
    try:
        return client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def find_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """The version with this alias, if any.

    Raises:
        MlflowException: the registry does not answer: that is not the same as having none.
    """
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def champion_of(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version with the alias `champion`, if any; see `find_alias`."""
    return find_alias(client, name, CHAMPION)


def has_model(client: MlflowClient, name: str) -> bool:
    """Whether a model of this name is registered."""
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return False
        raise
    return True


def split_name(model: str) -> tuple[str, str, str | None]:
    """`name/3` as `("name", "3", None)`, `name@alias` as `("name", "", "alias")`.

    Raises:
        ConfigError: it is neither.
    """
    match = _VERSION.match(model)
    if match is None:
        raise ConfigError(f"expected a registered model as name/version or name@alias, got {model!r}")
    return match["name"], match["version"] or "", match["alias"]


def _run_model_uri(run_id: str) -> str:
    run = MlflowClient().get_run(run_id)
    models = run.outputs.model_outputs if run.outputs else []
    if models:
        return f"models:/{models[-1].model_id}"
    tags = run.data.tags
    if "model_version" in tags:  # it reused the version of an earlier run
        return f"models:/{tags['model_name']}/{tags['model_version']}"
    raise ConfigError(f"the MLflow run {run_id} holds no model")


def bundle_in(folder: Path) -> Path:
    """The folder with a generator's files in a model's or a run's.

    Raises:
        ConfigError: there is none.
    """
    for candidate in (
        folder,
        folder / "model",
        folder / "artifacts" / "model",
        folder / "artifacts" / "generator",
    ):
        if (candidate / "series.json").is_file():
            return candidate
    raise ConfigError(f"{folder} holds no trained generator (no series.json in it)")
