"""The report of an evaluation, for people: one HTML file and the same as Markdown.

Column names are anybody's text: HTML is escaped by jinja2, Markdown by `markdown_text`, labels of interactive
figures by `figures.label_text`. The page loads nothing, and its policy lets no script run but its own two,
known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.evaluation.report.figures import Figure
from core.evaluation.report.plots import UNITS, Plot, short_name
from core.evaluation.report.published import Published, published_text
from core.evaluation.report.rows import Row, distance_groups, risk_rows, weakest
from core.evaluation.report.verdicts import drift_sentence, gap_width, privacy_verdict, spread, summary_cards
from core.lake import write_atomically

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent
_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~#$!])")
_PICTURE = re.compile(r"^!\[.*\]\(.*\)\n\n", re.MULTILINE)
_SPACE = "\N{NO-BREAK SPACE}"


def write_reports(
    out: Path,
    scores: dict[str, Any],
    plots: Sequence[Plot],
    figures: Sequence[Figure] = (),
    *,
    published: Mapping[str, Published] | None = None,
) -> None:
    """Write `report.html` and `report.md`.

    Args:
        out: Existing folder; pictures lie in `plots/` below it.
        scores: What `scores.json` holds; sections that were not computed are None or empty.
        plots: Pictures, in their order.
        figures: Interactive ones; one that is called as a picture takes its place where scripts run.
        published: Discriminative and predictive score by who reports them, see `published.published_scores`.
    """
    pages = environment()
    content = {
        "scores": scores,
        "published": dict(published or {}),
        "cards": summary_cards(scores),
        "weakest": weakest(scores["distances"]),
        "groups": distance_groups(scores["distances"]),
        "risks": risks(scores["privacy"]),
        "holdout": _holdout(scores["holdout"]) if scores["holdout"] else None,
        "units": UNITS,
        "plots": plots,
        "alone": [figure for figure in figures if figure.name not in {plot.name for plot in plots}],
        "figures": {figure.name: figure for figure in figures},
        "uri": _data_uri,
        **scripts(figures),
    }
    for name in ("html", "md"):
        text = pages.get_template(f"report_template.{name}").render(content)
        write_atomically(out / f"report.{name}", text)


def environment() -> Environment:
    """The templates of this folder, with their filters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    pages = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters.update(
        score="{:.4f}".format,
        short="{:.5g}".format,
        brief="{:.3g}".format,
        share=_share,
        spread=spread_text,
        published=published_text,
        times=times_text,
        name=partial(short_name, most=40),
        md=markdown_text,
    )
    return pages


def scripts(figures: Sequence[Figure]) -> dict[str, Any]:
    """The scripts of a page as they stand in it, and the sources that its policy allows.

    Without figures there are none.
    """
    if not figures:
        return {"plotly": "", "script": "", "script_sources": "'none'"}
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    parts = get_plotlyjs(), (_FOLDER / "report_script.js").read_text(encoding="utf-8")
    hashes = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode("ascii") for part in parts)
    sources = " ".join(f"'sha256-{each}'" for each in hashes)
    # Both are this project's and plotly's own code, none of it is data.
    plotly, script = (Markup(part) for part in parts)  # noqa: S704
    return {"plotly": plotly, "script": script, "script_sources": Markup(sources)}  # noqa: S704


def markdown_text(text: str) -> str:
    """Any text as it is, on one line of Markdown, without markup or HTML coming alive."""
    line = " ".join(html.escape(str(text), quote=False).split())
    return _MARKDOWN.sub(r"\\\1", line)


def without_pictures(markdown: str) -> str:
    """`report.md` for a page that no file lies beside: pictures are left out, their captions stay."""
    return _PICTURE.sub("", markdown)


def times_text(times: float | None) -> str:
    """How many times as far as real windows, in few letters."""
    if times is None:
        return "\N{EN DASH}"
    if times > 99:
        return f">{_SPACE}99{_SPACE}\N{MULTIPLICATION SIGN}"
    return f"{times:.1f}{_SPACE}\N{MULTIPLICATION SIGN}"


def spread_text(score: dict[str, Any]) -> str:
    """Standard deviation over the judges."""
    deviation = spread(score)
    return "one judge" if deviation is None else f"{deviation:.4f}"


def risks(privacy: dict[str, Any] | None) -> list[Row]:
    """Rows of the section `privacy`, marked no worse than its verdict; none if it was not computed."""
    return risk_rows(privacy["measures"], privacy_verdict(privacy).level) if privacy else []


def _holdout(holdout: dict[str, Any]) -> dict[str, Any]:
    """The section with its distances in groups, its drift in words, and all scores of a kind in one list."""
    return holdout | {
        "drift": drift_sentence(holdout["discriminative"]),
        "width": gap_width(holdout["discriminative"]),
        "rows": [
            {"title": "discriminative, paper's judges", **holdout["discriminative"]},
            *({**judge, "title": f"discriminative, {judge['title']}"} for judge in holdout["judges"]),
            {"title": "predictive, paper's forecasters", **holdout["predictive"]},
            *({**row, "title": f"forecast error, {row['title']}"} for row in holdout["forecasters"]),
        ],
        "groups": distance_groups(holdout["distances"]),
    }


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
