"""Watching through the command line: data go on, drift is found, its retraining is done and registered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.config import JobConfig
from tests.e2e.conftest import TINY, Place, overrides

pytestmark = pytest.mark.slow

TRAINING = {key: value for key, value in TINY.items() if not key.startswith("dataset.")}
WATCH = {"judges": 3, "judge_iterations": 20, "sparse_iterations": 10, "windows": 60, "fewest_windows": 20}


def rows(count: int, spread: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    noise = rng.uniform(size=(count, 2))
    values = np.clip(0.5 * noise + 0.5 * np.roll(noise, 1, axis=0), 0.1, 0.9)
    values[1200:] = 0.5 + spread * (values[1200:] - 0.5)
    stamps = pd.date_range("2024-01-01", periods=count, freq="h")
    return pd.DataFrame({"when": stamps, "x": values[:, 0], "y": values[:, 1]})


def watched(place: Place, path: Path, *words: str, **more: Any) -> dict[str, Any]:
    result = place.lake / "watch.json"
    done = place.call("watch", str(path), *overrides({**WATCH, **more}), *words, "--json", str(result))
    assert done.code == 0, done.err
    tree: dict[str, Any] = json.loads(result.read_text())
    return tree


def test_new_rows_are_watched_and_a_drift_is_trained_away(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    rows(1200).to_csv(path, index=False)
    first = place.run(str(path), *overrides(TRAINING), "--set", "window.length=6")
    assert first["alias"] == "champion"

    rows(1300).to_csv(path, index=False)
    calm = watched(place, path, max_age="3D")
    assert (calm["judged"], calm["drift"], calm["look"]) == (True, False, 1)
    assert calm["freshness"]["stale"]
    assert calm["job"] is None

    rows(1300, spread=0.1).to_csv(path, index=False)
    drift = watched(place, path, "--retrain")
    assert (drift["drift"], drift["look"]) == (True, 2)
    assert drift["mlflow_run_id"] == calm["mlflow_run_id"]
    job = JobConfig.model_validate(drift["job"])
    assert job.training.start_from == "models:/hours-timegan/1"
    assert job.training.update.rule == "magnitude"
    assert (drift["retrained"]["model_name"], drift["retrained"]["model_version"]) == ("hours-timegan", "2")

    client = place.mlflow
    history = client.get_metric_history(drift["mlflow_run_id"], "drift")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.0), (2, 1.0)]
    files = {file.path for file in client.list_artifacts(drift["mlflow_run_id"], "looks/0002")}
    assert files >= {"looks/0002/report.html", "looks/0002/report.json", "looks/0002/look.json"}
    events = place.prefect("SELECT payload FROM events WHERE event = 'timeloom.data.drift'")
    payload = json.loads(events[0][0])
    assert len(events) == 1
    assert JobConfig.model_validate(payload["job"]) == job
    stale = place.prefect("SELECT count(*) FROM events WHERE event = 'timeloom.data.stale'")
    assert stale == [(1,)]


def test_what_is_not_there_to_watch_is_one_block(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "nobody.csv"
    rows(1200).to_csv(path, index=False)
    done = place.call("watch", str(path))
    assert done.code == 2
    assert "there is no champion of nobody-timegan" in " ".join(done.err.split())
    assert "Traceback" not in done.err
    wrong = place.call("watch", str(path), "--set", "max_age=soon")
    assert wrong.code == 2
    assert "such as 3D or 6h" in wrong.err
