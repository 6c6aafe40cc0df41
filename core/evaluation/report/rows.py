"""Measures beside what real windows get: how many times as far off they are, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.training.distance import MEMORISED

LEVELS = ("good", "fair", "poor")
"""The better one first."""
COPIED = "copied_share"
"""The measure of memorisation that counts copies."""
_ATTACK = "membership_inference_auc"
"""The measure of memorisation of which more is worse than less; of the others it is less."""
_FAIR, _POOR = 2.0, 5.0
"""Times as far as real windows, from where a distance counts as fair and as poor."""
_NEAR_IDEAL = 0.05
"""Real windows count as this far from an ideal, in parts of it, where they are nearer."""
_NOTHING = 0.001
"""Likewise where the ideal is 0: a thousandth of the range of the data, of a correlation or of all windows."""
_MOST = 100.0
"""Most times as near to the training windows as real ones: a copy is nearer by any number."""
_TICK = 25.0
"""Where on a bar, in per cent, real windows stand."""
_LONGEST = 20.0
"""Times as far as real windows at which a bar is full."""


@dataclass(frozen=True)
class Row:
    """A measure beside what real windows get."""

    measure: dict[str, Any]
    """See `measures.Measure`."""
    times: float | None
    """As far from its ideal as real windows are, or as near to the training windows. None without a reference,
    for counts of copies, and where synthetic windows are no nearer to the training windows than real ones."""
    level: str
    """`good`, `fair` or `poor`; empty without a reference."""
    worst: tuple[tuple[str, float], ...] = ()
    """The features that fit worst, with their values."""

    @property
    def bar(self) -> float:
        """Length of the bar in per cent; real windows stand at a quarter, beyond it is logarithmic."""
        times = min(self.times or 0.0, _LONGEST)
        if times <= 1:
            return _TICK * times
        return _TICK + (100 - _TICK) * math.log(times) / math.log(_LONGEST)


def distance_groups(measures: Sequence[dict[str, Any]]) -> list[tuple[str, list[Row]]]:
    """Distances by group in the groups' order, the worst first within each."""
    groups: dict[str, list[Row]] = {}
    for measure in measures:
        groups.setdefault(measure["group"], []).append(distance_row(measure))
    return [(name, sorted(rows, key=_badness, reverse=True)) for name, rows in groups.items()]


def weakest(measures: Sequence[dict[str, Any]], most: int = 3) -> list[Row]:
    """The distances that are poor or fair, the worst first, at most `most` of them."""
    rows = sorted(map(distance_row, measures), key=_badness, reverse=True)
    return [row for row in rows if row.level in ("fair", "poor")][:most]


def distance_row(measure: dict[str, Any]) -> Row:
    """A distance beside its reference: how many times as far off it is, and what that is worth.

    Real windows never count as nearer to the ideal than `_NEAR_IDEAL` or `_NOTHING`: next to a reference that
    happens to be there, anything would be far off.
    """
    by_feature = measure["by_feature"] or {}
    ranked = sorted(by_feature.items(), key=lambda item: _off(measure, item[1]), reverse=True)
    worst = tuple(ranked[:3]) if len(ranked) > 1 else ()
    if measure["reference"] is None:
        return Row(measure, None, "", worst)
    usual = max(_off(measure, measure["reference"]), _NEAR_IDEAL * abs(measure["ideal"]) or _NOTHING)
    times = _off(measure, measure["value"]) / usual
    level = "good" if times <= _FAIR else "fair" if times <= _POOR else "poor"
    return Row(measure, times, level, worst)


def risk_rows(measures: Sequence[dict[str, Any]], verdict: str) -> list[Row]:
    """Measures of memorisation, the most suspicious first.

    Only one side is suspicious: windows farther from the training windows than real ones are (noise) are no
    memory of them. And no single number is a verdict, since a calm or drifting series has low ones without any
    memory: none is called poor unless the verdict on all of them is.

    Args:
        measures: Of the group `privacy`.
        verdict: Level of `verdicts.privacy_verdict`.
    """
    rows = [_risk_row(measure, verdict) for measure in measures]
    return sorted(rows, key=lambda row: (LEVELS.index(row.level), _badness(row)), reverse=True)


def _risk_row(measure: dict[str, Any], verdict: str) -> Row:
    if measure["name"] == COPIED:
        return Row(measure, None, verdict if measure["value"] > measure["reference"] else "good")
    times = _times_suspicious(measure)
    if times <= 1:
        return Row(measure, None, "good")
    if times <= _FAIR:
        return Row(measure, times, "good")
    return Row(measure, times, "poor" if verdict == "poor" and times >= 1 / MEMORISED else "fair")


def _times_suspicious(measure: dict[str, Any]) -> float:
    value, real = measure["value"], measure["reference"]
    if measure["name"] == _ATTACK:
        ideal = measure["ideal"]
        return float((value - ideal) / max(real - ideal, _NEAR_IDEAL * ideal))
    if value >= real:
        return 1.0
    return min(_MOST, real / value) if value > 0 else _MOST


def _off(measure: dict[str, Any], value: float) -> float:
    """How far a value is from the ideal, on the side that matters."""
    beyond: float = value - measure["ideal"]
    if measure["better"] == "closer":
        return abs(beyond)
    return max(0.0, beyond if measure["better"] == "lower" else -beyond)


def _badness(row: Row) -> float:
    return -1.0 if row.times is None else row.times
