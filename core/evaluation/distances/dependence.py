"""How far the dependence between features is from the real one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.evaluation.distances.features import standardised


def correlation(windows: NDArray[Any], ddof: int = 0) -> NDArray[np.float64]:
    """Pearson's correlation of the features over all windows and steps, shape (D, D).

    From -1 to 1 but for rounding; 0 of a feature that is constant, also with itself.

    Args:
        windows: Shape (N, T, D).
        ddof: 1 divides the mean product of the deviations by the variances of a sample.
    """
    z = standardised(windows, ddof).reshape(-1, windows.shape[2])
    products: NDArray[np.float64] = z.T @ z / len(z)
    return products


def correlational_score(real: NDArray[Any], other: NDArray[Any]) -> float:
    """Sum over pairs of features of |difference of their correlations|, over 10; from 0.

    The score of Diffusion-TS (Yuan and Qiao 2024), by its code (`Utils/cross_correlation.py`): values
    standardised over windows and steps by the standard deviation of a sample, products averaged, pairs
    (i, j) with j <= i. The 10 stands whatever the number of features is, so scores of different data do not
    compare: `correlation_difference` does. Its authors average the score of small random subsets, which
    adds to it; here all windows are in one.

    Args:
        real: Shape (N, T, D), every feature varies.
        other: Shape (M, T, D).

    Raises:
        DataError: there is a single feature.
    """
    _refuse_single(real)
    difference = np.abs(correlation(real, ddof=1) - correlation(other, ddof=1))
    return float(difference[np.tril_indices(len(difference))].sum() / 10)


def correlation_difference(real: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the other features of |difference of Pearson's correlations|, shape (D,), from 0 to 2.

    Args:
        real: Shape (N, T, D), every feature varies.
        other: Shape (M, T, D).

    Raises:
        DataError: there is a single feature.
    """
    _refuse_single(real)
    difference = np.abs(correlation(real) - correlation(other))
    np.fill_diagonal(difference, 0.0)
    by_feature: NDArray[np.float64] = difference.sum(axis=0) / (len(difference) - 1)
    return by_feature


def _refuse_single(windows: NDArray[Any]) -> None:
    if windows.shape[2] < 2:
        raise DataError(f"correlations need at least 2 features that vary, got {windows.shape[2]}")
