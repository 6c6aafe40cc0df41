"""Synthetic windows from a registered model: which version it is, writing them, what is logged of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput
from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, ConfigDict

from core.errors import ConfigError
from core.generation.options import GenerationConfig
from core.generation.seams import seams_in_words
from core.generation.write import checked, generate, generator_digest
from core.generation.writer import Generated
from core.generators.bundle import GeneratorBundle
from core.pages import markdown_text
from core.settings import Settings
from tasks.artifacts import ProgressArtifact, show_markdown, show_table
from tasks.factory import task
from tasks.progress import progress
from tasks.registry.versions import find_alias, find_number, resolve_model, split_name
from tasks.tracking import TrackedRun, connect

logger = logging.getLogger(__name__)

_RUN_ID_CHARACTERS = 32


class Model(BaseModel):
    """A generator that was found, by its version and not by its alias alone."""

    model_config = ConfigDict(frozen=True)

    path: Path
    dataset: str
    generator: str
    """Digest of its files."""
    name: str | None = None
    version: str | None = None
    run_id: str | None = None
    """The MLflow run that trained it."""
    model_id: str | None = None

    @property
    def origin(self) -> dict[str, Any]:
        """What the lineage says of it."""
        known = self.model_dump(include={"name", "version", "run_id", "generator"})
        return {name: value for name, value in known.items() if value is not None}


def locate(model: str, settings: Settings) -> Model:
    """Find a model and its version.

    Args:
        model: `name@alias`, `name/version`, an MLflow run id, or a folder.
        settings: Where MLflow is.

    Raises:
        ConfigError: there is no such model.
        TrackingError: MLflow does not answer.
        StorageError: its files are damaged.
    """
    model = model.removeprefix("models:/")
    if _is_folder(model):
        return _found(resolve_model(model))
    client = connect(settings)  # a server that is down is told from a model that is not there
    version = _version(client, model)
    if version is None:
        return _found(resolve_model(model), run_id=model if _is_run_id(model) else None)
    # By its number: the alias may go to another version meanwhile.
    path = resolve_model(model if _is_run_id(model) else f"{version.name}/{version.version}")
    return _found(
        path,
        name=version.name,
        version=str(version.version),
        run_id=version.run_id,
        model_id=version.model_id or _logged_model(version),
    )


@task("find model")
def find_model(job: GenerationConfig, settings: Settings) -> Model:
    """The job's model; what it cannot write is refused here, where there is no MLflow run yet.

    Raises:
        TimeloomError: see `locate` and `core.generation.write.checked`.
    """
    found = locate(job.model, settings)
    checked(GeneratorBundle.load(found.path), job, settings.lake)
    if found.name:
        logger.info("%s is version %s of %s", job.model, found.version, found.name)
    return found


@task("generate")
def write_synthetic(job: GenerationConfig, model: Model, settings: Settings, run: TrackedRun) -> Generated:
    """Write what the job asks for, log what it was, and show it.

    Raises:
        TimeloomError: see `core.generation.write.generate`.
    """
    _log_model(model, run)
    title = f"Synthetic {'series' if job.form == 'series' else 'windows'} of {model.dataset}"
    bar = ProgressArtifact("generation-progress", title)
    with progress("generate") as report:

        def on_progress(what: str, done: int, total: int | None) -> None:
            report(what, done, total)
            bar(done, total or 0)

        made = generate(GeneratorBundle.load(model.path), job, model.origin, settings.lake, on_progress)
    _log(made, run)
    show_markdown("synthetic-data", _page(made), title)
    show_table("synthetic-rows", made.preview, "The first rows")
    return made


def _is_folder(model: str) -> bool:
    try:
        return Path(model).is_dir()
    except (ValueError, OSError) as error:
        raise ConfigError(f"{model[:200]!r} is no model: {error}") from error


def _is_run_id(model: str) -> bool:
    return len(model) == _RUN_ID_CHARACTERS and not set(model) - set("0123456789abcdef")


def _found(path: Path, **known: Any) -> Model:
    bundle = GeneratorBundle.load(path)
    return Model(path=path, dataset=bundle.series.dataset, generator=generator_digest(path), **known)


def _version(client: MlflowClient, model: str) -> ModelVersion | None:
    """The registered version, None if there is none; `resolve_model` says so."""
    if _is_run_id(model):
        made = client.search_model_versions(f"run_id = '{model}'")
        return made[0] if made else None
    name, number, alias = split_name(model)
    return find_number(client, name, number) if alias is None else find_alias(client, name, alias)


def _logged_model(version: ModelVersion) -> str | None:
    """Of a SQL store, which leaves `model_id` empty."""
    place = str(version.source).removeprefix("models:/")
    return place if place.startswith("m-") and "/" not in place else None


def _log_model(model: Model, run: TrackedRun) -> None:
    if model.model_id is not None:
        run.client.log_inputs(run.run_id, models=[LoggedModelInput(model.model_id)])
    tags = {"source_model_name": model.name, "source_model_version": model.version, "job": "generate"}
    run.set_tags({name: value for name, value in tags.items() if value is not None})


def _log(made: Generated, run: TrackedRun) -> None:
    counts = {"rows": made.rows, "bytes": made.bytes, "parts": made.parts, "resumed_parts": made.resumed}
    metrics = {name: float(value) for name, value in counts.items()}
    metrics["seconds/generate"] = made.seconds
    if made.windows is not None:
        metrics["windows"] = float(made.windows)
    if made.seams is not None:
        good = made.seams["judged"] and not made.seams["visible"]
        logger.log(logging.INFO if good else logging.WARNING, "series: %s", seams_in_words(made.seams))
    if made.seams is not None and made.seams["judged"]:
        metrics |= {"seams/distance": made.seams["distance"], "seams/threshold": made.seams["threshold"]}
    run.log_metrics(metrics)
    run.set_tags({"output": made.address, "output_sha256": made.digest})
    run.client.log_dict(run.run_id, made.model_dump(mode="json"), "generated.json")


def _page(made: Generated) -> str:
    counts = "one series" if made.series is None else f"{made.series:,} series"
    counts = counts if made.windows is None else f"{made.windows:,} windows"
    lines = [
        f"# {counts}, {made.rows:,} rows",
        f"At {markdown_text(made.address)}, {made.bytes:,} bytes"
        + (f", {made.parts:,} files" if made.address.endswith("/") else "")
        + (", whole already." if made.reused else f", written in {made.seconds:.1f} s."),
    ]
    if made.resumed and not made.reused:
        lines.append(f"{made.resumed:,} parts had been finished by an earlier attempt.")
    if made.seams is not None:
        lines.append(f"Seams: {markdown_text(seams_in_words(made.seams))}.")
    lines.append("| lineage | |\n|---|---|")
    rows = [f"| {markdown_text(name)} | {markdown_text(str(value))} |" for name, value in made.lineage.items()]
    return "\n\n".join(lines) + "\n" + "\n".join(rows) + "\n"
