"""How far a window is from the nearest one of the other kind, in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from core.evaluation.distances.features import flat

WARPED = 300
"""Windows of each kind that are compared by dynamic time warping: 90,000 pairs."""


def nearest_euclid(real: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """Mean Euclidean distance of the other windows to the nearest real one, and of real to other ones.

    Args:
        real: Shape (N, T, D).
        other: Shape (M, T, D).
    """
    return _both_ways(cdist(flat(real), flat(other)))


def nearest_dtw(real: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """The same by dynamic time warping (Sakoe and Chiba 1978) of the first 300 windows of each kind.

    All features are warped together ("dependent", Shokoohi-Yekta et al. 2017), without a limit. The distance
    is the root of the summed squares along the path, so it is at most Euclid's. `sktime` computes it.

    Args:
        real: Shape (N, T, D), in random order.
        other: Shape (M, T, D), in random order.
    """
    return _both_ways(warped_distances(real[:WARPED], other[:WARPED]))


def warped_distances(real: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Distance by dynamic time warping of each pair, shape (N, M).

    Args:
        real: Shape (N, T, D).
        other: Shape (M, T, D).
    """
    from sktime.dists_kernels.dtw import DtwDist

    panels = [np.ascontiguousarray(windows.transpose(0, 2, 1), np.float64) for windows in (real, other)]
    squares: NDArray[np.float64] = DtwDist().transform(*panels)
    return np.sqrt(squares)


def _both_ways(distances: NDArray[np.float64]) -> tuple[float, float]:
    """Of real (rows) to other windows (columns): mean to the nearest real, mean to the nearest other one."""
    return float(distances.min(axis=0).mean()), float(distances.min(axis=1).mean())
