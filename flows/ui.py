"""The Prefect and MLflow pages, on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

from rich.console import Console

from core.errors import TrackingError
from core.processes import child_environment
from core.settings import Settings
from flows.server import free_port, prefect_api

START_SECONDS = 120.0
POLL_SECONDS = 0.5


def serve_pages(settings: Settings, console: Console) -> None:
    """Start what is not running, print the addresses, wait for Ctrl-C.

    Raises:
        TrackingError: a server does not start or stops.
    """
    with contextlib.suppress(KeyboardInterrupt), prefect_api(settings) as api:
        console.print(f"Prefect: {api.removesuffix('/api')}", soft_wrap=True)
        from tasks.tracking import connect, without_password

        uri = os.environ["MLFLOW_TRACKING_URI"]
        if uri.startswith("http"):
            console.print(f"MLflow:  {without_password(uri)}\nCtrl-C ends this.", soft_wrap=True)
            while True:
                time.sleep(POLL_SECONDS)

        connect(settings)  # makes the tables before several server processes would
        port = free_port(settings.mlflow_port)
        process = _start_mlflow(uri, port)
        try:
            _await_health(process, port)
            console.print(f"MLflow:  http://127.0.0.1:{port}\nCtrl-C ends both.")
            process.wait()
            raise TrackingError("the MLflow server stopped")
        finally:
            process.terminate()
            process.wait()


def _start_mlflow(uri: str, port: int) -> subprocess.Popen[bytes]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-m", "mlflow", "server", *options],
        # Not among the options, which every user of the machine can read: it may hold a password.
        env={**child_environment(), "MLFLOW_BACKEND_STORE_URI": uri},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _await_health(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(POLL_SECONDS)
    raise TrackingError(
        f"the MLflow server did not start on port {port}; try `mlflow server` by hand to see why"
    )
