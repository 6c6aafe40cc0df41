"""The flow `generate` on a real server: what it writes, logs and shows, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Place

SCRIPT = """
import json, sys
from core.settings import Settings
from flows.environment import configure
settings = Settings()
configure(settings)
from flows.server import prefect_api
with prefect_api(settings):
    from flows.generate import generate
    state = generate(json.loads(sys.argv[1]), return_state=True)
    print("STATE", state.type.value, state.message)
    if state.is_completed():
        print("RESULT", state.result().model_dump_json())
"""


def flow(place: Place, **job: Any) -> tuple[str, dict[str, Any]]:
    """Run it in a process of its own: the words of its state, and its result."""
    call = [sys.executable, "-c", SCRIPT, json.dumps(job)]
    done = subprocess.run(
        call, cwd=place.lake, env=place.environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("STATE", "RESULT")))
    return said["STATE"], json.loads(said.get("RESULT", "{}"))


@pytest.mark.slow
def test_the_flow_writes_logs_and_shows(place: Place, first: dict[str, Any], tmp_path: Path) -> None:
    version = f"{first['model_name']}/{first['model_version']}"
    state, result = flow(place, model=version, output=f"{tmp_path}/x.parquet", windows=9, seed=4)
    assert state.startswith("COMPLETED")
    by_hand = tmp_path / "y.parquet"
    assert place.call("generate", version, "-n", "9", "--seed", "4", "-o", str(by_hand)).code == 0
    assert (tmp_path / "x.parquet").read_bytes() == by_hand.read_bytes()
    assert pd.read_parquet(by_hand)["window"].nunique() == 9
    lineage = json.loads(pq.read_metadata(by_hand).metadata[b"timeloom"])
    assert (lineage["name"], lineage["version"]) == (first["model_name"], first["model_version"])
    assert lineage["run_id"] == first["mlflow_run_id"]

    run = place.mlflow.get_run(result["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.info.experiment_id == place.mlflow.get_run(first["mlflow_run_id"]).info.experiment_id
    assert run.data.params["seed"] == "4"
    assert run.data.metrics["windows"] == 9
    assert len(run.inputs.model_inputs) == 1
    assert [file.path for file in place.mlflow.list_artifacts(run.info.run_id)] == [
        "config.yaml",
        "generated.json",
    ]
    shown = place.prefect("select key from artifact where flow_run_id = ?", _uuid(place, result["flow_run_id"]))
    assert {"generation-progress", "mlflow-run", "synthetic-data", "synthetic-rows"} <= {
        row[0] for row in shown
    }


@pytest.mark.slow
def test_the_flow_refuses_before_the_work(place: Place, first: dict[str, Any], tmp_path: Path) -> None:
    version, output = f"{first['model_name']}/{first['model_version']}", f"{tmp_path}/x.parquet"
    experiment = place.mlflow.get_run(first["mlflow_run_id"]).info.experiment_id
    runs = len(place.mlflow.search_runs([experiment]))
    for job, says in (
        ({"model": "nothing@champion"}, "there is no model"),
        ({"model": version, "condition": {"a": 1}}, "takes no condition"),
        ({"model": version, "form": "series", "steps": 100, "overlap": 99}, "overlap from 1 to"),
    ):
        state, _ = flow(place, output=output, **job)
        assert state.startswith("FAILED")
        assert says in state
    assert list(tmp_path.iterdir()) == []
    assert len(place.mlflow.search_runs([experiment])) == runs


def _uuid(place: Place, text: str) -> str:
    """As the server's database writes it."""
    rows = place.prefect("select id from flow_run")
    return next(str(row[0]) for row in rows if str(row[0]).replace("-", "") == text.replace("-", ""))
