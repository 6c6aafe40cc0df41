"""What Prefect does by itself: the automations of Timeloom as objects; `flows.automations` sends them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from tasks.events import ASKS, DRIFT, NEW_DATA, PROMOTED, REJECTED, STALE, TRAINING

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

PREFIX = "timeloom: "
"""Begins the name of every automation of ours."""
FLOWS = ["train", "ingest", "generate", "watch"]
MISSED_HEARTBEATS = 3
"""That make a run count as dead: two can be late on a machine that is busy."""
ATTEMPTS_AFTER_CRASHES = 2

_OF_OURS = {"prefect.resource.role": "flow", "prefect.resource.name": FLOWS}
_DEPLOYED = {"prefect.resource.role": "deployment"}
_ANY_STATE = {"prefect.flow-run.*"}

RUN_TEXT = """{
  "text": {{ (flow.name ~ " " ~ flow_run.name ~ " " ~ flow_run.state.name ~ ": "
              ~ flow_run.state.message) | tojson }},
  "event": {{ event.event | tojson }},
  "flow": {{ flow.name | tojson }},
  "flow_run": {{ flow_run.name | tojson }},
  "flow_run_id": {{ (flow_run.id ~ "") | tojson }},
  "state": {{ flow_run.state.name | tojson }},
  "message": {{ flow_run.state.message | tojson }},
  "url": {{ (flow_run | ui_url) | tojson }}
}"""
EVENT_TEXT = """{
  "text": {{ (event.event ~ " " ~ event.resource.name ~ ": " ~ event.payload.reason) | tojson }},
  "event": {{ event.event | tojson }},
  "resource": {{ event.resource.name | tojson }},
  "payload": {{ event.payload | tojson }}
}"""


def _from_event(expression: str) -> dict[str, Any]:
    """A parameter of a run that is taken from the event, its type kept."""
    return {
        "__prefect_kind": "json",
        "value": {"__prefect_kind": "jinja", "template": "{{ " + expression + " | tojson }}"},
    }


JOB = _from_event("event.payload.job")
SLOT = _from_event('(event.payload.slot or "event " ~ event.id)')
"""Of an event without one, its id: the server may act on the same event twice."""


def trigger_rules(deployments: Iterable[DeploymentResponse]) -> list[AutomationCore]:
    """What starts trainings: for each deployment of `train`, new data and drift of the dataset of its name."""
    rules = []
    for deployment in deployments:
        of_dataset = {"prefect.resource.id": f"timeloom.dataset.{deployment.name}"}
        run = deployment.id
        rules += [
            AutomationCore(
                name=f"{PREFIX}new data -> train/{deployment.name}",
                description="Trains when `ingest` finds data that differ from those before.",
                trigger=_on({NEW_DATA}, of_dataset),
                actions=[RunDeployment(deployment_id=run, parameters={"slot": SLOT})],
            ),
            AutomationCore(
                name=f"{PREFIX}drift -> train/{deployment.name}",
                description="Retrains as `watch` asks for when new rows differ from the training rows.",
                trigger=_on({DRIFT}, {**of_dataset, ASKS: TRAINING}),
                actions=[RunDeployment(deployment_id=run, parameters={"job": JOB, "slot": SLOT})],
            ),
        ]
    return rules


def recovery_rules(heartbeat_seconds: float) -> list[AutomationCore]:
    """What becomes of runs whose process or machine died.

    Args:
        heartbeat_seconds: How often runs report, `PREFECT_FLOWS_HEARTBEAT_FREQUENCY` where they run.
    """
    return [
        AutomationCore(
            name=f"{PREFIX}silent run -> Crashed",
            description="A run that reports no more counts as crashed: it was killed, or its machine is gone.",
            trigger=EventTrigger(
                after={"prefect.flow-run.heartbeat"},
                expect=_ANY_STATE,
                match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
                match_related=ResourceSpecification(_OF_OURS),
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=timedelta(seconds=MISSED_HEARTBEATS * heartbeat_seconds),
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message="no sign of life from the run's process; it was killed, or its machine is gone",
                )
            ],
        ),
        AutomationCore(
            name=f"{PREFIX}Crashed -> retry",
            description="A crashed run of a deployment is tried again, and resumes from its checkpoint; "
            f"{ATTEMPTS_AFTER_CRASHES} times, for what runs out of memory does so again.",
            trigger=EventTrigger(
                expect=_ANY_STATE,
                match=ResourceSpecification(
                    {
                        "prefect.resource.id": "prefect.flow-run.*",
                        "prefect.state-type": StateType.CRASHED.value,
                        "prefect.run-count": [str(count + 1) for count in range(ATTEMPTS_AFTER_CRASHES)],
                    }
                ),
                match_related=[ResourceSpecification(_OF_OURS), ResourceSpecification(_DEPLOYED)],
                for_each={"prefect.resource.id"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.SCHEDULED,
                    name="AwaitingRetry",
                    message="crashed; tried again from the last checkpoint",
                    force=True,
                )
            ],
        ),
    ]


def notification_rules(webhook: UUID) -> list[AutomationCore]:
    """What somebody is told.

    Args:
        webhook: Id of the block that is called.
    """
    failed = ResourceSpecification(
        {
            "prefect.resource.id": "prefect.flow-run.*",
            "prefect.state-type": [StateType.FAILED.value, StateType.CRASHED.value],
        }
    )
    return [
        AutomationCore(
            name=f"{PREFIX}failure notifies",
            description="A run that failed or crashed is told to the webhook.",
            trigger=EventTrigger(
                expect=_ANY_STATE,
                match=failed,
                match_related=ResourceSpecification(_OF_OURS),
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[CallWebhook(block_document_id=webhook, payload=RUN_TEXT)],
        ),
        AutomationCore(
            name=f"{PREFIX}gate results notify",
            description="A version that became champion, or did not pass the gates, is told to the webhook.",
            trigger=_on({PROMOTED, REJECTED}, {"prefect.resource.id": "timeloom.model.*"}),
            actions=[CallWebhook(block_document_id=webhook, payload=EVENT_TEXT)],
        ),
        AutomationCore(
            name=f"{PREFIX}drift and stale data notify",
            description="What `watch` found is told to the webhook.",
            trigger=_on({DRIFT, STALE}, {"prefect.resource.id": "timeloom.dataset.*"}),
            actions=[CallWebhook(block_document_id=webhook, payload=EVENT_TEXT)],
        ),
    ]


def _on(events: set[str], resource: dict[str, str]) -> EventTrigger:
    """Fires at each such event."""
    return EventTrigger(
        expect=events, match=ResourceSpecification(resource), posture=Posture.Reactive, threshold=1
    )
