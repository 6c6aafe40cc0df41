from __future__ import annotations

import math
import sys

import numpy as np
import prdc.prdc
import pytest
from scipy.special import gamma

from core.errors import DataError
from core.evaluation.distances.nearest import nearest_dtw, nearest_euclid, warped_distances
from core.evaluation.distances.sample import (
    maximum_mean_discrepancy,
    median_distance,
    precision_recall,
    sliced_wasserstein,
)


def normal(windows: int, mean: float = 0.0, seed: int = 0, shape: tuple[int, int] = (3, 2)) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, size=(windows, *shape))


def test_mmd_of_shifted_normals():
    # E k(x, y) of x - y ~ N(m, 2 I) in d dimensions: (s^2 / (s^2 + 2))^(d / 2) exp(-|m|^2 / (2 (s^2 + 2))).
    bandwidth, shift, cells, windows = 2.0, 0.5, 6, 2500
    same = (bandwidth**2 / (bandwidth**2 + 2)) ** (cells / 2)
    apart = same * math.exp(-cells * shift**2 / (2 * (bandwidth**2 + 2)))
    # The pairs of a point with itself add (1 - E k(x, y)) / n for each set.
    expected = 2 * same - 2 * apart + 2 * (1 - same) / windows
    found = maximum_mean_discrepancy(normal(windows), normal(windows, shift, seed=1), bandwidth)
    assert found == pytest.approx(math.sqrt(expected), rel=0.05)


@pytest.mark.parametrize(("windows", "others"), [(2, 2), (7, 12)])
def test_mmd_is_that_of_the_definition(windows, others):
    def kernel_mean(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.mean([[math.exp(-((x - y) ** 2).sum() / (2 * 1.7**2)) for x in one] for y in other]))

    for seed in range(20):
        one, other = normal(windows, seed=2 * seed), normal(others, seed=2 * seed + 1)
        square = kernel_mean(one, one) + kernel_mean(other, other) - 2 * kernel_mean(one, other)
        found = maximum_mean_discrepancy(one, other, 1.7)
        assert found == pytest.approx(math.sqrt(square))
        assert found > 0


def test_mmd_of_the_same_distribution_falls_with_the_root_of_the_size():
    few, many = (
        np.mean(
            [maximum_mean_discrepancy(normal(n, seed=2 * i), normal(n, seed=2 * i + 1), 2.0) for i in range(20)]
        )
        for n in (25, 400)
    )
    assert few / many == pytest.approx(4, rel=0.1)


def test_mmd_by_hand():
    # Points 0 and 1 against 0 and 2 on a line, bandwidth 1.
    one, other = np.array([0.0, 1.0]).reshape(2, 1, 1), np.array([0.0, 2.0]).reshape(2, 1, 1)
    k = [math.exp(-(distance**2) / 2) for distance in range(3)]
    expected = (k[0] + k[1]) / 2 + (k[0] + k[2]) / 2 - 2 * (k[0] + k[2] + k[1] + k[1]) / 4
    assert maximum_mean_discrepancy(one, other, 1.0) == pytest.approx(math.sqrt(expected))


def test_the_median_distance_by_hand():
    points = np.array([0.0, 1.0, 5.0]).reshape(3, 1, 1)
    assert median_distance(points) == 4
    with pytest.raises(DataError, match="median distance of two real windows is 0"):
        median_distance(np.ones((4, 3, 2)))


def test_sliced_wasserstein_of_a_shift():
    # A direction uniform on the sphere in d dimensions meets a vector v by |v| E|u_1| on average.
    real, shift = normal(50, shape=(4, 5)), np.zeros((4, 5))
    shift[1, 2] = 2.0
    expected = 2 * gamma(10) / (math.sqrt(math.pi) * gamma(10.5))
    assert sliced_wasserstein(real, real + shift, seed=0) == pytest.approx(expected, rel=0.15)
    assert sliced_wasserstein(real, real + 2 * shift, seed=0) == pytest.approx(
        2 * sliced_wasserstein(real, real + shift, seed=0)
    )


def test_sliced_wasserstein_takes_unequal_sizes_and_a_seed():
    real = normal(40)
    assert sliced_wasserstein(real, np.concatenate([real, real]), seed=0) == pytest.approx(0, abs=1e-12)
    other = normal(30, 1)
    assert sliced_wasserstein(real, other, seed=3) == sliced_wasserstein(real, other, seed=3)
    assert sliced_wasserstein(real, other, seed=3) != sliced_wasserstein(real, other, seed=4)


@pytest.mark.parametrize("sizes", [(40, 40), (60, 33)])
def test_the_four_shares_are_those_of_the_library(sizes):
    # Four windows of each kind stand away from the rest.
    real, other = normal(sizes[0]), normal(sizes[1], 0.4, seed=1)
    real[:4] += 9
    other[-4:] -= 7
    centre = real.reshape(len(real), -1).mean(axis=0)
    points = (windows.reshape(len(windows), -1) - centre for windows in (real, other))
    found = precision_recall(real, other)
    assert found == prdc.prdc.compute_prdc(*points, 5)
    assert 0 < min(found.values()) < 1


def test_what_other_threads_print_meanwhile_is_printed(monkeypatch):
    real_output, seen = sys.stdout, []
    distances = prdc.prdc.sklearn.metrics.pairwise_distances

    def watched(*arguments, **options):
        seen.append(sys.stdout)
        return distances(*arguments, **options)

    monkeypatch.setattr(prdc.prdc.sklearn.metrics, "pairwise_distances", watched)
    precision_recall(normal(20), normal(20, seed=1))
    assert seen
    assert all(output is real_output for output in seen)


def test_disjoint_sets_have_no_precision_and_no_recall(capsys):
    found = precision_recall(normal(50), normal(60, 100, seed=1))
    assert found == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    assert capsys.readouterr().out == ""


def test_a_generator_of_one_kind_is_precise_and_forgets_the_other():
    rng = np.random.default_rng(0)
    kinds = np.concatenate([normal(100, 0), normal(100, 50, seed=1)])
    found = precision_recall(kinds, kinds[rng.integers(100, size=200)] + rng.normal(0, 0.1, (200, 3, 2)))
    assert found["precision"] > 0.9
    assert found["recall"] < 0.55
    assert 0.3 < found["coverage"] < 0.55
    assert found["density"] > 0.9


def test_neighbours_need_windows():
    with pytest.raises(DataError, match="at least 7 windows of each kind, got 6 and 40"):
        precision_recall(normal(6), normal(40))
    assert set(precision_recall(normal(7), normal(7))) == {"precision", "recall", "density", "coverage"}


def test_the_nearest_by_hand():
    real = np.array([0.0, 10.0]).reshape(2, 1, 1)
    other = np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    assert nearest_euclid(real, other) == (2.0, (1 + 7) / 2)


def test_copies_are_at_no_distance_one_way():
    real = normal(30)
    for nearest in (nearest_euclid, nearest_dtw):
        to_real, to_synthetic = nearest(real, real[:10])
        assert to_real == 0
        assert to_synthetic > 0


def dynamic_programme(one: np.ndarray, other: np.ndarray) -> float:
    cost = np.full((len(one) + 1, len(other) + 1), np.inf)
    cost[0, 0] = 0
    for i, row in enumerate(one):
        for j, column in enumerate(other):
            best = min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
            cost[i + 1, j + 1] = ((row - column) ** 2).sum() + best
    return math.sqrt(cost[-1, -1])


def test_warped_distances_are_those_of_the_definition():
    real, other = normal(4, shape=(9, 3)), normal(5, seed=1, shape=(9, 3))
    expected = [[dynamic_programme(a, b) for b in other] for a in real]
    np.testing.assert_allclose(warped_distances(real, other), expected)


def test_a_shift_in_time_is_warped_away():
    time = np.arange(40)
    bumps = [np.exp(-((time - centre) ** 2) / 8)[None, :, None] for centre in (15, 20)]
    assert nearest_euclid(*bumps)[0] > 1
    assert nearest_dtw(*bumps)[0] < 0.05


def test_warping_brings_nothing_apart():
    real, other = normal(20, shape=(12, 2)), normal(25, seed=1, shape=(12, 2))
    for warped, euclid in zip(nearest_dtw(real, other), nearest_euclid(real, other), strict=True):
        assert 0 < warped <= euclid
