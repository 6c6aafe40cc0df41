"""From what was measured to a verdict, its reasons in words, and the training that helps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from core.watch.drift import TITLES, DriftTests
from core.watch.options import WatchConfig
from core.watch.rows import Restated
from core.watch.scores import ScoreLoss

Retrain = Literal["full", "sparse"]
_NAMED = 5
"""Columns that a sentence names."""


@dataclass
class Measured:
    """What a look measured; what it did not get to is empty."""

    too_few: str | None = None
    """Why nothing is judged, in words."""
    unknown: str | None = None
    """What the champion cannot encode, in words; nothing further is measured then."""
    outside: dict[str, int] = field(default_factory=dict)
    """By column: new cells outside the range that the champion learnt."""
    cells: int = 0
    """New cells of numbers."""
    restated: Restated | None = None
    drift: DriftTests | None = None
    scores: list[ScoreLoss] = field(default_factory=list)

    @property
    def outside_share(self) -> float:
        """Of the new cells of numbers."""
        return sum(self.outside.values()) / self.cells if self.cells else 0.0


@dataclass(frozen=True)
class Verdict:
    """What a look says."""

    judged: bool
    reasons: list[str]
    """Why it is a drift; none: it is not."""
    findings: list[str]
    """What else is worth knowing."""
    retrain: Retrain | None

    @property
    def drift(self) -> bool:
        """The champion is no longer one of these data."""
        return bool(self.reasons)


def verdict(config: WatchConfig, measured: Measured, *, compared: bool) -> Verdict:
    """Drift is called for any of the reasons; without enough windows for none.

    Args:
        config: The limits.
        measured: What was found.
        compared: The rows that the champion learnt are in this lake.
    """
    findings = (
        []
        if compared
        else [
            "The rows that the champion learnt are not in this lake: it is compared with the rows up to its "
            "last one as they are today, and whether those were changed cannot be told."
        ]
    )
    findings += _restated(measured.restated)
    if measured.too_few is not None:
        findings.insert(0, f"Not judged: {measured.too_few}.")
        if measured.unknown is not None:
            findings.append(_unknown(measured.unknown))
        return Verdict(judged=False, reasons=[], findings=findings, retrain=None)
    beyond = list(_beyond(config, measured))
    reasons = [*beyond, *_differs(config, measured), *_lost(measured.scores)]
    retrain: Retrain | None = None
    if reasons and config.retrain != "never":
        retrain = "full" if beyond else config.retrain
        if retrain != config.retrain:
            findings.append(
                "A sparse retraining keeps the range and the categories that the champion learnt: a training "
                "from scratch is asked for."
            )
    return Verdict(judged=True, reasons=reasons, findings=findings, retrain=retrain)


def _unknown(message: str) -> str:
    return f"The champion cannot encode the new rows: {message}."


def _beyond(config: WatchConfig, measured: Measured) -> Iterator[str]:
    """What no weights of the champion's can mend."""
    if measured.unknown is not None:
        yield _unknown(measured.unknown)
    if measured.outside_share > config.outside:
        most = sorted(measured.outside.items(), key=lambda one: -one[1])
        yield (
            f"{100 * measured.outside_share:.3g} % of the new cells of numbers lie outside the range that the "
            f"champion learnt, which it cannot make (allowed: {100 * config.outside:.3g} %): "
            + _listed([f"{name} {count:,}" for name, count in most])
            + "."
        )


def _differs(config: WatchConfig, measured: Measured) -> Iterator[str]:
    drift = measured.drift
    if drift is None:
        return
    if drift.share > config.column_drift:
        named = [
            f"{one.column} ({TITLES[one.test.name]} {one.test.value:.3g}, stretches of the training rows at "
            f"most {max(one.test.references):.3g})"
            for one in sorted(drift.drifted, key=lambda one: one.adjusted)
        ]
        yield (
            f"{len(drift.drifted)} of {len(drift.columns)} columns differ from the training rows by more than "
            f"these do among themselves: {_listed(named)}."
        )
    for test in drift.found_together:
        yield (
            f"All columns together: {TITLES[test.name]} {test.value:.3g}, stretches of the training rows at "
            f"most {max(test.references):.3g}."
        )


def _lost(scores: list[ScoreLoss]) -> Iterator[str]:
    for score in scores:
        if score.lost:
            new, old = (sum(values) / len(values) for values in (score.new, score.training))
            yield (
                f"The champion's {score.name} score is {new:.3g} on the new windows and {old:.3g} on stretches "
                "of the training windows."
            )


def _restated(found: Restated | None) -> list[str]:
    if found is None or not found.any:
        return []
    parts = []
    if found.changed:
        where = f"{_listed(list(found.columns))}; the first is {found.first}"
        parts.append(f"{found.changed:,} of {found.rows:,} rows have other values ({where})")
    parts += [f"{found.gone:,} are gone"] * bool(found.gone) + [f"{found.added:,} came in between"] * bool(
        found.added
    )
    return [f"The past was changed since the champion learnt it: {', '.join(parts)}."]


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
