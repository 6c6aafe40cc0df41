"""Where generated files go: a folder of this machine, or one behind a URL."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol, get_args
from urllib.parse import urlsplit

from fsspec.core import url_to_fs

from core.errors import ConfigError, StorageError, TargetError, TimeloomError
from core.sources.secrets import Secrets, expand

Kind = Literal["parquet", "csv", "npy"]
_BLOCK = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""What begins with a bucket, which writing does not make."""


class Place(Protocol):
    """A folder in which a file is there whole or not at all."""

    def address(self, name: str = "") -> str:
        """A file of it, or itself, as people write it."""

    def check(self, name: str = "") -> None:
        """Whether a file can be put here, as far as can be told before the work.

        Raises:
            ConfigError: they cannot.
        """

    def write(self, name: str) -> Any:
        """A context with a binary file: it is in its place once the context was left without an error."""

    def scratch(self, name: str) -> Path:
        """Where to make a file of this machine that `put` will take."""

    def put(self, made: Path, name: str) -> None:
        """Give a file made at `scratch(name)` its place."""

    def digest(self, name: str) -> tuple[int, str] | None:
        """Bytes and SHA-256 of a file; None if it is not there."""

    def names(self) -> list[str]:
        """What is in it; empty if there is no such folder."""

    def read(self, name: str) -> bytes | None:
        """A small file; None if it is not there."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""


@dataclass(frozen=True)
class Target:
    """A single file, or a folder of Parquet parts."""

    place: Place
    name: str | None
    """Of the file; None for a folder of parts."""
    kind: Kind

    @property
    def address(self) -> str:
        """Where it is, as people write it."""
        return self.place.address(self.name or "")


def target_of(output: str, stage: Path) -> Target:
    """What an output names.

    Args:
        output: A path or a URL ending in .parquet, .csv or .npy, or in / for a folder.
        stage: Folder of this machine for what is on its way to a URL.

    Raises:
        ConfigError: it is none of these, or nothing writes to such URLs.
    """
    output = output.removeprefix("file://").removeprefix("local://")
    if "\0" in output:
        raise ConfigError("an output is a path or a URL; this one holds a NUL character")
    folder, slash, name = output.rpartition("/")
    kind = name.rpartition(".")[2].lower() if "." in name.lstrip(".") else ""
    if not output or (name and kind not in get_args(Kind)):
        raise ConfigError(
            "expected an output ending in .parquet, .csv or .npy, or in / for a folder of Parquet parts, got "
            f"{output!r}"
        )
    if folder.rstrip("/").endswith(":"):
        raise ConfigError(f"{output!r} names no bucket or folder: expected such as s3://bucket/{name}")
    place: Place = _remote(folder, stage) if "://" in output else _Local(_local(folder + slash or "."))
    return Target(place, name or None, kind or "parquet")  # type: ignore[arg-type]


def _local(text: str) -> Path:
    whole = os.path.expandvars(text)
    if "${" in whole:
        raise ConfigError(f"{text[:200]!r} names an environment variable that is not set")
    try:
        return Path(whole).expanduser().resolve()  # one address whatever it is called by
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(f"{text[:200]!r} is no path: {error}") from error


@dataclass(frozen=True)
class _Local:
    folder: Path

    def address(self, name: str = "") -> str:
        return str(self.folder / name) if name else f"{self.folder}/"

    def check(self, name: str = "") -> None:
        there = self.folder
        try:
            if name and (self.folder / name).is_dir():
                raise ConfigError(f"{self.folder / name} is a folder: remove it or choose another output")
            while not there.exists() and there != there.parent:
                there = there.parent
        except OSError as error:
            raise ConfigError(f"nothing can be put into {self.folder}: {error}") from error
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            why = "is no folder" if not there.is_dir() else "may not be written to"
            raise ConfigError(f"nothing can be put into {self.folder}: {there} {why}; choose another output")

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        temporary = self.scratch(name)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.folder / name)
        except OSError as error:
            raise StorageError(self._said(name, temporary, error)) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def scratch(self, name: str) -> Path:
        # Always the same: what a killed process left there is written over, see `core.generation.stage`.
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"could not make {self.folder}: {error}") from error
        return self.folder / f".{name}.tmp"

    def put(self, made: Path, name: str) -> None:
        try:
            with made.open("rb+") as file:
                os.fsync(file.fileno())
            made.replace(self.folder / name)
        except OSError as error:
            raise StorageError(self._said(name, made, error)) from error

    def digest(self, name: str) -> tuple[int, str] | None:
        try:
            with (self.folder / name).open("rb") as file:
                return _digest(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"could not read {self.folder / name}: {error}") from error

    def names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"could not read {self.folder}: {error}") from error

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"could not read {self.folder / name}: {error}") from error

    def remove(self, name: str) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"could not remove {self.folder / name}: {error}") from error

    def _said(self, name: str, temporary: Path, error: OSError) -> str:
        written = free = 0
        with suppress(OSError):
            written, free = temporary.stat().st_size, shutil.disk_usage(self.folder).free
        return f"could not write {self.folder / name} ({written:,} bytes so far, {free:,} free): {error}"


@dataclass(frozen=True)
class _Remote:
    url: str
    """As the user wrote it: it may be shown."""
    system: Any
    folder: str
    stage: Path
    secrets: Secrets

    def address(self, name: str = "") -> str:
        return f"{self.url}/{name}"

    def check(self, name: str = "") -> None:  # noqa: ARG002 - stores know no folders
        if urlsplit(self.url).scheme in ("http", "https"):
            raise ConfigError(f"nothing can be written to {self.url}: expected a path or such as s3://bucket/x")
        with self._told():
            self.system.exists(self.folder)
            bucket = self.folder.split("/")[0]
            if urlsplit(self.url).scheme in _STORES and not self.system.exists(bucket):
                raise ConfigError(f"there is no bucket {bucket!r} for {self.url}; make it or mend the output")

    @contextmanager
    def write(self, name: str) -> Iterator[IO[bytes]]:
        # Leaving the file commits it, an error or not, unless it is in a transaction.
        with self._told(), self.system.transaction, self.system.open(self._inside(name), "wb") as file:
            yield file

    def scratch(self, name: str) -> Path:
        return self.stage / f".{name}.tmp"

    def put(self, made: Path, name: str) -> None:
        with self._told():
            self.system.put_file(str(made), self._inside(name))
        made.unlink()

    def digest(self, name: str) -> tuple[int, str] | None:
        try:
            with self._told(), self.system.open(self._inside(name), "rb") as file:
                return _digest(file)
        except _NothingThereError:
            return None

    def names(self) -> list[str]:
        try:
            with self._told():
                return sorted(found.rstrip("/").rpartition("/")[2] for found in self._listed())
        except _NothingThereError:
            return []

    def read(self, name: str) -> bytes | None:
        try:
            with self._told():
                return bytes(self.system.cat_file(self._inside(name)))
        except _NothingThereError:
            return None

    def remove(self, name: str) -> None:
        with suppress(_NothingThereError), self._told():
            self.system.rm_file(self._inside(name))

    def _listed(self) -> list[str]:
        self.system.invalidate_cache()
        found: list[str] = self.system.ls(self.folder, detail=False)
        return [path for path in found if path.rstrip("/") != self.folder]

    def _inside(self, name: str) -> str:
        return f"{self.folder}/{name}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        with _saying(self.url, self.secrets):
            yield


class _NothingThereError(ConfigError):
    pass


def _remote(url: str, stage: Path) -> _Remote:
    address, secrets = expand(url, "output")
    if urlsplit(address).username is not None:
        raise ConfigError("the output holds a user's name; give credentials by the usual environment variables")
    if re.search(r"[?#]", address):
        raise ConfigError(f"{url}: an output has no query; give credentials by environment variables")
    with _saying(url, secrets):
        # A file system of before remembers endpoints and listings.
        system, folder = url_to_fs(address, skip_instance_cache=True)
    return _Remote(url, system, folder.rstrip("/"), stage, secrets)


@contextmanager
def _saying(url: str, secrets: Secrets) -> Iterator[None]:
    """The errors of any file system as ours; no message holds a secret."""
    try:
        yield
    except TimeloomError:
        raise
    except ImportError as error:
        raise ConfigError(f"{url} needs a package: {error}; install the extra `remote`") from error
    except FileNotFoundError:
        raise _NothingThereError(f"there is nothing at {url}; mend the output or make its bucket") from None
    except PermissionError:
        raise ConfigError(f"you may not write to {url}; mend the output or your credentials") from None
    # Each file system has errors of its own.
    except Exception as error:
        said = secrets.hide(f"{type(error).__name__}: {error}")
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StorageError(f"could not write to {url}: {said}") from error
        final = isinstance(error, ValueError | NotImplementedError)
        if final or type(error).__name__ == "NoCredentialsError":
            raise ConfigError(f"{url} cannot be written to ({said}); mend the output or credentials") from None
        raise TargetError(
            f"{url} cannot be written to ({said}); the same call later goes on from here"
        ) from None


def _digest(file: IO[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while block := file.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()
