"""The lake: everything derived, in folders named by the content that made it.

A step computes the digest of its inputs, its configuration and its code. Where the folder of that digest is
complete the step is skipped; otherwise it is built beside its place and renamed into it, so that a crash
leaves nothing half-written under a final name and an artefact never changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from core.errors import BusyError, StorageError

logger = logging.getLogger(__name__)

CORE = Path(__file__).resolve().parent
BUILD_WAIT_SECONDS = 3000.0
"""How long to wait for another process that builds the same: a bit less than a task's hour, so that the error
can say who was in the way."""
_SOURCES = {".py", ".html", ".md", ".css", ".js"}
_POLL_SECONDS = 0.2


def content_digest(**parts: Any) -> str:
    """SHA-256, in hex, of JSON-able parts; the order of keys does not matter."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_digest(*names: str) -> str:
    """SHA-256 of the code and templates in parts of `core/` (`"prepare"`, `"errors.py"`): new code, new key."""
    digest = hashlib.sha256()
    for name in names:
        root = CORE / name
        inside = [root] if root.is_file() else sorted(root.rglob("*"))
        for path in (path for path in inside if path.suffix in _SOURCES):
            digest.update(path.relative_to(CORE).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def build_once(folder: Path, build: Callable[[Path], None], wait_seconds: float = BUILD_WAIT_SECONDS) -> bool:
    """Make sure that `folder` exists, made by `build(temporary_folder)`; True if it was there already.

    A process that is building the same folder is waited for, and its result used.

    Raises:
        BusyError: it was still building after `wait_seconds`.
        StorageError: writing failed (disk full, no permission); nothing is left behind.
    """
    if folder.is_dir():
        return True
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder.with_name(f".{folder.name}.lock"), wait_seconds):
            if folder.is_dir():
                return True
            for stale in folder.parent.glob(f".{folder.name}.tmp-*"):
                shutil.rmtree(stale, ignore_errors=True)
            temporary = folder.with_name(f".{folder.name}.tmp-{uuid.uuid4().hex[:8]}")
            temporary.mkdir()
            try:
                build(temporary)
                temporary.rename(folder)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    except OSError as error:
        raise StorageError(f"could not write {folder}: {error}") from error
    return False


@contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A new folder in `parent` for what has no name yet, removed in the end unless it was published.

    Those of processes that died are removed on the way.

    Raises:
        StorageError: writing failed (disk full, no permission).
    """
    temporary = parent / f".tmp-{uuid.uuid4().hex[:8]}"
    lock = temporary.with_suffix(".lock")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            with (parent / ".lock").open("w") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                _remove_abandoned(parent)
                held = stack.enter_context(lock.open("w"))
                fcntl.flock(held, fcntl.LOCK_EX)
                temporary.mkdir()
            yield temporary
    except OSError as error:
        raise StorageError(f"could not write {parent}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            lock.unlink()


def publish(temporary: Path, folder: Path) -> bool:
    """Give a finished folder of a `workspace` its name; True if `folder` was there already.

    Raises:
        OSError: it cannot be renamed.
    """
    try:
        temporary.rename(folder)
    except OSError:
        if folder.is_dir():
            return True
        raise
    return False


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob(".tmp-*.lock"):
        with suppress(OSError), lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file beside its place, flush it to the disk and rename it into place."""
    temporary = path.with_name(f".{path.name}.tmp-{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StorageError(f"could not write {path}: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN and infinity are refused."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def exclusive(lock: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock file for this process; the system frees it however the process ends.

    Args:
        lock: The file, made with its folder if need be; it stays when the lock is freed.
        wait_seconds: How long to wait for another process that holds it; who it is is logged.

    Raises:
        BusyError: another process holds it; the message names its process id.
        StorageError: the file cannot be written, or its file system has no locks.
    """
    with ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(lock.open("a+", encoding="utf-8"))
            _wait_for(file, lock, wait_seconds)
            file.truncate(0)
            file.write(f"{os.getpid()} on {socket.gethostname()}")
            file.flush()
        except OSError as error:
            raise StorageError(f"could not write and lock {lock}: {error}") from error
        yield


def _wait_for(file: IO[str], lock: Path, wait_seconds: float) -> None:
    """Take the lock of an open file, looking now and then: a signal must be able to end the wait."""
    started, told = time.monotonic(), ""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            waited = time.monotonic() - started
            if waited >= wait_seconds:
                after = f" after {waited:.0f} s of waiting" if wait_seconds else ""
                raise BusyError(f"{lock.parent} is in use by process {owner}{after}") from error
            if owner != told:
                what = "waiting for process %s, which holds %s, for at most %.0f s"
                logger.info(what, owner, lock, wait_seconds - waited)
                told = owner
            time.sleep(_POLL_SECONDS)
        else:
            if told:
                logger.info("waited %.1f s for %s", time.monotonic() - started, lock)
            return
