"""Runs of deployments on a server of one's own: cancelled, killed, doubled, scheduled, started by events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from core.lake import CORE
from core.training.checkpoints import load_latest_checkpoint
from core.training.metrics import read_points
from flows.automations import ensure
from tests.e2e.conftest import TINY, Place, make_place, processes_with
from tests.e2e.own_server import Server, Webhook, prefect_server, until, webhook
from tests.e2e.test_faults import write_prices

pytestmark = pytest.mark.slow

SERVE = """
import json, sys
from core.settings import Settings
from flows.environment import configure
configure(Settings())
from prefect import serve
from prefect.flows import EntrypointType
from prefect.schedules import Cron
from flows.ingest import ingest
from flows.train import train

job, prices = json.loads(sys.argv[1]), sys.argv[2]
module = {"entrypoint_type": EntrypointType.MODULE_PATH}
twice = [Cron("* * * * *", slug="one"), Cron("* * * * *", slug="other")]
serve(
    train.to_deployment(name="sine", parameters={"job": job}, **module),
    train.to_deployment(name="twice", parameters={"job": job}, schedules=twice, paused=True, **module),
    train.to_deployment(name="prices", parameters={"job": {**job, "dataset": prices}}, **module),
    ingest.to_deployment(name="prices", parameters={"dataset": prices}, **module),
    limit=4,
)
"""


def nested(values: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return tree


def job_of(seed: int, joint: int = 40) -> dict[str, Any]:
    values = {key: value for key, value in TINY.items() if not key.startswith("dataset.")}
    # By the schema that Prefect checks, sections of a model without `kind` could be several generators'.
    tree = nested(
        {**values, "model.kind": "timegan", "training.joint_iterations": joint, "training.seed": seed}
    )
    return {"dataset": "sine", **tree}


@dataclass
class Operated:
    """A server, a lake, and a process that serves the deployments."""

    server: Server
    place: Place
    hook: Webhook
    deployments: dict[str, str]
    prices: Path

    def start(self, deployment: str, **parameters: Any) -> str:
        """Id of a new run."""
        path = f"/deployments/{self.deployments[deployment]}/create_flow_run"
        return str(self.server.call(path, {"parameters": parameters})["id"])

    def logs(self, run: str) -> str:
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return "\n".join(line["message"] for line in self.server.call("/logs/filter", body))

    def mlflow_runs(self, flow_run: str) -> list[Any]:
        client = self.place.mlflow
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(ids, f"tags.`prefect.flow_run_id` = '{flow_run}'"))

    def training_of(self, flow_run: str) -> Path:
        """The folder where this run's child trains, once it is in the phase `joint`."""

        def joint() -> Path | None:
            for process in psutil.process_iter(["cmdline"]):
                words = process.info["cmdline"] or []
                if "core.training" in words and str(self.place.lake) in words[-2]:
                    folder = Path(words[-2])
                    progress = folder / "progress.json"
                    if progress.is_file() and '"joint"' in progress.read_text():
                        return folder
            assert self.server.state(flow_run)["type"] not in {"FAILED", "CRASHED"}, self.logs(flow_run)
            return None

        return until(joint)


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    lake = tmp_path_factory.mktemp("lake")
    place = make_place(lake)
    prices = lake / "prices.csv"
    write_prices(prices)
    with (
        prefect_server(place, tmp_path_factory.mktemp("server")) as server,
        webhook() as hook,
        temporary_settings({PREFECT_API_URL: server.api}),
    ):
        environment = {
            **place.environment,
            "PREFECT_API_URL": server.api,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PYTHONPATH": str(CORE.parent),
        }
        with (lake / "serve.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVE, json.dumps(job_of(0)), str(prices)],
                env=environment,
                cwd=lake,
                stdout=log,
                stderr=log,
            )

        def deployed() -> bool:
            assert process.poll() is None, (lake / "serve.log").read_text()
            return len(server.call("/deployments/filter", {})) == 4

        try:
            until(deployed)
            flows = {flow["id"]: flow["name"] for flow in server.call("/flows/filter", {})}
            ids = {
                f"{flows[d['flow_id']]}/{d['name']}": d["id"] for d in server.call("/deployments/filter", {})
            }
            ensure(hook.url, heartbeat_seconds=12)
            yield Operated(server, Place(lake, environment), hook, ids, prices)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def test_a_cancelled_run_leaves_a_checkpoint_and_the_next_resumes(operated: Operated) -> None:
    job = job_of(seed=1, joint=3000)
    run = operated.start("train/sine", job=job)
    folder = operated.training_of(run)
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}  # what the button in the UI sends
    operated.server.call(f"/flow_runs/{run}/set_state", cancelling)
    assert operated.server.wait_for_end(run)["name"] == "Cancelled"
    assert processes_with(str(folder)) == []
    found = load_latest_checkpoint(folder / "checkpoints")
    assert found is not None
    assert found[0].phase == 2
    assert [tracked.info.status for tracked in operated.mlflow_runs(run)] == ["KILLED"]
    told = len(operated.hook.told)

    again = operated.start("train/sine", job=job)
    assert operated.server.wait_for_end(again)["name"] == "Completed", operated.logs(again)
    steps = [(point.phase, point.step) for point in read_points(folder / "metrics.jsonl")[0]]
    assert len(steps) == len(set(steps))
    assert json.loads((folder / "result.json").read_text())["resumed"] is True
    assert not [t for t in operated.hook.told[told:] if t.get("flow_run_id")]  # cancelling is no failure


def test_a_killed_run_is_tried_again_by_itself_and_resumes(operated: Operated) -> None:
    run = operated.start("train/sine", job=job_of(seed=2, joint=3000))
    folder = operated.training_of(run)
    child = next(p for p in psutil.process_iter(["cmdline"]) if str(folder) in (p.info["cmdline"] or []))
    parent = psutil.Process(int(child.info["cmdline"][-1]))
    parent.kill()
    until(lambda: operated.server.call(f"/flow_runs/{run}")["run_count"] == 2)
    assert operated.server.wait_for_end(run)["name"] == "Completed", operated.logs(run)
    assert json.loads((folder / "result.json").read_text())["resumed"] is True
    assert any(t.get("flow_run_id") == run and t["state"] == "Crashed" for t in operated.hook.told)


def test_two_runs_of_one_job_at_once_both_succeed_and_train_once(operated: Operated) -> None:
    job = job_of(seed=3, joint=600)
    runs = [operated.start("train/sine", job=job) for _ in range(2)]
    states = [operated.server.wait_for_end(run) for run in runs]
    assert [state["name"] for state in states] == ["Completed"] * 2, [operated.logs(run) for run in runs]
    assert any("waiting for process" in operated.logs(run) for run in runs)
    found = [operated.mlflow_runs(run)[0] for run in runs]
    assert found[0].data.tags["model_version"] == found[1].data.tags["model_version"]
    for name in ("score/discriminative_mean", "score/predictive_mean"):
        assert found[0].data.metrics[name] == found[1].data.metrics[name]


def test_a_slot_is_done_once(operated: Operated) -> None:
    first = operated.start("train/sine", job=job_of(seed=4), slot="event 17")
    assert operated.server.wait_for_end(first)["name"] == "Completed", operated.logs(first)
    second = operated.start("train/sine", job=job_of(seed=5), slot="event 17")
    state = operated.server.wait_for_end(second)
    assert (state["type"], state["name"]) == ("COMPLETED", "Skipped")
    (done,) = operated.mlflow_runs(first)
    assert done.info.run_id in state["message"]
    assert operated.mlflow_runs(second) == []


def test_two_schedules_at_one_time_do_the_work_once(operated: Operated) -> None:
    deployment = operated.deployments["train/twice"]
    operated.server.call(f"/deployments/{deployment}/resume_deployment", {})

    def ended() -> list[dict[str, Any]] | None:
        runs = [run for run in operated.server.runs() if run["deployment_id"] == deployment]
        times: dict[str, list[dict[str, Any]]] = {}
        for run in runs:
            times.setdefault(run["expected_start_time"], []).append(run)
        first = times[min(times)] if times else []
        done = [run for run in first if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}]
        return done if len(done) == 2 else None

    runs = until(ended, 240)
    operated.server.call(f"/deployments/{deployment}/pause_deployment", {})
    assert sorted(run["state_name"] for run in runs) == ["Completed", "Skipped"]
    assert sorted(len(operated.mlflow_runs(run["id"])) for run in runs) == [0, 1]


def test_new_data_are_trained_on_once_and_unchanged_data_not_at_all(operated: Operated) -> None:
    def ingest() -> str:
        run = operated.start("ingest/prices")
        state = operated.server.wait_for_end(run)
        assert state["type"] == "COMPLETED", operated.logs(run)
        return str(state["name"])

    def trainings() -> list[dict[str, Any]]:
        wanted = operated.deployments["train/prices"]
        return [run for run in operated.server.runs() if run["deployment_id"] == wanted]

    assert ingest() == "Completed"
    (first,) = until(trainings)
    assert operated.server.wait_for_end(first["id"])["name"] == "Completed", operated.logs(first["id"])
    assert ingest() == "Unchanged"
    write_prices(operated.prices, rows=140)
    assert ingest() == "Completed"
    second = until(lambda: next((run for run in trainings() if run["id"] != first["id"]), None))
    assert operated.server.wait_for_end(second["id"])["name"] == "Completed", operated.logs(second["id"])
    slots = [run["parameters"]["slot"] for run in (first, second)]
    assert slots[1].startswith(f"new data prices {slots[0].rpartition('-')[2]}-")
    assert len(trainings()) == 2


def test_bad_data_fail_at_once_and_are_told(operated: Operated) -> None:
    operated.prices.write_text("when,price\n")
    run = operated.start("ingest/prices")
    state = operated.server.wait_for_end(run)
    assert state["name"] == "Failed"
    assert "0 rows" in state["message"]
    assert "Retry" not in operated.logs(run)
    told = until(lambda: [t for t in operated.hook.told if t.get("flow_run_id") == run])
    assert "0 rows" in told[0]["message"]


def test_a_run_that_nobody_started_for_prefect_is_found_dead(operated: Operated) -> None:
    words = [word for key, value in TINY.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    long = ["--set", "training.joint_iterations=100000", "--seed", "9"]
    process = operated.place.start("run", "sine", *words, *long)

    def running() -> str | None:
        for run in operated.server.runs():
            if run["deployment_id"] is None and run["state_type"] == "RUNNING":
                return str(run["id"])
        return None

    run = until(running)
    operated.training_of(run)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    state = operated.server.wait_for_end(run)
    assert state["name"] == "Crashed"
    assert "no sign of life" in state["message"]
    until(lambda: [t for t in operated.hook.told if t.get("flow_run_id") == run])
