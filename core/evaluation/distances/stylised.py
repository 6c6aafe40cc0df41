"""Stylised facts of markets (Cont 2001, section 2) that synthetic prices should share with real ones.

All are of the log returns of positive prices, pooled over windows, and compared by |difference|, over lags by
its mean as in Quant GANs (Wiese et al. 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.evaluation.distances.features import standardised
from core.evaluation.distances.temporal import autocorrelation

LAGS = 10
"""Most steps that a fact looks ahead."""
TAIL = 0.05
"""Share of the returns that are the tail."""
FEWEST = 20
"""Returns other than 0 that a tail index needs; prices that hardly move have no tail."""

ByFeature = NDArray[np.float64]
"""Shape (F,)."""


def log_returns(prices: NDArray[Any]) -> NDArray[np.float64]:
    """`log p_(t+1) - log p_t`, shape (N, T - 1, F).

    Args:
        prices: Shape (N, T, F), above 0.
    """
    return np.diff(np.log(prices.astype(np.float64)), axis=1)


def tail_index(returns: NDArray[np.float64]) -> ByFeature:
    """Estimate of 1 / alpha where `P(|r| > x)` falls like `x^-alpha` (Hill 1975; Cont 2001, fact 2), from 0.

    Mean of `log(x_i / x_(k + 1))` over the k largest of the absolute returns other than 0, k being 5 % of
    them; 0 of fewer than 20.

    Args:
        returns: Shape (N, R, F).
    """
    return np.array([_hill(np.abs(returns[..., feature]).ravel()) for feature in range(returns.shape[2])])


def leverage(returns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of a return with the squared return 1 to 10 steps later (Cont 2001, fact 9).

    Below 0 where falling prices are followed by larger moves.

    Args:
        returns: Shape (N, R, F), R at least 2.

    Returns:
        Shape (lags, F), from -1 to 1 about.
    """
    now, squared = standardised(returns), standardised(returns**2)
    steps = returns.shape[1]
    return np.stack(
        [(now[:, : steps - lag] * squared[:, lag:]).mean(axis=(0, 1)) for lag in range(1, _lags(returns) + 1)]
    )


def stylised_facts(real: NDArray[Any], other: NDArray[Any]) -> dict[str, ByFeature]:
    """The |difference| of each fact by feature, from 0.

    Args:
        real: Prices above 0, shape (N, T, F); every feature's returns vary.
        other: Likewise, shape (M, T, F).

    Raises:
        DataError: windows have fewer than 3 steps.
    """
    if real.shape[1] < 3:
        raise DataError(f"stylised facts need windows of at least 3 steps, got {real.shape[1]}")
    facts = [_facts(log_returns(prices)) for prices in (real, other)]
    return {name: np.abs(fact - facts[1][name]).mean(axis=0) for name, fact in facts[0].items()}


def _facts(returns: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Shape (lags, F) each."""
    lags = _lags(returns)
    return {
        "tail_index_difference": tail_index(returns)[None],
        "volatility_clustering_difference": autocorrelation(np.abs(returns), lags + 1)[1:],
        "leverage_difference": leverage(returns),
        "return_autocorrelation_difference": autocorrelation(returns, lags + 1)[1:],
    }


def _lags(returns: NDArray[np.float64]) -> int:
    return min(LAGS, int(returns.shape[1]) - 1)


def _hill(sizes: NDArray[np.float64]) -> float:
    sizes = np.sort(sizes[sizes > 0])[::-1]
    if len(sizes) < FEWEST:
        return 0.0
    last = int(TAIL * len(sizes))
    return float(np.log(sizes[:last] / sizes[last]).mean())
