from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd

from tests.unit.test_build import manifest_of, prepared


class Cells(HTMLParser):
    """Tags, and the text of each table cell."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.tags.add(tag)
        self._inside = tag == "td"
        if self._inside:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def page(html: str) -> Cells:
    parser = Cells()
    parser.feed(html)
    return parser


NAME = "<script>alert(1)</script>|*x*"


def frame() -> pd.DataFrame:
    days = pd.date_range("2020-01-01", periods=12, freq="D").delete(6)
    return pd.DataFrame({"date": days, NAME: np.arange(11.0), "kind": list("abababababa")})


def test_names_from_the_data_stay_text(tmp_path):
    ref = prepared(tmp_path, frame(), columns={"kind": "categorical"})
    html, markdown = (ref.path / "report.html").read_text(), (ref.path / "report.md").read_text()
    found = page(html)
    assert NAME in found.cells
    assert not {"script", "link", "img", "iframe"} & found.tags
    assert not re.search(r"<(?!/?code)", markdown)
    row = next(line for line in markdown.splitlines() if "alert" in line)
    assert len(re.split(r"(?<!\\)\|", row)) == 8 + 2


def test_report_tells_gaps_fills_and_ranges(tmp_path):
    cells = frame()
    cells.loc[2, NAME] = np.nan
    ref = prepared(
        tmp_path, cells, columns={"kind": "categorical"}, missing={"policy": "forward_fill"}, holdout=0.5
    )
    found = page((ref.path / "report.html").read_text()).cells
    manifest = manifest_of(ref)
    pairs = dict(pairwise(found))
    assert pairs["cells filled"] == "1 (forward_fill)"
    assert pairs["first"] == "2020-01-01"
    assert pairs["windows to learn from"] == str(manifest["windows"])
    assert pairs["held out from"] == manifest["holdout"]["from"]
    assert pairs["2020-01-06"] == "2020-01-08"
    assert "1 filled" in found
    assert "2: a, b" in found
    assert "0 to 4" in found


def test_long_lists_of_gaps_are_cut_and_the_rest_is_counted(tmp_path):
    rows = np.arange(900)
    cells = pd.DataFrame({"x": rows.astype(float)})
    ref = prepared(tmp_path, cells, excluded=rows[rows % 3 == 2].tolist(), time={"none": True}, block_rows=500)
    text = (ref.path / "report.md").read_text()
    assert manifest_of(ref)["gap_count"] == 299
    assert text.count("\n| row ") == 200
    assert "99 more gaps are not shown." in text
