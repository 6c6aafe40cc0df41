"""`timeloom serve`: a deployment that runs with the parameters it is given."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from typing import Any

import pytest

from core.settings import Settings
from core.sources.resolve import resolve_dataset
from tests.e2e.conftest import TINY, Place, Wait


@pytest.mark.slow
def test_a_served_deployment_runs_what_the_api_asks_for(fresh: Place, wait: Wait) -> None:
    process = fresh.start("serve", "sine", "--cron", "0 6 * * 1", "--timezone", "America/New_York")
    api = f"http://127.0.0.1:{fresh.environment['TIMELOOM_PREFECT_PORT']}/api"

    def call(path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(api + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def deployed() -> bool:
        try:
            return bool(call("/deployments/filter", {}))
        except OSError:
            return False

    wait(deployed)
    (deployment,) = call("/deployments/filter", {})
    (schedule,) = deployment["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 6 * * 1", "America/New_York")
    job = deployment["parameters"]["job"]
    assert job == {"dataset": "sine", "preset": "quick"}
    job["dataset"] = resolve_dataset("sine", Settings().catalog).dataset.model_dump(
        mode="json", exclude_none=True
    )
    for key, value in TINY.items():
        *sections, name = key.split(".")
        place = job
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    run = call(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"job": job}})

    def ended() -> bool:
        time.sleep(1)
        return str(call(f"/flow_runs/{run['id']}")["state_type"]) in {"COMPLETED", "FAILED", "CRASHED"}

    wait(ended)
    assert call(f"/flow_runs/{run['id']}")["state_type"] == "COMPLETED"
    assert fresh.mlflow.get_model_version_by_alias("sine-timegan", "champion").tags["dataset"] == "sine"
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "One run at a time" in said
