"""What the scores of an evaluation say, in words and in three levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.evaluation.report.rows import COPIED, LEVELS

_CHANCE_95 = 1.96 * math.sqrt(math.pi / 2)
"""95 % quantile of |N(0, s^2)| by its mean."""
_TOLERANCE, _LEEWAY = 0.002, 1.25
"""Errors of forecasters count as those of real data within it, or up to so many times as large."""
_DRIFT_HIDES = 0.4
"""Discriminative score of real windows above which drift leaves nothing to see of a generator."""
_LEAST_GAP, _WIDE_GAP = 0.05, 0.15
"""Differences of discriminative scores: up to the first they say nothing, above the second much."""


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


def summary_cards(scores: dict[str, Any]) -> list[Card]:
    """Fidelity and usefulness, and memorisation, validity and hold-out where they were measured."""
    discriminative, predictive = scores["discriminative"], scores["predictive"]
    cards = [
        Card(
            "Fidelity",
            f"{discriminative['mean']:.3f}",
            f"{_plus_minus(discriminative)} discriminative score, 0 to 0.5",
            fidelity_verdict(discriminative, scores["judges"]),
        ),
        Card(
            "Usefulness",
            f"{predictive['mean']:.3f}",
            f"{_plus_minus(predictive)} predictive score, mean absolute error",
            usefulness_verdict(predictive, scores["references"], scores["forecasters"]),
        ),
    ]
    if scores["privacy"]:
        cards.append(_privacy_card(scores["privacy"]))
    if scores["validity"]:
        cards.append(_validity_card(scores["validity"]))
    if scores["holdout"]:
        cards.append(_holdout_card(scores["holdout"]))
    return cards


def spread(score: dict[str, Any]) -> float | None:
    """Standard deviation over the judges; None for a single one."""
    return float(score["std"]) if len(score["values"]) > 1 else None


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
        f"Trained to tell the two apart, a judge is {_right(score)} on windows that it has not seen; "
        "guessing would be right 50 times. Luck alone gives a perfect generator a score of "
        f"{floor:.4f} at this number of windows, and more where they overlap.",
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
    long = f"{verdict.long} The strongest judge ({strongest['title']}) is {_right(strongest)}."
    if not _worse(stronger.level, verdict.level):
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
        bound = _as_good_as_real(real, constant)
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
    if synthetic > _as_good_as_real(real, best["constant"]):
        level, short = "fair", "Forecasters learn less from synthetic windows than from real ones"
        if synthetic >= best["constant"]:
            level, short = "poor", "The strongest forecaster learns nothing from synthetic windows"
    if not _worse(level, verdict.level):
        level, short = verdict.level, verdict.short
    return Verdict(level, short, long)


def privacy_verdict(privacy: dict[str, Any]) -> Verdict:
    """Whether the generator remembers the windows that it was trained on."""
    exact, near, compared = privacy["exact_copies"], privacy["near_copies"], privacy["compared"]
    identical, synthetic = privacy["identical"], privacy["synthetic_windows"]
    real = next(measure["reference"] for measure in privacy["measures"] if measure["name"] == COPIED)
    long = (
        f"Of {compared:,} synthetic windows, {exact:,} {_are(exact)} exactly a training window and {near:,} "
        f"nearly one; of real windows in their place, {_percent(real)} are."
    )
    if synthetic > compared:
        long += f" Of all {synthetic:,}, {identical:,} {_are(identical)} a training window to the last bit."
    if privacy["copies"]:
        return Verdict("poor", "The generator copies its training windows", long)
    if exact > _repeats(real, compared) or identical > _repeats(real, synthetic):
        return Verdict("fair", "A few synthetic windows are training windows", long)
    # As many as real windows show among themselves are no fault.
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
    """How much of the gap to windows that nobody trained on is drift, and how much is the generator's.

    The worse counts of the paper's judges and of that stronger one which holds most against the generator,
    among those whom drift leaves something to see.
    """
    level, short = _gap_verdict(holdout["discriminative"])
    words = [drift_sentence(holdout["discriminative"])]
    if holdout["judges"]:
        able = [judge for judge in holdout["judges"] if not _drifts_too_far(judge)] or holdout["judges"]
        strongest = max(able, key=lambda judge: (LEVELS.index(_gap_verdict(judge)[0]), _gap(judge)))
        synthetic, training = (strongest[kind]["mean"] for kind in ("synthetic", "training"))
        words.append(
            f"By the stronger judge that holds most against them ({strongest['title']}), synthetic windows "
            f"score {synthetic:.2f} and training windows {training:.2f}."
        )
        stronger, its_short = _gap_verdict(strongest)
        if _worse(stronger, level):
            level, short = stronger, f"To stronger judges: {its_short[0].lower()}{its_short[1:]}"
    return Verdict(level, short, " ".join([*words, _forecast_sentence(holdout)]))


def drift_sentence(pair: dict[str, Any]) -> str:
    """The discriminative gap to the hold-out, divided into drift and what is the generator's.

    Args:
        pair: Scores of `synthetic` windows and of the real `training` windows against the hold-out.
    """
    synthetic, training = pair["synthetic"]["mean"], pair["training"]["mean"]
    mine = f"The training windows themselves score {training:.2f} against the hold-out"
    if _drifts_too_far(pair):
        return (
            f"{mine}, because the series drifts; the synthetic ones {synthetic:.2f}. Judges tell even real "
            "windows from later ones, so this score says little about the generator."
        )
    drifts = training > _CHANCE_95 * pair["training"]["chance_floor"]
    why = "because the series drifts" if drifts else "no more than by luck"
    gap = round(synthetic, 2) - round(training, 2)
    if gap < 0.005:
        share = "none of it is the generator's"
    elif _gap(pair) <= gap_width(pair):
        share = f"the {gap:.2f} between them may be chance"
    else:
        share = f"{gap:.2f} is the generator's"
    return f"{mine}, {why}; the synthetic ones {synthetic:.2f}: {share}."


def gap_width(pair: dict[str, Any]) -> float:
    """Difference of the two hold-out scores up to which it may be chance, at least `_LEAST_GAP`.

    All judges are tested on the same windows, so their spread knows nothing of the chance that chose these: the
    variance of an accuracy at luck on so many windows is added to that of the mean over judges. Where windows
    overlap it is larger still.

    Args:
        pair: Scores of `synthetic` and of `training` windows.
    """
    variances = [
        _error(score) ** 2 + score["chance_floor"] ** 2 * math.pi / 2
        for score in (pair["synthetic"], pair["training"])
    ]
    return max(_LEAST_GAP, 1.96 * math.sqrt(sum(variances)))


def _gap_verdict(pair: dict[str, Any]) -> tuple[str, str]:
    """Level and short text of one kind of judge."""
    if _drifts_too_far(pair):
        return "fair", "The series drifts too far to say"
    width, gap = gap_width(pair), _gap(pair)
    if gap <= width:
        if width > _WIDE_GAP:
            return "fair", "The hold-out is too small to say"
        return "good", "Synthetic windows are as close to later data as real ones"
    if gap <= _WIDE_GAP:
        return "fair", "Synthetic windows are somewhat further from later data than real ones"
    return "poor", "Synthetic windows are much further from later data than real ones"


def _drifts_too_far(pair: dict[str, Any]) -> bool:
    return bool(pair["training"]["mean"] >= _DRIFT_HIDES)


def _gap(pair: dict[str, Any]) -> float:
    return float(pair["synthetic"]["mean"] - pair["training"]["mean"])


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
    """By the forecaster that can leave the training windows' range, where it was run."""
    pair, why = holdout["predictive"], " and cannot leave the range of these"
    if holdout["forecasters"]:
        pair, why = min(holdout["forecasters"], key=lambda row: row["training"]["mean"]), ""
    synthetic, training = (100 * pair[kind]["mean"] for kind in ("synthetic", "training"))
    return (
        f"Forecasters are off by {synthetic:.1f} % of the range there when trained on synthetic windows, by "
        f"{training:.1f} % when trained on the real training windows{why}."
    )


def _as_good_as_real(real: float, constant: float) -> float:
    """Up to where an error counts as that of real data: leeway ends where a constant guess is as good."""
    return max(min(_LEEWAY * real, constant), real + _TOLERANCE)


def _repeats(share: float, windows: int) -> float:
    """Up to how many of so many windows repeat others by chance if real ones do at this share.

    Two standard errors of the difference of two counts with the real one's mean.
    """
    return share * windows + 2 * math.sqrt(2 * share * windows)


def _error(score: dict[str, Any]) -> float:
    """Standard error of the mean over the judges; 0 for a single one, of which it is not known."""
    return (spread(score) or 0.0) / math.sqrt(len(score["values"]))


def _worse(level: str, other: str) -> bool:
    return LEVELS.index(level) > LEVELS.index(other)


def _plus_minus(score: dict[str, Any]) -> str:
    deviation = spread(score)
    return "one judge," if deviation is None else f"± {deviation:.3f}"


def _right(score: dict[str, Any]) -> str:
    """Scores have lost on which side of a guess the judge is; its AUC has not."""
    times = f"about {100 * (0.5 + score['mean']):.0f} times in 100"
    if score["auc"] >= 0.5:
        return f"right {times}"
    return f"wrong {times} (as where nearly the same window was learnt as one of the other kind: a copy)"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
