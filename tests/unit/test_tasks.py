"""What the tasks share: retries by kind of fault, packaging, the curves' way to MLflow."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Failed

from core.errors import BusyError, ConfigError, DataError, TimeloomError, TrackingError, TrainingKilledError
from core.lake import CORE
from core.training.metrics import Point
from tasks.factory import is_retryable
from tasks.registry.packaging import carried_modules, pip_requirements, write_package
from tasks.tracking import CurveForwarder, TrackedRun, without_password


def refused(code: int) -> PrefectHTTPStatusError:
    """What Prefect's client raises for such an answer."""
    request = httpx.Request("GET", "http://x")
    return PrefectHTTPStatusError("x", request=request, response=httpx.Response(code, request=request))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (DataError("x"), False),
        (ConfigError("x"), False),
        (TimeloomError("x"), False),
        (BusyError("x"), True),
        (TrackingError("x"), True),
        (TrainingKilledError("x"), True),
        (ConnectionResetError("x"), True),
        (httpx.ReadTimeout("x"), True),
        (refused(503), True),
        (refused(429), True),
        (refused(404), False),
        (MlflowException("refused"), True),
        (MlflowException("no such run", RESOURCE_DOES_NOT_EXIST), False),
        (ValueError("x"), False),
    ],
)
def test_only_passing_faults_are_tried_again(error: Exception, again: bool) -> None:
    assert is_retryable(None, None, Failed(data=error)) is again  # type: ignore[arg-type]


def test_a_time_limit_is_not_tried_again() -> None:
    state = Failed(data=TimeoutError("x"), name="TimedOut")
    assert is_retryable(None, None, state) is False  # type: ignore[arg-type]


def test_the_package_of_a_model_imports_nothing_of_the_repository(tmp_path: Path) -> None:
    name = write_package(tmp_path)
    imported: set[str] = set()
    for path in (tmp_path / name).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
    own = {"torch", "numpy", "pandas", name}
    assert imported - own <= sys.stdlib_module_names
    assert write_package(tmp_path / "again") == name
    assert name.removeprefix("timeloom_").isalnum()
    assert (tmp_path / name / "errors.py").read_text() == (CORE / "errors.py").read_text()


def test_a_model_carries_what_sampling_imports_and_no_training() -> None:
    carried = set(carried_modules())
    assert carried >= {"__init__.py", "errors.py", "generators/bundle.py", "generators/timegan/model.py"}
    assert carried >= {
        "prepare/channels/encode.py",
        "prepare/channels/layout.py",
        "networks/recurrent.py",
        "tensors.py",
    }
    assert not {path for path in carried if "training" in path or path.startswith("catalog")}
    assert not carried & {"config.py", "prepare/build.py", "lake.py"}


def test_the_package_of_a_model_loads_where_the_repository_is_not(tmp_path: Path) -> None:
    name = write_package(tmp_path)
    code = (
        f"import sys, {name}.generators.bundle\n"
        "own = {'core', 'pydantic', 'yaml', 'mlflow', 'prefect', 'pyarrow.parquet'}\n"
        "print(sorted(own & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_requirements_are_exact_and_public() -> None:
    assert {line.partition("==")[0] for line in pip_requirements()} == {"mlflow", "torch", "numpy", "pandas"}
    assert not any("+" in line for line in pip_requirements())


def test_passwords_are_not_shown() -> None:
    uri = "postgresql://me:secret@host:5432/db"
    assert without_password(uri) == "postgresql://***@host:5432/db"
    assert (
        without_password(f"cannot reach {uri}: refused")
        == "cannot reach postgresql://***@host:5432/db: refused"
    )
    assert without_password("sqlite:///x.db") == "sqlite:///x.db"


class Server:
    """Stands for an MLflow server that is down now and then."""

    def __init__(self) -> None:
        self.down = False
        self.got: list[tuple[str, int]] = []
        self.calls = 0

    def answer(self) -> None:
        if self.down:
            raise MlflowException("down")

    def get_metric_history(self, _: str, key: str) -> list[Any]:
        self.answer()
        phase = key.partition("/")[0]
        return [types.SimpleNamespace(step=step) for name, step in self.got if name.startswith(f"{phase}/a")]

    def log_batch(self, _: str, metrics: list[Any]) -> None:
        self.calls += 1
        self.answer()
        assert len(metrics) <= 1000
        self.got += [(metric.key, metric.step) for metric in metrics]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(TrackedRun, "client", server)
    monkeypatch.setattr("tasks.tracking.FLUSH_SECONDS", 0.0)
    return server


RUN = TrackedRun(tracking_uri="x", experiment="x", experiment_id="0", run_id="r", url="x")


def points(steps: range) -> list[Point]:
    return [Point("joint", step, 0, {"a": 1.0, "b": 2.0}) for step in steps]


@pytest.mark.parametrize("before", [0, 3])
def test_points_wait_while_the_server_is_down(server: Server, tmp_path: Path, before: int) -> None:
    forward = CurveForwarder(RUN)
    forward(points(range(before)))
    server.down = True
    forward(points(range(before, 6)))
    server.down = False
    forward(points(range(6, 9)))
    forward.finish(tmp_path / "none")
    assert sorted(server.got) == sorted((f"joint/{name}", step) for step in range(9) for name in "ab")


def test_a_retry_sends_only_what_is_new(server: Server, tmp_path: Path) -> None:
    CurveForwarder(RUN)(points(range(5)))
    again = CurveForwarder(RUN)
    again(points(range(8)))
    again.finish(tmp_path / "none")
    assert sorted(server.got) == sorted((f"joint/{name}", step) for step in range(8) for name in "ab")


def test_batches_keep_to_the_limit_of_the_interface(server: Server) -> None:
    forward = CurveForwarder(RUN)
    forward(points(range(1200)))
    assert server.calls == 20  # 60 points at a time
    assert len(server.got) == 2400


def test_a_server_that_stays_down_fails_the_step(server: Server, tmp_path: Path) -> None:
    forward = CurveForwarder(RUN)
    server.down = True
    forward(points(range(2)))
    with pytest.raises(TrackingError, match="did not take"):
        forward.finish(tmp_path / "none")
