"""What is drawn of real and synthetic windows is what their distances are computed from."""

from __future__ import annotations

import numpy as np
import pytest

from core.evaluation.distances.dependence import correlation_difference
from core.evaluation.distances.temporal import autocorrelation_difference, spectral_difference
from core.evaluation.report.view import View, view_windows


def windows(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=(count, 12, 3)) + rng.normal(size=(count, 12, 1))
    return 0.5 + moves.cumsum(axis=1) / 40


def seen(real: np.ndarray, synthetic: np.ndarray) -> View:
    names = [str(number) for number in range(real.shape[2])]
    return view_windows(real, synthetic, (real, synthetic), names, windows=5, overlays=("pca",))


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    return windows(60, 0), windows(50, 1) * [1, 1.5, 0.3]


@pytest.fixture(scope="module")
def view(pair) -> View:
    return seen(*pair)


def test_the_distance_of_the_curves_is_the_autocorrelation_difference(pair, view):
    real, synthetic = view.autocorrelations
    assert real.shape == (12, 3)
    np.testing.assert_allclose(np.linalg.norm(real - synthetic, axis=0), autocorrelation_difference(*pair))


def test_the_ratio_of_the_spectra_is_the_log_spectral_distance(pair, view):
    real, synthetic = view.spectra
    np.testing.assert_allclose(real.sum(axis=0), 1)
    decibels = 10 * np.log10(real / synthetic)
    np.testing.assert_allclose(np.sqrt((decibels**2).mean(axis=0)), spectral_difference(*pair))
    np.testing.assert_allclose(view.frequencies, np.arange(1, 7) / 12)


def test_the_difference_of_the_matrices_is_the_correlation_difference(pair, view):
    real, synthetic = view.correlations
    difference = np.abs(real - synthetic).sum(axis=0) / 2
    np.testing.assert_allclose(difference, correlation_difference(*pair))


def test_what_the_measures_leave_out_is_not_drawn(pair):
    real, synthetic = (each.copy() for each in pair)
    real[..., 1] = 0.5  # constant: no measure
    real[..., 2] = real[:, :1, 2]  # constant inside windows: no spectrum
    made = seen(real, synthetic)
    for curves in made.autocorrelations:
        assert np.isnan(curves).all(axis=0).tolist() == [False, True, False]
        assert np.isfinite(curves[:, [0, 2]]).all()
    for spectra in made.spectra:
        assert np.isfinite(spectra).all(axis=0).tolist() == [True, False, False]
    for matrix in made.correlations:
        assert np.isnan(matrix[1]).all()
        assert np.isnan(matrix[:, 1]).all()
        assert np.isfinite(matrix[np.ix_([0, 2], [0, 2])]).all()


def test_a_synthetic_constant_is_drawn_as_it_is_compared(pair):
    real, synthetic = pair[0], pair[1].copy()
    synthetic[..., 1] = 0.5
    made = seen(real, synthetic)
    assert not made.autocorrelations[1][:, 1].any()
    assert not made.correlations[1][1].any()
    assert not made.spectra[1][:, 1].any()
