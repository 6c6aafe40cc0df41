"""The embedded Prefect server: one per lake, started by whoever needs it first, gone after the last.

Prefect's own ephemeral server dies of the Ctrl-C that its flow still has to report, and outlives a flow that
is killed. This one has a session of its own and watches its clients: each leaves a file named by its process
id, and when no such process is left the server stops.
"""

from __future__ import annotations

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
from core.lake import CORE, exclusive, write_atomically, write_json
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


def is_healthy(url: str) -> bool:
    """Whether a Prefect API answers at `url`."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:  # noqa: S310 - http(s) by the caller
            return bool(answer.status == 200)
    except (urllib.error.URLError, ValueError, TimeoutError, ConnectionError):
        return False


def free_port(preferred: int) -> int:
    """`preferred` if nothing listens there on loopback, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise TrackingError("no free port on 127.0.0.1")


def _find_or_start(folder: Path, port: int) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with exclusive(folder / ".server.lock"):
                return _running(folder) or _start(folder, free_port(port), deadline)
        except BusyError:  # another process is starting it
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _running(folder: Path) -> str | None:
    try:
        url = str(json.loads((folder / "server.json").read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError):
        return None
    return url if is_healthy(url) else None


def _start(folder: Path, port: int, deadline: float) -> str:
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        "PYTHONPATH": str(CORE.parent),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_UI_API_URL": url,
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "flows.server", str(folder), str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if is_healthy(url):
            write_json(folder / "server.json", {"url": url, "pid": process.pid})
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
        try:
            started = float(file.read_text(encoding="ascii"))
            if abs(psutil.Process(int(file.name)).create_time() - started) < 1:
                alive = True
                continue
        except (psutil.NoSuchProcess, ValueError, FileNotFoundError):
            pass
        if not file.name.startswith("."):
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
    import uvicorn
    from prefect.server.api.server import create_app

    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    config = uvicorn.Config(create_app(final=True), host="127.0.0.1", port=port, log_level="error")
    server = uvicorn.Server(config)

    def watch() -> None:
        try:
            while _has_clients(folder / "clients") or not _withdraw(folder):
                time.sleep(LINGER_SECONDS)
        finally:  # also when the lake was removed under the server
            server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main()
