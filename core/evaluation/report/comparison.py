"""Several models' evaluations in one report, as an HTML file and as Markdown.

Scores of different windows or protocols do not compare: the report says so where they differ. Which of two
models is better than the other is left open where the 95 % intervals of their scores overlap.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.errors import ConfigError
from core.evaluation.report.pages import environment, risks
from core.evaluation.report.published import Published
from core.evaluation.report.rows import Row, distance_row
from core.evaluation.report.verdicts import Card, summary_cards
from core.lake import write_atomically

logger = logging.getLogger(__name__)

_DIGITS = 12
"""Shown of a digest."""
_SAME = {
    "number of real windows": ("windows", "real"),
    "number of synthetic windows": ("windows", "synthetic"),
    "number of steps": ("windows", "steps"),
    "number of features": ("windows", "features"),
    "number of judges": ("protocol", "judges"),
    "number of classifier iterations": ("protocol", "discriminative_iterations"),
    "number of forecaster iterations": ("protocol", "predictive_iterations"),
    "batch size": ("protocol", "batch_size"),
    "seed": ("protocol", "seed"),
}


@dataclass(frozen=True)
class Dot:
    """A score with its interval on the axis of a chart, in per cent of its width."""

    name: str
    score: float
    at: float
    low: float
    high: float
    published: bool


@dataclass(frozen=True)
class ScoreLine:
    """One score of every model."""

    title: str
    reference: dict[str, Any] | None
    """Of real windows."""
    scores: tuple[dict[str, Any] | None, ...]
    """By model; None where it was not measured."""


@dataclass(frozen=True)
class Line:
    """One measure of every model."""

    title: str
    group: str
    meaning: str
    reference: float | None
    rows: tuple[Row | None, ...]
    """By model; None where it was not measured."""
    ranked: bool
    """Whether less is better: to be far from the training windows is no merit in itself."""

    @property
    def best(self) -> set[int]:
        """Numbers of the models that are closest to real windows; none where all are equal."""
        if not self.ranked:
            return set()
        times = [row.times if row and row.times is not None else None for row in self.rows]
        known = [each for each in times if each is not None]
        if len(set(known)) < 2:
            return set()
        return {number for number, each in enumerate(times) if each == min(known)}


def write_comparison(
    out: Path,
    entries: Sequence[tuple[str, dict[str, Any]]],
    *,
    published: Mapping[str, Published] | None = None,
) -> None:
    """Write `comparison.html` and `comparison.md`; what does not compare is told in them and in the log.

    Args:
        out: Existing folder; a model's own `<name>/report.html` in it is linked.
        entries: Each model's name, which may be any text, and what its `scores.json` holds.
        published: Discriminative and predictive score by who reports them.

    Raises:
        ConfigError: there are fewer than two models.
    """
    if len(entries) < 2:
        raise ConfigError(f"a comparison needs at least 2 models, got {len(entries)}")
    names = [name for name, _ in entries]
    lines, warnings = measure_lines(entries), differences(entries)
    if warnings:
        logger.warning("the evaluations of %s are not alike: %s", ", ".join(names), "; ".join(warnings))
    content = {
        "names": names,
        "findings": [finding(kind, entries) for kind in ("discriminative", "predictive")],
        "warnings": warnings,
        "links": [_link(out, name) for name in names],
        "verdicts": verdict_table(entries),
        "charts": {
            "Discriminative score": score_dots("discriminative", entries, published or {}),
            "Predictive score": score_dots("predictive", entries, published or {}),
        },
        "published": dict(published or {}),
        "lines": lines,
        "measures": sum(line.ranked for line in lines),
        "wins": [sum(number in line.best for line in lines) for number in range(len(names))],
        "score_lines": score_lines(entries),
    }
    pages = environment()
    for kind in ("html", "md"):
        text = pages.get_template(f"comparison_template.{kind}").render(content)
        write_atomically(out / f"comparison.{kind}", text)


def finding(kind: str, entries: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Which model has the lowest score, and which others are within the spread of its judges.

    Args:
        kind: `discriminative` or `predictive`.
        entries: At least two models.
    """
    ranked = sorted(entries, key=lambda entry: entry[1][kind]["mean"])
    (name, first), *others = ranked
    level = [other for other, scores in others if _overlap(first[kind], scores[kind])]
    text = f"{name} has the lowest {kind} score, {first[kind]['mean']:.4f}"
    if not level:
        return f"{text}; the others' intervals do not reach it."
    return f"{text}; within the spread of the judges, so not safely behind: {', '.join(level)}."


def differences(entries: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Why the scores do not compare: what differs between the evaluations, in words.

    What an evaluation does not say of itself is unknown, and differs from what another one says.
    """
    sets = [str(scores.get("digest", "unknown"))[:_DIGITS] for _, scores in entries]
    found = [] if len(set(sets)) == 1 else [f"the real windows, by their digests: {', '.join(sets)}"]
    for title, (section, key) in _SAME.items():
        values = [str(scores[section].get(key, "unknown")) for _, scores in entries]
        if len(set(values)) > 1:
            found.append(f"{title}: {', '.join(values)}")
    names = [[row["name"] for row in scores["features"]] for _, scores in entries]
    if any(each != names[0] for each in names):
        found.append("names of the features")
    return found


def verdict_table(entries: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, list[Card | None]]:
    """Cards by what they are about, one for each model; None where a model has none."""
    cards = [{card.kind: card for card in summary_cards(scores)} for _, scores in entries]
    kinds = dict.fromkeys(kind for each in cards for kind in each)
    return {kind: [each.get(kind) for each in cards] for kind in kinds}


def score_lines(entries: Sequence[tuple[str, dict[str, Any]]]) -> list[ScoreLine]:
    """Scores of the paper's and stronger judges, forecasters and the hold-out, as they first come."""
    found = [{title: pair for title, *pair in _titled_scores(scores)} for _, scores in entries]
    lines = []
    for title in dict.fromkeys(title for each in found for title in each):
        pairs = [each.get(title, (None, None)) for each in found]
        reference = next((real for _, real in pairs if real), None)
        lines.append(ScoreLine(title, reference, tuple(score for score, _ in pairs)))
    return lines


def score_dots(
    kind: str, entries: Sequence[tuple[str, dict[str, Any]]], published: Mapping[str, Published]
) -> list[Dot]:
    """Where each model's score and 95 % interval stand on an axis from 0, the best first.

    Published scores that do not compare are left out.
    """
    spans = []
    for name, scores in entries:
        score = scores[kind]
        low, high = score["interval"] or (score["mean"], score["mean"])
        spans.append((name, score["mean"], max(0.0, low), high, False))
    for name, pair in published.items():
        value = pair[0 if kind == "discriminative" else 1]
        if value is not None:
            spans.append((f"published: {name}", value, value, value, True))
    full = max(high for *_, high, _ in spans) or 1.0
    return [
        Dot(name, score, 100 * score / full, 100 * low / full, 100 * high / full, reported)
        for name, score, low, high, reported in sorted(spans, key=lambda span: span[1])
    ]


def measure_lines(entries: Sequence[tuple[str, dict[str, Any]]]) -> list[Line]:
    """Distances and privacy measures of all models by name, in the order in which they first come."""
    found: list[dict[str, Row]] = []
    for _, scores in entries:
        rows = [*map(distance_row, scores["distances"]), *risks(scores["privacy"])]
        found.append({row.measure["name"]: row for row in rows})
    ranked = {measure["name"] for _, scores in entries for measure in scores["distances"]}
    lines = []
    for name in dict.fromkeys(name for rows in found for name in rows):
        rows_of_all = tuple(each.get(name) for each in found)
        one = next(row for row in rows_of_all if row is not None).measure
        lines.append(
            Line(one["title"], one["group"], one["meaning"], one["reference"], rows_of_all, name in ranked)
        )
    return lines


def _titled_scores(scores: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """Title, score of the synthetic windows, and of real ones if known."""
    real = scores["references"] or {}
    yield "discriminative", scores["discriminative"], real.get("discriminative_real_halves")
    for judge in scores["judges"]:
        yield f"discriminative, {judge['title']}", judge, judge["reference"]
    yield "predictive", scores["predictive"], real.get("predictive_real")
    for row in scores["forecasters"]:
        yield f"forecast error, {row['title']}", row["synthetic"], row["real"]
    if holdout := scores["holdout"]:
        for kind, title, key in (
            ("discriminative", "discriminative", "judges"),
            ("predictive", "forecast error", "forecasters"),
        ):
            pair = holdout[kind]
            yield f"hold-out: {kind}", pair["synthetic"], pair["training"]
            for row in holdout[key]:
                yield f"hold-out: {title}, {row['title']}", row["synthetic"], row["training"]


def _link(out: Path, name: str) -> str | None:
    """The model's own report, if it lies beside."""
    if Path(name).name != name or not (out / name / "report.html").is_file():
        return None
    return f"{quote(name)}/report.html"


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the intervals of two means meet; a single judge's has no width, so nothing is sure of it."""
    if not one["interval"] or not other["interval"]:
        return True
    return bool(one["interval"][1] >= other["interval"][0])
