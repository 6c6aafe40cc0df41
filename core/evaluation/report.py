"""The report of an evaluation, for people: one HTML file and the same as Markdown.

Column names are anybody's text: HTML is escaped by jinja2, Markdown by `markdown_text`.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from core.evaluation.plots import Plot
from core.lake import write_atomically

_FOLDER = Path(__file__).parent
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~#$!])")
_CHANCE_95 = 1.96 * math.sqrt(math.pi / 2)
"""95 % quantile of |N(0, s^2)| by its mean."""


@dataclass(frozen=True)
class Verdict:
    """A score in words."""

    level: str
    """`good`, `fair` or `poor`: how it is coloured."""
    short: str
    long: str


def write_reports(out: Path, scores: dict[str, Any], plots: Sequence[Plot]) -> None:
    """Write `report.html` and `report.md`.

    Args:
        out: Existing folder; pictures lie in `plots/` below it.
        scores: What `scores.json` holds.
        plots: Pictures, in their order.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(score="{:.4f}".format, short="{:.5g}".format, share=_share, md=markdown_text)
    content = {
        "scores": scores,
        "plots": [(plot, _data_uri(plot.path)) for plot in plots],
        "discriminative": discriminative_verdict(scores["discriminative"]),
        "predictive": predictive_verdict(scores["predictive"], scores["references"]),
    }
    for name in ("html", "md"):
        text = environment.get_template(f"report_template.{name}").render(content)
        write_atomically(out / f"report.{name}", text)


def discriminative_verdict(score: dict[str, Any]) -> Verdict:
    """What the mean discriminative score says, against the score that luck alone would give."""
    mean, floor, interval = score["mean"], score["chance_floor"], score["interval"]
    by_luck = interval is None or interval[0] <= floor
    levels = (
        (
            _CHANCE_95 * floor if by_luck else -math.inf,
            "good",
            "Judges cannot tell synthetic windows from real ones",
        ),
        (0.1, "good", "Judges can hardly tell synthetic windows from real ones"),
        (0.25, "fair", "Judges often tell synthetic windows from real ones"),
        (0.4, "poor", "Judges mostly tell synthetic windows from real ones"),
        (math.inf, "poor", "Judges nearly always tell synthetic windows from real ones"),
    )
    level, short = next((level, short) for bound, level, short in levels if mean <= bound)
    return Verdict(
        level,
        short,
        f"Trained to tell the two apart, a judge is right about {100 * (0.5 + mean):.0f} times in 100 on "
        "windows that it has not seen; guessing would be right 50 times. Luck alone gives a perfect generator "
        f"a score of {floor:.4f} at this number of windows.",
    )


def predictive_verdict(score: dict[str, Any], references: dict[str, Any] | None) -> Verdict:
    """What the mean predictive score says, against a constant guess and, where known, real training data."""
    mean, constant = score["mean"], score["constant"]
    long = (
        f"Trained on synthetic windows alone, a forecaster of the last feature is off by {100 * mean:.1f} % of "
        f"its real range on the real windows; always guessing its median would be off by {100 * constant:.1f} %"
    )
    bound = 0.5 * constant
    if references is not None:
        real = references["predictive_real"]["mean"]
        long += f", and one trained on the real windows is off by {100 * real:.1f} %"
        # Published results count as equal to real data within 0.002.
        bound = max(bound, real + 0.002)
    if mean <= bound:
        return Verdict("good", "Forecasters learn from synthetic windows what real ones do", long + ".")
    if mean < constant:
        return Verdict("fair", "Forecasters learn something from synthetic windows", long + ".")
    why = ". Either the synthetic windows teach nothing, or the data leave nothing to predict"
    return Verdict("poor", "Forecasters do no better than a constant guess", long + why + ".")


def markdown_text(text: str) -> str:
    """Any text as it is, on one line of Markdown, without markup or HTML coming alive."""
    line = " ".join(html.escape(str(text), quote=False).split())
    return _MARKDOWN.sub(r"\\\1", line)


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
