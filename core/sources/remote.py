"""Files behind URLs, through fsspec, and files that are fetched from their public home."""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import fsspec
from fsspec.core import url_to_fs

from core.catalog import FileSource, YahooFetch
from core.errors import ConfigError, SourceError, TimeloomError
from core.lake import workspace
from core.sources.decode import open_member
from core.sources.secrets import Secrets, expand, refuse_secrets
from core.sources.yahoo import write_prices

_CONNECT_SECONDS, _READ_SECONDS = 30, 120
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_remote(path: str) -> bool:
    """Whether a path is a URL."""
    return "://" in path


@contextmanager
def local_copy(source: FileSource, lake: Path | None) -> Iterator[Path]:
    """Where the source's file or folder lies on this machine while the context lasts.

    Raises:
        ConfigError: there is nothing at its path, or it may not be read.
        SourceError: its server could not be reached.
        StorageError: there is no room for it.
    """
    if is_remote(source.path):
        with ExitStack() as stack:
            if lake is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            else:
                folder = stack.enter_context(workspace(lake / "downloads"))
            yield download(source.path, folder, "source.path")
        return
    try:
        path = Path(source.path).expanduser()
        there = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{source.path[:200]!r} is no path: {error}") from error
    if not there and source.fetch is not None:
        fetch(source, path)
    elif not there:
        raise ConfigError(f"there is no file {path}; mend `source.path` or put the file there")
    yield path


def fetch(source: FileSource, path: Path) -> None:
    """Bring the file of `source.fetch` to `path`, whole or not at all.

    A zip is unpacked unless `path` ends in .zip.

    Raises:
        ConfigError: there is no such file, or a package is missing.
        SourceError: its home could not be reached.
        StorageError: there is no room for it.
    """
    with workspace(path.parent) as folder:
        try:
            if isinstance(source.fetch, YahooFetch):
                found = folder / "prices.csv"
                write_prices(source.fetch, found)
            elif source.fetch is not None:
                found = _unzipped(download(source.fetch.url, folder, "source.fetch.url"), path)
        except SourceError as error:
            raise SourceError(f"{error}; or put a copy of the file at {path}") from error
        found.replace(path)


def download(url: str, folder: Path, option: str) -> Path:
    """The file, or the folder, at a URL in `folder`, streamed.

    Raises:
        ConfigError: there is none, it may not be read, the URL holds a secret, or nothing opens such URLs.
        SourceError: the server could not be reached or broke off.
    """
    refuse_secrets(url, option)
    address, secrets = expand(url, option)
    if urlsplit(address).username is not None:
        raise ConfigError(f"{option} holds a user's name; give credentials by the usual environment variables")
    target = folder / (PurePosixPath(urlsplit(address).path).name or "data")
    with _saying(url, secrets):
        system, place = url_to_fs(address, **_options(address))
        if not address.startswith("http") and system.isdir(place):
            return _download_folder(system, place, target)
        system.get_file(place, str(target))
    return target


def _download_folder(system: fsspec.AbstractFileSystem, place: str, target: Path) -> Path:
    for found in system.find(place):
        parts = PurePosixPath(found[len(place.rstrip("/")) + 1 :]).parts
        if ".." in parts:
            raise ConfigError(f"{found[:200]!r} lies outside its folder: rename the object")
        inside = target.joinpath(*parts)
        inside.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(found, str(inside))
    return target


def _options(address: str) -> dict[str, Any]:
    # A file system of before remembers endpoints and listings.
    fresh = {"skip_instance_cache": True}
    if not address.startswith("http"):
        return fresh
    # The usual limit of five minutes for the whole would break off what is large.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
    return {**fresh, "client_kwargs": {"timeout": timeout}}


@contextmanager
def _saying(url: str, secrets: Secrets) -> Iterator[None]:
    try:
        yield
    except TimeloomError:
        raise
    except ImportError as error:
        raise ConfigError(f"{url} needs a package: {error}; install the extra `remote`") from error
    except (FileNotFoundError, PermissionError) as error:
        why = "there is nothing" if isinstance(error, FileNotFoundError) else "you may not read"
        raise ConfigError(f"{why} at {url}; mend the address or your credentials") from None
    # Each file system has errors of its own.
    except Exception as error:
        said = secrets.hide(f"{type(error).__name__}: {error}")
        status = getattr(error, "status", None)
        if isinstance(error, OSError) and (error.filename is not None or error.errno in _FULL):
            raise
        if _is_final(error, status):
            raise ConfigError(f"{url} cannot be read ({said}); mend the address or your credentials") from None
        raise SourceError(
            f"{url} cannot be reached ({said}); try again later, or name a local copy in `source.path`"
        ) from None


def _is_final(error: Exception, status: int | None) -> bool:
    """Whether trying again cannot help."""
    if status is not None:
        return 400 <= status < 500 and status not in (408, 425, 429)
    return isinstance(error, ValueError) or type(error).__name__ == "NoCredentialsError"


def _unzipped(found: Path, path: Path) -> Path:
    if path.suffix.lower() == ".zip" or not zipfile.is_zipfile(found):
        return found
    target = found.with_name("unzipped")
    with found.open("rb") as file, open_member(file, found.name) as member, target.open("wb") as out:
        shutil.copyfileobj(member, out, 1 << 20)
    return target
