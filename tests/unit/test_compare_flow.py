"""The flow `compare` without training: what it makes of trainings that succeed and fail."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flows.compare
from core.catalog import DatasetConfig
from core.config import build_job
from core.errors import TimeloomError, TrainingDivergedError
from flows.compare import compare
from tests.unit.report_scores import small_scores

JOB = build_job(DatasetConfig.model_validate({"name": "waves", "source": {"kind": "sine"}}))


class State:
    """What a flow run came to."""

    def __init__(self, result: Any, cancelled: bool = False) -> None:
        self.found, self.cancelled, self.message = result, cancelled, "by hand"

    def is_cancelled(self) -> bool:
        return self.cancelled

    def result(self) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The flow's rows and the keys of what it shows, given what each training came to."""
    monkeypatch.setenv("TIMELOOM_HOME", str(tmp_path))
    monkeypatch.setattr(flows.compare, "configure", lambda _: None)

    def trained(kind: str) -> Any:
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "scores.json").write_text(json.dumps(small_scores()))
        scores = {"discriminative_mean": 0.2, "predictive_mean": 0.1}
        return SimpleNamespace(
            scores=scores, train_seconds=1.0, mlflow_run_id="1", report=str(folder / "report.html")
        )

    def start(outcomes: dict[str, Exception | None]) -> tuple[list[Any], list[str]]:
        shown: list[str] = []
        monkeypatch.setattr(
            flows.compare,
            "train",
            lambda job, **_: State(outcomes[job.model.kind] or trained(job.model.kind)),
        )
        for show in ("show_table", "show_markdown"):
            monkeypatch.setattr(flows.compare, show, lambda key, *_: shown.append(key))
        return compare.fn(JOB, list(outcomes)), shown

    return start


def test_two_that_succeed_are_reported_together(run, tmp_path):
    rows, shown = run({"timegan": None, "rcgan": TrainingDivergedError("NaN"), "wavenet": None})
    assert [row.error for row in rows] == [None, "NaN", None]
    assert [row.discriminative_std for row in rows] == [None] * 3
    assert shown == ["comparison"] * 3 + ["comparison-report"]
    (page,) = (tmp_path / "comparisons" / "waves").glob("*/comparison.html")
    assert "wavenet" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "outcomes",
    [
        {"timegan": None},
        {"timegan": TrainingDivergedError("NaN"), "rcgan": None},
        {"timegan": TrainingDivergedError("NaN"), "rcgan": TrainingDivergedError("NaN")},
    ],
)
def test_the_table_of_fewer_than_two_is_no_failure(run, tmp_path, outcomes):
    rows, shown = run(outcomes)
    assert [row.error is None for row in rows] == [error is None for error in outcomes.values()]
    assert set(shown) == {"comparison"}
    assert not (tmp_path / "comparisons").exists()


def test_a_cancelled_training_ends_the_comparison(monkeypatch):
    monkeypatch.setattr(flows.compare, "configure", lambda _: None)
    monkeypatch.setattr(flows.compare, "train", lambda *_, **__: State(None, cancelled=True))
    with pytest.raises(TimeloomError, match="cancelled: by hand"):
        compare.fn(JOB, ["timegan"])
