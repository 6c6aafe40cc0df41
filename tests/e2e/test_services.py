"""The same job against servers of one's own: nothing but two environment variables changes."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg2
import pytest
from mlflow import MlflowClient

from flows.server import free_port
from tests.e2e.conftest import TINY, Place, Wait, overrides

POSTGRES = os.environ.get("TIMELOOM_TEST_POSTGRES", "postgresql://root@127.0.0.1:5432/postgres")


@pytest.fixture
def databases() -> Iterator[list[str]]:
    """URLs of two new PostgreSQL databases (both services keep a table `alembic_version`), then dropped."""
    parts = urlsplit(POSTGRES)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5432), timeout=5).close()
    except OSError as error:
        if os.environ.get("TIMELOOM_CI"):
            pytest.fail(f"PostgreSQL does not answer at {POSTGRES}: {error}")
        pytest.skip(f"PostgreSQL does not answer at {POSTGRES}")
    names = [f"timeloom_test_{secrets.token_hex(4)}" for _ in range(2)]
    connection = psycopg2.connect(POSTGRES)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"create database {name}")
        yield [f"{POSTGRES.rpartition('/')[0]}/{name}" for name in names]
        for name in names:
            cursor.execute(f"drop database {name} with (force)")
    connection.close()


@pytest.mark.services
def test_the_job_runs_on_a_prefect_server_and_mlflow_on_postgresql(
    fresh: Place, databases: list[str], wait: Wait
) -> None:
    prefect, mlflow = databases
    port = free_port(0)
    api = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env={
            **fresh.environment,
            "PREFECT_HOME": str(fresh.lake / "own-server"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect.replace("postgresql:", "postgresql+asyncpg:"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "true",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        wait(healthy)
        tracking = mlflow.replace("postgresql:", "postgresql+psycopg2:")
        own = {"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": tracking}
        place = Place(fresh.lake, {**fresh.environment, **own})
        result = place.run("sine", *overrides(TINY))
        with urllib.request.urlopen(f"{api}/flow_runs/{result['flow_run_id']}") as answer:
            assert b'"COMPLETED"' in answer.read()
        run = MlflowClient(tracking_uri=tracking).get_run(result["mlflow_run_id"])
        assert run.info.status == "FINISHED"
        assert run.info.artifact_uri.startswith(fresh.lake.as_uri())
        again = place.run("sine", *overrides(TINY))
        assert len(again["cached"]) == 7
        made = place.call("generate", "sine-timegan@champion", "-n", "3", "-o", "rows.npy")
        assert made.code == 0, made.err
        assert not (fresh.lake / "prefect" / "prefect.db").exists()
        assert not (fresh.lake / "mlflow" / "mlflow.db").exists()
    finally:
        server.terminate()
        server.wait()
