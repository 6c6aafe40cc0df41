"""A look at a champion on data that went on: which rows are new, what they are called, what is written."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.config import JobConfig
from core.errors import DataError
from core.generators.bundle import GeneratorBundle
from core.generators.timegan import TimeGAN
from core.handles import PreparedRef
from core.prepare.build import prepare
from core.prepare.series import PreparedSeries
from core.schema import validated
from core.training.job import series_info
from core.watch.champion import Champion
from core.watch.look import WatchRef, look
from core.watch.options import WatchConfig
from core.watch.rows import Found, learnt_series
from tests.unit.laid_snapshot import lay_snapshot

OLD, NEW, LENGTH = 900, 90, 6
DATASET: dict[str, Any] = {"name": "set", "source": {"kind": "file", "path": "x.csv"}}
QUICK = {"judges": 3, "judge_iterations": 2, "windows": 60, "fewest_windows": 20}


def frame(rows: int, *, seed: int = 0) -> pd.DataFrame:
    """Two bounded columns by the hour: nothing that comes later leaves the range of what came before."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(size=(rows, 2))
    values = np.clip(0.5 * noise + 0.5 * np.roll(noise, 1, axis=0), 0.1, 0.9)
    stamps = pd.date_range("2024-01-01", periods=rows, freq="h").as_unit("us")
    return pd.DataFrame({"when": stamps, "<b>x|": values[:, 0], "y": values[:, 1]})


@dataclass(frozen=True)
class Scene:
    """A lake in which a champion learnt the first rows."""

    lake: Path
    champion: Champion
    tree: dict[str, Any]

    def config(self, **more: Any) -> WatchConfig:
        return validated(WatchConfig, {"dataset": self.tree, **QUICK, **more})

    def prepared(self, data: pd.DataFrame) -> PreparedRef:
        """Under a lake of its own: the same snapshot can be laid once in each."""
        dataset, window = self.config().dataset, self.champion.job.window
        with tempfile.TemporaryDirectory() as place:
            return prepare(dataset, window, lay_snapshot(Path(place), data), self.lake)

    def look(self, data: pd.DataFrame, **more: Any) -> tuple[WatchRef, dict[str, Any]]:
        ref = look(self.config(**more), self.prepared(data), self.champion, self.lake)
        return ref, json.loads((ref.path / "report.json").read_text())

    def found(self, data: pd.DataFrame, rows: int | None = None) -> Found:
        bundle, job = GeneratorBundle.load(self.champion.path), self.champion.job
        series = PreparedSeries.open(self.prepared(data).path)
        return Found(series, bundle, job.window, (), learnt_series(bundle, self.lake), rows)


def scene(lake: Path, data: pd.DataFrame, **dataset: Any) -> Scene:
    """A champion that was never trained: what is looked at is what surrounds it."""
    tree = {**DATASET, **dataset}
    job = validated(JobConfig, {"dataset": tree, "window": {"length": LENGTH}})
    learnt = prepare(job.dataset, job.window, lay_snapshot(lake, data), lake)
    series = PreparedSeries.open(learnt.path)
    folder = lake / "champion"
    folder.mkdir()
    generator = TimeGAN(length=LENGTH, channels=series.layout.channels, hidden=4, layers=1, seed=0)
    GeneratorBundle(generator, series_info(series, series.layout, learnt.digest)).save(folder)
    champion = Champion(
        name="set-timegan", version="1", path=folder, digest="files", job=job, first_job=job, scores={}
    )
    return Scene(lake, champion, tree)


@pytest.fixture
def set_(tmp_path: Path) -> Scene:
    return scene(tmp_path, frame(OLD + NEW).iloc[:OLD])


def test_rows_of_the_same_law_are_no_drift_and_a_look_is_kept(set_: Scene) -> None:
    data = frame(OLD + NEW)
    ref, report = set_.look(data)
    assert (ref.judged, ref.drift, ref.reasons, ref.retrain) == (True, False, (), None)
    assert ref.new_rows == report["new"]["rows"] == NEW
    assert report["new"]["windows"] == NEW - LENGTH + 1
    assert report["new"]["judged"] == 60
    assert report["new"]["from"] == str(data["when"].iloc[OLD])
    assert report["training"] == {
        "rows": OLD,
        "from": "2024-01-01",
        "to": str(data["when"].iloc[OLD - 1]),
        "windows": OLD - LENGTH + 1,
        "here": True,
    }
    assert report["restated"] == {
        "rows": OLD,
        "changed": 0,
        "gone": 0,
        "added": 0,
        "first": None,
        "columns": [],
    }
    assert {path.name for path in (ref.path / "plots").iterdir()} == {"columns.png", "timeline.png"}
    assert ref.metrics["new_rows"] == NEW
    assert all(np.isfinite(value) for value in ref.metrics.values())
    again = look(set_.config(max_age="1D"), set_.prepared(data), set_.champion, set_.lake)
    assert again.reused
    assert again.metrics == ref.metrics


def test_scores_are_held_against_stretches_that_share_no_window(
    set_: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Any] = []
    monkeypatch.setattr("core.watch.look.score_losses", lambda _, pairs, **__: judged.extend(pairs) or [])
    set_.look(frame(OLD + NEW), judges=50)
    windows = np.concatenate([real.reshape(len(real), -1) for real, _ in judged])
    assert len(judged) == (OLD - LENGTH + 1) // 60  # of so many windows each, side by side
    assert len(np.unique(windows, axis=0)) == len(windows) == 60 * len(judged)


def test_names_stay_text_in_the_pages(set_: Scene) -> None:
    data = frame(OLD + NEW)
    data.loc[OLD:, ["<b>x|", "y"]] += 3
    ref, _ = set_.look(data)
    page = (ref.path / "report.html").read_text()
    assert "<b>x" not in page
    assert "&lt;b&gt;x|" in page
    assert "default-src 'none'" in page
    text = (ref.path / "report.md").read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;x\\|" in text


def test_what_lies_outside_the_range_asks_for_a_training_from_scratch(set_: Scene) -> None:
    data = frame(OLD + NEW)
    data.loc[OLD:, "y"] += 3
    ref, report = set_.look(data)
    assert ref.drift
    assert ref.retrain == "full"
    assert report["outside"] == {"y": NEW}
    assert report["outside_share"] == 0.5
    assert "50 % of the new cells" in ref.reasons[0]
    assert "training from scratch" in ref.findings[-1]
    allowed, _ = set_.look(data, outside=0.6, retrain="never")
    assert allowed.drift  # the windows differ all the same
    assert allowed.retrain is None


def test_another_spread_within_the_range_asks_for_a_sparse_one(set_: Scene) -> None:
    data = frame(OLD + NEW)
    data.loc[OLD:, ["<b>x|", "y"]] = 0.5 + 0.05 * (data.loc[OLD:, ["<b>x|", "y"]] - 0.5)
    ref, report = set_.look(data)
    assert ref.drift
    assert ref.retrain == "sparse"
    assert report["outside"] == {}
    assert {column["column"] for column in report["columns"] if column["drifted"]} == {"<b>x|", "y"}


def test_too_few_new_rows_are_not_judged(set_: Scene) -> None:
    data = frame(OLD + NEW)
    data.loc[OLD:, "y"] += 3
    few, report = set_.look(data.iloc[: OLD + 20])
    assert (few.judged, few.drift, few.retrain) == (False, False, None)
    assert "20 new rows give 15 windows, at least 20 are needed" in few.findings[0]
    assert report["outside"] == {"y": 20}  # said, not judged
    none, _ = set_.look(frame(OLD + NEW).iloc[: OLD - 1])
    assert (none.judged, none.new_rows) == (False, 0)
    assert "no rows that the champion's data did not have" in none.findings[0]
    assert "1 are gone" in none.findings[1]
    short, _ = set_.look(data, fewest_windows=80)
    assert "stretches of 60, stretches of at least 80 are needed" in short.findings[0]


def test_a_changed_past_is_told_row_by_row(set_: Scene) -> None:
    data = frame(OLD + NEW)
    data.loc[[17, 400], "y"] += 0.01
    data = data.drop(index=[30, 31, 32])
    found = set_.found(data).restated()
    assert found is not None
    assert (found.rows, found.changed, found.gone, found.added) == (OLD, 2, 3, 0)
    assert found.first == str(frame(OLD)["when"].iloc[17])
    assert found.columns == ("y",)
    extra = pd.DataFrame({"when": [pd.Timestamp("2023-12-31")], "<b>x|": [0.5], "y": [0.5]})
    extra["when"] = extra["when"].dt.as_unit("us")
    more = set_.found(pd.concat([extra, frame(OLD + NEW)])).restated()
    assert more is not None
    assert (more.changed, more.gone, more.added) == (0, 0, 1)


def test_a_first_row_without_a_difference_is_no_changed_past(tmp_path: Path) -> None:
    data = frame(OLD + NEW)
    place = scene(tmp_path, data.iloc[:OLD], columns={"y": {"kind": "continuous", "transform": "difference"}})
    data.loc[OLD:, "y"] *= 2  # so that the ranges, and what encodes no difference, differ
    found = place.found(data).restated()
    assert found is not None
    assert not found.any


def test_without_the_training_rows_the_past_of_today_is_compared(set_: Scene) -> None:
    data = frame(OLD + NEW)
    bundle = GeneratorBundle.load(set_.champion.path)
    elsewhere = GeneratorBundle(bundle.generator, replace(bundle.series, digest="f" * 64))
    found = replace(set_.found(data), bundle=elsewhere, learnt=learnt_series(elsewhere, set_.lake))
    assert found.learnt is None
    assert found.restated() is None
    assert found.is_new.tolist() == [False] * OLD + [True] * NEW
    assert len(found.training()) == OLD - LENGTH + 1
    own = set_.found(data)
    index = np.arange(len(own.training()))
    np.testing.assert_allclose(
        found.training().take(index).values, own.training().take(index).values, atol=1e-6
    )


def test_an_unknown_category_is_a_drift_that_only_a_new_training_mends(tmp_path: Path) -> None:
    data = frame(OLD + NEW)
    data["kind"] = np.where(np.arange(len(data)) % 3, "a", "b")
    place = scene(tmp_path, data.iloc[:OLD], columns={"kind": "categorical"})
    data.loc[OLD + 40, "kind"] = "never seen"
    ref, _ = place.look(data)
    assert ref.drift
    assert ref.retrain == "full"
    assert "never seen" in ref.reasons[0]


def test_without_time_the_rows_beyond_the_count_are_new(tmp_path: Path) -> None:
    data = frame(OLD + NEW).drop(columns="when")
    place = scene(tmp_path, data.iloc[:OLD], time={"none": True})
    ref, report = place.look(data)
    assert ref.new_rows == NEW
    assert report["new"]["from"] is None
    found = place.found(data)
    assert replace(found, learnt=None, rows=OLD - 5).is_new.sum() == NEW + 5
    with pytest.raises(DataError, match="neither this lake nor MLflow knows"):
        _ = replace(found, learnt=None, rows=None).is_new


def test_time_that_comes_or_goes_is_refused(set_: Scene) -> None:
    found = set_.found(frame(OLD + NEW))
    info = replace(found.bundle.series, time=None)
    with pytest.raises(DataError, match="a time now and the model's carried no time"):
        _ = replace(found, bundle=GeneratorBundle(found.bundle.generator, info)).border


def test_new_rows_of_many_series_are_those_after_the_last_stamp(tmp_path: Path) -> None:
    data = pd.concat([frame(OLD + NEW, seed=seed).assign(who=name) for seed, name in enumerate("qp")])
    learnt = data[data["when"] < frame(OLD + 1)["when"].iloc[OLD]]
    place = scene(tmp_path, learnt, series="who")
    ref, report = place.look(data)
    assert ref.new_rows == 2 * NEW
    assert report["new"]["windows"] == 2 * (NEW - LENGTH + 1)
    assert report["restated"]["changed"] == report["restated"]["gone"] == report["restated"]["added"] == 0
    side = place.found(data).new()
    assert side is not None
    assert (np.diff(side.first) >= 0).all()
