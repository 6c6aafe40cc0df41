"""Events that flows emit, for automations to act on (docs/operate.md lists them).

Each is about a resource `timeloom.dataset.<name>` or `timeloom.model.<name>`.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import httpx
from prefect import get_client, runtime
from prefect.events import Event, emit_event

from core.errors import TrackingError

logger = logging.getLogger(__name__)

NEW_DATA = "timeloom.data.new"
"""A snapshot that differs from the one before: `dataset`, `digest`, `before`, `rows`, `reason`, `slot`."""
DRIFT = "timeloom.data.drift"
"""New rows differ from the training rows: `dataset`, `model`, `version`, `reason`, `retrain`, `job`, `slot`; of
these the last three are null where no retraining is asked for."""
STALE = "timeloom.data.stale"
"""No new rows for too long: `dataset`, `latest`, `age_seconds`, `max_age`, `reason`."""
PROMOTED = "timeloom.model.promoted"
"""A version became the champion: `name`, `version`, `before`, `reason`."""
REJECTED = "timeloom.model.rejected"
"""A version did not pass the gates: `name`, `version`, `champion`, `reason`."""

ASKS = "timeloom.asks"
"""Label of an event's resource: what its payload holds the parameters of. Triggers see labels, not payloads."""
TRAINING = "training"
"""Value of that label where the payload has a `job` to train."""


def emit(event: str, kind: Literal["dataset", "model"], name: str, payload: dict[str, Any]) -> None:
    """Emit an event about a dataset or a model.

    Args:
        event: One of the names above.
        kind: Of the resource.
        name: Of the resource.
        payload: JSON-able.
    """
    if emit_event(event, resource=_resource(kind, name, payload), payload=payload) is None:
        logger.warning("Prefect did not take the event %s about %s %s", event, kind, name)


def deliver(event: str, kind: Literal["dataset", "model"], name: str, payload: dict[str, Any]) -> None:
    """Emit an event as `emit` does, and know that the server has it.

    Prefect's own way hands it to a thread, which logs what it loses.

    Raises:
        TrackingError: the server did not take it.
    """
    flow_run = runtime.flow_run.id
    related = [{"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}]
    told = Event.model_validate(
        {
            "event": event,
            "resource": _resource(kind, name, payload),
            "related": related if flow_run else [],
            "payload": payload,
        }
    )
    try:
        with get_client(sync_client=True) as client:
            client.request("POST", "/events", json=[told.model_dump(mode="json")])
    except httpx.HTTPError as error:
        raise TrackingError(f"Prefect did not take the event {event} about {kind} {name}: {error}") from error


def _resource(kind: str, name: str, payload: dict[str, Any]) -> dict[str, str]:
    resource = {"prefect.resource.id": f"timeloom.{kind}.{name}", "prefect.resource.name": name}
    return resource if payload.get("job") is None else {**resource, ASKS: TRAINING}
