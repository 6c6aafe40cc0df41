from __future__ import annotations

import numpy as np
import pytest

from core.errors import DataError
from core.evaluation.distances.temporal import (
    autocorrelation,
    autocorrelation_difference,
    spectral_difference,
    spectrum,
)


def autoregressive(phi: float, windows: int = 4000, steps: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=windows) / np.sqrt(1 - phi**2)]
    for _ in range(steps - 1):
        values.append(phi * values[-1] + rng.normal(size=windows))
    return np.stack(values, axis=1)[..., None]


def sine(cycles: int, amplitude: float = 1.0, windows: int = 50, steps: int = 24) -> np.ndarray:
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, size=(windows, 1))
    angle = 2 * np.pi * cycles * np.arange(steps) / steps
    return amplitude * np.sin(angle + phase)[..., None]


@pytest.mark.parametrize("phi", [-0.5, 0.3, 0.8])
def test_the_autocorrelation_of_an_autoregression_is_a_power(phi):
    found = autocorrelation(autoregressive(phi), 10)[:, 0]
    np.testing.assert_allclose(found, phi ** np.arange(10), atol=0.03)


def test_the_autocorrelation_is_that_of_the_definition():
    windows = np.random.default_rng(0).normal(size=(6, 5, 2)).cumsum(axis=1)
    z = (windows - windows.mean(axis=(0, 1))) / windows.std(axis=(0, 1))
    expected = [
        np.mean([z[n, t] * z[n, t + lag] for n in range(6) for t in range(5 - lag)], axis=0) for lag in range(5)
    ]
    np.testing.assert_allclose(autocorrelation(windows, 5), expected)


def test_the_difference_of_two_autoregressions():
    found = autocorrelation_difference(autoregressive(0.8), autoregressive(0.3, seed=1))
    lags = np.arange(24)
    expected = np.sqrt(((0.8**lags - 0.3**lags) ** 2).sum())
    np.testing.assert_allclose(found, [expected], atol=0.06)


def test_shuffled_steps_are_correlated_alike_at_every_lag():
    shuffled = np.random.default_rng(0).permuted(autoregressive(0.9), axis=1)
    apart = np.abs(np.subtract.outer(np.arange(24), np.arange(24)))
    pairs = (0.9**apart)[apart > 0].mean()
    np.testing.assert_allclose(autocorrelation(shuffled, 4)[:, 0], [1, pairs, pairs, pairs], atol=0.03)


def test_lags_end_at_64():
    real, other = autoregressive(0.99, 20, 100), autoregressive(0.2, 20, 100, seed=1)
    difference = autocorrelation(real, 64) - autocorrelation(other, 64)
    expected = np.sqrt((difference**2).sum(axis=0))
    np.testing.assert_allclose(autocorrelation_difference(real, other), expected)


def test_all_power_of_a_sine_is_at_its_frequency():
    power = spectrum(sine(5))[:, 0]
    assert len(power) == 12
    assert power[4] / power.sum() == pytest.approx(1)


@pytest.mark.parametrize("steps", [2, 7, 8])
def test_a_spectrum_adds_up_to_the_variance_inside_windows(steps):
    values = np.random.default_rng(3).normal(size=(9, steps, 2)).cumsum(axis=1)
    np.testing.assert_allclose(spectrum(values).sum(axis=0) / steps, values.var(axis=1).mean(axis=0))


def test_the_power_of_white_noise_is_its_variance():
    noise = np.random.default_rng(0).normal(scale=3, size=(5000, 25, 1))
    assert spectrum(noise).sum() / 25 == pytest.approx(9 * 24 / 25, rel=0.02)


def test_twice_the_amplitude_is_6_decibels():
    real = autoregressive(0.5, 100)
    np.testing.assert_allclose(spectral_difference(real, 2 * real), [20 * np.log10(2)], rtol=1e-9)


def test_another_frequency_is_as_far_as_the_floor():
    # Of 12 frequencies one falls from all power to the floor of -60 dB and one rises as much.
    np.testing.assert_allclose(spectral_difference(sine(2), sine(7)), [60 * np.sqrt(2 / 12)], rtol=1e-6)


def test_what_is_below_the_floor_is_the_same():
    real = sine(2)
    np.testing.assert_allclose(spectral_difference(real, real + sine(7, 1e-5)), [0], atol=1e-3)


def test_a_spectrum_needs_4_steps():
    with pytest.raises(DataError, match="at least 4 steps, got 3"):
        spectral_difference(sine(1, steps=3), sine(1, steps=3))
