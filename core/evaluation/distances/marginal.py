"""How far the values of single features are from the real ones, whatever their order in time."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from core.evaluation.distances.features import standardised, varying_cells

BINS = 50
"""Of TSGBench."""

ByFeature = NDArray[np.float64]
"""Shape (D,)."""

logger = logging.getLogger(__name__)


def marginal_distribution_difference(real: NDArray[Any], other: NDArray[Any]) -> ByFeature:
    """Mean absolute difference of the histograms' densities, by step, then averaged by feature; from 0.

    MDD of TSGBench (Ang et al. 2023), by its code: 50 bins between the extremes of the real values at a step,
    and what lies outside them is in no bin. Three differences: values on a bin's border count (there, a set
    differs from itself), the first step counts too, and steps at which the real values are all equal are
    left out (there, a density has no bound).

    Args:
        real: Shape (N, T, D); every feature varies at one step at least.
        other: Shape (M, T, D).
    """
    varies = varying_cells(real)
    if not varies.all():
        logger.info(
            "marginal_distribution_difference leaves out %d of %d steps of features: "
            "all real windows are equal there",
            int((~varies).sum()),
            varies.size,
        )
    difference = np.zeros(varies.shape)
    for step, feature in np.argwhere(varies):
        difference[step, feature] = _histogram_difference(real[:, step, feature], other[:, step, feature])
    by_feature: ByFeature = difference.sum(axis=0) / varies.sum(axis=0)
    return by_feature


def kolmogorov_smirnov(real: NDArray[Any], other: NDArray[Any]) -> ByFeature:
    """Largest difference of the two distribution functions, from 0 to 1 (`scipy.stats.ks_2samp`).

    Args:
        real: Shape (N, T, D).
        other: Shape (M, T, D).
    """
    return np.array([stats.ks_2samp(*pair, method="asymp").statistic for pair in _pooled(real, other)])


def wasserstein(real: NDArray[Any], other: NDArray[Any]) -> ByFeature:
    """Area between the two distribution functions, from 0, in units of the values (`scipy.stats`).

    Args:
        real: Shape (N, T, D).
        other: Shape (M, T, D).
    """
    return np.array([stats.wasserstein_distance(*pair) for pair in _pooled(real, other)])


def skewness_difference(real: NDArray[Any], other: NDArray[Any]) -> ByFeature:
    """|difference of `E z^3`|, z the standardised values: SD of TSGBench (Ang et al. 2023); from 0.

    Args:
        real: Shape (N, T, D), every feature varies.
        other: Shape (M, T, D).
    """
    return _moment_difference(real, other, 3)


def kurtosis_difference(real: NDArray[Any], other: NDArray[Any]) -> ByFeature:
    """|difference of `E z^4`|, z the standardised values: KD of TSGBench (Ang et al. 2023); from 0.

    Args:
        real: Shape (N, T, D), every feature varies.
        other: Shape (M, T, D).
    """
    return _moment_difference(real, other, 4)


def _histogram_difference(real: NDArray[Any], other: NDArray[Any]) -> float:
    limits = (float(real.min()), float(real.max()))
    # In single precision, 50 bins of a small range beside large values have no borders of their own.
    shares = [
        np.histogram(values.astype(np.float64), BINS, limits)[0] / len(values) for values in (real, other)
    ]
    return float(np.abs(shares[0] - shares[1]).mean() * BINS / (limits[1] - limits[0]))


def _moment_difference(real: NDArray[Any], other: NDArray[Any], order: int) -> ByFeature:
    moments = [(standardised(windows) ** order).mean(axis=(0, 1)) for windows in (real, other)]
    difference: ByFeature = np.abs(moments[0] - moments[1])
    return difference


def _pooled(real: NDArray[Any], other: NDArray[Any]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """All values of each feature."""
    return [(real[..., feature].ravel(), other[..., feature].ravel()) for feature in range(real.shape[2])]
