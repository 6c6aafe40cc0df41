from __future__ import annotations

import logging
import re

import pytest

from core.comparison import write_report
from core.errors import ConfigError
from core.evaluation.report.comparison import (
    differences,
    finding,
    measure_lines,
    score_dots,
    score_lines,
    write_comparison,
)
from core.evaluation.report.published import DATASETS, published_scores, published_text
from core.lake import write_json
from tests.unit.report_page import HOSTILE, Page, assert_tables_are_whole
from tests.unit.report_scores import full_scores, measure, privacy, single, small_scores


def test_models_stand_beside_each_other_in_one_safe_file(tmp_path):
    entries = [(HOSTILE[0], full_scores(mean=0.1)), (HOSTILE[1], small_scores(mean=0.3)), ("c", full_scores())]
    write_comparison(tmp_path, entries, published={"TimeGAN": (0.102, 0.038)})
    page = Page((tmp_path / "comparison.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.sources == ["#words"]
    for words in (
        *HOSTILE[:2],
        "not computed",
        "0.1000",
        "0.3000",
        "published: TimeGAN",
        "title of far",
        "Trained to tell the two apart",
    ):
        assert words in page.text
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "<" not in text
    assert_tables_are_whole(text)
    assert "discriminative 0.102, predictive 0.038" in text
    # What is explained is text: a tooltip is neither on paper nor for keyboards.
    assert not [fields for _, fields in page.elements if "title" in fields]


def test_stronger_judges_forecasters_and_the_hold_out_are_compared(tmp_path):
    entries = [("a", full_scores()), ("b", small_scores())]
    lines = {line.title: line for line in score_lines(entries)}
    assert list(lines) == [
        "discriminative",
        "discriminative, 1-D CNN",
        "predictive",
        "forecast error, TCN",
        "hold-out: discriminative",
        "hold-out: discriminative, 1-D CNN",
        "hold-out: predictive",
        "hold-out: forecast error, TCN",
    ]
    assert lines["discriminative"].scores[1] is not None
    assert lines["hold-out: discriminative"].reference == full_scores()["holdout"]["discriminative"]["training"]
    write_comparison(tmp_path, entries)
    page = Page((tmp_path / "comparison.html").read_text(encoding="utf-8"))
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    for line in lines.values():
        assert line.title in page.text
        assert f"{line.scores[0]['mean']:.4f} ± {line.scores[0]['std']:.4f}" in page.text
        assert f"{line.scores[0]['mean']:.4f} ± {line.scores[0]['std']:.4f}" in text
        assert (line.scores[1] is None) == (line.title not in ("discriminative", "predictive"))


def test_reports_that_lie_beside_are_linked(tmp_path):
    names = ["a b&c", "elsewhere", "../outside"]
    for folder in (tmp_path / "out" / "a b&c", tmp_path / "outside"):
        folder.mkdir(parents=True)
        (folder / "report.html").touch()
    write_comparison(tmp_path / "out", [(name, small_scores()) for name in names])
    page = Page((tmp_path / "out" / "comparison.html").read_text(encoding="utf-8"))
    assert set(page.sources) == {"#words", "a%20b%26c/report.html"}


def test_a_single_judge_is_told(tmp_path):
    alone = small_scores() | {"predictive": single(0.05, constant=0.2)}
    write_comparison(tmp_path, [("a", alone), ("b", small_scores())])
    for name in ("html", "md"):
        text = (tmp_path / f"comparison.{name}").read_text(encoding="utf-8")
        assert "0.0500 (one judge)" in text


def test_a_lead_within_the_judges_spread_is_not_called_one():
    entries = [("a", small_scores(mean=0.20)), ("b", small_scores(mean=0.21)), ("c", small_scores(mean=0.4))]
    assert finding("discriminative", entries).endswith("not safely behind: b.")
    assert finding("discriminative", entries).startswith("a has the lowest discriminative score, 0.2000")
    assert finding("discriminative", entries[1:]).endswith("the others' intervals do not reach it.")


def test_evaluations_that_are_not_alike_are_named():
    assert differences([("a", small_scores()), ("b", full_scores())]) == []
    older = small_scores()
    del older["digest"], older["protocol"]["seed"]
    assert differences([("a", older), ("b", older)]) == []
    assert differences([("a", small_scores()), ("b", older)]) == [
        "the real windows, by their digests: 000000000000, unknown",
        "seed: 0, unknown",
    ]
    other = small_scores(names=("a", "c"))
    other["windows"]["real"] = 41
    assert differences([("a", small_scores()), ("b", other)]) == [
        "number of real windows: 40, 41",
        "names of the features",
    ]


def test_scores_against_other_real_windows_are_told_in_the_page_and_the_log(tmp_path, caplog):
    """Of the same sizes and names: only the windows themselves differ."""
    other = small_scores() | {"digest": "1" * 64}
    with caplog.at_level(logging.WARNING):
        write_comparison(tmp_path, [("a", small_scores()), ("b", other)])
    words = "the real windows, by their digests: 000000000000, 111111111111"
    assert words in caplog.text
    assert words in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert words in (tmp_path / "comparison.md").read_text(encoding="utf-8")


def test_the_best_of_each_measure_is_marked_and_missing_ones_stay_empty():
    better = full_scores()
    better["distances"] = [measure("far", 0.02, 0.01)]
    lines = {
        line.title: line for line in measure_lines([("a", full_scores()), ("b", better), ("c", small_scores())])
    }
    assert lines["title of far"].best == {1}
    assert lines["title of far"].rows[2] is None
    assert lines["title of near"].best == set()
    assert lines["title of alone"].best == set()


def test_noise_is_not_the_best_because_it_copies_least():
    noise = full_scores() | {"privacy": privacy()}
    noise["privacy"]["measures"][0] |= {"value": 5.0}
    lines = {line.title: line for line in measure_lines([("a", full_scores()), ("noise", noise)])}
    assert [row.level for row in lines["title of dcr"].rows] == ["good", "good"]
    assert not lines["title of dcr"].best


def test_dots_stand_in_order_on_an_axis_from_nothing():
    entries = [("a", small_scores(mean=0.4)), ("b", small_scores(mean=0.1))]
    dots = score_dots("discriminative", entries, {"paper": (0.2, 0.04)})
    assert [dot.name for dot in dots] == ["b", "published: paper", "a"]
    assert dots[2].high == 100
    assert [dot.at for dot in dots] == pytest.approx(
        [100 * mean / dots_end(entries) for mean in (0.1, 0.2, 0.4)]
    )
    assert all(0 <= dot.low <= dot.at <= dot.high <= 100 for dot in dots)


def dots_end(entries: list[tuple[str, dict]]) -> float:
    return max(scores["discriminative"]["interval"][1] for _, scores in entries)


def test_one_model_alone_is_no_comparison(tmp_path):
    with pytest.raises(ConfigError, match="at least 2 models, got 1"):
        write_comparison(tmp_path, [("a", small_scores())])


def test_published_scores_on_another_scale_are_left_out_with_a_word_of_why(tmp_path):
    """The published sines lie in the upper half of [0, 1], these are scaled to all of it."""
    for dataset, column in DATASETS.items():
        pair = published_scores("timegan", dataset)
        assert (pair[1] is None) == (column == "sines")
    for dataset in ("sine", "stocks"):
        evaluations = {}
        for kind in ("timegan", "rcgan"):
            (tmp_path / dataset / kind).mkdir(parents=True)
            write_json(tmp_path / dataset / kind / "scores.json", full_scores())
            evaluations[kind] = tmp_path / dataset / kind
        folder = write_report(dataset, evaluations, tmp_path)
        for name in ("html", "md"):
            text = (folder / f"comparison.{name}").read_text(encoding="utf-8")
            assert ("does not scale its sines" in text) == (dataset == "sine")
        page = Page((folder / "comparison.html").read_text(encoding="utf-8"))
        charts = page.text.split("Predictive score, lower is better")[1].split("Distances and risks")[0]
        assert ("published: timegan" in charts) == (dataset == "stocks")
    dots = score_dots("predictive", [("a", full_scores())], {"paper": (0.011, None)})
    assert [dot.name for dot in dots] == ["a"]
    assert re.match(r"discriminative 0\.102, predictive 0\.038$", published_text((0.102, 0.038)))
