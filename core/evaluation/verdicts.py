"""What the scores of an evaluation say, in words and in three levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_CHANCE_95 = 1.96 * math.sqrt(math.pi / 2)
"""95 % quantile of |N(0, s^2)| by its mean."""
_LEVELS = ("good", "fair", "poor")
_PUBLISHED_TOLERANCE = 0.002
"""Published predictive scores count as equal to real data within it."""
_DRIFT_HIDES = 0.4
"""Discriminative score of real windows above which drift leaves nothing to see of a generator."""
_FAIR, _POOR = 2.0, 5.0
"""Times as far as real windows, from where a distance counts as fair and as poor."""
_NEAR_IDEAL = 0.05
"""A value this close to its ideal, in parts of it, is good whatever its reference is."""
_TICK = 25.0
"""Where on a bar, in per cent, real windows stand."""
_LONGEST = 20.0
"""Times as far as real windows at which a bar is full."""


@dataclass(frozen=True)
class Verdict:
    """A score in words."""

    level: str
    """`good`, `fair` or `poor`: how it is coloured."""
    short: str
    long: str


@dataclass(frozen=True)
class Card:
    """A verdict of the summary with the number that it is about."""

    kind: str
    number: str
    unit: str
    verdict: Verdict


@dataclass(frozen=True)
class Row:
    """A measure beside what real windows get."""

    measure: dict[str, Any]
    """See `measures.Measure`."""
    times: float | None
    """As far from its ideal as real windows are; infinite where those are at it; None without a reference."""
    level: str
    """`good`, `fair` or `poor`; empty without a reference."""
    worst: tuple[tuple[str, float], ...]
    """The features that fit worst, with their values."""

    @property
    def bar(self) -> float:
        """Length of the bar in per cent; real windows stand at a quarter, beyond it is logarithmic."""
        times = min(self.times or 0.0, _LONGEST)
        if times <= 1:
            return _TICK * times
        return _TICK + (100 - _TICK) * math.log(times) / math.log(_LONGEST)


def summary_cards(scores: dict[str, Any]) -> list[Card]:
    """Fidelity and usefulness, and memorisation, validity and hold-out where they were measured."""
    discriminative, predictive = scores["discriminative"], scores["predictive"]
    cards = [
        Card(
            "Fidelity",
            f"{discriminative['mean']:.3f}",
            f"± {discriminative['std']:.3f} discriminative score, 0 to 0.5",
            fidelity_verdict(discriminative, scores.get("judges") or ()),
        ),
        Card(
            "Usefulness",
            f"{predictive['mean']:.3f}",
            f"± {predictive['std']:.3f} predictive score, mean absolute error",
            usefulness_verdict(predictive, scores.get("references"), scores.get("forecasters") or ()),
        ),
    ]
    if scores.get("privacy"):
        cards.append(_privacy_card(scores["privacy"]))
    if scores.get("validity"):
        cards.append(_validity_card(scores["validity"]))
    if scores.get("holdout"):
        cards.append(_holdout_card(scores["holdout"]))
    return cards


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
        f"Trained to tell the two apart, a judge is right about {_right(mean)} times in 100 on windows that it "
        "has not seen; guessing would be right 50 times. Luck alone gives a perfect generator a score of "
        f"{floor:.4f} at this number of windows.",
    )


def fidelity_verdict(score: dict[str, Any], judges: Sequence[dict[str, Any]]) -> Verdict:
    """The paper's judges and the strongest of the others together: the worse of the two counts.

    Args:
        score: Of the paper's judges.
        judges: Stronger ones; may be empty.
    """
    verdict = discriminative_verdict(score)
    if not judges:
        return verdict
    strongest = max(judges, key=lambda judge: judge["mean"])
    stronger = discriminative_verdict(strongest)
    long = (
        f"{verdict.long} The strongest judge ({strongest['title']}) is right about "
        f"{_right(strongest['mean'])} times in 100."
    )
    if _LEVELS.index(stronger.level) <= _LEVELS.index(verdict.level):
        return Verdict(verdict.level, verdict.short, long)
    return Verdict(stronger.level, stronger.short.replace("Judges", "Stronger judges"), long)


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
        bound = max(bound, real + _PUBLISHED_TOLERANCE)
    if mean <= bound:
        return Verdict("good", "Forecasters learn from synthetic windows what real ones do", long + ".")
    if mean < constant:
        return Verdict("fair", "Forecasters learn something from synthetic windows", long + ".")
    why = ". Either the synthetic windows teach nothing, or the data leave nothing to predict"
    return Verdict("poor", "Forecasters do no better than a constant guess", long + why + ".")


def usefulness_verdict(
    score: dict[str, Any], references: dict[str, Any] | None, forecasters: Sequence[dict[str, Any]]
) -> Verdict:
    """The paper's forecasters and the best other one together: the worse of the two counts.

    Args:
        score: Of the paper's forecasters.
        references: What they reach when trained on real windows, if measured.
        forecasters: Stronger ones, trained on synthetic and on real windows; may be empty.
    """
    verdict = predictive_verdict(score, references)
    if not forecasters:
        return verdict
    best = min(forecasters, key=lambda forecaster: forecaster["real"]["mean"])
    synthetic, real = best["synthetic"]["mean"], best["real"]["mean"]
    long = (
        f"{verdict.long} The strongest forecaster ({best['title']}) is off by {100 * synthetic:.1f} % when "
        f"trained on synthetic windows and by {100 * real:.1f} % when trained on real ones."
    )
    level, short = "good", verdict.short
    if synthetic >= best["constant"]:
        level, short = "poor", "The strongest forecaster learns nothing from synthetic windows"
    elif synthetic > max(1.25 * real, real + _PUBLISHED_TOLERANCE):
        level, short = "fair", "Forecasters learn less from synthetic windows than from real ones"
    if _LEVELS.index(level) <= _LEVELS.index(verdict.level):
        level, short = verdict.level, verdict.short
    return Verdict(level, short, long)


def privacy_verdict(privacy: dict[str, Any]) -> Verdict:
    """Whether the generator remembers the windows that it was trained on."""
    exact, near = privacy["exact_copies"], privacy["near_copies"]
    long = privacy.get("verdict") or (
        f"Of {privacy['compared']:,} synthetic windows, {exact:,} {_are(exact)} exactly a training window and "
        f"{near:,} nearly one."
    )
    if privacy["copies"]:
        return Verdict("poor", "The generator copies its training windows", long)
    if exact:
        return Verdict("fair", "A few synthetic windows are training windows", long)
    # As many near ones as real windows show among themselves are no fault.
    return Verdict("good", "The generator does not copy its training windows", long)


def validity_verdict(rules: Sequence[dict[str, Any]]) -> Verdict:
    """Whether synthetic rows keep the rules that the real ones keep, by the rule that is broken most."""
    worst = worst_rule(rules)
    excess = worst["share"] - worst["real_share"]
    broken = sum(rule["broken"] > 0 for rule in rules)
    long = (
        f"Of {len(rules)} rules, {broken} {_are(broken)} broken somewhere; most often "
        f"{worst['rule']}: in {_percent(worst['share'])} of the synthetic and {_percent(worst['real_share'])} "
        "of the real values."
    )
    if not any(rule["broken"] for rule in rules):
        long = (
            f"All of {len(rules)} rules hold everywhere."
            if len(rules) > 1
            else "The one rule holds everywhere."
        )
        return Verdict("good", "Synthetic rows keep every rule", long)
    if excess <= 0.001:
        return Verdict("good", "Synthetic rows keep the rules as well as real ones", long)
    if excess <= 0.02:
        return Verdict("fair", "A few synthetic rows break a rule", long)
    return Verdict("poor", "Synthetic rows break a rule", long)


def worst_rule(rules: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The rule that synthetic values break most beyond what real ones do."""
    return max(rules, key=lambda rule: (rule["share"] - rule["real_share"], rule["share"]))


def holdout_verdict(holdout: dict[str, Any]) -> Verdict:
    """How much of the gap to windows that nobody trained on is drift, and how much is the generator's."""
    synthetic, training = holdout["discriminative"]["synthetic"], holdout["discriminative"]["training"]
    long = f"{drift_sentence(synthetic['mean'], training['mean'])}{_forecast_sentence(holdout)}"
    if training["mean"] >= _DRIFT_HIDES:
        return Verdict("fair", "The series drifts too far to say", long)
    gap = synthetic["mean"] - training["mean"]
    if gap <= max(0.05, 2 * math.hypot(_error(synthetic), _error(training))):
        return Verdict("good", "Synthetic windows are as close to later data as real ones", long)
    if gap <= 0.15:
        return Verdict("fair", "Synthetic windows are somewhat further from later data than real ones", long)
    return Verdict("poor", "Synthetic windows are much further from later data than real ones", long)


def drift_sentence(synthetic: float, training: float) -> str:
    """The discriminative gap to the hold-out, divided into drift and what is the generator's.

    Args:
        synthetic: Score of synthetic windows against the hold-out.
        training: Score of the real training windows against it.
    """
    mine = (
        f"The training windows themselves score {training:.2f} against the hold-out, because the series drifts"
    )
    if training >= _DRIFT_HIDES:
        return (
            f"{mine}; the synthetic ones {synthetic:.2f}. Judges tell even real windows from later ones, so "
            "this score says little about the generator."
        )
    gap = round(synthetic, 2) - round(training, 2)
    share = f"{gap:.2f} is the generator's" if gap >= 0.005 else "none of it is the generator's"
    return f"{mine}; the synthetic ones {synthetic:.2f}: {share}."


def distance_groups(measures: Sequence[dict[str, Any]]) -> list[tuple[str, list[Row]]]:
    """Measures by group in the groups' order, the worst first within each."""
    groups: dict[str, list[Row]] = {}
    for measure in measures:
        groups.setdefault(measure["group"], []).append(measure_row(measure))
    return [(name, sorted(rows, key=_badness, reverse=True)) for name, rows in groups.items()]


def weakest(measures: Sequence[dict[str, Any]], most: int = 3) -> list[Row]:
    """The measures that are poor or fair, the worst first, at most `most` of them."""
    rows = sorted(map(measure_row, measures), key=_badness, reverse=True)
    return [row for row in rows if row.level in ("fair", "poor")][:most]


def measure_row(measure: dict[str, Any]) -> Row:
    """A measure beside its reference: how many times as far off it is, and what that is worth."""
    times = _times(measure)
    level = ""
    if times is not None:
        level = "good" if times <= _FAIR else "fair" if times <= _POOR else "poor"
    by_feature = measure.get("by_feature") or {}
    ranked = sorted(by_feature.items(), key=lambda item: _off(measure, item[1]), reverse=True)
    return Row(measure, times, level, tuple(ranked[:3]) if len(ranked) > 1 else ())


def _times(measure: dict[str, Any]) -> float | None:
    value, reference, ideal = measure["value"], measure["reference"], measure["ideal"]
    if reference is None:
        return None
    if measure["better"] == "higher":
        return _times_short(value, reference, ideal)
    off, usual = _off(measure, value), _off(measure, reference)
    if not usual and measure["better"] == "closer" and min(value, ideal) > 0:
        # Real windows are the ideal: by what factor the value misses it.
        return float(max(value / ideal, ideal / value))
    if off <= _NEAR_IDEAL * abs(ideal):
        return min(1.0, off / usual) if usual else 1.0
    return off / usual if usual else math.inf if off else 1.0


def _times_short(value: float, reference: float, ideal: float) -> float:
    """How many times as far as real windows a measure falls short that should be high."""
    if value >= reference or value >= (1 - _NEAR_IDEAL) * ideal > 0:
        return 1.0
    if ideal > reference:
        return (ideal - value) / (ideal - reference)
    # Real windows are at the ideal or beyond it: by what factor the value misses them.
    return reference / value if value > 0 else math.inf


def _off(measure: dict[str, Any], value: float) -> float:
    """How far a value is from the ideal, on the side that matters; only the order of it for `higher`."""
    if measure["better"] == "higher":
        return -value
    ideal: float = measure["ideal"]
    return max(0.0, value - ideal) if measure["better"] == "lower" else abs(value - ideal)


def _badness(row: Row) -> float:
    return -1.0 if row.times is None else row.times


def _privacy_card(privacy: dict[str, Any]) -> Card:
    copies = privacy["exact_copies"] + privacy["near_copies"]
    unit = f"copies among {privacy['compared']:,} synthetic windows"
    return Card("Memorisation", f"{copies:,}", unit, privacy_verdict(privacy))


def _validity_card(rules: Sequence[dict[str, Any]]) -> Card:
    share = worst_rule(rules)["share"]
    return Card("Validity", _percent(share), "break the rule that is broken most", validity_verdict(rules))


def _holdout_card(holdout: dict[str, Any]) -> Card:
    synthetic, training = (holdout["discriminative"][kind]["mean"] for kind in ("synthetic", "training"))
    unit = f"discriminative score; real training windows {training:.3f}"
    return Card("Later data, never seen", f"{synthetic:.3f}", unit, holdout_verdict(holdout))


def _forecast_sentence(holdout: dict[str, Any]) -> str:
    predictive = holdout.get("predictive")
    if not predictive:
        return ""
    synthetic, training = (100 * predictive[kind]["mean"] for kind in ("synthetic", "training"))
    return (
        f" Forecasters are off by {synthetic:.1f} % of the range there when trained on synthetic windows, by "
        f"{training:.1f} % when trained on the real training windows."
    )


def _error(score: dict[str, Any]) -> float:
    """Standard error of the mean over the judges."""
    return float(score["std"]) / math.sqrt(max(1, len(score.get("values", ()))))


def _right(score: float) -> str:
    return f"{100 * (0.5 + score):.0f}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
