"""Which features a distance can be computed for, and their standardised values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CONSTANT = 1e-7
"""A range that is a smaller share of the largest value is the rounding of 32-bit numbers, not a range."""

Mask = NDArray[np.bool_]


def every(real: NDArray[Any]) -> Mask:
    """All features, shape (D,)."""
    return np.ones(real.shape[2], dtype=np.bool_)


def varying(real: NDArray[Any]) -> Mask:
    """Features that take more than one value, shape (D,)."""
    return _differ(real.min(axis=(0, 1)), real.max(axis=(0, 1)))


def moving(real: NDArray[Any]) -> Mask:
    """Features that change inside a window, shape (D,)."""
    mask: Mask = np.logical_or.reduce(_differ(real.min(axis=1), real.max(axis=1)))
    return mask


def varying_at_a_step(real: NDArray[Any]) -> Mask:
    """Features that differ between windows at one step at least, shape (D,)."""
    mask: Mask = np.logical_or.reduce(varying_cells(real))
    return mask


def varying_cells(real: NDArray[Any]) -> Mask:
    """Steps and features at which windows differ, shape (T, D)."""
    return _differ(real.min(axis=0), real.max(axis=0))


def standardised(windows: NDArray[Any], ddof: int = 0) -> NDArray[np.float64]:
    """Mean 0 and variance 1 of each feature over windows and steps; 0 throughout where a feature is constant.

    So a generator that makes a constant of a feature has no correlations, no skewness and a kurtosis of 0
    there: it is compared, not spared.

    Args:
        windows: Shape (N, T, D).
        ddof: 1 for the variance of a sample.
    """
    values = windows.astype(np.float64)
    values -= values.mean(axis=(0, 1))
    spread = np.sqrt(np.einsum("ntd,ntd->d", values, values) / (values.shape[0] * values.shape[1] - ddof))
    constant = ~varying(windows)
    values /= np.where(constant, 1.0, spread)
    values[..., constant] = 0.0
    return values


def flat(windows: NDArray[Any]) -> NDArray[np.float64]:
    """Windows laid out in one row each, shape (N, T * D)."""
    return windows.reshape(len(windows), -1).astype(np.float64)


def _differ(low: NDArray[Any], high: NDArray[Any]) -> Mask:
    differ: Mask = high - low > CONSTANT * np.maximum(np.abs(low), np.abs(high))
    return differ
