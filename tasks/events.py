"""Events that flows emit, for automations to act on (docs/operate.md lists them).

Each is about a resource `timeloom.dataset.<name>` or `timeloom.model.<name>`.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

from prefect.events import emit_event

logger = logging.getLogger(__name__)

NEW_DATA = "timeloom.data.new"
"""A snapshot that differs from the one before: `dataset`, `digest`, `before`, `rows`, `reason`, `slot`."""
DRIFT = "timeloom.data.drift"
"""New rows differ from the training rows: `dataset`, `model`, `reason`, `job` (retraining, if any), `slot`."""
STALE = "timeloom.data.stale"
"""No new rows for too long: `dataset`, `latest`, `age_seconds`, `reason`."""
PROMOTED = "timeloom.model.promoted"
"""A version became the champion: `name`, `version`, `before`, `reason`."""
REJECTED = "timeloom.model.rejected"
"""A version did not pass the gates: `name`, `version`, `champion`, `reason`."""


def emit(event: str, kind: Literal["dataset", "model"], name: str, payload: dict[str, Any]) -> None:
    """Emit an event about a dataset or a model.

    Args:
        event: One of the names above.
        kind: Of the resource.
        name: Of the resource.
        payload: JSON-able.
    """
    resource = {"prefect.resource.id": f"timeloom.{kind}.{name}", "prefect.resource.name": name}
    if emit_event(event, resource=resource, payload=payload) is None:
        logger.warning("Prefect did not take the event %s about %s %s", event, kind, name)
