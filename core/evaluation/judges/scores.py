"""What judges' answers amount to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from core.prepare.holdout import TRAIN_SHARE


@dataclass(frozen=True)
class Score:
    """One score by every judge."""

    values: tuple[float, ...]
    aucs: tuple[float, ...] = ()
    """Area under the ROC curve by judge, 0.5 for a perfect generator; empty for a forecaster."""

    @property
    def mean(self) -> float:
        """Over the judges."""
        return float(np.mean(self.values))

    @property
    def median(self) -> float:
        """Over the judges; a judge that failed to train does not move it."""
        return float(np.median(self.values))

    @property
    def std(self) -> float:
        """Sample standard deviation over the judges; 0 for a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0

    @property
    def auc(self) -> float | None:
        """Mean over the judges, None for a forecaster."""
        return float(np.mean(self.aucs)) if self.aucs else None

    def interval(self) -> tuple[float, float] | None:
        """95 % t-interval of the mean over judges; None for a single judge."""
        count = len(self.values)
        if count < 2:
            return None
        half = float(stdtrit(count - 1, 0.975)) * self.std / math.sqrt(count)
        return self.mean - half, self.mean + half


def chance_floor(real: int, synthetic: int) -> float:
    """E|accuracy - 1/2| of judges of a perfect generator on held-out windows that are independent.

    A coin's balanced accuracy has the variance `(1/real + 1/synthetic) / 16`, and `E|N(0, s^2)|` is
    `s sqrt(2/pi)`: together `sqrt((1/real + 1/synthetic) / (8 pi))`, which is `sqrt(1/(2 pi n))` for n
    windows, half of them real. Overlapping windows are not independent, so this is a lower bound for them.

    Args:
        real: Real windows held out.
        synthetic: Synthetic windows held out.
    """
    return math.sqrt((1 / real + 1 / synthetic) / (8 * math.pi))


def held_out(windows: int) -> int:
    """Windows of `windows` on which a discriminative judge is tested."""
    return windows - int(TRAIN_SHARE * windows)


def rank_auc(real: NDArray[Any], synthetic: NDArray[Any]) -> float:
    """P(a real window's logit > a synthetic one's) + P(equal) / 2: the Mann-Whitney statistic.

    Args:
        real: Shape (n,), logits of real windows.
        synthetic: Shape (m,).
    """
    ordered = np.sort(synthetic)
    below = np.searchsorted(ordered, real, side="left") + np.searchsorted(ordered, real, side="right")
    return float(below.mean() / (2 * len(ordered)))
