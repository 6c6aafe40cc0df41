"""What a Prefect server does by itself once `flows.automations` was there, and the GPU's limit."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from prefect import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.settings import PREFECT_API_URL, temporary_settings

from core.config import JobConfig
from core.errors import BusyError, ConfigError, TrackingError
from core.handles import SnapshotRef
from core.settings import Settings
from flows.automations import ensure
from flows.rules import notification_rules
from flows.train import train
from tasks import gpu
from tasks.arrivals import announce, announced
from tasks.gpu import gpu_slot
from tests.e2e.conftest import make_place
from tests.e2e.own_server import Server, Webhook, prefect_server, until, webhook

JOB = {"dataset": "sine", "training": {"seed": 3}}


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with webhook() as hook:
        yield hook


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with prefect_server(make_place(home), home) as server, temporary_settings({PREFECT_API_URL: server.api}):
        yield server


@pytest.fixture(scope="module")
def deployment(server: Server, hook: Webhook) -> str:
    """`train/sine`, and the automations for it; its id."""
    assert server.runs() == []
    job = JobConfig.model_validate(JOB).model_dump(mode="json", exclude_unset=True)
    made = train.to_deployment(name="sine", parameters={"job": job}).apply()
    ensure(hook.url)
    return str(made)


def bound(closed: socket.socket) -> int:
    """A port at which nobody answers."""
    closed.bind(("127.0.0.1", 0))
    return int(closed.getsockname()[1])


def new_run(server: Server, known: set[str]) -> dict[str, Any]:
    """The run that is not among the known."""
    return until(lambda: next((r for r in server.runs() if r["id"] not in known), None))


def test_new_data_run_the_dataset_s_training_with_the_slot(
    server: Server, deployment: str, tmp_path: Path
) -> None:
    known = {run["id"] for run in server.runs()}
    found = SnapshotRef(path=tmp_path, dataset="sine", digest="abc" * 8, rows=3, columns=("x0",))
    (tmp_path / "snapshots" / "sine").mkdir(parents=True)
    with (
        socket.socket() as closed,
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{bound(closed)}/api"}),
        pytest.raises(TrackingError, match=r"timeloom\.data\.new about dataset sine"),
    ):
        announce(found, tmp_path)
    assert announced("sine", tmp_path) is None  # nobody knows of it: it is told again
    server.emit("timeloom.data.new", "timeloom.dataset.other", {"slot": "not this one"})
    announce(found, tmp_path)
    assert announced("sine", tmp_path) == found.digest
    run = new_run(server, known)
    assert run["deployment_id"] == deployment
    assert run["parameters"]["slot"] == "new data sine nothing-abcabcabcabcabca"
    assert run["parameters"]["job"]["dataset"]["name"] == "sine"
    assert run["parameters"]["job"]["training"] == {"seed": 3}


@pytest.mark.usefixtures("deployment")
def test_drift_runs_the_training_that_it_asks_for(server: Server) -> None:
    known = {run["id"] for run in server.runs()}
    job = {"dataset": "sine", "training": {"start_from": "models:/sine-timegan@champion", "seed": 7}}
    payload = {"dataset": "sine", "model": "sine-timegan", "reason": "x0 moved", "job": job, "slot": "drift 1"}
    none = {**payload, "retrain": None, "job": None, "slot": None}
    server.emit("timeloom.data.drift", "timeloom.dataset.sine", none)  # as `retrain: never` sends it
    server.emit("timeloom.data.drift", "timeloom.dataset.sine", payload, asks="training")
    run = new_run(server, known)
    assert run["parameters"]["job"] == job
    assert run["parameters"]["slot"] == "drift 1"
    JobConfig.model_validate(run["parameters"]["job"])


def test_failures_and_gate_results_are_told(server: Server, deployment: str, hook: Webhook) -> None:
    run = server.call(f"/deployments/{deployment}/create_flow_run", {"name": "the one that fails"})["id"]
    told = len(hook.told)
    message = 'DataError: expected "numbers", got <text>\nin line 3'
    for state in ({"type": "RUNNING"}, {"type": "FAILED", "name": "Failed", "message": message}):
        server.call(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    failure = until(lambda: hook.told[told] if len(hook.told) > told else None)
    assert (failure["flow"], failure["flow_run"], failure["state"]) == ("train", "the one that fails", "Failed")
    assert failure["message"] == message
    assert failure["flow_run_id"] == run

    payload = {"name": "sine-timegan", "version": "4", "champion": "3", "reason": "0.21 is worse than 0.19"}
    server.emit("timeloom.model.rejected", "timeloom.model.sine-timegan", payload)
    gates = until(lambda: hook.told[told + 1] if len(hook.told) > told + 1 else None)
    assert gates["event"] == "timeloom.model.rejected"
    assert gates["payload"] == payload
    assert "0.21 is worse than 0.19" in gates["text"]


def test_a_crashed_run_is_tried_again_twice(server: Server, deployment: str, hook: Webhook) -> None:
    run = server.call(f"/deployments/{deployment}/create_flow_run", {})["id"]

    def crash() -> None:
        for state in ("PENDING", "RUNNING", "CRASHED"):
            server.call(f"/flow_runs/{run}/set_state", {"state": {"type": state}, "force": True})

    for _ in range(2):
        crash()
        until(lambda: server.state(run)["type"] == "SCHEDULED")
        assert server.state(run)["name"] == "AwaitingRetry"
    told = len(hook.told)
    crash()
    until(lambda: len(hook.told) > told)  # by when a rule that fires on the same event has fired too
    assert server.state(run)["type"] == "CRASHED"


@pytest.mark.usefixtures("deployment")
def test_making_them_again_keeps_what_somebody_chose_and_follows_the_deployments(
    server: Server, hook: Webhook
) -> None:
    def rules() -> dict[str, dict[str, Any]]:
        return {rule["name"]: rule for rule in server.call("/automations/filter", {})}

    before = rules()
    with get_client(sync_client=True) as client:
        client.pause_automation(before["timeloom: Crashed -> retry"]["id"])
        other = train.to_deployment(name="other", parameters={"job": JOB}).apply()
        assert set(ensure()) == set(before) | {
            "timeloom: new data -> train/other",
            "timeloom: drift -> train/other",
        }
        assert not rules()["timeloom: Crashed -> retry"]["enabled"]
        (twin,) = notification_rules(uuid4())[:1]  # as two calls at a time would make it
        client.create_automation(twin)
        assert len(server.call("/automations/filter", {})) == len(before) + 3
        client.delete_deployment(other)
    ensure()
    assert len(server.call("/automations/filter", {})) == len(before)
    after = rules()
    assert set(after) == set(before)
    changed = {name for name, rule in after.items() if rule["id"] != before[name]["id"]}
    assert changed <= {twin.name}  # of two any one stays
    told = len(hook.told)
    server.emit("timeloom.model.promoted", "timeloom.model.x", {"reason": "still told"})
    assert until(lambda: hook.told[told:])[0]["resource"] == "x"


@pytest.mark.usefixtures("server")
def test_one_training_holds_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "resolve_device", torch.device)
    monkeypatch.setattr(gpu, "gpu_name", lambda _: "gpu-8d1c2b3a")
    monkeypatch.setattr(gpu, "POLL_SECONDS", 0.1)
    settings = Settings(device="cuda")
    inside: list[int] = []
    most: list[int] = []

    def train_here(number: int) -> None:
        with gpu_slot(settings):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.3)
            inside.remove(number)

    with ThreadPoolExecutor(2) as pool:  # each in a context of its own, which says where the server is
        for done in [pool.submit(copy_context().run, train_here, number) for number in range(2)]:
            done.result()
    assert most == [1, 1]
    with get_client(sync_client=True) as client:
        limit = client.read_global_concurrency_limit_by_name("gpu-8d1c2b3a")
        assert (limit.limit, limit.active_slots) == (1, 0)
        client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(limit=2))
        monkeypatch.setattr(gpu, "WAIT_SECONDS", -1.0)
        with gpu_slot(settings), gpu_slot(settings):  # what the operator chose stays
            with pytest.raises(BusyError, match="gpu-8d1c2b3a had no free slot"), gpu_slot(settings):
                pass
            assert client.read_global_concurrency_limit_by_name("gpu-8d1c2b3a").limit == 2

    with (
        pytest.raises(ConfigError, match="prefect gcl create all-gpus --limit 1"),
        gpu_slot(Settings(device="cuda", gpu_limit="all-gpus")),
    ):
        pass
