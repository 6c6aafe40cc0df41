"""What a version cannot do, as far as its data and its evaluation tell."""

from __future__ import annotations

from typing import Any

from core.config import JobConfig
from core.evaluation.report.rows import LEVELS
from core.evaluation.report.verdicts import summary_cards

FEW_WINDOWS = 1000
_NAMED = 10


def limits_of(job: JobConfig, manifest: dict[str, Any], scores: dict[str, Any]) -> list[str]:
    """Sentences, plain text; the general ones first.

    Args:
        job: What was done.
        manifest: Of the prepared data.
        scores: What `scores.json` holds.
    """
    return [*_always(job), *_of_data(manifest, scores), *_of_evaluation(scores)]


def _always(job: JobConfig) -> list[str]:
    return [
        f"It makes windows of {job.window.length} steps that could have been, not forecasts of what will be: "
        "nothing in them is about a given day, person or machine.",
        "It has learnt the ranges and categories listed under Columns, and nothing of what lies beyond them.",
        "Copies were looked for only among the windows that were compared; where single records must stay "
        "secret, that is no guarantee such as differential privacy gives."
        if job.evaluation.privacy
        else "Nobody has looked for copies of training windows: keep it where records must stay secret.",
    ]


def _of_data(manifest: dict[str, Any], scores: dict[str, Any]) -> list[str]:
    said = []
    constant = [feature["name"] for feature in scores["features"] if feature["constant"]]
    if constant:
        said.append(f"Constant in the training data, so that nothing else will come out: {_listed(constant)}.")
    if manifest["windows"] < FEW_WINDOWS:
        said.append(f"{manifest['windows']:,} windows are few: scores vary, and copies are likely.")
    if filled := sum(manifest["filled"].values()):
        said.append(f"{filled:,} missing cells were filled in before training: it makes the fillings, too.")
    if manifest["gap_count"]:
        said.append(f"{manifest['gap_count']:,} gaps in time: no window was learnt across them.")
    if beyond := manifest["outside"]["held_out"]:
        said.append(
            f"The held-out rows already leave the learnt ranges ({sum(beyond.values()):,} cells of "
            f"{_listed(list(beyond))}): the series moves on, train again as it does."
        )
    return said


def _of_evaluation(scores: dict[str, Any]) -> list[str]:
    said = [
        f"{card.kind}: {card.verdict.short}."
        for card in summary_cards(scores)
        if card.verdict.level != LEVELS[0]
    ]
    outside = [f["name"] for f in scores["features"] if f["outside_real_range"] > 0.01]
    if outside:
        said.append(f"More than 1 % of the values lie outside the real range: {_listed(outside)}.")
    if scores["holdout"] is None:
        said.append("Nothing was held out: it is not known how well it fits later data.")
    if scores["references"] is None:
        said.append("What real windows would score was not measured: scores have nothing to stand beside.")
    if len(scores["discriminative"]["values"]) < 2:
        said.append("A single judge: how far its score can be trusted is not known.")
    return said


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(map(str, names[:_NAMED])) + (f" and {more} more" if more > 0 else "")
