"""The embedded Prefect server: one per lake, started by whoever needs it first, gone after the last.

Prefect's own ephemeral server dies of the Ctrl-C that its flow still has to report, and outlives a flow that
is killed. This one has a session of its own and watches its clients: each leaves a file named by its process
id, and when no such process is left the server stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from core.errors import BusyError, TrackingError
from core.lake import exclusive, write_atomically, write_json
from core.processes import child_environment
from core.settings import Settings

START_SECONDS = 180.0
LINGER_SECONDS = 3.0
_POLL_SECONDS = 0.5
_LOG_TAIL = 1500


@contextmanager
def prefect_api(settings: Settings) -> Iterator[str]:
    """The address of a Prefect API for this process, also put into `PREFECT_API_URL`.

    `PREFECT_API_URL` wins if it is set; otherwise the lake's embedded server is found or started. To be
    entered before prefect is imported.

    Raises:
        TrackingError: the server does not answer or does not start.
    """
    if url := os.environ.get("PREFECT_API_URL"):
        if not is_healthy(url):
            raise TrackingError(f"PREFECT_API_URL is {url}, but no Prefect API answers at {url}/health")
        yield url
        return
    folder = settings.lake / "prefect"
    clients = folder / "clients"
    clients.mkdir(parents=True, exist_ok=True)
    me = clients / str(os.getpid())
    write_atomically(me, str(psutil.Process().create_time()))
    try:
        url = _find_or_start(folder, settings.prefect_port)
        os.environ["PREFECT_API_URL"] = url
        yield url
    finally:
        me.unlink(missing_ok=True)
        os.environ.pop("PREFECT_API_URL", None)


def running_api(settings: Settings) -> str | None:
    """The address of a Prefect API that answers already, also put into `PREFECT_API_URL`; none is started.

    To be called before prefect is imported.
    """
    url = os.environ.get("PREFECT_API_URL")
    found = (url if is_healthy(url) else None) if url else _running(settings.lake / "prefect")
    if found:
        os.environ["PREFECT_API_URL"] = found
    return found


def is_healthy(url: str) -> bool:
    """Whether a Prefect API answers at `url`."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:  # noqa: S310 - http(s) by the caller
            return bool(answer.status == 200)
    except (urllib.error.URLError, ValueError, TimeoutError, ConnectionError):
        return False


def bind(preferred: int) -> socket.socket:
    """A listening socket on loopback, on the preferred port if it is free and on any other if not."""
    for port in (preferred, 0):
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", port))
            bound.listen()  # until then another process may bind the same port, and only one would serve
        except OSError:
            bound.close()
            continue
        return bound
    raise TrackingError("no free port on 127.0.0.1")


def free_port(preferred: int) -> int:
    """The port that `bind` finds now, freed again."""
    with bind(preferred) as bound:
        return int(bound.getsockname()[1])


def _find_or_start(folder: Path, port: int) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with exclusive(folder / ".server.lock"):
                return _running(folder) or _start(folder, port, deadline)
        except BusyError:  # another process is starting it
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _running(folder: Path) -> str | None:
    """The address of this lake's server: its record may be stale and its port another server's by now."""
    try:
        record = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        url, pid, started = str(record["url"]), int(record["pid"]), float(record["started"])
    except (OSError, ValueError, KeyError):
        return None
    return url if _is_process(pid, started) and is_healthy(url) else None


def _is_process(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False


def _start(folder: Path, port: int, deadline: float) -> str:
    (folder / "server.json").unlink(missing_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", "flows.server", str(folder), str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=child_environment(),
            start_new_session=True,
        )
    while time.monotonic() < deadline and process.poll() is None:
        if url := _running(folder):
            return url
        time.sleep(_POLL_SECONDS)
    process.kill()
    tail = (folder / "server.log").read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
    raise TrackingError(
        f"the embedded Prefect server did not start; the end of {folder / 'server.log'}:\n{tail}"
    )


def _has_clients(clients: Path) -> bool:
    alive = False
    for file in clients.iterdir():
        if file.name.startswith("."):  # being written
            continue
        try:
            here = _is_process(int(file.name), float(file.read_text(encoding="ascii")))
        except (ValueError, FileNotFoundError):
            here = False
        alive = alive or here
        if not here:
            file.unlink(missing_ok=True)
    return alive


def _withdraw(folder: Path) -> bool:
    """Take the address away, so that nobody new relies on it; False if somebody just did."""
    time.sleep(LINGER_SECONDS)
    if _has_clients(folder / "clients"):
        return False
    record = folder / "server.json"
    content = record.read_bytes() if record.is_file() else b""
    record.unlink(missing_ok=True)
    time.sleep(_POLL_SECONDS)
    if content and _has_clients(folder / "clients"):
        write_atomically(record, content)
        return False
    return True


def main() -> None:
    """`python -m flows.server FOLDER PORT`: serve API and pages on loopback until no client is left."""
    folder, bound = Path(sys.argv[1]), bind(int(sys.argv[2]))
    port = int(bound.getsockname()[1])
    url = f"http://127.0.0.1:{port}/api"
    os.environ |= {
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_UI_API_URL": url,
    }
    import uvicorn
    from prefect.server.api.server import create_app

    server = uvicorn.Server(uvicorn.Config(create_app(final=True), log_level="error"))

    def watch() -> None:
        try:
            while not server.started:
                time.sleep(_POLL_SECONDS)
            me = psutil.Process()
            write_json(folder / "server.json", {"url": url, "pid": me.pid, "started": me.create_time()})
            while _has_clients(folder / "clients") or not _withdraw(folder):
                time.sleep(LINGER_SECONDS)
        finally:  # also when the lake was removed under the server
            server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    with contextlib.closing(bound):
        server.run(sockets=[bound])


if __name__ == "__main__":
    main()
