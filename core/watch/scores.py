"""The champion's scores on new windows, beside the same scores on stretches of its training windows.

A judge tells a short stretch of a series from a generator of the whole of it, and a year is harder to forecast
than another, without anything having changed. So the score of the new windows is held against those of as many
training windows, consecutive in time like the new ones, each judged by one judge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from core.evaluation.judges.paper_scores import Progress, discriminative_score, predictive_score
from core.evaluation.judges.splits import Split, random_splits

Windows = NDArray[np.float32]
Pair = tuple[Windows, Windows]
"""Real windows and as many synthetic ones, scaled alike."""


@dataclass(frozen=True)
class ScoreLoss:
    """One score, lower is better."""

    name: str
    new: tuple[float, ...]
    """Of the new windows, by judge."""
    training: tuple[float, ...]
    """Of stretches of the training windows, one judge each."""
    loss: float
    """How much worse: the difference of the means; for the predictive score as a share of the latter."""
    p: float
    """Chance of a difference as large where nothing has changed."""
    registered: float | None
    """On all training windows, when the version was registered."""
    lost: bool
    """Worse by more than is allowed and more than by chance."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and words."""
        return asdict(self)


def score_losses(
    new: Pair,
    stretches: Sequence[Pair],
    *,
    iterations: int,
    allowed: float,
    level: float,
    registered: dict[str, float],
    seed: int = 0,
    progress: Progress | None = None,
) -> list[ScoreLoss]:
    """Both scores of the TimeGAN paper.

    Args:
        new: Shape (M, T, D) each.
        stretches: At least 2, one a judge; M windows each.
        iterations: Training steps of a judge.
        allowed: Largest loss.
        level: Chance of calling a loss where there is none.
        registered: The scores at registration by name, as far as they are known.
        seed: Fixes the judges.
        progress: Told about the training now and then.
    """
    options: dict[str, Any] = {"iterations": iterations, "progress": progress}
    values = {
        "discriminative": _discriminative([new, *stretches], seed, options),
        "predictive": _predictive(new, stretches, seed, options),
    }
    return [
        _loss(name, *found, allowed, level / len(values), registered.get(f"{name}_mean"))
        for name, found in values.items()
    ]


Found = tuple[tuple[float, ...], tuple[float, ...]]
"""Of the new windows by judge, and of the stretches by stretch."""


def _discriminative(pairs: Sequence[Pair], seed: int, options: dict[str, Any]) -> Found:
    """All judges side by side: as many of the new windows, the first pair, as there are stretches."""
    size, count = len(pairs[0][0]), len(pairs) - 1
    real, synthetic = (np.concatenate(kind) for kind in zip(*pairs, strict=True))
    drawn = random_splits(size, size, 2 * count, seed)
    groups = [0] * count + list(range(1, count + 1))
    splits = [
        Split(*(part + group * size for part in astuple(split)))
        for split, group in zip(drawn, groups, strict=True)
    ]
    scores = discriminative_score(real, synthetic, judges=2 * count, splits=splits, seed=seed, **options).values
    return scores[:count], scores[count:]


def _predictive(new: Pair, stretches: Sequence[Pair], seed: int, options: dict[str, Any]) -> Found:
    values = predictive_score(*new, judges=len(stretches), seed=seed, **options).values
    others = [predictive_score(*pair, judges=1, seed=seed, **options).mean for pair in stretches]
    return values, tuple(others)


def _loss(
    name: str,
    new: Sequence[float],
    training: Sequence[float],
    allowed: float,
    level: float,
    registered: float | None,
) -> ScoreLoss:
    before = float(np.mean(training))
    loss = float(np.mean(new)) - before
    if name == "predictive":
        loss = loss / before if before > 0 else 0.0
    p = _chance(new, training)
    return ScoreLoss(name, tuple(new), tuple(training), loss, p, registered, lost=loss > allowed and p <= level)


def _chance(new: Sequence[float], stretches: Sequence[float]) -> float:
    """Of one more stretch being as much worse than these: the prediction interval of a normal sample.

    The new windows are one stretch, however many judges look at it, so their judges' spread does not count.
    """
    count = len(stretches)
    spread = max(float(np.std(stretches, ddof=1)), 1e-6) * math.sqrt(1 + 1 / count)
    return float(student.sf((np.mean(new) - np.mean(stretches)) / spread, count - 1))
