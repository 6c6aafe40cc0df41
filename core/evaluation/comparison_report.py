"""Several models' evaluations in one report, as an HTML file and as Markdown.

Scores of different windows or protocols do not compare: the report says so where they differ. Which of two
models is better than the other is left open where the 95 % intervals of their scores overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.evaluation.report import environment
from core.evaluation.verdicts import Card, Row, measure_row, summary_cards
from core.lake import write_atomically

_SAME = {
    "number of real windows": ("windows", "real"),
    "number of synthetic windows": ("windows", "synthetic"),
    "number of steps": ("windows", "steps"),
    "number of features": ("windows", "features"),
    "number of judges": ("protocol", "judges"),
    "number of classifier iterations": ("protocol", "discriminative_iterations"),
    "number of forecaster iterations": ("protocol", "predictive_iterations"),
    "batch size": ("protocol", "batch_size"),
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
class Line:
    """One measure of every model."""

    title: str
    group: str
    meaning: str
    reference: float | None
    rows: tuple[Row | None, ...]
    """By model; None where it was not measured."""

    @property
    def best(self) -> set[int]:
        """Numbers of the models that are closest to real windows; none where all are equal."""
        times = [row.times if row and row.times is not None else None for row in self.rows]
        known = [each for each in times if each is not None]
        if len(set(known)) < 2:
            return set()
        return {number for number, each in enumerate(times) if each == min(known)}


def write_comparison(
    out: Path,
    entries: Sequence[tuple[str, dict[str, Any]]],
    *,
    published: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Write `comparison.html` and `comparison.md`.

    Args:
        out: Existing folder.
        entries: Each model's name, which may be any text, and what its `scores.json` holds.
        published: Discriminative and predictive score by who reports them.

    Raises:
        ConfigError: there are fewer than two models.
    """
    if len(entries) < 2:
        raise ConfigError(f"a comparison needs at least 2 models, got {len(entries)}")
    names = [name for name, _ in entries]
    lines = measure_lines(entries)
    content = {
        "names": names,
        "findings": [finding(kind, entries) for kind in ("discriminative", "predictive")],
        "warnings": differences(entries),
        "verdicts": verdict_table(entries),
        "charts": {
            "Discriminative score": score_dots("discriminative", entries, published or {}),
            "Predictive score": score_dots("predictive", entries, published or {}),
        },
        "lines": lines,
        "wins": [sum(number in line.best for line in lines) for number in range(len(names))],
        "scores": [scores for _, scores in entries],
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
    """Why the scores do not compare: what differs between the evaluations, in words."""
    found = []
    for title, (section, key) in _SAME.items():
        values = [scores[section][key] for _, scores in entries]
        if len(set(values)) > 1:
            found.append(f"{title}: {', '.join(map(str, values))}")
    names = [[row["name"] for row in scores["features"]] for _, scores in entries]
    if any(each != names[0] for each in names):
        found.append("names of the features")
    return found


def verdict_table(entries: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, list[Card | None]]:
    """Cards by what they are about, one for each model; None where a model has none."""
    cards = [{card.kind: card for card in summary_cards(scores)} for _, scores in entries]
    kinds = dict.fromkeys(kind for each in cards for kind in each)
    return {kind: [each.get(kind) for each in cards] for kind in kinds}


def score_dots(
    kind: str, entries: Sequence[tuple[str, dict[str, Any]]], published: Mapping[str, tuple[float, float]]
) -> list[Dot]:
    """Where each model's score and 95 % interval stand on an axis from 0, the best first."""
    spans = []
    for name, scores in entries:
        score = scores[kind]
        low, high = score["interval"] or (score["mean"], score["mean"])
        spans.append((name, score["mean"], max(0.0, low), high, False))
    for name, pair in published.items():
        value = pair[0 if kind == "discriminative" else 1]
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
        measures = [*(scores.get("distances") or ()), *((scores.get("privacy") or {}).get("measures") or ())]
        found.append({measure["name"]: measure_row(measure) for measure in measures})
    lines = []
    for name in dict.fromkeys(name for rows in found for name in rows):
        rows = tuple(each.get(name) for each in found)
        one = next(row for row in rows if row is not None).measure
        lines.append(Line(one["title"], one["group"], one["meaning"], one["reference"], rows))
    return lines


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the intervals of two means meet; a single judge's has no width, so nothing is sure of it."""
    if not one["interval"] or not other["interval"]:
        return True
    return bool(one["interval"][1] >= other["interval"][0])
