from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core.catalog import Expectations
from core.config import EvaluationConfig
from core.errors import ConfigError, DataError
from core.evaluation.evaluate import Subject, evaluate_windows
from core.evaluation.judges.holdout import hold_out_windows
from core.evaluation.judges.paper_scores import discriminative_score, predictive_score
from core.evaluation.judges.scores import Score, chance_floor
from core.evaluation.options import STRONGER, JudgingOptions

QUICK = JudgingOptions(
    judges=2,
    discriminative_iterations=5,
    predictive_iterations=5,
    batch_size=16,
    plot_windows=15,
    stronger_judges=(),
    forecasters=False,
    distances=False,
    privacy=False,
    overlays=("pca",),
)
HOSTILE = ("<script>alert(1)</script>", "a|b `c` $x_{$ *d*", "Close")


def walks(count: int, seed: int, features: int = 3, steps: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, steps, features)).cumsum(axis=1)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "deeper" / "out"
    summary = evaluate_windows(Subject(walks(40, 0), walks(30, 1), HOSTILE), out, QUICK)
    return out, summary, json.loads((out / "scores.json").read_text())


def test_the_summary_agrees_with_the_file(evaluated):
    _, summary, scores = evaluated
    for kind in ("discriminative", "predictive"):
        values = scores[kind]["values"]
        assert len(values) == 2
        assert summary[f"{kind}_mean"] == pytest.approx(np.mean(values))
        assert summary[f"{kind}_median"] == pytest.approx(np.median(values))
        assert summary[f"{kind}_std"] == pytest.approx(np.std(values, ddof=1))
        low, high = scores[kind]["interval"]
        assert low < summary[f"{kind}_mean"] < high
    assert summary["discriminative_auc"] == pytest.approx(np.mean(scores["discriminative"]["aucs"]))
    assert summary["discriminative_floor"] == chance_floor(8, 6)
    assert summary["discriminative_real_halves"] == scores["references"]["discriminative_real_halves"]["mean"]
    assert summary["predictive_real"] == scores["references"]["predictive_real"]["mean"]
    assert all(type(value) is float for value in summary.values())


def test_the_scores_are_those_of_judges_on_windows_in_the_real_range(evaluated):
    _, _, scores = evaluated
    real, synthetic = walks(40, 0), walks(30, 1)
    low, high = real.min((0, 1)), real.max((0, 1))
    scaled = (real - low) / (high - low), (synthetic - low) / (high - low)
    options = {"judges": 2, "iterations": 5, "batch_size": 16, "seed": 0}
    for kind, score in (("discriminative", discriminative_score), ("predictive", predictive_score)):
        assert scores[kind]["values"] == pytest.approx(score(*scaled, **options).values, abs=1e-6)
    targets = scaled[0][:, 1:, -1]
    assert scores["predictive"]["constant"] == pytest.approx(np.abs(targets - np.median(targets)).mean())
    beyond = ((synthetic < low) | (synthetic > high)).mean((0, 1))
    assert [row["outside_real_range"] for row in scores["features"]] == pytest.approx(list(beyond))
    assert [row["real"]["mean"] for row in scores["features"]] == pytest.approx(list(real.mean((0, 1))))
    assert [row["name"] for row in scores["features"]] == list(HOSTILE)


def test_the_same_seed_gives_the_same_files(evaluated, tmp_path):
    out, _, _ = evaluated
    evaluate_windows(Subject(walks(40, 0), walks(30, 1), HOSTILE), tmp_path, QUICK)
    for name in ("scores.json", "report.html", "report.md"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0.0), (1e6, 1e9), (0.3, -1e5)])
def test_units_do_not_matter(tmp_path, factor, shift):
    real, synthetic = walks(30, 2, features=2), walks(30, 3, features=2)
    ours = evaluate_windows(Subject(real, synthetic, ("a", "b")), tmp_path, QUICK)
    turned = [values * [factor, 1] + [shift, -shift] for values in (real, synthetic)]
    theirs = evaluate_windows(Subject(*turned, ("a", "b")), tmp_path, QUICK)
    assert theirs == pytest.approx(ours, abs=1e-5)


def test_a_constant_feature_is_named_and_harmless(tmp_path):
    real, synthetic = walks(20, 4), walks(20, 5)
    real[..., 1] = 7.0
    synthetic[..., 1] = 7.0
    summary = evaluate_windows(Subject(real, synthetic, ("a", "b", "c")), tmp_path, QUICK)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [row["constant"] for row in scores["features"]] == [False, True, False]
    assert np.isfinite(list(summary.values())).all()
    assert "constant in the real windows" in (tmp_path / "report.html").read_text()


def test_windows_that_never_change_are_still_reported(tmp_path):
    flat = np.full((6, 3, 1), 2.0)
    summary = evaluate_windows(Subject(flat, flat, ("a",)), tmp_path, QUICK)
    assert np.isfinite(list(summary.values())).all()
    assert (tmp_path / "plots" / "overlays.png").stat().st_size > 0


def test_progress_names_every_part(tmp_path):
    told: list[tuple[str, int, int]] = []
    windows = walks(10, 0)
    options = replace(QUICK, references=False)
    evaluate_windows(Subject(windows, windows, "abc"), tmp_path, options, lambda *word: told.append(word))
    parts = {"discriminative", "predictive", "overlays", "plots"}
    assert {name for name, _, _ in told} == parts
    for name in parts:
        *_, (_, done, total) = [word for word in told if word[0] == name]
        assert done == total > 0


@pytest.mark.parametrize(
    ("real", "synthetic", "names", "words"),
    [
        (walks(5, 0), walks(5, 0, features=2), "abc", r"\(5, 6, 3\) and \(5, 6, 2\)"),
        (walks(5, 0), walks(5, 0, steps=7), "abc", r"\(5, 6, 3\) and \(5, 7, 3\)"),
        (walks(5, 0), walks(5, 0), "ab", "a name for each of the 3 features, got 2"),
        (walks(5, 0), walks(5, 0) * np.nan, "abc", "synthetic windows must be finite"),
        (walks(5, 0), walks(5, 0) * 1e300, "abc", "too large"),
        (walks(3, 0), walks(5, 0), "abc", "at least 4 real windows to halve, got 3"),
    ],
)
def test_sets_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, real, synthetic, names, words):
    with pytest.raises(DataError, match=words):
        evaluate_windows(Subject(real, synthetic, tuple(names)), tmp_path / "out", QUICK)
    assert not (tmp_path / "out").exists()


def test_nothing_is_drawn_where_nothing_is_kept(evaluated, monkeypatch):
    monkeypatch.setattr("core.evaluation.evaluate.draw_plots", None)
    assert evaluate_windows(Subject(walks(40, 0), walks(30, 1), HOSTILE), None, QUICK) == evaluated[1]


def test_scores_are_kept_though_a_picture_fails(tmp_path, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("core.evaluation.evaluate.draw_plots", fails)
    with pytest.raises(OSError, match="no space left"):
        evaluate_windows(Subject(walks(10, 0), walks(10, 1), HOSTILE), tmp_path, QUICK)
    assert json.loads((tmp_path / "scores.json").read_text())["windows"]["real"] == 10


@pytest.mark.parametrize("known", [True, False])
def test_forecasters_of_real_windows_are_tested_on_others(tmp_path, monkeypatch, known):
    """No tested row was learnt; who trains on synthetic windows is tested on the same."""
    calls = {}

    def recorded(train, test, *, name, **_):
        calls[name] = train, test
        return Score((0.1, 0.2))

    monkeypatch.setattr("core.evaluation.evaluate.forecast_error", recorded)
    rows = np.random.default_rng(0).uniform(size=(300, 1))
    real = np.lib.stride_tricks.sliding_window_view(rows, 6, axis=0).swapaxes(1, 2)
    starts = np.arange(len(real)) if known else None
    subject = Subject(real, walks(30, 0, features=1), ("a",), starts)
    evaluate_windows(subject, tmp_path, replace(QUICK, forecasters=True))
    (_, tested), (learnt, again) = calls["forecaster, synthetic"], calls["forecaster, real"]
    assert tested is again
    assert 0.1 < len(tested) / len(real) < 0.3
    shared = set(learnt.ravel().tolist()) & set(tested.ravel().tolist())
    assert bool(shared) != known
    assert not set(learnt[:, 0, 0].tolist()) & set(tested[:, 0, 0].tolist())


@pytest.mark.slow
@pytest.mark.slow
def test_judges_do_not_know_the_series_by_heart():
    """Fresh windows of the real ones' law are not told from them, unless judges saw the real rows before."""
    real = autoregression(500, 0)
    fresh = np.concatenate([autoregression(12, seed) for seed in range(1, 400)])
    options = replace(QUICK, stronger_judges=("cnn",), stronger_repetitions=3)
    known, unknown = (
        evaluate_windows(Subject(real, fresh, ("a", "b"), starts), None, options)["judge_cnn"]
        for starts in (np.arange(len(real)), None)
    )
    assert known < 0.2 < unknown - 0.1

    # Windows of another tool may overlap, too: they are divided by their rows, or like the windows near them.
    cut = autoregression(500, 999)
    for cut_starts in (np.arange(len(cut)), None):
        subject = Subject(real, cut, ("a", "b"), np.arange(len(real)), synthetic_starts=cut_starts)
        assert evaluate_windows(subject, None, options)["judge_cnn"] < 0.2


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="plot_windows"):
        replace(QUICK, plot_windows=1)
    with pytest.raises(ConfigError, match="overlays: expected some of pca, tsne, umap, got 'lda'"):
        replace(QUICK, overlays=("pca", "lda"))
    with pytest.raises(ConfigError, match="no judge 'svm': choose among lstm, cnn, rocket"):
        replace(QUICK, stronger_judges=("svm",))


def test_the_configuration_has_the_same_defaults():
    configured = EvaluationConfig().model_dump(exclude={"max_windows", "stylised_facts"})
    assert JudgingOptions(**configured) == JudgingOptions()
    assert set(STRONGER) == set(EvaluationConfig().stronger_judges)


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 5, 10])
@pytest.mark.parametrize("features", [1, 2])
def test_few_windows_are_judged_by_everything_that_can(tmp_path, count, features):
    options = replace(
        JudgingOptions(), judges=2, discriminative_iterations=5, predictive_iterations=5, plot_windows=20
    )
    sets = (walks(count, seed, features, steps=12) for seed in (0, 1))
    summary = evaluate_windows(Subject(*sets, ("a", "b")[:features]), tmp_path, options)
    assert np.isfinite(list(summary.values())).all()
    assert {"judge_lstm", "judge_rocket", "distance_wasserstein"} <= set(summary)
    assert ("forecast_real" in summary) == (count == 10)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def autoregression(rows: int, seed: int) -> np.ndarray:
    """Overlapping windows of 12 steps of two correlated columns."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(size=(rows, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    values = np.zeros_like(shocks)
    for t in range(1, rows):
        values[t] = 0.8 * values[t - 1] + shocks[t]
    return np.lib.stride_tricks.sliding_window_view(values, 12, axis=0).swapaxes(1, 2)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Every part of the evaluation: of windows of the same process, and of copies of the training windows."""
    real, rules = autoregression(900, 0), Expectations.model_validate({"ranges": {"a": {"min": 0}}})
    learnt, starts, held_out = hold_out_windows(real, np.arange(len(real)), 0.3)
    options = JudgingOptions(
        judges=2,
        discriminative_iterations=60,
        predictive_iterations=60,
        batch_size=32,
        stronger_repetitions=1,
        distance_windows=200,
        plot_windows=40,
    )
    found = {}
    for name, synthetic in (("fresh", autoregression(900, 1)), ("copies", learnt)):
        out = tmp_path_factory.mktemp(name)
        frames = tuple(
            pd.DataFrame({"window": 0, "step": np.arange(12), "a": windows[0, :, 0], "b": windows[0, :, 1]})
            for windows in (learnt, synthetic)
        )
        subject = Subject(
            learnt, synthetic, ("a", "b"), starts, held_out=held_out, frames=frames, expectations=rules
        )
        summary = evaluate_windows(subject, out, options)
        found[name] = summary, json.loads((out / "scores.json").read_text()), out
    return found


@pytest.mark.slow
def test_every_part_is_in_the_file_the_summary_and_the_page(everything):
    summary, scores, out = everything["fresh"]
    assert [judge["name"] for judge in scores["judges"]] == ["lstm", "cnn", "rocket"]
    assert summary["judge_rocket"] == scores["judges"][2]["mean"]
    assert summary["holdout_discriminative_training"] == scores["holdout"]["discriminative"]["training"]["mean"]
    assert summary["distance_context_fid"] > 0
    assert summary["validity_worst_share"] == scores["validity"][0]["share"] > 0
    assert scores["holdout"]["windows"] == {"training": 619, "holdout": 247}
    assert len(scores["distances"]) == len(scores["holdout"]["distances"]) == 20
    assert np.isfinite(list(summary.values())).all()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(word in page for word in ("ROCKET", "Context-FID", "TCN + Transformer", "a &gt;= 0"))


@pytest.mark.slow
def test_copies_of_the_training_windows_come_out_as_such(everything):
    """Though no judge can tell them from real ones."""
    (fresh, honest, _), (copied, copies, out) = everything["fresh"], everything["copies"]
    assert not honest["privacy"]["copies"]
    assert copies["privacy"]["copies"]
    assert copied["privacy_exact_copies"] == copies["privacy"]["compared"]
    assert fresh["privacy_exact_copies"] == 0
    assert copied["privacy_membership_inference_auc"] > 0.95 > fresh["privacy_membership_inference_auc"]
    assert copied["discriminative_mean"] < 0.1
    assert "copies" in (out / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_is_no_worse_than_drift_is_no_fault_of_the_generator(everything):
    summary, _, _ = everything["fresh"]
    for name in ("discriminative", "judge_cnn"):
        gap = summary[f"holdout_{name}_synthetic"] - summary[f"holdout_{name}_training"]
        assert abs(gap) < 0.2
