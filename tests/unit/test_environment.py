"""What is set before Prefect and MLflow are imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.settings import Settings
from flows.environment import configure


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for name in list(os.environ):
        if name.startswith(("PREFECT_", "MLFLOW_", "TIMELOOM_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.chdir(tmp_path)
    os.environ["TIMELOOM_HOME"] = "lake"
    return Settings(home=Path("lake"))


def test_state_is_kept_in_the_lake_wherever_a_child_runs(settings: Settings, tmp_path: Path) -> None:
    configure(settings)
    lake = tmp_path / "lake"
    assert settings.lake == lake
    assert os.environ["TIMELOOM_HOME"] == str(lake)
    assert os.environ["PREFECT_HOME"] == str(lake / "prefect")
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{lake}/mlflow/mlflow.db"


def test_what_the_user_set_wins(settings: Settings) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = "http://mlflow.example:5000"
    configure(settings)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://mlflow.example:5000"


def test_the_recorder_sleeps_between_two_flushes(settings: Settings) -> None:
    """Prefect takes the integer part; at 0 its server spins on a whole core."""
    configure(settings)
    assert int(float(os.environ["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL"])) >= 1
