from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import flows.evaluate
from core.catalog import DatasetConfig
from core.config import EvaluationConfig
from core.errors import ConfigError, DataError, StorageError
from core.evaluation.files.read import read_windows
from core.evaluation.files.subject import file_subject
from core.evaluation.report.folder import COMPARISON, PICTURES, REPORT, replace_report, scratch_folder
from core.evaluation.report.plots import draw_plots
from core.evaluation.report.view import view_windows
from flows.cli import app
from flows.evaluate import evaluate_files, evaluation_options

BRIEF = EvaluationConfig(
    judges=2,
    discriminative_iterations=10,
    predictive_iterations=10,
    batch_size=16,
    references=False,
    stronger_judges=(),
    forecasters=False,
    distances=False,
    plot_windows=20,
    overlays=("pca",),
)


@pytest.fixture
def windows() -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(300, 2)).cumsum(axis=0)
    return np.lib.stride_tricks.sliding_window_view(rows, 6, axis=0).swapaxes(1, 2)


@pytest.fixture
def files(tmp_path: Path, windows: np.ndarray) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.npy" for name in ("real", "copies", "noise", "shuffled", "wide")}
    rng = np.random.default_rng(1)
    np.save(paths["real"], windows)
    np.save(paths["copies"], windows[:150])
    np.save(paths["noise"], rng.normal(size=(150, 6, 2)))
    np.save(paths["shuffled"], windows[rng.permutation(len(windows))])
    np.save(paths["wide"], rng.normal(size=(150, 6, 3)))
    return paths


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be judged, and is not."""
    subjects: list[Any] = []

    def evaluate_windows(subject: Any, out: Path | None, *_: Any) -> dict[str, float]:
        subjects.append((subject, out))
        return {"discriminative_mean": 0.1}

    monkeypatch.setattr(flows.evaluate, "evaluate_windows", evaluate_windows)
    return subjects


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_several_files_are_judged_alone_and_compared(tmp_path, files):
    out = tmp_path / "out"
    scores = evaluate_files(
        files["real"], [files["copies"], files["noise"]], options=BRIEF, holdout=0.3, output=out
    )
    assert list(scores) == ["copies", "noise"]
    assert scores["copies"]["privacy_exact_copies"] > 100
    assert scores["noise"]["privacy_exact_copies"] == 0
    assert scores["noise"]["privacy_distance_to_closest_record"] > 0.05
    assert all("holdout_discriminative_training" in found for found in scores.values())
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "copies" in page
    assert "noise" in page
    for name in scores:
        found = json.loads((out / name / "scores.json").read_text())
        # That they overlap at stride 1 is read off them: 210 of 300 rows are learnt, 6 are purged.
        assert found["holdout"]["windows"] == {"training": 210 - 5, "holdout": 90 - 6 - 5}
        assert found["discriminative"]["mean"] == scores[name]["discriminative_mean"]
    written = {f"{name}/{part}" for name in scores for part in REPORT if "training" not in part}
    assert everything_in(out) == written | set(COMPARISON)


def test_a_new_report_takes_the_place_of_the_old_one_and_of_nothing_else(tmp_path, files):
    out = tmp_path / "out"
    (out / "plots").mkdir(parents=True)
    for name in (*REPORT, *COMPARISON, "notes.txt", "plots/mine.png"):
        (out / name).write_text("old")
    for path in (files["real"], files["noise"]):
        np.save(path, np.load(path)[..., :1])
    evaluate_files(files["real"], [files["noise"]], options=BRIEF, output=out)
    # One feature has no correlations, window files have no training.
    gone = {"plots/correlations.png", "plots/training.png", *COMPARISON}
    assert everything_in(out) == {*REPORT, "notes.txt", "plots/mine.png"} - gone
    old = {name for name in everything_in(out) if (out / name).read_bytes() == b"old"}
    assert old == {"notes.txt", "plots/mine.png"}


def test_an_evaluation_that_fails_leaves_the_old_report(tmp_path, files, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("old")

    def fail(_: Any, folder: Path, *__: Any) -> None:
        (folder / "report.html").write_text("half")
        raise DataError("no")

    monkeypatch.setattr(flows.evaluate, "evaluate_windows", fail)
    for synthetic in ([files["noise"]], [files["noise"], files["copies"]]):
        with pytest.raises(DataError, match="no"):
            evaluate_files(files["real"], synthetic, options=BRIEF, output=out)
        assert (out / "report.html").read_text() == "old"
        assert everything_in(out) == {"report.html"}


def test_every_picture_of_a_report_is_known(tmp_path, windows):
    training = {"discriminative": [(1.0, 0.5), (2.0, 0.4)]}
    view = view_windows(
        windows, windows, (windows, windows), ["a", "b"], windows=20, overlays=("pca",), training=training
    )
    assert {plot.name for plot in draw_plots(view, tmp_path / "plots")} == set(PICTURES)


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("real.npy", ConfigError, "expected a folder, this is a file"),
        ("real.npy/deeper", StorageError, "could not write into"),
        ("taken", ConfigError, "report.html is a folder there"),
        ("filed", ConfigError, "plots is a file there"),
    ],
)
def test_a_place_that_takes_no_report_is_refused_before_anything_is_judged(
    tmp_path, files, judged, place, error, words
):
    (tmp_path / "taken" / "report.html").mkdir(parents=True)
    (tmp_path / "filed").mkdir()
    (tmp_path / "filed" / "plots").touch()
    for synthetic in ([files["noise"]], [files["noise"], files["copies"]]):
        with pytest.raises(error, match=words):
            evaluate_files(files["real"], synthetic, options=BRIEF, output=tmp_path / place)
    assert not judged


def test_a_report_that_cannot_be_put_in_its_place_is_told(tmp_path):
    with scratch_folder(tmp_path / "out") as scratch:
        (scratch / "report.html").touch()
        (tmp_path / "out" / "report.html").mkdir()
        with pytest.raises(StorageError, match="could not put the report"):
            replace_report(tmp_path / "out", scratch)


def test_every_file_is_read_and_fitted_before_the_first_is_judged(tmp_path, files, judged):
    for second, words in (("wide", "same features"), ("broken", "must be finite"), ("missing", None)):
        path = tmp_path / f"{second}.npy"
        if second == "broken":
            values = np.load(files["noise"])
            values[3, 2, 1] = np.nan
            np.save(path, values)
        with pytest.raises(DataError if words else ConfigError, match=words) as caught:
            evaluate_files(files["real"], [files["noise"], path], options=BRIEF)
        assert str(path) in str(caught.value)
    assert not judged


def test_files_of_one_name_are_refused(tmp_path, files):
    twin = tmp_path / "elsewhere" / "copies.npy"
    twin.parent.mkdir()
    twin.write_bytes(files["copies"].read_bytes())
    with pytest.raises(ConfigError, match="different names, got copies, copies"):
        evaluate_files(files["real"], [files["copies"], twin], options=BRIEF)


def test_without_a_folder_nothing_is_drawn(files, judged):
    evaluate_files(files["real"], [files["noise"], files["copies"]], options=BRIEF)
    assert [out for _, out in judged] == [None, None]


def test_shuffled_windows_are_judged_without_a_hold_out_alone(files, judged, caplog):
    with pytest.raises(DataError, match=r"not in the order of time.*before they were shuffled"):
        evaluate_files(files["shuffled"], [files["noise"]], options=BRIEF, holdout=0.2)
    assert not judged
    evaluate_files(files["shuffled"], [files["noise"]], options=BRIEF)
    ((subject, _),) = judged
    assert subject.starts is None
    assert "not in the order of time" in caplog.text


def test_an_array_is_judged_against_a_table(tmp_path, files, windows):
    """As in the README: rows of both are checked under the names of the real windows."""
    frame = pd.DataFrame(windows[:100].reshape(-1, 2), columns=["a", "b"]).round(1)
    frame["window"], frame["step"] = np.arange(600) // 6, np.arange(600) % 6
    frame.to_parquet(tmp_path / "theirs.parquet")
    whole = pd.DataFrame(np.arange(1200).reshape(-1, 2), columns=["feature 1", "feature 2"])
    np.save(files["real"], whole.to_numpy().reshape(-1, 6, 2))
    evaluate_files(files["real"], [tmp_path / "theirs.parquet"], options=BRIEF, output=tmp_path / "out")
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [row["name"] for row in scores["features"]] == ["feature 1", "feature 2"]
    broken = {row["rule"]: row["broken"] for row in scores["validity"]}
    for place, name in enumerate(("a", "b"), 1):
        assert broken[f"feature {place}: whole numbers"] == (frame[name] % 1 != 0).sum()


def test_no_more_windows_are_judged_than_wanted(files, caplog):
    real, noise = read_windows(files["real"]), read_windows(files["noise"])
    options = EvaluationConfig(max_windows=30, seed=3)
    subject = file_subject(real, noise, options, holdout=0.3)
    learnt = np.load(files["real"])
    assert subject.real.shape == subject.synthetic.shape == subject.held_out.windows.shape == (30, 6, 2)
    assert (subject.real == learnt[subject.starts]).all()
    assert (subject.held_out.windows == learnt[subject.held_out.first]).all()
    assert subject.starts.max() < 205 < subject.held_out.first.min()
    assert (subject.held_out.last == subject.held_out.first + 5).all()
    assert [len(frame) for frame in subject.frames] == [6 * 205, 6 * 150]
    assert "30 of 205 real windows are judged" in caplog.text
    again = file_subject(real, noise, options, holdout=0.3)
    assert (again.synthetic == subject.synthetic).all()
    assert len(file_subject(real, noise, EvaluationConfig()).real) == 295


@pytest.mark.parametrize(
    ("calendar", "wanted", "looked_for"),
    [("XNYS", None, True), ("XNYS", False, False), (None, None, False), (None, True, True)],
)
def test_stylised_facts_are_of_markets(files, calendar, wanted, looked_for):
    dataset = DatasetConfig.model_validate(
        {"name": "x", "source": {"path": "x.csv"}, "time": {"calendar": calendar}}
    )
    windows = [read_windows(files[name]) for name in ("real", "noise")]
    subject = file_subject(*windows, EvaluationConfig(stylised_facts=wanted, max_windows=100), dataset=dataset)
    assert (subject.prices is not None) == looked_for
    if subject.prices:
        assert (subject.prices.real == subject.real).all()
        assert (subject.prices.synthetic == subject.synthetic).all()
    alone = file_subject(*windows, EvaluationConfig(stylised_facts=wanted))
    assert (alone.prices is not None) == bool(wanted)


def test_options_come_from_the_configurations_section():
    assert evaluation_options() == EvaluationConfig()
    options = evaluation_options(["evaluation.stronger_judges=[]", "evaluation.judges=3"], seed=5)
    assert options == EvaluationConfig(stronger_judges=(), judges=3, seed=5)
    assert evaluation_options(["evaluation={judges: 3, seed: 2}"], judges=4).judges == 4


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["evaluation.judgs=3"], "did you mean evaluation.judges"),
        (["evaluation.judges=0"], "evaluation.judges: "),
        (["training.seed=1"], "unknown key training"),
        (["evaluation=1"], "evaluation: "),
        (["evaluation.judges"], "expected key=value"),
    ],
)
def test_other_options_are_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        evaluation_options(overrides)


def test_the_command_takes_overrides_and_a_datasets_declarations(files, tmp_path, monkeypatch):
    monkeypatch.setenv("TIMELOOM_HOME", str(tmp_path / "lake"))
    called: dict[str, Any] = {}

    def note(*paths: Any, **how: Any) -> dict[str, dict[str, float]]:
        called.update(how, paths=paths)
        return {"noise": {"a": 0.5}, "copies": {"a": 0.25, "b": 1.0}}

    monkeypatch.setattr(flows.evaluate, "evaluate_files", note)
    words = [str(files[name]) for name in ("real", "noise", "copies")]
    more = ["--set", "evaluation.privacy=false", "--set", "evaluation.seed=4", "--judges", "2"]
    app(
        ["evaluate", *words, *more, "--dataset", "sp500", "--json", str(tmp_path / "x.json")],
        exit_on_error=False,
        result_action="return_value",
    )
    assert called["options"] == EvaluationConfig(privacy=False, seed=4, judges=2)
    assert called["dataset"].time.calendar == "XNYS"
    assert called["holdout"] == 0
    assert json.loads((tmp_path / "x.json").read_text())["copies"] == {"a": 0.25, "b": 1.0}


def test_declarations_that_fit_no_column_are_told(files, caplog):
    dataset = DatasetConfig.model_validate(
        {"name": "x", "source": {"path": "x.csv"}, "expectations": {"ranges": {"Volume": {"min": 0}}}}
    )
    evaluate_files(files["real"], [files["noise"]], options=BRIEF, dataset=dataset)
    assert "Volume is not checked" in caplog.text
