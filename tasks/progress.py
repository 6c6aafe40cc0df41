"""Progress of a long step where the job was started: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

LINE_SECONDS = 5.0


class Report(Protocol):
    """Takes what is being done, and how much of how much."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show it; None where nobody knows how much there is."""


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """A reporter for the block."""
    if not sys.stderr.isatty():
        yield _Lines(title)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task(title, total=None)

        def report(what: str, done: int, total: int | None) -> None:
            bar.update(line, description=f"{title}: {what}", completed=done, total=total)

        yield report


class _Lines:
    def __init__(self, title: str) -> None:
        self.title = title
        self.tenth: tuple[int | None, int] = (0, 0)
        self.told = time.monotonic()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        tenth = (total, done * 10 // max(total or done, 1))
        now = time.monotonic()
        if (tenth != self.tenth or total is None) and now - self.told >= LINE_SECONDS:
            self.tenth, self.told = tenth, now
            logger.info("%s: %s %d/%s", self.title, what, done, "?" if total is None else total)
