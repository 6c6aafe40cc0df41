"""From real windows to what compares others with them, and for which features that can be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from core.evaluation.distances.context_fid import ContextFid
from core.evaluation.distances.dependence import correlation_difference, correlational_score
from core.evaluation.distances.features import Mask, every, moving, varying, varying_at_a_step
from core.evaluation.distances.marginal import (
    kolmogorov_smirnov,
    kurtosis_difference,
    marginal_distribution_difference,
    skewness_difference,
    wasserstein,
)
from core.evaluation.distances.nearest import nearest_dtw, nearest_euclid
from core.evaluation.distances.sample import (
    maximum_mean_discrepancy,
    median_distance,
    precision_recall,
    sliced_wasserstein,
)
from core.evaluation.distances.stylised import log_returns, stylised_facts
from core.evaluation.distances.temporal import autocorrelation_difference, spectral_difference

Values = float | NDArray[Any]
"""A number, or one by feature, shape (D,)."""
Compare = Callable[[NDArray[Any]], Mapping[str, Values]]
"""From windows (M, T, D) to measures by name."""


@dataclass(frozen=True)
class Recipe:
    """Measures that are computed together."""

    names: tuple[str, ...]
    prepare: Callable[[NDArray[Any], int], Compare]
    """From real windows and a seed; raises `DataError` where the measures are not defined."""
    features: Callable[[NDArray[Any]], Mask] = every
    """Of real windows, those that the measures are defined for."""


def _each(
    name: str,
    compare: Callable[[NDArray[Any], NDArray[Any]], Values],
    features: Callable[[NDArray[Any]], Mask] = every,
) -> Recipe:
    """One measure that needs no preparation."""
    return Recipe((name,), lambda real, _: lambda other: {name: compare(real, other)}, features)


def _mmd(real: NDArray[Any], _: int) -> Compare:
    bandwidth = median_distance(real)
    return lambda other: {"mmd": maximum_mean_discrepancy(real, other, bandwidth)}


def _sliced(real: NDArray[Any], seed: int) -> Compare:
    return lambda other: {"sliced_wasserstein": sliced_wasserstein(real, other, seed)}


def _context_fid(real: NDArray[Any], seed: int) -> Compare:
    distance = ContextFid(real, seed)
    return lambda other: {"context_fid": distance(other)}


def _both_ways(metric: str, compare: Callable[[NDArray[Any], NDArray[Any]], tuple[float, float]]) -> Recipe:
    names = (f"nearest_{metric}_to_real", f"nearest_{metric}_to_synthetic")
    return Recipe(names, lambda real, _: lambda other: dict(zip(names, compare(real, other), strict=True)))


def _returns_vary(prices: NDArray[Any]) -> Mask:
    return varying(log_returns(prices))


RECIPES = (
    _each("marginal_distribution_difference", marginal_distribution_difference, varying_at_a_step),
    _each("kolmogorov_smirnov", kolmogorov_smirnov),
    _each("wasserstein", wasserstein),
    _each("skewness_difference", skewness_difference, varying),
    _each("kurtosis_difference", kurtosis_difference, varying),
    _each("autocorrelation_difference", autocorrelation_difference, varying),
    _each("spectral_difference", spectral_difference, moving),
    _each("correlational_score", correlational_score, varying),
    _each("correlation_difference", correlation_difference, varying),
    Recipe(("mmd",), _mmd),
    Recipe(("sliced_wasserstein",), _sliced),
    Recipe(("context_fid",), _context_fid),
    _both_ways("euclid", nearest_euclid),
    _both_ways("dtw", nearest_dtw),
    Recipe(
        ("precision", "recall", "density", "coverage"),
        lambda real, _: lambda other: precision_recall(real, other),
    ),
)
"""Of windows scaled to about [0, 1]."""

MARKET = Recipe(
    (
        "tail_index_difference",
        "volatility_clustering_difference",
        "leverage_difference",
        "return_autocorrelation_difference",
    ),
    lambda real, _: lambda other: stylised_facts(real, other),
    _returns_vary,
)
"""Of positive prices."""
