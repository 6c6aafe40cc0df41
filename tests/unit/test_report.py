from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation.report.figures import interactive_figures
from core.evaluation.report.pages import markdown_text, without_pictures, write_reports
from core.evaluation.report.plots import Plot, draw_plots
from core.evaluation.report.view import view_windows
from tests.unit.report_page import HOSTILE, Page, assert_tables_are_whole
from tests.unit.report_scores import full_scores, single, small_scores


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    real, synthetic = rng.random((30, 6, 4)), rng.random((20, 6, 4))
    training = {HOSTILE[0]: [(1, 0.5), (2, 0.4)]}
    with pytest.MonkeyPatch.context() as patch:
        # Numba compiles UMAP for a quarter of a minute; test_plots.py runs it.
        patch.setattr("core.evaluation.report.view._umap", lambda both, _: both[:, :2])
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
    return Plot(path, "Sample paths", "A caption of `this`.", "Curves of [three] windows.")


def written_page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_is_one_file_in_which_no_name_comes_alive(written):
    page = written_page(written)
    for name in HOSTILE:
        assert " ".join(name.split()) in page.text
    assert page.tags.count("img") == 7
    assert all(re.match(r"data:image/png;base64,|#", source) for source in page.sources)
    assert not [name for name in page.attributes if name.startswith("on")]


def test_only_the_two_scripts_that_the_policy_names_can_run(written):
    page = written_page(written)
    code = [text for kind, text in page.scripts if kind is None]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code]
    allowed = " ".join(f"'sha256-{each}'" for each in digests)
    assert len(code) == 2
    assert f"script-src {allowed};" in page.policy
    assert page.policy.startswith("default-src 'none'")
    assert "plotly.js v" in code[0][:300]


def test_figures_lie_in_the_page_with_their_names_disarmed(written):
    page = written_page(written)
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
    text = written_page(written).text
    for part in ("discriminative", "predictive"):
        assert f"{scores[part]['mean']:.4f}" in text
        assert f"{scores['holdout'][part]['training']['mean']:.4f}" in text
    for each in (*scores["distances"], *scores["privacy"]["measures"]):
        assert each["title"] in text
        assert each["meaning"] in text
        assert f"{each['value']:.3g}" in text
    for words in ("1-D CNN", "TCN", "1,234", "2020-03-01", "5.00 %", "0.102", "0.13 is the generator's"):
        assert words in text
    assert "Not computed here" not in text


def test_the_markdown_is_safe_and_its_pictures_exist(written):
    text = (written / "report.md").read_text(encoding="utf-8")
    assert "<" not in text
    assert_tables_are_whole(text)
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) == 7
    assert all((written / name).is_file() for name in pictures)
    assert f"{full_scores()['holdout']['predictive']['training']['mean']:.4f}" in text


def test_markdown_that_goes_elsewhere_has_captions_and_no_pictures(written):
    whole = (written / "report.md").read_text(encoding="utf-8")
    text = without_pictures(whole)
    assert "plots/" not in text
    kept = [line for line in whole.splitlines() if not line.startswith("![")]
    assert [line for line in text.splitlines() if line] == [line for line in kept if line]


def test_pictures_are_told_to_those_who_do_not_see_them(written):
    page = written_page(written)
    ids = [fields["id"] for _, fields in page.elements if "id" in fields]
    assert len(ids) == len(set(ids))
    pictures = [fields for tag, fields in page.elements if tag == "img"]
    assert len({fields["alt"] for fields in pictures}) == 7
    # A role of an image would hide the legend and the axes, which are text.
    interactive = [fields for _, fields in page.elements if fields.get("class") == "interactive"]
    assert {fields["role"] for fields in interactive} == {"group"}
    for fields in (*pictures, *interactive):
        assert fields["aria-describedby"] in ids
    training = next(fields["alt"] for fields in pictures if "training steps" in fields["alt"])
    assert "real" not in training
    assert not [fields["title"] for _, fields in page.elements if "title" in fields]


def test_a_report_of_the_two_scores_alone_says_what_is_missing(tmp_path, picture):
    write_reports(tmp_path, small_scores(), [picture])
    page = written_page(tmp_path)
    assert page.scripts == []
    assert "script-src 'none'" in page.policy
    assert "Not computed here: whether the generator copies" in page.text
    for heading in ("Distances", "Validity", "Hold-out", "Memorisation"):
        assert heading not in page.text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Not computed here" in markdown
    assert_tables_are_whole(markdown)


def test_every_section_may_be_empty(tmp_path, picture):
    whole, bare = full_scores(), small_scores()
    for name in ("references", "judges", "forecasters", "distances", "privacy", "validity", "holdout"):
        write_reports(tmp_path, whole | {name: bare[name]}, [picture])
        assert_tables_are_whole((tmp_path / "report.md").read_text(encoding="utf-8"))
    for name, empty in {"from": None, "judges": [], "forecasters": [], "distances": []}.items():
        write_reports(tmp_path, whole | {"holdout": whole["holdout"] | {name: empty}}, [picture])
        assert "0.13 is the generator's" in written_page(tmp_path).text


def test_a_single_judge_has_no_spread(tmp_path, picture):
    floor = {"chance_floor": 0.01, "held_out": {"real": 733, "synthetic": 733}}
    alone = single(0.3, auc=0.8, aucs=[0.8], **floor)
    rows = [{**alone, "name": "cnn", "title": "1-D CNN", "reference": alone}]
    gap = {"synthetic": alone, "training": alone}
    scores = full_scores() | {"discriminative": alone, "predictive": single(0.05, constant=0.2), "judges": rows}
    scores["holdout"] |= {"discriminative": gap, "judges": [{"name": "cnn", "title": "1-D CNN", **gap}]}
    write_reports(tmp_path, scores, [picture])
    for text in (written_page(tmp_path).text, (tmp_path / "report.md").read_text(encoding="utf-8")):
        assert "0.3000 (one judge)" in text or "| 0.3000 | one judge |" in text
        assert not re.search(r"± (0\.0+\b|None)", text)


def test_the_page_says_what_its_numbers_leave_out(tmp_path, picture):
    write_reports(tmp_path, full_scores(), [picture])
    page = written_page(tmp_path).text
    for words in (
        "and more where they overlap",
        "All judges are tested on the same 733 held-out windows",
        "cannot forecast a value beyond the range of the training windows",
        "halves made of alternating blocks of time",
        "trained on its earlier four fifths",
        "a run of the pipeline judges its channels scaled to [0, 1]",
        "4,321 training windows",
    ):
        assert words in page
    alone = small_scores()
    write_reports(tmp_path, alone, [picture])
    page = written_page(tmp_path).text
    assert "drawn at random, that it was not trained on" in page
    assert "alternating blocks" not in page
    assert "four fifths" not in page


def test_the_same_scores_give_the_same_files(tmp_path, picture):
    texts = []
    for _ in range(2):
        write_reports(tmp_path, full_scores(), [picture])
        texts.append([(tmp_path / f"report.{kind}").read_bytes() for kind in ("html", "md")])
    assert texts[0] == texts[1]


@given(st.text(max_size=40))
def test_any_name_stays_in_its_table_cell(name):
    text = markdown_text(name)
    assert "\n" not in text
    assert "<" not in text
    assert not re.search(r"(?<!\\)(\\\\)*[|`*_$]", text)
