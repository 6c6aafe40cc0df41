"""The finished parts of a job that was cut off, and the journal that says what they are.

In the lake, `generated/<output>/<key>/`, both names digests: `journal.jsonl`, one line for each part as it is
finished, and the parts of a single file; those of a folder are in the folder. It is removed once the output is
whole, by the next job for the same output, or after KEPT_DAYS.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import BusyError, StorageError
from core.generation.target import Place
from core.lake import content_digest, exclusive, write_atomically

logger = logging.getLogger(__name__)

KEPT_DAYS = 7


@dataclass(frozen=True)
class Part:
    """A finished part."""

    name: str
    bytes: int
    sha256: str
    count: int
    """Windows, of a series steps."""
    rows: int
    state: dict[str, Any]
    """What the next part goes on from; forgotten in memory once there is one."""
    seams: list[Any]
    """Of the seams in it and of its reference, see `core.generation.seams`."""


@contextmanager
def stage(lake: Path, address: str, key: str) -> Iterator[Path]:
    """The folder of a job, held against every other job for the same output.

    Raises:
        BusyError: another process is writing that output.
        StorageError: the folder cannot be made.
    """
    root = lake / "generated"
    home = root / content_digest(output=address)[:16]
    folder = home / key[:16]
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _held(home, address):
            _remove_old(root, home)
            for other in home.iterdir():
                if other.is_dir() and other != folder:
                    shutil.rmtree(other, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            yield folder
    except OSError as error:
        raise StorageError(f"could not use {home}: {error}") from error


class Journal:
    """The parts that are finished, in order.

    Args:
        folder: Of the job.
        place: Where the parts are.
    """

    def __init__(self, folder: Path, place: Place) -> None:
        self.path = folder / "journal.jsonl"
        self.place = place
        self.parts: list[Part] = []

    def recover(self) -> None:
        """Take up what an earlier attempt finished, each part checked by its bytes and digest."""
        whole = 0
        if self.path.exists():
            with self.path.open("rb") as file:
                for line in file:
                    if not self._recovered(line):
                        break
                    whole += len(line)
            os.truncate(self.path, whole)
        else:
            write_atomically(self.path, "")

    def _recovered(self, line: bytes) -> bool:
        """Take up a part, if its line and its file are whole."""
        try:
            if not line.endswith(b"\n"):  # the machine died there
                raise ValueError("it has no end")
            part = Part(**json.loads(line))
        except (ValueError, TypeError) as error:
            logger.warning("%s: line %d and what follows is damaged: %s", self.path, len(self.parts) + 1, error)
            return False
        if self.place.digest(part.name) != (part.bytes, part.sha256):
            logger.warning("%s is missing or has changed: it and the parts after it are made again", part.name)
            return False
        self._keep(part)
        return True

    def append(self, part: Part) -> None:
        """Write down a part that is in its place.

        Raises:
            StorageError: the disk is full, or the like.
        """
        try:
            with self.path.open("a", encoding="ascii") as file:
                file.write(_line(part))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"could not write {self.path}: {error}") from error
        self._keep(part)

    def _keep(self, part: Part) -> None:
        if self.parts:
            self.parts[-1] = replace(self.parts[-1], state={})
        self.parts.append(part)


def remove(folder: Path) -> None:
    """Remove the folder of a job that is done."""
    shutil.rmtree(folder, ignore_errors=True)


def _line(part: Part) -> str:
    return json.dumps(asdict(part)) + "\n"


@contextmanager
def _held(home: Path, address: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(home / ".lock"))
        except BusyError as error:
            raise BusyError(f"{address} is being written by another process ({error}): wait for it") from error
        yield


def _remove_old(root: Path, own: Path) -> None:
    """What no job of the last days has touched."""
    for home in root.iterdir():
        with suppress(OSError, BusyError):
            newest = max(path.stat().st_mtime for path in [home, *home.rglob("*")])
            if home != own and time.time() - newest > KEPT_DAYS * 86400:
                with exclusive(home / ".lock"):
                    shutil.rmtree(home)
