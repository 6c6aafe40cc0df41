from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.evaluation.comparison_report import (
    differences,
    finding,
    measure_lines,
    score_dots,
    write_comparison,
)
from core.evaluation.figures import interactive_figures
from core.evaluation.plots import Plot, draw_plots
from core.evaluation.report import markdown_text, times_text, write_reports
from core.evaluation.scores import Score, chance_floor
from core.evaluation.verdicts import (
    discriminative_verdict,
    distance_groups,
    drift_sentence,
    fidelity_verdict,
    holdout_verdict,
    measure_row,
    predictive_verdict,
    privacy_verdict,
    summary_cards,
    usefulness_verdict,
    validity_verdict,
    weakest,
)
from core.evaluation.view import view_windows
from tests.unit.report_scores import full_scores, judged, measure, score, small_scores

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)> a|b `c` $x_{$ *d*",
    '"quoted" &lt;b&gt; %{x}',
    "long " * 60,
)


class Page(HTMLParser):
    """Tags, what they load, their attributes' names, scripts, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.attributes: set[str] = set()
        self.scripts: list[tuple[str | None, str]] = []
        self.words: list[str] = []
        self.policy = ""
        self._script: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        fields = dict(attrs)
        self.tags.append(tag)
        self.attributes |= set(fields)
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]
        if fields.get("http-equiv") == "Content-Security-Policy":
            self.policy = fields["content"]
        if tag == "script":
            self.scripts.append((fields.get("type"), ""))

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script" and self.cdata_elem == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    real, synthetic = rng.random((30, 6, 4)), rng.random((20, 6, 4))
    training = {HOSTILE[0]: [(1, 0.5), (2, 0.4)]}
    with pytest.MonkeyPatch.context() as patch:
        # Numba compiles UMAP for a quarter of a minute; test_plots.py runs it.
        patch.setattr("core.evaluation.view._umap", lambda both, _: both[:, :2])
        view = view_windows(real, synthetic, (real, synthetic), HOSTILE, training=training)
    plots = draw_plots(view, out / "plots")
    published = {"TimeGAN (Yoon et al. 2019)": (0.102, 0.038)}
    write_reports(out, full_scores(HOSTILE), plots, interactive_figures(view), published=published)
    return out


@pytest.fixture
def picture(tmp_path) -> Plot:
    (tmp_path / "plots").mkdir()
    path = tmp_path / "plots" / "paths.png"
    path.write_bytes(b"picture")
    return Plot(path, "Sample paths", "A caption of `this`.")


def test_the_page_is_one_file_in_which_no_name_comes_alive(written):
    page = Page((written / "report.html").read_text(encoding="utf-8"))
    for name in HOSTILE:
        assert " ".join(name.split()) in page.text
    assert page.tags.count("img") == 7
    assert all(re.match(r"data:image/png;base64,|#", source) for source in page.sources)
    assert not [name for name in page.attributes if name.startswith("on")]


def test_only_the_two_scripts_that_the_policy_names_can_run(written):
    page = Page((written / "report.html").read_text(encoding="utf-8"))
    code = [text for kind, text in page.scripts if kind is None]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    allowed = " ".join(f"'sha256-{each}'" for each in digests)
    assert len(code) == 2
    assert f"script-src {allowed};" in page.policy
    assert page.policy.startswith("default-src 'none'")
    assert "plotly.js v" in code[0][:300]


def test_figures_lie_in_the_page_with_their_names_disarmed(written):
    page = Page((written / "report.html").read_text(encoding="utf-8"))
    figures = [json.loads(text) for kind, text in page.scripts if kind == "application/json"]
    assert len(figures) == 4
    labels = [text for figure in figures for text in strings(figure)]
    assert any("&lt;" in text for text in labels)
    assert not [text for text in labels if re.search(r"<(?!br>|extra>|/extra>)", text)]
    assert page.tags.count("option") == len(HOSTILE)


def strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in strings(part)]


def test_the_page_holds_what_the_scores_hold(written):
    scores = full_scores(HOSTILE)
    text = Page((written / "report.html").read_text(encoding="utf-8")).text
    for part in ("discriminative", "predictive"):
        assert f"{scores[part]['mean']:.4f}" in text
        assert f"{scores['holdout'][part]['training']['mean']:.4f}" in text
    for each in (*scores["distances"], *scores["privacy"]["measures"]):
        assert each["title"] in text
        assert each["meaning"] in text
        assert f"{each['value']:.3g}" in text
    for words in ("1-D CNN", "TCN", "1,234", "2020-03-01", "5.00 %", "0.102", "0.03 is the generator's"):
        assert words in text
    assert "Not computed here" not in text


def test_the_markdown_is_safe_and_its_pictures_exist(written):
    text = (written / "report.md").read_text(encoding="utf-8")
    assert "<" not in text
    assert_tables_are_whole(text)
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) == 7
    assert all((written / name).is_file() for name in pictures)


def assert_tables_are_whole(text: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert tables
    for table in tables:
        rows = table.splitlines()
        assert set(rows[1]) <= set("|-"), rows[:2]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {rows[1].count("|")}, table


def test_a_report_of_the_two_scores_alone_says_what_is_missing(tmp_path, picture):
    write_reports(tmp_path, small_scores(), [picture])
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.scripts == []
    assert "script-src 'none'" in page.policy
    assert "Not computed here: whether the generator copies" in page.text
    for heading in ("Distances", "Validity", "Hold-out", "Memorisation"):
        assert heading not in page.text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Not computed here" in markdown
    assert_tables_are_whole(markdown)


def test_every_section_may_be_none_or_absent(tmp_path, picture):
    whole = full_scores()
    for name in ("references", "judges", "forecasters", "distances", "privacy", "validity", "holdout"):
        for scores in (whole | {name: None}, {key: value for key, value in whole.items() if key != name}):
            write_reports(tmp_path, scores, [picture])
            assert_tables_are_whole((tmp_path / "report.md").read_text(encoding="utf-8"))
    for name in ("from", "predictive", "judges", "forecasters", "distances"):
        write_reports(tmp_path, whole | {"holdout": whole["holdout"] | {name: None}}, [picture])
        page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert "0.03 is the generator's" in page.text


def test_the_same_scores_give_the_same_files(tmp_path, picture):
    texts = []
    for _ in range(2):
        write_reports(tmp_path, full_scores(), [picture])
        texts.append([(tmp_path / f"report.{kind}").read_bytes() for kind in ("html", "md")])
    assert texts[0] == texts[1]


def detail(values: tuple[float, ...], **more: float) -> dict[str, object]:
    one = Score(values)
    return {"mean": one.mean, "interval": one.interval(), **more}


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


def test_a_stronger_judge_can_only_make_the_verdict_worse():
    weak = judged(0.02)
    levels = [fidelity_verdict(weak, [judged(mean, title="CNN")]).level for mean in (0.01, 0.2, 0.45)]
    assert levels == ["good", "fair", "poor"]
    assert fidelity_verdict(judged(0.45), [judged(0.01, title="CNN")]).level == "poor"
    assert "CNN) is right about 95 times" in fidelity_verdict(weak, [judged(0.45, title="CNN")]).long


@pytest.mark.parametrize(("synthetic", "level"), [(0.021, "good"), (0.04, "fair"), (0.3, "poor")])
def test_a_stronger_forecaster_counts_beside_the_papers(synthetic, level):
    row = {"title": "TCN", "synthetic": score(synthetic), "real": score(0.02), "constant": 0.2}
    verdict = usefulness_verdict(score(0.05, constant=0.2), None, [row])
    assert verdict.level == level
    assert f"{100 * synthetic:.1f} % when trained on synthetic windows and by 2.0 %" in verdict.long


@pytest.mark.parametrize(
    ("exact", "near", "copies", "level"),
    [(0, 0, False, "good"), (0, 3, False, "good"), (1, 0, False, "fair"), (0, 90, True, "poor")],
)
def test_copies_are_told(exact, near, copies, level):
    found = {"exact_copies": exact, "near_copies": near, "compared": 100, "copies": copies}
    verdict = privacy_verdict(found)
    assert verdict.level == level
    assert f"{exact}" in verdict.long
    assert f"{near}" in verdict.long


@pytest.mark.parametrize(
    ("share", "real", "level"),
    [(0.0, 0.0, "good"), (0.05, 0.05, "good"), (0.01, 0.0, "fair"), (0.3, 0.0, "poor"), (0.3, 0.29, "fair")],
)
def test_rules_are_judged_by_what_real_rows_break(share, real, level):
    kept = {"rule": "kept", "broken": 0, "share": 0.0, "real_share": 0.0}
    rule = {"rule": "low <= high", "broken": int(100 * share), "share": share, "real_share": real}
    verdict = validity_verdict([kept, rule])
    assert verdict.level == level
    assert ("low <= high" in verdict.long) == (share > 0)


@pytest.mark.parametrize(
    ("synthetic", "training", "level", "words"),
    [
        (0.15, 0.12, "good", "0.03 is the generator's"),
        (0.11, 0.12, "good", "none of it is the generator's"),
        (0.22, 0.12, "fair", "0.10 is the generator's"),
        (0.45, 0.12, "poor", "0.33 is the generator's"),
        (0.49, 0.47, "fair", "says little about the generator"),
    ],
)
def test_the_gap_to_the_hold_out_is_divided_into_drift_and_the_rest(synthetic, training, level, words):
    assert words in drift_sentence(synthetic, training)
    pair = {"synthetic": judged(synthetic), "training": judged(training)}
    verdict = holdout_verdict({"discriminative": pair})
    assert verdict.level == level
    assert words in verdict.long


def test_the_summary_has_a_card_for_what_was_measured():
    assert [card.kind for card in summary_cards(small_scores())] == ["Fidelity", "Usefulness"]
    cards = {card.kind: card for card in summary_cards(full_scores())}
    assert list(cards)[2:] == ["Memorisation", "Validity", "Later data, never seen"]
    assert cards["Fidelity"].number == "0.200"
    assert cards["Fidelity"].verdict.level == "poor"
    assert cards["Validity"].verdict.level == "poor"


@pytest.mark.parametrize(
    ("value", "reference", "better", "ideal", "times", "level"),
    [
        (0.015, 0.01, "lower", 0.0, 1.5, "good"),
        (0.03, 0.01, "lower", 0.0, 3.0, "fair"),
        (0.2, 0.01, "lower", 0.0, 20.0, "poor"),
        (0.0, 0.0, "lower", 0.0, 1.0, "good"),
        (0.1, 0.0, "lower", 0.0, math.inf, "poor"),
        (-0.1, 0.01, "lower", 0.0, 0.0, "good"),
        (0.97, 0.9, "higher", 1.0, 1.0, "good"),
        (0.7, 0.9, "higher", 1.0, 3.0, "fair"),
        (0.2, 0.9, "higher", 1.0, 8.0, "poor"),
        (0.1, 0.4, "higher", 0.0, 4.0, "fair"),
        (0.0, 0.4, "higher", 0.0, math.inf, "poor"),
        (0.51, 0.5, "closer", 0.5, 1.02, "good"),
        (0.51, 0.48, "closer", 0.5, 0.5, "good"),
        (0.51, 0.499, "closer", 0.5, 1.0, "good"),
        (0.4, 0.45, "closer", 0.5, 2.0, "good"),
        (0.6, 0.45, "closer", 0.5, 2.0, "good"),
        (0.9, 0.45, "closer", 0.5, 8.0, "poor"),
        (0.05, 0.2, "closer", 0.2, 4.0, "fair"),
        (3.0, None, "lower", 0.0, None, ""),
    ],
)
def test_a_measure_is_as_many_times_off_as_real_windows(value, reference, better, ideal, times, level):
    row = measure_row(measure("m", value, reference, better=better, ideal=ideal))
    assert row.times == (times if times is None else pytest.approx(times))
    assert row.level == level
    assert 0 <= row.bar <= 100


def test_bars_grow_with_the_distance_and_pass_the_line_where_real_windows_stand():
    bars = [measure_row(measure("m", value, 1.0)).bar for value in (0.0, 0.5, 1.0, 2.0, 8.0, 20.0, 500.0)]
    assert bars == sorted(bars)
    assert bars[0] == 0
    assert bars[2] == 25
    assert bars[-1] == 100
    assert [times_text(times) for times in (None, 1.04, math.inf)] == [
        "\u2013",
        "1.0\xa0\xd7",
        ">\xa099\xa0\xd7",
    ]


def test_the_worst_measures_and_features_come_first():
    shares = {"a": 0.1, "b": 0.5, "c": 0.3, "d": 0.2}
    found = [
        measure("near", 0.01, 0.01),
        measure("far", 0.09, 0.01, by_feature=shares),
        measure("other", 0.03, 0.01, group="temporal"),
        measure("alone", 0.5, None),
    ]
    groups = {name: [row.measure["name"] for row in rows] for name, rows in distance_groups(found)}
    assert groups == {"marginal": ["far", "near", "alone"], "temporal": ["other"]}
    assert [row.measure["name"] for row in weakest(found)] == ["far", "other"]
    assert [name for name, _ in measure_row(found[1]).worst] == ["b", "c", "d"]
    recall = measure("recall", 0.5, 0.9, ideal=1.0, better="higher", by_feature=shares)
    assert measure_row(recall).worst[0][0] == "a"


@given(st.text(max_size=40))
def test_any_name_stays_in_its_table_cell(name):
    text = markdown_text(name)
    assert "\n" not in text
    assert "<" not in text
    assert not re.search(r"(?<!\\)(\\\\)*[|`*_$]", text)


def test_models_stand_beside_each_other_in_one_safe_file(tmp_path):
    entries = [(HOSTILE[0], full_scores(mean=0.1)), (HOSTILE[1], small_scores(mean=0.3)), ("c", full_scores())]
    write_comparison(tmp_path, entries, published={"TimeGAN": (0.102, 0.038)})
    page = Page((tmp_path / "comparison.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.sources == []
    for words in (
        HOSTILE[0],
        HOSTILE[1],
        "not computed",
        "0.1000",
        "0.3000",
        "published: TimeGAN",
        "title of far",
    ):
        assert words in page.text
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "<" not in text
    assert_tables_are_whole(text)
    assert "discriminative 0.102, predictive 0.038" in text


def test_a_lead_within_the_judges_spread_is_not_called_one():
    entries = [("a", small_scores(mean=0.20)), ("b", small_scores(mean=0.21)), ("c", small_scores(mean=0.4))]
    assert finding("discriminative", entries).endswith("not safely behind: b.")
    assert finding("discriminative", entries).startswith("a has the lowest discriminative score, 0.2000")
    assert finding("discriminative", entries[1:]).endswith("the others' intervals do not reach it.")


def test_evaluations_that_are_not_alike_are_named():
    assert differences([("a", small_scores()), ("b", full_scores())]) == []
    other = small_scores(names=("a", "c"))
    other["windows"]["real"] = 41
    assert differences([("a", small_scores()), ("b", other)]) == [
        "number of real windows: 40, 41",
        "names of the features",
    ]


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
