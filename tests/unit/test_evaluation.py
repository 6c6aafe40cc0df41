from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from core.evaluation.evaluate import evaluate_windows
from core.evaluation.judges import discriminative_score, predictive_score
from core.evaluation.plots import (
    autocorrelation,
    plot_autocorrelations,
    plot_distributions,
    plot_overlays,
    plot_paths,
)
from core.evaluation.report import discriminative_verdict, markdown_text, predictive_verdict
from core.evaluation.scores import Score, chance_floor

QUICK = {
    "judges": 2,
    "discriminative_iterations": 5,
    "predictive_iterations": 5,
    "batch_size": 16,
    "plot_windows": 15,
}
HOSTILE = ("<script>alert(1)</script>", "a|b `c` $x_{$ *d*", "Close")


def walks(count: int, seed: int, features: int = 3, steps: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, steps, features)).cumsum(axis=1)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "deeper" / "out"
    summary = evaluate_windows(walks(40, 0), walks(30, 1), HOSTILE, out, references=True, **QUICK)
    return out, summary, json.loads((out / "scores.json").read_text())


class Page(HTMLParser):
    """Tags, what they load, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data):
        self.words.append(data)


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


def test_the_page_is_one_safe_file(evaluated):
    out, _, scores = evaluated
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    text = " ".join(page.words)
    assert "script" not in page.tags
    assert all(name in text for name in HOSTILE)
    assert page.tags.count("img") == 4
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for kind in ("discriminative", "predictive"):
        assert f"{scores[kind]['mean']:.4f}" in text
        assert f"{scores[kind]['median']:.4f}" in text


def test_the_markdown_is_safe_and_its_pictures_exist(evaluated):
    out, _, _ = evaluated
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "<" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert widths == {7}
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) == 4
    for picture in pictures:
        height, width, _ = matplotlib.image.imread(out / picture).shape
        assert height > 200 < width


def test_the_same_seed_gives_the_same_files(evaluated, tmp_path):
    out, _, _ = evaluated
    evaluate_windows(walks(40, 0), walks(30, 1), HOSTILE, tmp_path, references=True, **QUICK)
    for name in ("scores.json", "report.html", "report.md"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0.0), (1e6, 1e9), (0.3, -1e5)])
def test_units_do_not_matter(tmp_path, factor, shift):
    real, synthetic = walks(30, 2, features=2), walks(30, 3, features=2)
    ours = evaluate_windows(real, synthetic, ("a", "b"), tmp_path, **QUICK)
    turned = [values * [factor, 1] + [shift, -shift] for values in (real, synthetic)]
    theirs = evaluate_windows(*turned, ("a", "b"), tmp_path, **QUICK)
    assert theirs == pytest.approx(ours, abs=1e-5)


def test_a_constant_feature_is_named_and_harmless(tmp_path):
    real, synthetic = walks(20, 4), walks(20, 5)
    real[..., 1] = 7.0
    synthetic[..., 1] = 7.0
    summary = evaluate_windows(real, synthetic, ("a", "b", "c"), tmp_path, **QUICK)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [row["constant"] for row in scores["features"]] == [False, True, False]
    assert np.isfinite(list(summary.values())).all()
    assert "constant in the real windows" in (tmp_path / "report.html").read_text()


def test_windows_that_never_change_are_still_reported(tmp_path):
    flat = np.full((6, 3, 1), 2.0)
    summary = evaluate_windows(flat, flat, ("a",), tmp_path, **QUICK)
    assert np.isfinite(list(summary.values())).all()
    assert (tmp_path / "plots" / "overlays.png").stat().st_size > 0


def test_progress_names_every_part(tmp_path):
    told: list[tuple[str, int, int]] = []
    windows = walks(10, 0)
    evaluate_windows(windows, windows, "abc", tmp_path, progress=lambda *word: told.append(word), **QUICK)
    assert {name for name, _, _ in told} == {"discriminative", "predictive", "plots"}
    for name in ("discriminative", "predictive", "plots"):
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
    ],
)
def test_sets_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, real, synthetic, names, words):
    with pytest.raises(DataError, match=words):
        evaluate_windows(real, synthetic, tuple(names), tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_too_few_windows_to_draw_are_a_wrong_call(tmp_path):
    with pytest.raises(ConfigError, match="plot_windows"):
        evaluate_windows(walks(5, 0), walks(5, 0), "abc", tmp_path, **(QUICK | {"plot_windows": 1}))


def test_autocorrelation_is_that_of_windows_less_their_means():
    values = walks(7, 8, features=2)
    got = autocorrelation(values)
    for feature in range(2):
        centred = [window[:, feature] - window[:, feature].mean() for window in values]
        products = sum(np.correlate(y, y, mode="full")[len(y) - 1 :] for y in centred)
        np.testing.assert_allclose(got[:, feature], products / products[0])
    level = values.copy()
    level[..., 0] = np.arange(7).reshape(-1, 1)
    assert np.isnan(autocorrelation(level)[:, 0]).all()
    assert np.isfinite(autocorrelation(values * 1e200)).all()


@pytest.mark.parametrize("count", [1, 35])
def test_pictures_of_few_and_many_features_say_what_they_leave_out(tmp_path, count):
    real, synthetic = walks(8, 0, features=count), walks(4, 1, features=count)
    names = [f"a rather long column name {number}" for number in range(count)]
    notes = {
        plot_distributions(real, synthetic, names, tmp_path / "a.png"): "first 30 of 35",
        plot_autocorrelations(real, synthetic, names, tmp_path / "b.png"): "first 30 of 35",
        plot_paths(real, synthetic, names, tmp_path / "c.png"): "first 12 of 35",
    }
    for plot, note in notes.items():
        assert (note in plot.caption) == (count == 35)
        red, _, blue = np.moveaxis(matplotlib.image.imread(plot.path)[..., :3], 2, 0)
        for drawn in (blue - red > 0.3, red - blue > 0.3):
            assert drawn.sum() > 1000
    overlay = plot_overlays(real, synthetic, tmp_path / "d.png", windows=6)
    assert "6 real and 4 synthetic" in overlay.caption


def detail(values: tuple[float, ...], **more: float) -> dict[str, object]:
    score = Score(values)
    return {"mean": score.mean, "interval": score.interval(), **more}


def test_verdicts_follow_the_scores():
    floor = chance_floor(733, 733)
    said = [
        discriminative_verdict(detail((mean - 0.004, mean + 0.004), chance_floor=floor))
        for mean in (0.012, 0.06, 0.2, 0.35, 0.49)
    ]
    assert [verdict.level for verdict in said] == ["good", "good", "fair", "poor", "poor"]
    assert len({verdict.short for verdict in said}) == 5
    assert "99 times in 100" in said[-1].long
    far = discriminative_verdict(detail((0.0240, 0.0241, 0.0242), chance_floor=floor))
    assert far.short != said[0].short

    levels = [predictive_verdict(detail((mean,), constant=0.1), None).level for mean in (0.04, 0.08, 0.12)]
    assert levels == ["good", "fair", "poor"]
    hard = predictive_verdict(detail((0.1,), constant=0.1), {"predictive_real": {"mean": 0.099}})
    assert hard.level == "good"
    assert "9.9 %" in hard.long


@given(st.text(max_size=40))
def test_any_name_stays_in_its_table_cell(name):
    text = markdown_text(name)
    assert "\n" not in text
    assert "<" not in text
    assert not re.search(r"(?<!\\)(\\\\)*[|`*_$]", text)
