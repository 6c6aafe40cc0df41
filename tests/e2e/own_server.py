"""A Prefect server of a test's own, and a webhook that it calls."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from flows.server import free_port, is_healthy
from tests.e2e.conftest import Place

T = TypeVar("T")


@dataclass(frozen=True)
class Server:
    """A Prefect server in a process of its own, spoken to over HTTP."""

    api: str

    def call(self, path: str, body: Any = None) -> Any:
        """POST of a body, or GET without one."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data, {"content-type": "application/json"})
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    text = answer.read()
                return json.loads(text) if text else None
            except urllib.error.HTTPError as error:  # its SQLite database is locked now and then
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def runs(self, **of: str) -> list[dict[str, Any]]:
        """Flow runs of a deployment (`deployment_id=...`), or all."""
        body = {"flow_runs": {key: {"any_": [value]} for key, value in of.items()}} if of else {}
        found: list[dict[str, Any]] = self.call("/flow_runs/filter", body)
        return found

    def state(self, run: str) -> dict[str, Any]:
        """A flow run's state."""
        found: dict[str, Any] = self.call(f"/flow_runs/{run}")["state"]
        return found

    def wait_for_end(self, run: str, seconds: float = 400) -> dict[str, Any]:
        """Its last state."""
        final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

        def ended() -> dict[str, Any] | None:
            state = self.state(run)
            return state if state["type"] in final else None

        return until(ended, seconds)

    def emit(self, event: str, resource: str, payload: dict[str, Any], asks: str | None = None) -> None:
        """An event as another program would send it."""
        self.call(
            "/events",
            [
                {
                    "event": event,
                    "id": str(uuid.uuid4()),
                    "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "resource": {
                        "prefect.resource.id": resource,
                        "prefect.resource.name": resource.rpartition(".")[2],
                        **({"timeloom.asks": asks} if asks else {}),
                    },
                    "payload": payload,
                }
            ],
        )


def until(find: Callable[[], T | None], seconds: float = 240) -> T:
    """What `find` gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return found


@contextmanager
def prefect_server(place: Place, home: Path, **more: str) -> Iterator[Server]:
    """`prefect server start` with its database in `home`, or where `more` (its environment) says."""
    port = free_port(0)
    api = f"http://127.0.0.1:{port}/api"
    log = (home / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env={
            **place.environment,
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "true",
            **more,
        },
        stdout=log,
        stderr=log,
    )
    try:
        until(lambda: is_healthy(api))
        yield Server(api)
    finally:
        process.terminate()
        process.wait()
        log.close()


@dataclass
class Webhook:
    """Keeps what it was told."""

    url: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A real HTTP receiver."""
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{receiver.server_port}/told"
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    try:
        yield hook
    finally:
        receiver.shutdown()
        receiver.server_close()
