from __future__ import annotations

import numpy as np
import pytest

from core.errors import DataError
from core.evaluation.distances.stylised import leverage, log_returns, stylised_facts, tail_index

FACTS = {
    "tail_index_difference",
    "volatility_clustering_difference",
    "leverage_difference",
    "return_autocorrelation_difference",
}


def prices_of(returns: np.ndarray) -> np.ndarray:
    start = np.zeros((len(returns), 1, returns.shape[2]))
    return 50 * np.exp(np.concatenate([start, 0.01 * returns], axis=1).cumsum(axis=1))


def market(asymmetry: float, windows: int = 4000, steps: int = 24) -> np.ndarray:
    """Volatility that lasts and, by `asymmetry`, rises after losses."""
    rng = np.random.default_rng(0)
    returns, variance = [], np.ones(windows)
    for _ in range(steps):
        returns.append(np.sqrt(variance) * rng.normal(size=windows))
        last = returns[-1]
        variance = 0.1 + 0.5 * variance + 0.3 * (last - asymmetry) ** 2
    return np.stack(returns, axis=1)[..., None]


def gaussian(windows: int = 4000, steps: int = 24, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(windows, steps, 1))


def test_log_returns_by_hand():
    prices = np.array([1.0, np.e, np.e**3]).reshape(1, 3, 1)
    np.testing.assert_allclose(log_returns(prices)[0, :, 0], [1, 2])


@pytest.mark.parametrize("alpha", [2.0, 4.0])
def test_the_tail_index_of_a_pareto_tail(alpha):
    rng = np.random.default_rng(0)
    returns = (1 + rng.pareto(alpha, size=(5000, 10, 1))) * rng.choice([-1, 1], size=(5000, 10, 1))
    np.testing.assert_allclose(tail_index(returns), [1 / alpha], rtol=0.06)


def test_prices_that_rest_have_no_tail():
    returns = np.zeros((100, 10, 1))
    returns[:19, 0] = 1
    assert tail_index(returns) == [0]


def test_leverage_is_the_correlation_with_later_squares():
    returns = market(1.0)
    lag = 3
    now, later = returns[:, :-lag].ravel(), (returns[:, lag:] ** 2).ravel()
    assert leverage(returns)[lag - 1, 0] == pytest.approx(np.corrcoef(now, later)[0, 1], abs=0.02)
    assert leverage(returns)[0, 0] < -0.1
    assert abs(leverage(gaussian())).max() < 0.02


def test_a_random_walk_lacks_the_facts_of_a_market():
    real = prices_of(market(1.0))
    found = stylised_facts(real, prices_of(gaussian()))
    again = stylised_facts(prices_of(gaussian()), prices_of(gaussian(seed=2)))
    assert set(found) == FACTS
    for name in FACTS - {"return_autocorrelation_difference"}:
        assert found[name] > 5 * again[name], name


def test_returns_that_follow_each_other_are_told():
    independent = gaussian()
    smooth = independent.copy()
    smooth[:, 1:] += 0.8 * independent[:, :-1]
    name = "return_autocorrelation_difference"
    found = stylised_facts(prices_of(independent), prices_of(smooth))[name]
    # MA(1): 0.8 / (1 + 0.64) at the first of 10 lags, 0 after it.
    np.testing.assert_allclose(found, [0.8 / 1.64 / 10], rtol=0.15)


def test_the_unit_of_the_price_does_not_matter():
    real, other = prices_of(market(1.0, 300)), prices_of(gaussian(300))
    one, hundred = stylised_facts(real, other), stylised_facts(100 * real, 100 * other)
    for name in FACTS:
        np.testing.assert_allclose(one[name], hundred[name], rtol=1e-6)


def test_windows_of_2_steps_have_no_facts():
    with pytest.raises(DataError, match="at least 3 steps, got 2"):
        stylised_facts(np.ones((10, 2, 1)), np.ones((10, 2, 1)))
