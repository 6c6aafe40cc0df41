"""How far the order in time of single features is from the real one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import periodogram

from core.errors import DataError
from core.evaluation.distances.features import standardised

LAGS = 64
"""Most lags of an autocorrelation function, the lag 0 among them; of TSGBench."""
FLOOR = 1e-6
"""Least power of a frequency that is told from none, as a share of the feature's real power: -60 dB."""

ByFeature = NDArray[np.float64]
"""Shape (D,)."""


def autocorrelation(windows: NDArray[Any], lags: int) -> NDArray[np.float64]:
    """`E z_t z_(t + lag)` for lags 0 to `lags - 1`, shape (lags, D), z standardised over all windows and steps.

    The mean is over the windows and the steps that have a partner in their window, so nothing shrinks
    towards 0 at large lags.

    Args:
        windows: Shape (N, T, D).
        lags: From 1 to T.
    """
    pairs = len(windows) * (windows.shape[1] - np.arange(lags))
    return np.stack([_products(z[..., 0], lags) / pairs for z in map(standardised, _single(windows))], axis=1)


def _products(z: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    """Sums of `z_t z_(t + lag)`, shape (lags,), of (N, T)."""
    steps = z.shape[1]
    return np.array([np.einsum("nt,nt->", z[:, lag:], z[:, : steps - lag]) for lag in range(lags)])


def _single(windows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Each feature's windows, shape (N, T, 1): copies in 64 bits of all at once are large."""
    return (windows[..., number : number + 1] for number in range(windows.shape[2]))


def autocorrelation_difference(real: NDArray[Any], other: NDArray[Any]) -> ByFeature:
    """Euclidean distance of the autocorrelation functions up to lag 63, by feature; from 0.

    ACD of TSGBench (Ang et al. 2023), by its code: the lag 0 is among them.

    Args:
        real: Shape (N, T, D), every feature varies.
        other: Shape (M, T, D).
    """
    lags = min(LAGS, real.shape[1])
    difference = autocorrelation(real, lags) - autocorrelation(other, lags)
    distance: ByFeature = np.sqrt((difference**2).sum(axis=0))
    return distance


def spectrum(windows: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over windows of the power at each frequency above 0, shape (T // 2, D) (`scipy.signal.periodogram`).

    Args:
        windows: Shape (N, T, D), T at least 2.
    """
    power = [periodogram(one.astype(np.float64), axis=1)[1].mean(axis=0) for one in _single(windows)]
    mean: NDArray[np.float64] = np.concatenate(power, axis=1)[1:]
    return mean


def spectral_difference(real: NDArray[Any], other: NDArray[Any]) -> ByFeature:
    """Root mean square over frequencies of the ratio of the two spectra, in decibels, by feature; from 0.

    The log spectral distance (Gray and Markel 1976) of the windows' mean periodograms. It sees
    the power as well as its distribution over frequencies. Power below -60 dB of the feature's real power
    counts as that: it would be rounding.

    Args:
        real: Shape (N, T, D), every feature changes inside a window.
        other: Shape (M, T, D).

    Raises:
        DataError: windows have fewer than 4 steps, so there is no spectrum to speak of.
    """
    if real.shape[1] < 4:
        raise DataError(f"a spectrum needs windows of at least 4 steps, got {real.shape[1]}")
    powers = [spectrum(windows) for windows in (real, other)]
    floor = FLOOR * powers[0].sum(axis=0)
    levels = [10 * np.log10(np.maximum(power, floor)) for power in powers]
    distance: ByFeature = np.sqrt(((levels[0] - levels[1]) ** 2).mean(axis=0))
    return distance
