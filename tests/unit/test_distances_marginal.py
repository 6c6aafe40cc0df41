from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from core.evaluation.distances.marginal import (
    kolmogorov_smirnov,
    kurtosis_difference,
    marginal_distribution_difference,
    skewness_difference,
    wasserstein,
)


def uniform(windows: int = 3000, steps: int = 4, features: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((windows, steps, features))


def test_shifting_a_uniform_by_a_share_moves_it_by_that_share():
    real = uniform()
    shift = np.array([0.1, 0.3])
    np.testing.assert_allclose(wasserstein(real, real + shift), shift, atol=1e-12)
    np.testing.assert_allclose(kolmogorov_smirnov(real, real + shift), shift, atol=0.02)


def test_scaling_a_uniform_by_half_halves_its_mean():
    real = uniform()
    np.testing.assert_allclose(wasserstein(real, real / 2), real.mean(axis=(0, 1)) / 2, atol=1e-12)
    np.testing.assert_allclose(kolmogorov_smirnov(real, real / 2), 0.5, atol=0.02)


def test_unequal_sizes_of_the_same_values_are_at_no_distance():
    real = uniform(100)
    twice = np.concatenate([real, real])
    for measure in (kolmogorov_smirnov, wasserstein, marginal_distribution_difference):
        np.testing.assert_allclose(measure(real, twice), 0, atol=1e-12)


def test_mdd_of_disjoint_sets_is_the_mean_of_the_real_density():
    real = uniform(500)
    # All of the real mass is in the 50 bins, none of the other: mean density = 1 / range.
    ranges = real.max(axis=0) - real.min(axis=0)
    expected = (1 / ranges).mean(axis=0)
    np.testing.assert_allclose(marginal_distribution_difference(real, real + 5), expected, rtol=1e-12)


def test_mdd_by_hand():
    # 50 bins of width 0.02 from 0 to 1; real: half at 0, half at 1; other: all at 0.5.
    real = np.repeat([0.0, 1.0], 5)[:, None, None]
    other = np.full((4, 1, 1), 0.5)
    expected = (0.5 + 0.5 + 1) / 0.02 / 50
    np.testing.assert_allclose(marginal_distribution_difference(real, other), [expected])


def test_mdd_leaves_out_steps_that_do_not_vary(caplog):
    real, other = uniform(200, 3, 1), uniform(200, 3, 1, seed=1)
    expected = marginal_distribution_difference(real[:, 1:], other[:, 1:])
    real[:, 0] = 0.5
    with caplog.at_level("INFO"):
        found = marginal_distribution_difference(real, other)
    np.testing.assert_allclose(found, expected)
    assert "1 of 3 steps" in caplog.text


def test_mdd_of_a_small_range_beside_large_values_in_single_precision():
    # The range is three units in the last place; a bin is a small part of one.
    real = np.array([0.999999, 1.0, 0.9999995], np.float32)[:, None, None]
    other = real[[0, 0, 2]]
    width = float(real.max()) - float(real.min())
    found = marginal_distribution_difference(real, other)
    np.testing.assert_allclose(found, [(1 / 3 + 1 / 3) / width])


@pytest.mark.parametrize(
    ("measure", "moment"), [(skewness_difference, stats.skew), (kurtosis_difference, stats.kurtosis)]
)
def test_moments_are_those_of_scipy(measure, moment):
    rng = np.random.default_rng(0)
    real, other = rng.exponential(size=(200, 5, 3)), rng.gamma(3, size=(300, 5, 3))
    expected = np.abs(moment(real.reshape(-1, 3)) - moment(other.reshape(-1, 3)))
    np.testing.assert_allclose(measure(real, other), expected, rtol=1e-10)


def test_moments_of_an_exponential_beside_a_normal():
    rng = np.random.default_rng(1)
    normal, exponential = rng.normal(size=(40_000, 5, 1)), rng.exponential(size=(40_000, 5, 1))
    np.testing.assert_allclose(skewness_difference(normal, exponential), [2], atol=0.1)
    np.testing.assert_allclose(kurtosis_difference(normal, exponential), [6], atol=0.8)


def test_a_synthetic_constant_is_compared_not_spared():
    real = uniform()
    constant = np.full_like(real, 0.3)
    z = stats.zscore(real.reshape(-1, 2))
    np.testing.assert_allclose(kurtosis_difference(real, constant), (z**4).mean(axis=0))
    assert np.isfinite(skewness_difference(real, constant)).all()
