"""Slots: the same piece of scheduled work is done once, however often it is asked for.

A slot is a name for that piece: a deployment and the time that its schedule says, the id of an event, the key
of an external scheduler. The MLflow run that did the work carries it as a tag, so that every machine knows.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Annotated, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from prefect import runtime
from prefect.context import FlowRunContext
from pydantic import BaseModel, Field

from core.errors import TrackingError
from core.lake import content_digest, exclusive
from core.schema import Section
from core.settings import Settings
from tasks.tracking import TrackedRun, connect

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

SLOT_TAG = "timeloom.slot"
RESULT_FILE = "result.json"
WAIT_SECONDS = 24 * 3600.0
"""How long to wait for another run that does the same slot."""

REGISTRY_WAIT_SECONDS = 3600.0
"""How long to wait for another run that registers the same model."""

_NOT_IN_NAMES = re.compile(r"[^\w .,:@+/#-]")
SlotName = Annotated[
    str,
    Field(
        pattern=r"^[\w .,:@+/#-]{1,200}$",
        description="Work under the same name is done once; a scheduled run has deployment and time for one.",
    ),
]


def slot_of(job: Section, given: str | None) -> str | None:
    """The slot of this flow run: the given one, or the schedule's; None for a run that somebody asked for.

    The deployment counts by its name and the job by its content: a deployment that is made anew, with other
    ids, has the same slots, and two schedules at one time with different parameters have two.
    """
    if given is not None:
        return given
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    if flow_run is None or not flow_run.auto_scheduled or flow_run.expected_start_time is None:
        return None
    time = flow_run.expected_start_time.astimezone(UTC).isoformat(timespec="seconds")
    digest = content_digest(job=job.model_dump(mode="json"))
    name = f"{runtime.flow_run.flow_name}/{runtime.deployment.name}"
    return f"{_NOT_IN_NAMES.sub('-', name)[:150]} {time} {digest[:12]}"


@contextmanager
def sole(slot: str | None, experiment: str, settings: Settings) -> Iterator[Run | None]:
    """Do a slot's work in this block alone; gives the MLflow run that has done it already, if one has.

    On one lake a second run waits for the first. Across machines without a common lake only a finished run is
    seen: a deployment's concurrency limit keeps its runs one after the other.

    Raises:
        BusyError: another run still works on the slot after a day.
        TrackingError: the MLflow server does not answer.
    """
    if slot is None:
        yield None
        return
    client = connect(settings)
    with exclusive(_lock(settings, slot=slot), WAIT_SECONDS):
        yield _finished(client, experiment, slot)


@contextmanager
def registry_turn(model: str, settings: Settings) -> Iterator[None]:
    """Register and promote versions of a model one after the other, on this lake.

    Two runs that look for a version, or for the champion, at the same moment would both find none. Machines
    without a common lake do not see each other here (docs/operate.md).

    Raises:
        BusyError: another run still registers after `REGISTRY_WAIT_SECONDS`.
    """
    with exclusive(_lock(settings, model=model), REGISTRY_WAIT_SECONDS):
        yield


def claim(run: TrackedRun, slot: str | None) -> None:
    """Mark an MLflow run as the one that does a slot's work."""
    if slot is not None:
        run.set_tags({SLOT_TAG: slot})


def keep_result(run: TrackedRun, result: BaseModel) -> None:
    """Log what a flow returns, for who is later asked for the same slot."""
    run.client.log_dict(run.run_id, result.model_dump(mode="json"), RESULT_FILE)


def result_of(run: Run, model: type[M]) -> M:
    """What the flow of a finished run returned.

    Raises:
        TrackingError: it cannot be read.
    """
    try:
        tree = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{RESULT_FILE}")
    except (MlflowException, OSError) as error:
        raise TrackingError(f"cannot read {RESULT_FILE} of MLflow run {run.info.run_id}: {error}") from error
    return model.model_validate(tree)


def _lock(settings: Settings, **of: str) -> Path:
    return settings.lake / "slots" / f"{content_digest(**of)[:32]}.lock"


def _finished(client: MlflowClient, experiment: str, slot: str) -> Run | None:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    wanted = f"tags.`{SLOT_TAG}` = '{slot}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([found.experiment_id], wanted, max_results=1)
    if not runs:
        return None
    logger.info("slot %r was done by MLflow run %s", slot, runs[0].info.run_id)
    return runs[0]
