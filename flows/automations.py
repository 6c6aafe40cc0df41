"""Make or update what Prefect does by itself: `python -m flows.automations [--webhook URL]`.

New data and drift start trainings, dead runs are found and tried again, failures and gate results are told to a
webhook; docs/operate.md says how. To be called again after deployments were added or removed.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from core.settings import Settings
from flows.environment import configure
from flows.server import prefect_api

# Prefect is imported where it is used: it reads the address of its API when it is imported.
if TYPE_CHECKING:
    from uuid import UUID

    from prefect.automations import AutomationCore
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.events.schemas.automations import Automation

logger = logging.getLogger(__name__)

T = TypeVar("T")

HEARTBEAT_SECONDS = 180.0
"""Prefect's own default of `PREFECT_FLOWS_HEARTBEAT_FREQUENCY`."""
WEBHOOK_BLOCK = "timeloom"
_PAGE = 200


def ensure(webhook: str | None = None, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> list[str]:
    """Make the automations that are missing, update the others, and remove those of deployments that are gone.

    What somebody switched off in the Prefect UI stays off.

    Args:
        webhook: Address that is told of failures and of gate results, kept in a block of the Prefect server;
            if None, the one that was given before, if any was.
        heartbeat_seconds: How often runs report. It must not be less than what the workers have as
            `PREFECT_FLOWS_HEARTBEAT_FREQUENCY`, or healthy runs would count as dead.

    Returns:
        The names of the automations that are there now.
    """
    from prefect import get_client

    from flows.rules import notification_rules, recovery_rules, trigger_rules

    with get_client(sync_client=True) as client:
        block = _webhook_block(client, webhook)
        rules = [*trigger_rules(_deployments(client)), *recovery_rules(heartbeat_seconds)]
        if block is None:
            logger.info("nobody is told of failures: no webhook was given")
        else:
            rules += notification_rules(block)
        _send(client, rules)
    return [rule.name for rule in rules]


def _send(client: SyncPrefectClient, rules: list[AutomationCore]) -> None:
    from flows.rules import PREFIX

    there = _pages(lambda offset: client.read_automations(limit=_PAGE, offset=offset))
    known: dict[str, Automation] = {}
    for found in (rule for rule in there if rule.name.startswith(PREFIX)):
        if known.setdefault(found.name, found).id != found.id:  # two calls at a time made it twice
            client.delete_automation(found.id)
            logger.info("removed the automation %r, which was there twice", found.name)
    for rule in rules:
        before = known.pop(rule.name, None)
        if before is None:
            client.create_automation(rule)
        else:
            client.update_automation(before.id, rule.model_copy(update={"enabled": before.enabled}))
    for name, gone in known.items():
        if "-> train/" in name:  # others are of an earlier call, with a webhook
            client.delete_automation(gone.id)
            logger.info("removed the automation %r: its deployment is gone", name)


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Every deployment of the flow `train`."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    of_train = FlowFilter(name=FlowFilterName(any_=["train"]))
    return _pages(lambda offset: client.read_deployments(flow_filter=of_train, limit=_PAGE, offset=offset))


def _pages(read: Callable[[int], list[T]]) -> list[T]:
    """Everything that is read page by page, from an offset each."""
    found: list[T] = []
    while page := read(len(found)):
        found += page
    return found


def _webhook_block(client: SyncPrefectClient, url: str | None) -> UUID | None:
    """Id of the block that holds the webhook's address, written anew if one is given."""
    from prefect.blocks.webhook import Webhook
    from prefect.exceptions import ObjectNotFound
    from prefect.types import SecretDict

    if url is not None:
        headers = SecretDict({"Content-Type": "application/json"})
        Webhook(url=url, headers=headers).save(WEBHOOK_BLOCK, overwrite=True)
    try:
        return client.read_block_document_by_name(WEBHOOK_BLOCK, "webhook").id
    except ObjectNotFound:
        return None


def main() -> None:
    """`python -m flows.automations`."""
    parser = argparse.ArgumentParser(prog="python -m flows.automations", description=__doc__)
    parser.add_argument("--webhook", metavar="URL", help="is told of failures and of gate results")
    parser.add_argument(
        "--heartbeat-seconds",
        type=float,
        default=HEARTBEAT_SECONDS,
        help="what the workers have as PREFECT_FLOWS_HEARTBEAT_FREQUENCY, or more",
    )
    options = parser.parse_args()
    settings = Settings()
    configure(settings)
    with prefect_api(settings):
        for name in ensure(options.webhook, options.heartbeat_seconds):
            print(name)  # noqa: T201 - what was asked for


if __name__ == "__main__":
    main()
