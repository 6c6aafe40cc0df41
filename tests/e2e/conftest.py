"""The command line as a user calls it: real processes, a real Prefect server, a real MLflow database."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from flows.server import free_port

# As in a terminal: a test run in the background is started with Ctrl-C ignored, and would hand that on.
signal.signal(signal.SIGINT, signal.default_int_handler)

SCRIPT = str(Path(sys.executable).with_name("timeloom"))
TINY = {
    "dataset.source.series": 200,
    "model.hidden": 6,
    "model.layers": 1,
    "training.batch_size": 16,
    "training.embedding_iterations": 150,
    "training.supervised_iterations": 60,
    "training.joint_iterations": 40,
    "evaluation.judges": 2,
    "evaluation.discriminative_iterations": 60,
    "evaluation.predictive_iterations": 60,
    "evaluation.plot_windows": 60,
    "evaluation.stronger_judges": [],
    "evaluation.forecasters": False,
    "evaluation.distances": False,
    "evaluation.overlays": ["pca"],
}


def overrides(values: dict[str, Any]) -> list[str]:
    def text(value: Any) -> str:
        return json.dumps(value) if isinstance(value, bool | list) else str(value)

    return [word for key, value in values.items() for word in ("--set", f"{key}={text(value)}")]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Place:
    """A lake of its own, and the command line in it."""

    lake: Path
    environment: dict[str, str]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SCRIPT, *words],
            cwd=self.lake,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, *words: str, timeout: float = 300) -> Done:
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Done(process.returncode, out, err)

    def run(self, *words: str, **more: Any) -> dict[str, Any]:
        """`timeloom run`, which must succeed; its JSON."""
        result = self.lake / "result.json"
        result.unlink(missing_ok=True)
        done = self.call("run", *words, "--json", str(result), **more)
        assert done.code == 0, done.err
        tree: dict[str, Any] = json.loads(result.read_text())
        return tree

    @property
    def mlflow(self) -> MlflowClient:
        return MlflowClient(tracking_uri=f"sqlite:///{self.lake}/mlflow/mlflow.db")

    def mlflow_states(self) -> list[str]:
        client = self.mlflow
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return [run.info.status for run in client.search_runs(ids)]

    def prefect(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Rows of the Prefect server's own database."""
        with sqlite3.connect(f"file:{self.lake}/prefect/prefect.db?mode=ro", uri=True) as database:
            return database.execute(query, values).fetchall()

    def wait_for_server_to_go(self) -> None:
        """The embedded server stops once its last client is gone."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            if not processes_with(str(self.lake)):
                return
            time.sleep(0.3)
        raise AssertionError(f"still running: {processes_with(str(self.lake))}")


def processes_with(text: str) -> list[list[str]]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(text in word for word in words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(words)
    return found


def make_place(lake: Path) -> Place:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "TIMELOOM_"))}
    ports = {"TIMELOOM_PREFECT_PORT": str(free_port(0)), "TIMELOOM_MLFLOW_PORT": str(free_port(0))}
    return Place(lake, {**inherited, "TIMELOOM_HOME": str(lake), **ports})


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One lake for the whole session: what earlier tests made is there for later ones."""
    place = make_place(tmp_path_factory.mktemp("lake"))
    yield place
    place.wait_for_server_to_go()


@pytest.fixture(scope="session")
def first(place: Place) -> dict[str, Any]:
    """The result of the first whole job on `sine`."""
    return place.run("sine", *overrides(TINY))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Place]:
    """A lake for one test."""
    lake = tmp_path / "lake"
    lake.mkdir()
    place = make_place(lake)
    yield place
    place.wait_for_server_to_go()


Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def wait() -> Wait:
    """Waits until something holds, at most two minutes."""

    def until(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.1)

    return until
