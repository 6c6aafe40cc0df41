"""Automations as the Prefect server reads them: which events they act on, and with which parameters.

That a server then does so is in tests/e2e/test_automations.py.
"""

from __future__ import annotations

import asyncio
import types
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.server.events.actions import RunDeployment
from prefect.server.events.schemas.automations import Automation, EventTrigger, TriggeredAction
from prefect.server.events.schemas.events import ReceivedEvent

from flows.rules import PREFIX, trigger_rules
from tasks import events
from tasks.events import DRIFT, NEW_DATA, emit

DEPLOYMENT: Any = types.SimpleNamespace(name="sine", id=uuid.uuid4())
RULES = {rule.name.removeprefix(PREFIX): rule for rule in trigger_rules([DEPLOYMENT])}


def emitted(monkeypatch: pytest.MonkeyPatch, event: str, payload: dict[str, Any]) -> ReceivedEvent:
    """What the server gets of an event that a task emits."""
    sent: list[ReceivedEvent] = []

    def take(name: str, resource: dict[str, str], payload: dict[str, Any]) -> ReceivedEvent:
        tree = {"event": name, "resource": resource, "payload": payload, "id": uuid.uuid4()}
        sent.append(ReceivedEvent.model_validate({**tree, "occurred": datetime.now(UTC)}))
        return sent[-1]

    monkeypatch.setattr(events, "emit_event", take)
    emit(event, "dataset", payload["dataset"], payload)
    return sent[-1]


def started_by(event: ReceivedEvent) -> dict[str, dict[str, Any]]:
    """Parameters of the runs that the server starts, by the rule."""
    runs = {}
    for name, rule in RULES.items():
        automation = Automation.model_validate(rule.model_dump(mode="json") | {"id": uuid.uuid4()})
        assert isinstance(automation.trigger, EventTrigger)
        if automation.trigger.covers(event) and automation.trigger.expects(event.event):
            (action,) = automation.actions
            assert isinstance(action, RunDeployment)
            triggered = TriggeredAction(
                automation=automation,
                triggered=datetime.now(UTC),
                triggering_labels={},
                triggering_event=event,
                action=action,
            )
            runs[name] = asyncio.run(action.render_parameters(triggered))
    return runs


def drift(job: dict[str, Any] | None, dataset: str = "sine") -> dict[str, Any]:
    slot = None if job is None else "drift sine-timegan/3 0123456789abcdef"
    return {"dataset": dataset, "reason": "x0 moved", "retrain": job and "full", "job": job, "slot": slot}


def test_a_drift_starts_the_job_that_it_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"dataset": "sine", "training": {"seed": 7, "start_from": None}, "x": [0.5, True, "it's <a> {{ b }}"]}
    runs = started_by(emitted(monkeypatch, DRIFT, drift(job)))
    assert runs == {"drift -> train/sine": {"job": job, "slot": "drift sine-timegan/3 0123456789abcdef"}}


def test_a_drift_that_asks_for_none_or_of_other_data_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started_by(emitted(monkeypatch, DRIFT, drift(None))) == {}
    assert started_by(emitted(monkeypatch, DRIFT, drift({"dataset": "other"}, "other"))) == {}


def test_new_data_without_a_slot_have_the_event_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    payload: dict[str, Any] = {"dataset": "sine", "slot": "new data sine nothing-abc"}
    rule = "new data -> train/sine"
    assert started_by(emitted(monkeypatch, NEW_DATA, payload)) == {rule: {"slot": payload["slot"]}}
    event = emitted(monkeypatch, NEW_DATA, {"dataset": "sine"})  # as a loader of somebody else's may send it
    assert started_by(event) == {rule: {"slot": f"event {event.id}"}}
