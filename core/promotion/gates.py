"""The gates between `challenger` and `champion`, each with what it found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from core.evaluation.report.rows import COPIED
from core.evaluation.report.verdicts import worst_rule
from core.promotion.facts import DataFacts
from core.promotion.options import GatesConfig
from core.promotion.paired import Comparison

BETTER, PRIVACY, VALIDITY, DATA, HAND = "better", "privacy", "validity", "data", "rolled_back"
TITLES = {
    BETTER: "better than the champion by more than the noise",
    PRIVACY: "no copies of training windows",
    VALIDITY: "rules that real rows keep are kept",
    DATA: "data not older than the champion's",
    HAND: "not rolled back by hand",
}


@dataclass(frozen=True)
class Gate:
    """What must hold, and whether it does."""

    name: str
    passed: bool
    explanation: str
    """One sentence or two, plain text; may hold names from the data."""
    numbers: dict[str, float] = field(default_factory=dict)
    measured: bool = True
    """What was not measured passes, and the decision says so."""

    @property
    def title(self) -> str:
        """What must hold, in a few words."""
        return TITLES[self.name]

    @property
    def verdict(self) -> str:
        """`passed`, `failed` or `not measured`."""
        return ("passed" if self.passed else "failed") if self.measured else "not measured"

    def to_json(self) -> dict[str, Any]:
        """Everything, with title and verdict."""
        return {**asdict(self), "title": self.title, "verdict": self.verdict}


def better_gate(comparison: Comparison, champion: str) -> Gate:
    """Whether the challenger's discriminative score is lower by more than the noise of judging.

    Args:
        comparison: Of both.
        champion: Its version.
    """
    test = comparison.test
    old, new, need = comparison.champion.mean, comparison.challenger.mean, test.least_gain
    where = "held-out" if comparison.held_out else "training"
    verdict = "more than the noise" if test.passed else "within the noise" if test.gain > need else "no gain"
    beyond = f" beyond {need:g}" if need else ""
    why = "From the hold-out judges tell both every time" if comparison.drifted else "Nothing fit is held out"
    aside = f" {why}: by these windows a version that learnt more of them is ahead." * (not comparison.held_out)
    return Gate(
        BETTER,
        test.passed,
        f"Discriminative score {new:.4f} against {old:.4f} of version {champion}, by "
        f"{len(comparison.champion.values)} pairs of judges on {comparison.windows:,} {where} windows: a "
        f"gain of {test.gain:+.4f}{beyond} with a standard error of {test.error:.4f}, p = {test.p_value:.3g} "
        f"({verdict} at level {test.level:g}).{aside}",
        {
            "champion": old,
            "challenger": new,
            "gain": test.gain,
            "error": test.error,
            "low": test.low,
            "p_value": test.p_value,
        },
    )


def incomparable_gate(reason: str, champion: str) -> Gate:
    """The champion stays where nothing can be said; a person may promote."""
    return Gate(
        BETTER,
        False,
        f"Not comparable with version {champion}: {reason}. The champion stays; `timeloom promote` overrules.",
    )


def privacy_gate(privacy: dict[str, Any] | None, options: GatesConfig) -> Gate:
    """Whether training windows come out, as they are or with a little noise.

    Copies are counted against what real windows show among themselves: as many as these, `options.copies` of
    those compared, and two standard errors of the difference of such counts (at least one window) are let pass.

    Args:
        privacy: Section of `scores.json`; None if it was switched off.
        options: What is allowed.
    """
    if privacy is None:
        return _not_measured(PRIVACY, "evaluation.privacy is off: nobody looked for copies")
    compared, synthetic = privacy["compared"], privacy["synthetic_windows"]
    copied, identical = privacy["exact_copies"] + privacy["near_copies"], privacy["identical"]
    real = next(measure["reference"] for measure in privacy["measures"] if measure["name"] == COPIED)
    most, most_identical = (_allowed(real, options.copies, windows) for windows in (compared, synthetic))
    passed = not privacy["copies"] and copied <= most and identical <= most_identical
    why = " The windows as a whole lie as close to training windows as copies do." * bool(
        privacy["copies"] and copied <= most
    )
    return Gate(
        PRIVACY,
        passed,
        f"{copied:,} of {compared:,} synthetic windows are copies of training windows, up to "
        f"{math.floor(most):,} would pass (real windows: {100 * real:.2f} %); {identical:,} of {synthetic:,} "
        f"are one to the last bit.{why}",
        {"copied": float(copied), "allowed": most, "compared": float(compared), "identical": float(identical)},
    )


def validity_gate(rules: Sequence[dict[str, Any]], options: GatesConfig) -> Gate:
    """Whether rows break the rule that they break most by more than real rows and `options.broken_rules`.

    Args:
        rules: Section `validity` of `scores.json`.
        options: What is allowed.
    """
    if not rules:
        return Gate(VALIDITY, True, "The dataset has no rules to break.")
    worst = worst_rule(rules)
    excess = worst["share"] - worst["real_share"]
    return Gate(
        VALIDITY,
        excess <= options.broken_rules,
        f"Of {len(rules)} rules, {worst['rule']} is broken most: by {100 * worst['share']:.2f} % of the "
        f"synthetic and {100 * worst['real_share']:.2f} % of the real rows; "
        f"{100 * options.broken_rules:g} % more would pass.",
        {"share": worst["share"], "real_share": worst["real_share"], "allowed": options.broken_rules},
    )


def data_gate(new: DataFacts, old: DataFacts | None, options: GatesConfig) -> Gate:
    """Whether the data end no earlier than the champion's; without time, whether there are no fewer rows.

    Args:
        new: Of the challenger.
        old: Of the champion, None if it was registered without.
        options: Whether older data are allowed.
    """
    if old is None:
        return _not_measured(DATA, "the champion's version does not say which data it was made of")
    if old.dataset != new.dataset:
        return _not_measured(DATA, f"the champion was made of another dataset, {old.dataset}")
    if new.digest == old.digest:
        return Gate(DATA, True, f"The same {new.rows:,} prepared rows.")
    if new.end is not None and old.end is not None:
        not_older = pd.Timestamp(new.end) >= pd.Timestamp(old.end)
        said = f"The data end at {new.end}, the champion's at {old.end}."
    elif new.end is None and old.end is None:
        not_older = new.rows >= old.rows
        said = f"Rows carry no time: {new.rows:,} of them, the champion had {old.rows:,}."
    else:
        return _not_measured(DATA, "rows carry a time in only one of the two")
    allowed = (
        " Older data are allowed by registry.gates.older_data." if options.older_data and not not_older else ""
    )
    return Gate(
        DATA,
        not_older or options.older_data,
        said + allowed,
        {"rows": float(new.rows), "champion_rows": float(old.rows)},
    )


def rolled_back_gate(reason: str) -> Gate:
    """A version that a person took back does not return by itself."""
    return Gate(
        HAND,
        False,
        f"It was the champion and was rolled back: {reason}. Only `timeloom promote` brings it back.",
    )


def _not_measured(name: str, why: str) -> Gate:
    return Gate(name, True, f"Not measured: {why}.", measured=False)


def _allowed(real: float, more: float, windows: int) -> float:
    """Copies among so many windows that pass."""
    return (real + more) * windows + max(1.0, 2 * math.sqrt(2 * real * windows))
