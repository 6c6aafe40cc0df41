from __future__ import annotations

import numpy as np
import pytest
import torch

from core.errors import DataError
from core.evaluation.distances.dependence import correlation, correlation_difference, correlational_score


def correlated(rho: float, windows: int = 5000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal([1, 2], [[1, rho], [rho, 1]], size=(windows, 4))


def cross_correlation_loss(real: np.ndarray, fake: np.ndarray) -> float:
    """The definition of Diffusion-TS at lag 0, written out pair by pair."""

    def products(windows: torch.Tensor) -> list[torch.Tensor]:
        z = (windows - windows.mean((0, 1))) / windows.std((0, 1))
        return [(z[..., i] * z[..., j]).mean(1).mean(0) for i in range(z.shape[2]) for j in range(i + 1)]

    pairs = zip(products(torch.from_numpy(real)), products(torch.from_numpy(fake)), strict=True)
    return float(sum((one - other).abs() for one, other in pairs) / 10)


def test_the_score_is_that_of_diffusion_ts():
    rng = np.random.default_rng(0)
    real, fake = rng.random((30, 8, 5)) @ rng.random((5, 5)), rng.random((20, 8, 5)) @ rng.random((5, 5))
    assert correlational_score(real, fake) == pytest.approx(cross_correlation_loss(real, fake), rel=1e-12)


def test_correlations_are_those_of_numpy():
    values = np.random.default_rng(4).normal(size=(20, 6, 4)).cumsum(axis=1)
    np.testing.assert_allclose(correlation(values), np.corrcoef(values.reshape(-1, 4), rowvar=False))
    values[..., 2] = 5
    assert not correlation(values)[2].any()
    assert correlation(values[..., :1]) == pytest.approx(1)


def test_two_features_by_hand():
    # Correlations 1 and -1 of 4 values; products of standardised values are 3/4 of them.
    values = np.array([0.0, 1, 2, 3]).reshape(2, 2)
    real, other = np.stack([values, values], 2), np.stack([values, -values], 2)
    assert correlational_score(real, other) == pytest.approx(2 * 3 / 4 / 10)
    np.testing.assert_allclose(correlation_difference(real, other), [2, 2])


def test_the_difference_of_normal_vectors_is_that_of_their_correlations():
    np.testing.assert_allclose(
        correlation_difference(correlated(0.9), correlated(0.2, seed=1)), [0.7, 0.7], atol=0.02
    )


def test_by_feature_it_is_the_mean_over_the_others():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(5000, 4, 3))
    other = real.copy()
    other[..., 2] = other[..., 1]
    np.testing.assert_allclose(correlation_difference(real, other), [0, 0.5, 0.5], atol=0.02)


def test_a_synthetic_constant_has_no_correlation():
    real = correlated(0.6)
    other = real.copy()
    other[..., 1] = 0.25
    np.testing.assert_allclose(correlation_difference(real, other), [0.6, 0.6], atol=0.02)


@pytest.mark.parametrize("measure", [correlational_score, correlation_difference])
def test_a_single_feature_has_no_correlation(measure):
    with pytest.raises(DataError, match="at least 2 features"):
        measure(np.zeros((4, 3, 1)), np.zeros((4, 3, 1)))
