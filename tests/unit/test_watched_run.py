"""One MLflow run for all looks at a model: real tables, real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from core.errors import ConfigError
from core.schema import validated
from core.settings import Settings
from core.watch.options import WatchConfig
from tasks.registry.watched import _rows, find_champion
from tasks.watched_run import LOOKS_TAG, WATCH_TAG, watched_run


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database: its tables take seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(uri: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    return MlflowClient(tracking_uri=uri)


def config(**more: Any) -> WatchConfig:
    dataset = {"name": "set", "source": {"kind": "file", "path": "x.csv"}}
    return validated(WatchConfig, {"dataset": dataset, **more})


def test_looks_are_steps_of_one_run_and_one_that_fails_does_not_count(
    client: MlflowClient, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    with watched_run(config(), settings) as first:
        first.log_metrics({"drift": 0.0})
        assert client.get_run(first.run_id).info.status == "RUNNING"
    with pytest.raises(RuntimeError), watched_run(config(level=0.05), settings) as failed:
        raise RuntimeError
    assert client.get_run(first.run_id).info.status == "FAILED"
    with watched_run(config(level=0.05), settings) as second:
        second.log_metrics({"drift": 1.0})
        second.log_metrics({"seconds/watch": 3.0})
    assert first.run_id == failed.run_id == second.run_id
    assert (first.look, failed.look, second.look) == (1, 2, 2)
    history = client.get_metric_history(first.run_id, "drift")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.0), (2, 1.0)]
    assert client.get_metric_history(first.run_id, "seconds/watch")[0].step == 2
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[WATCH_TAG] == "set-timegan"
    assert run.data.tags[LOOKS_TAG] == "2"
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{second.folder}/config.yaml")
    assert "level: 0.05" in text
    with watched_run(config(model="another"), settings) as other:
        assert other.run_id != first.run_id
        assert other.look == 1


def test_how_many_rows_a_champion_had_outlasts_its_run(client: MlflowClient) -> None:
    client.create_registered_model("counted")
    run, gone = client.create_run("0", tags={"data.rows": "90"}).info.run_id, "f" * 32
    found = [
        client.create_model_version("counted", "elsewhere", run_id=made_by, tags=tags)
        for made_by, tags in ((run, {"data_rows": "80"}), (run, {}), (gone, {"data_rows": "70"}), (gone, {}))
    ]
    assert [_rows(client, version) for version in found] == [80, 90, 70, None]


def test_without_a_champion_it_says_what_to_do(client: MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no champion of set-timegan.*timeloom promote"):
        find_champion("set-timegan", Settings(home=tmp_path))
    client.create_registered_model("set-timegan")
    with pytest.raises(ConfigError, match="no champion of set-timegan"):
        find_champion("set-timegan", Settings(home=tmp_path))
