"""Running a flow's tasks one after the other, with the seconds and the memory that each took."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psutil
from prefect.client.schemas.objects import State
from prefect.tasks import Task

from core.handles import Handle
from tasks.tracking import TrackedRun

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=Handle)

SAMPLE_SECONDS = 0.25
MIB = 2**20


class Steps:
    """Runs tasks; remembers and logs to MLflow how long each took and the peak memory meanwhile.

    Memory is the resident memory of this process and its children (the training, the embedded server),
    sampled four times a second.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.seconds: dict[str, float] = {}
        self.peak_mib: dict[str, float] = {}
        self.cached: list[str] = []

    def __call__(self, task: Task[..., H], *arguments: Any) -> H:
        """The handle that the task made or found.

        Raises:
            Exception: what the task raised, its retries used up.
        """
        name = task.name
        started = time.monotonic()
        with _peak_memory() as peak:
            state: State[H] = task(*arguments, return_state=True)  # type: ignore[assignment]
            handle: H = state.result()
        self.seconds[name] = time.monotonic() - started
        self.peak_mib[name] = peak[0] / MIB
        self.run.log_metrics(
            {f"seconds/{name}": self.seconds[name], f"peak_memory_mib/{name}": self.peak_mib[name]}
        )
        if handle.reused:
            self.cached.append(name)
            logger.info("%s: unchanged, reused %s", name, handle.digest[:16])
        return handle


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """A list whose one element is the peak in bytes, final after the block."""
    peak, done = [0.0], threading.Event()
    process = psutil.Process()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], _resident(process))

    peak[0] = _resident(process)
    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _resident(process: psutil.Process) -> float:
    total = 0.0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:  # it ended in between
            continue
    return total
