"""The deployments of `deploy/` on a Prefect server with PostgreSQL and Redis, and a worker that runs them."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from datetime import time as dt_time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import redis
import yaml

from core.settings import PROJECT_ROOT
from flows.server import free_port
from tests.e2e.conftest import Place, make_place
from tests.e2e.test_services import POSTGRES

REDIS = os.environ.get("TIMELOOM_TEST_REDIS", "redis://127.0.0.1:6379")
MESSAGES, DOCKET = 13, 14
"""Redis databases that the test empties."""
BIN = Path(sys.executable).parent
TINY = {
    "dataset": "sine",
    "model": {"hidden": 6, "layers": 1},
    "training": {
        "batch_size": 16,
        "embedding_iterations": 20,
        "supervised_iterations": 20,
        "joint_iterations": 20,
    },
    "evaluation": {
        "judges": 2,
        "max_windows": 200,
        "discriminative_iterations": 20,
        "predictive_iterations": 20,
        "references": False,
        "stronger_judges": [],
        "forecasters": False,
        "distances": False,
        "privacy": False,
        "overlays": ["pca"],
        "plot_windows": 60,
    },
}


@dataclass(frozen=True)
class Server:
    """A Prefect server with a password, and where it is."""

    place: Place
    api: str
    credentials: str

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and answer."""
        token = base64.b64encode(self.credentials.encode()).decode()
        request = urllib.request.Request(
            self.api + path,
            None if body is None else json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Basic {token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def get(self, path: str) -> Any:
        status, answer = self.ask(path)
        assert status == 200, answer
        return answer

    def is_healthy(self) -> bool:
        try:
            return self.ask("/health")[0] == 200
        except OSError:
            return False

    @property
    def environment(self) -> dict[str, str]:
        """Of commands that talk to it, as `deploy/compose.yaml` sets it."""
        return {
            **self.place.environment,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(self.place.lake / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_API_AUTH_STRING": self.credentials,
            "DO_NOT_TRACK": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.place.lake}/mlflow/mlflow.db",
        }


def reachable(url: str, port: int) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or port), timeout=5).close()
    except OSError as error:
        if os.environ.get("TIMELOOM_CI"):
            pytest.fail(f"nothing answers at {url}: {error}")
        return False
    return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the settings of `deploy/compose.yaml`, and all that `deploy/deploy.sh` sends to it."""
    if not (reachable(POSTGRES, 5432) and reachable(REDIS, 6379)):
        pytest.skip(f"PostgreSQL or Redis does not answer at {POSTGRES}, {REDIS}")
    settings = yaml.safe_load((PROJECT_ROOT / "deploy" / "compose.yaml").read_text())["x-prefect-server"]
    place = make_place(tmp_path_factory.mktemp("deployed"))
    name, port = f"timeloom_test_{secrets.token_hex(4)}", free_port(0)
    here = urlsplit(REDIS)
    own = {
        "PREFECT_HOME": str(place.lake / "server"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"{POSTGRES.rpartition('/')[0]}/{name}".replace(
            "postgresql:", "postgresql+asyncpg:"
        ),
        "PREFECT_REDIS_MESSAGING_HOST": here.hostname or "127.0.0.1",
        "PREFECT_REDIS_MESSAGING_PORT": str(here.port or 6379),
        "PREFECT_REDIS_MESSAGING_DB": str(MESSAGES),
        "PREFECT_SERVER_DOCKET_URL": f"{REDIS}/{DOCKET}",
        "PREFECT_SERVER_API_AUTH_STRING": "team:secret",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
    }
    connection = psycopg2.connect(POSTGRES)
    connection.autocommit = True
    stores = [redis.Redis.from_url(f"{REDIS}/{number}") for number in (MESSAGES, DOCKET)]
    with connection.cursor() as cursor:
        cursor.execute(f"create database {name}")
        for store in stores:
            store.flushdb()
        process = subprocess.Popen(
            [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**place.environment, **settings, **own},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        found = Server(place, f"http://127.0.0.1:{port}/api", "team:secret")
        try:
            deadline = time.monotonic() + 120
            while not found.is_healthy():
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.3)
            done = subprocess.run(
                ["sh", str(PROJECT_ROOT / "deploy" / "deploy.sh")],
                env=found.environment,
                cwd=place.lake,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            yield found
        finally:
            process.terminate()
            process.wait(timeout=60)
            cursor.execute(f"drop database {name} with (force)")
            for store in stores:
                store.flushdb()
                store.close()
    connection.close()


@pytest.mark.services
@pytest.mark.slow
def test_what_the_file_says_is_deployed_and_what_no_flow_would_take_is_refused(server: Server) -> None:
    written = yaml.safe_load((PROJECT_ROOT / "deploy" / "prefect.yaml").read_text())["deployments"]
    for entry in written:
        flow = entry["entrypoint"].rpartition(".")[2]
        there = server.get(f"/deployments/name/{flow}/{entry['name']}")
        assert (there["parameters"], sorted(there["tags"])) == (entry["parameters"], sorted(entry["tags"]))
        ((schedule,), (asked,)) = there["schedules"], entry["schedules"]
        assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == (
            asked["cron"],
            asked["timezone"],
        )
        assert (schedule["slug"], schedule["active"]) == (asked["slug"], asked.get("active", True))
        assert there["global_concurrency_limit"]["limit"] == 1
        assert there["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert there["pull_steps"] == [{"flows.deployments.enter_checkout": {}}]
        assert there["work_pool_name"] == "timeloom"

    train = server.get("/deployments/name/train/sp500")
    for job, said in (
        ({"dataset": "sp500", "window": {"length": 1}}, "1 is less than the minimum of 2"),
        ({"preset": "quick"}, "'dataset' is a required property"),
        ({"dataset": "sp500", "modle": {}}, "'modle' was unexpected"),
        ({"dataset": "sp500", "preset": "fast"}, "'fast' is not one of"),
    ):
        status, answer = server.ask(f"/deployments/{train['id']}/create_flow_run", {"parameters": {"job": job}})
        assert (status, said in answer["detail"]) == (409, True), answer
    assert Server(server.place, server.api, "team:wrong").ask("/flows/filter", {})[0] == 401


@pytest.mark.services
@pytest.mark.slow
def test_a_worker_runs_what_the_api_asks_for_as_it_asks(server: Server) -> None:
    worker = subprocess.Popen(
        [str(BIN / "prefect"), "worker", "start", "--pool", "timeloom", "--limit", "1"],
        env=server.environment,
        cwd=server.place.lake,  # not the checkout: the pull step finds it
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        train = server.get("/deployments/name/train/sp500")
        _, run = server.ask(f"/deployments/{train['id']}/create_flow_run", {"parameters": {"job": TINY}})

        deadline = time.monotonic() + 400
        ended = {"COMPLETED", "FAILED", "CRASHED"}
        while server.get(f"/flow_runs/{run['id']}")["state_type"] not in ended:
            assert time.monotonic() < deadline, "the run did not end"
            time.sleep(1)
        found = server.get(f"/flow_runs/{run['id']}")
        assert found["state_type"] == "COMPLETED", found["state"]
        client = server.place.mlflow
        (version,) = client.search_model_versions("name='sine-timegan'")
        logged = client.get_run(version.run_id)
        assert logged.info.status == "FINISHED"
        assert logged.data.params["training.joint_iterations"] == "20"
        # The schedules of the file have made runs, in their zone: 18:30 in New York.
        runs = {
            "deployments": {"name": {"any_": ["sp500"]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }
        _, planned = server.ask("/flow_runs/filter", runs)
        zone = ZoneInfo("America/New_York")
        times = {datetime.fromisoformat(run["expected_start_time"]).astimezone(zone).time() for run in planned}
        assert times == {dt_time(6), dt_time(18, 30), dt_time(20)}
        # Lines of our own loggers are in the run's log.
        _, lines = server.ask("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200})
        assert {line["name"].partition(".")[0] for line in lines} >= {"core", "prefect"}
    finally:
        os.killpg(worker.pid, signal.SIGINT)
        worker.wait(timeout=60)
