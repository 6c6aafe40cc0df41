"""The model card: what a version is, how good it is, what it cannot do, and how to use it.

After Mitchell et al. 2019, "Model Cards for Model Reporting". Names from the data are anybody's text: Markdown
is escaped by `core.pages.markdown_text`, HTML by jinja2.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config import JobConfig
from core.evaluation.report.verdicts import summary_cards
from core.pages import markdown_text, render
from core.promotion.facts import DataFacts
from core.promotion.limits import limits_of

Rows = Sequence[tuple[str, ...]]

SHOWN = 40
"""Columns in the card's table."""
_SECTION = re.compile(r"(?m)^(?=## )")
_CUT = "\nThe rest is cut off here: `model-card.md` among the files of the model and of its run is all of it.\n"


@dataclass(frozen=True)
class Sheet:
    """What a card is made of."""

    job: JobConfig
    name: str
    version: str
    run_id: str
    manifest: dict[str, Any]
    """Of the prepared data."""
    scores: dict[str, Any]
    """What `scores.json` holds."""
    data: DataFacts
    decision: dict[str, Any]
    """What `decision.json` holds."""


@dataclass(frozen=True)
class Section:
    """A part of a card; everything in it is plain text."""

    title: str
    lines: list[str] = field(default_factory=list)
    """Sentences, one paragraph each, or one bullet each if there are several and no table."""
    header: tuple[str, ...] = ()
    rows: Rows = ()
    code: str = ""


@dataclass(frozen=True)
class Card:
    """A title and its sections, the most important first."""

    title: str
    sections: list[Section]


def model_card(sheet: Sheet) -> Card:
    """The card of a version; the same facts give the same card."""
    title = f"{sheet.name}, version {sheet.version}"
    sections = [
        _about(sheet),
        _promotion(sheet.decision),
        _use(sheet),
        Section("Limits", limits_of(sheet.job, sheet.manifest, sheet.scores)),
        _scores(sheet.scores),
        _verdicts(sheet.scores),
        _data(sheet),
        _configuration(sheet.job),
        _columns(sheet.manifest),
    ]
    return Card(title, sections)


def as_markdown(card: Card) -> str:
    """The card as Markdown."""
    return "\n".join([f"# {markdown_text(card.title)}\n", *map(_section_markdown, card.sections)])


def shortened(markdown: str, most: int) -> str:
    """A card in at most so many characters: sections that go beyond are left out, which is said."""
    if len(markdown) <= most:
        return markdown
    first, *sections = _SECTION.split(markdown)
    kept = first
    for section in sections:
        if len(kept) + len(section) + len(_CUT) > most:
            break
        kept += section
    return kept[: most - len(_CUT)] + _CUT


def as_html(card: Card, plots: Path | None = None) -> str:
    """The card as one page that loads nothing.

    Args:
        card: What to write.
        plots: Folder of PNG files to show, if any.
    """
    pictures = [] if plots is None else sorted(plots.glob("*.png"))
    shown = [(path.stem.replace("_", " "), _data_uri(path)) for path in pictures]
    return render("core.promotion", "card_template.html", card=card, pictures=shown)


def _about(sheet: Sheet) -> Section:
    job, manifest = sheet.job, sheet.manifest
    lines = [
        f"A generator of kind {job.model.kind}: it makes synthetic windows of {job.window.length} steps like "
        f"those of the dataset {job.dataset.name}"
        + (f": {job.dataset.description}" if job.dataset.description else "."),
        f"Trained on {manifest['windows']:,} windows, seed {job.training.seed}. MLflow run {sheet.run_id}.",
    ]
    if job.model.condition:
        lines.append(f"It is given {', '.join(job.model.condition)}, and makes the rest to fit.")
    return Section("What it is", lines)


def gate_rows(gates: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Gate, verdict and what was found, plain text; see `Gate.to_json`."""
    return [(f"{gate['name']}: {gate['title']}", gate["verdict"], gate["explanation"]) for gate in gates]


def _promotion(decision: dict[str, Any]) -> Section:
    verdict = "Promoted to champion" if decision["promoted"] else "Not promoted"
    against = "" if decision["champion"] is None else f" Compared with version {decision['champion']}."
    header = ("Gate", "Verdict", "What was found")
    return Section(
        "Promotion", [f"{verdict}: {decision['reason']}.{against}"], header, gate_rows(decision["gates"])
    )


def _use(sheet: Sheet) -> Section:
    model = f"{sheet.name}/{sheet.version}"
    code = (
        "import mlflow\n"
        f'model = mlflow.pyfunc.load_model("models:/{model}")  # or models:/{sheet.name}@champion\n'
        'rows = model.predict(None, params={"n_samples": 100, "seed": 1})\n'
        "\n"
        f"# timeloom generate {model} -n 100 -o windows.parquet --seed 1\n"
        f"# mlflow models serve -m models:/{model} --env-manager local"
    )
    return Section("Load, generate, serve", ["The same seed gives the same windows."], code=code)


def _scores(scores: dict[str, Any]) -> Section:
    references = scores["references"] or {}
    rows = [
        _row(
            "discriminative (0 to 0.5)", scores["discriminative"], references.get("discriminative_real_halves")
        ),
        _row("predictive (mean absolute error)", scores["predictive"], references.get("predictive_real")),
    ]
    rows += [_row(f"discriminative, {one['title']}", one, one["reference"]) for one in scores["judges"]]
    rows += [_row(f"forecast, {one['title']}", one["synthetic"], one["real"]) for one in scores["forecasters"]]
    if holdout := scores["holdout"]:
        rows += [
            _row(f"{kind}, on the hold-out", holdout[kind]["synthetic"], holdout[kind]["training"])
            for kind in ("discriminative", "predictive")
        ]
    lines = [
        "Lower is better. Beside each stands what real windows get in the synthetic ones' place; intervals "
        "are of 95 %, over judges."
    ]
    return Section("Scores", lines, ("Score", "Mean", "Interval", "Real windows"), rows)


def _row(title: str, score: dict[str, Any], reference: dict[str, Any] | None) -> tuple[str, ...]:
    interval = score["interval"]
    between = "one judge" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
    return (
        title,
        f"{score['mean']:.4f}",
        between,
        "not measured" if reference is None else f"{reference['mean']:.4f}",
    )


def _verdicts(scores: dict[str, Any]) -> Section:
    rows = [(card.kind, card.verdict.short, card.verdict.long) for card in summary_cards(scores)]
    return Section("In words", [], ("About", "Verdict", "Why"), rows)


def _data(sheet: Sheet) -> Section:
    data, time, holdout = sheet.data, sheet.manifest["time"], sheet.manifest["holdout"]
    rows = [
        ("dataset", data.dataset),
        ("prepared rows", f"{data.rows:,}"),
        ("digest, prepared", data.digest),
        ("digest, snapshot", sheet.manifest["snapshot"]),
    ]
    if time is None:
        rows.append(("time", "none: the order of the rows is the time"))
    else:
        rows += [(name, str(time[name])) for name in ("first", "last", "calendar", "frequency") if time[name]]
    if holdout:
        rows.append(
            ("held out", f"{holdout['rows']:,} rows, from {holdout['from'] or 'the border in their order'} on")
        )
    return Section("Data", [], ("What", "Is"), rows)


def _configuration(job: JobConfig) -> Section:
    sections = {
        "preset": job.preset,
        "window": job.window.model_dump(mode="json", exclude_none=True),
        "model": job.model.model_dump(mode="json", exclude_none=True),
        "training": job.training.model_dump(mode="json", exclude_defaults=True),
        "evaluation": job.evaluation.model_dump(mode="json", exclude_defaults=True),
    }
    rows = [
        (
            name,
            ", ".join(f"{key}={value}" for key, value in part.items()) if isinstance(part, dict) else str(part),
        )
        for name, part in sections.items()
        if part
    ]
    lines = [
        "Whole: `config.yaml` of the run; of training and evaluation only what is not the default stands here."
    ]
    return Section("Configuration", lines, ("Section", "Values"), rows)


def _columns(manifest: dict[str, Any]) -> Section:
    layout = manifest["layout"]
    columns = [column for part in ("static", "condition", "temporal") for column in layout[part]]
    rows = [(column["name"], column["kind"], _range(column)) for column in columns[:SHOWN]]
    more = len(columns) - len(rows)
    lines = [f"{more:,} more columns are not shown."] if more else []
    return Section("Columns", lines, ("Column", "Kind", "Learnt from"), rows)


def _range(column: dict[str, Any]) -> str:
    if column["kind"] != "continuous":
        shown = ", ".join(map(str, column["categories"][:10]))
        return f"{len(column['categories'])} values: {shown}" + ", ..." * (len(column["categories"]) > 10)
    of = {"none": "", "log": ", of the logarithm"}.get(column["transform"], ", of its differences")
    return f"{column['minimum']:g} to {column['maximum']:g}{of}"


def _section_markdown(section: Section) -> str:
    lines = [f"## {markdown_text(section.title)}", ""]
    bullet = "- " if len(section.lines) > 1 and not section.rows else ""
    for line in section.lines:
        lines += [bullet + markdown_text(line)] + ([] if bullet else [""])
    if bullet:
        lines.append("")
    if section.rows:
        table = [tuple(map(markdown_text, section.header)), ("---",) * len(section.header)]
        table += [tuple(map(markdown_text, row)) for row in section.rows]
        lines += ["| " + " | ".join(cells) + " |" for cells in table] + [""]
    if section.code:
        lines += ["```", section.code, "```", ""]
    return "\n".join(lines)


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
