"""One training per GPU, wherever its runs come from: a Prefect concurrency limit, held while training."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import torch
from prefect import get_client, runtime
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from core.errors import BusyError, ConfigError, TrackingError
from core.settings import Settings
from core.training.device import resolve_device

logger = logging.getLogger(__name__)

LEASE_SECONDS = 90
"""After which the slot of a training whose machine died is free again; Prefect's own default is 300."""
WAIT_SECONDS = 24 * 3600.0
POLL_SECONDS = 5.0
NO_LIMIT = "none"


def gpu_name(device: torch.device) -> str:
    """`gpu-` and the first part of the GPU's UUID, the same from every container and by every numbering.

    `nvidia-smi -L` lists the UUIDs.
    """
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    return f"gpu-{uuid.removeprefix('GPU-').partition('-')[0]}"


def limit_name(settings: Settings) -> str | None:
    """The limit that a training here holds: `TIMELOOM_GPU_LIMIT` or the GPU's own; None without a GPU.

    Raises:
        ConfigError: the device is not there.
    """
    device = resolve_device(settings.device)
    if device.type != "cuda" or settings.gpu_limit == NO_LIMIT:
        return None
    return settings.gpu_limit or gpu_name(device)


@contextmanager
def gpu_slot(settings: Settings) -> Iterator[None]:
    """Hold the GPU for the block; where there is none, nothing is held.

    The limit of a GPU's own name is made if need be, with one slot. One that the settings name may be shared by
    several GPUs, so that only the operator knows how many slots it has: it must be there.

    Raises:
        BusyError: it was not free within a day.
        ConfigError: the limit that the settings name is not there.
        TrackingError: the Prefect server does not answer.
    """
    if (name := limit_name(settings)) is None:
        yield
        return
    _ensure(name, ours=settings.gpu_limit is None)
    logger.info("waiting for a slot of the concurrency limit %s", name)
    deadline = time.monotonic() + WAIT_SECONDS
    with ExitStack() as stack:
        while not _enter(stack, name):
            if time.monotonic() > deadline:
                raise BusyError(f"the concurrency limit {name} had no free slot for a day")
            time.sleep(POLL_SECONDS)
        logger.info("has a slot of %s", name)
        yield


def _enter(stack: ExitStack, name: str) -> bool:
    """Take a slot if one is free now.

    Prefect's own waiting is done by a service that a process waits for before it exits: one that is cancelled
    would go on waiting for the GPU.

    Raises:
        TrackingError: the Prefect server does not answer.
    """
    flow_run = runtime.flow_run.id
    held = concurrency(
        name,
        max_retries=0,
        lease_duration=LEASE_SECONDS,
        strict=True,
        holder=ConcurrencyLeaseHolder(type="flow_run", id=flow_run) if flow_run else None,
        # A Prefect server that is down for a minute is no reason to end hours of training.
        raise_on_lease_renewal_failure=False,
    )
    try:
        stack.enter_context(held)
    except ConcurrencySlotAcquisitionError as error:
        cause = error.__cause__
        if isinstance(cause, httpx.HTTPStatusError) and cause.response.status_code == httpx.codes.LOCKED:
            return False
        if isinstance(cause, httpx.HTTPError):
            raise TrackingError(f"Prefect gives no slot of the concurrency limit {name}: {cause}") from error
        raise
    return True


def _ensure(name: str, *, ours: bool) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound as error:
            if not ours:
                raise ConfigError(
                    f"TIMELOOM_GPU_LIMIT names the concurrency limit {name!r}, which is not there; make it "
                    f"with `prefect gcl create {name} --limit 1`, or leave the variable out"
                ) from error
            with suppress(ObjectAlreadyExists):  # another run made it in between
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
