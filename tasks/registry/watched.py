"""The champion that is watched, and the jobs that made it."""

from __future__ import annotations

import logging
from pathlib import Path

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from core.config import PRESETS, JobConfig, UpdateConfig
from core.errors import ConfigError, TimeloomError
from core.schema import validated
from core.settings import Settings
from core.training.start import start_digest
from core.watch.champion import Champion
from tasks.registry.versions import CHAMPION, champion_of, resolve_model
from tasks.tracking import connect

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
ROWS_TAG = "data_rows"
"""See `core.promotion.facts.DataFacts.tags`."""
SCORES = ("discriminative_mean", "predictive_mean")


def find_champion(name: str, settings: Settings) -> Champion:
    """The champion of a registered model, its files here.

    Raises:
        ConfigError: there is none, or its training run is gone and with it what its windows are.
        StorageError: its files are damaged.
        TrackingError: the server does not answer.
    """
    client = connect(settings)
    version = champion_of(client, name)
    if version is None:
        raise ConfigError(
            f"there is no champion of {name} to watch: train one (timeloom run), promote a version (timeloom "
            f"promote), or name another model with model=NAME; `timeloom models` lists them"
        )
    number = str(version.version)
    path = resolve_model(f"{name}/{number}")
    job = _job_of(version)
    return Champion(
        name=name,
        version=number,
        path=Path(path),
        digest=start_digest(path),
        job=job,
        first_job=job if job.training.start_from is None else _first_job(client, version, job),
        rows=_rows(client, version),
        scores={key: float(version.tags[key]) for key in SCORES if key in version.tags},
    )


def _job_of(version: ModelVersion) -> JobConfig:
    """The job that trained a version, from its MLflow run."""
    what = f"{version.name} version {version.version}"
    try:
        text = mlflow.artifacts.load_text(f"runs:/{version.run_id}/{CONFIG_FILE}")
        return validated(JobConfig, yaml.safe_load(text), source=f"{CONFIG_FILE} of {what}")
    except (MlflowException, OSError, yaml.YAMLError) as error:
        raise ConfigError(
            f"the {CHAMPION} cannot be watched: how {what} was trained is not known, the MLflow run "
            f"{version.run_id} holds no {CONFIG_FILE} ({error}); train it again"
        ) from error


def _first_job(client: MlflowClient, champion: ModelVersion, job: JobConfig) -> JobConfig:
    """That of the latest version before the champion that was trained from scratch."""
    before = [
        version
        for version in client.search_model_versions(f"name = '{champion.name}'")
        if int(version.version) < int(champion.version)
    ]
    for version in sorted(before, key=lambda one: -int(one.version)):
        try:
            found = _job_of(version)
        except TimeloomError as error:
            logger.info("looking further back: %s", error)
            continue
        if found.training.start_from is None and found.model.kind == job.model.kind:
            return found
    logger.warning(
        "no version of %s before %s was trained from scratch: a training from scratch would take the "
        "champion's configuration with the iterations of the preset quick",
        champion.name,
        champion.version,
    )
    tree = job.model_dump(mode="json")
    iterations = {
        key: value for key, value in PRESETS["quick"]["training"].items() if key.endswith("iterations")
    }
    tree["training"] |= iterations | {"start_from": None, "update": UpdateConfig().model_dump()}
    return validated(JobConfig, tree)


def _rows(client: MlflowClient, version: ModelVersion) -> int | None:
    """How many rows its data had: by its own tag, or by its run's where it has not been through the gates."""
    found = version.tags.get(ROWS_TAG)
    try:
        found = found or client.get_run(version.run_id).data.tags.get("data.rows")
    except MlflowException as error:
        logger.info("the MLflow run of %s version %s: %s", version.name, version.version, error)
    return int(found) if found is not None and found.isdecimal() else None
