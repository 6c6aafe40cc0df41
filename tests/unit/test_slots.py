"""The same piece of scheduled work is done once: which piece it is, and who has done it."""

from __future__ import annotations

import types
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from pydantic import BaseModel, TypeAdapter, ValidationError

from core.config import JobConfig
from core.settings import Settings
from tasks import slots
from tasks.slots import SLOT_TAG, SlotName, keep_result, result_of, slot_of, sole
from tasks.tracking import TrackedRun

NEW_YORK = timezone(timedelta(hours=-5))


def job(seed: int = 0) -> JobConfig:
    return JobConfig.model_validate({"dataset": "sine", "training": {"seed": seed}})


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A run of the deployment `train/sine`, as Prefect's context has it."""
    run = types.SimpleNamespace(auto_scheduled=True, expected_start_time=datetime(2026, 3, 2, 11, tzinfo=UTC))
    runtime = types.SimpleNamespace(
        flow_run=types.SimpleNamespace(flow_name="train"), deployment=types.SimpleNamespace(name="sine")
    )
    monkeypatch.setattr(slots, "runtime", runtime)
    monkeypatch.setattr(slots.FlowRunContext, "get", lambda: types.SimpleNamespace(flow_run=run))
    return run


def test_a_scheduled_run_s_slot_is_deployment_time_and_job(
    scheduled: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = slot_of(job(), None)
    assert slot is not None
    assert slot.startswith("train/sine 2026-03-02T11:00:00+00:00 ")
    TypeAdapter(SlotName).validate_python(slot)
    scheduled.expected_start_time = datetime(2026, 3, 2, 6, tzinfo=NEW_YORK)
    assert slot_of(job(), None) == slot
    assert slot_of(job(seed=1), None) != slot
    scheduled.expected_start_time += timedelta(days=1)
    assert slot_of(job(), None) != slot
    monkeypatch.setattr(slots.runtime.deployment, "name", "bob's " + "x" * 300)
    TypeAdapter(SlotName).validate_python(slot_of(job(), None))
    assert slot_of(job(), "event 7") == "event 7"
    scheduled.auto_scheduled = False  # somebody pressed the button
    assert slot_of(job(), None) is None


def test_outside_of_a_flow_there_is_no_slot() -> None:
    assert slot_of(job(), None) is None


@pytest.mark.parametrize("slot", ["", "a' or 1=1", "`x`", "a\nb", "x" * 201])
def test_names_that_a_query_would_not_survive_are_refused(slot: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(SlotName).validate_python(slot)


class Result(BaseModel):
    scores: dict[str, float]


def test_only_a_finished_run_has_done_a_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    settings = Settings(home=tmp_path)
    client = MlflowClient(tracking_uri=uri)
    with sole("one", "sine", settings) as done:
        assert done is None  # there is not even an experiment
    experiment = client.create_experiment("sine", artifact_location=(tmp_path / "artifacts").as_uri())
    made = client.create_run(experiment, tags={SLOT_TAG: "one"}).info.run_id
    run = TrackedRun(tracking_uri=uri, experiment="sine", experiment_id=experiment, run_id=made, url="x")
    keep_result(run, Result(scores={"discriminative": 0.25}))
    for state, known in (("RUNNING", False), ("FAILED", False), ("KILLED", False), ("FINISHED", True)):
        client.update_run(made, status=state)
        with sole("one", "sine", settings) as done:
            assert (done is not None) is known, state
    with sole("one", "sine", settings) as done:
        assert done is not None
        assert result_of(done, Result) == Result(scores={"discriminative": 0.25})
    for other in ("two", None):
        with sole(other, "sine", settings) as done:
            assert done is None
    with sole("one", "another experiment", settings) as done:
        assert done is None

    def second() -> str | None:
        with sole("three", "sine", settings) as done:
            return done.info.run_id if done else None

    with ThreadPoolExecutor(1) as pool:  # locks are of open files, not of processes
        with sole("three", "sine", settings), caplog.at_level("INFO", logger="core.lake"):
            answer = pool.submit(second)
            while not any("waiting for process" in line for line in caplog.messages):
                assert not answer.done()
            late = client.create_run(experiment, tags={SLOT_TAG: "three"}).info.run_id
            client.update_run(late, status="FINISHED")
        assert answer.result(60) == late
