"""How far the set of windows, each a point in T * D dimensions, is from the set of real ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prdc.prdc import compute_nearest_neighbour_distances, compute_pairwise_distance
from scipy.spatial.distance import pdist
from scipy.stats import wasserstein_distance
from sklearn.metrics.pairwise import euclidean_distances

from core.errors import DataError
from core.evaluation.distances.features import flat

DIRECTIONS = 200
"""On which windows are projected."""
NEIGHBOURS = 5
"""k of precision, recall, density and coverage (Naeem et al. 2020)."""


def median_distance(real: NDArray[Any]) -> float:
    """Median Euclidean distance of two real windows, the bandwidth of the MMD.

    Gretton et al. 2012, section 8, take the median over both sets together. Here it is that of the real windows
    alone: so the kernel is the same for the synthetic windows and for their reference, and a generator
    whose windows scatter does not widen it.

    Args:
        real: Shape (N, T, D), N at least 2.

    Raises:
        DataError: it is 0, at least half of the pairs are equal.
    """
    median = float(np.median(pdist(flat(real))))
    if median == 0:
        raise DataError("the median distance of two real windows is 0: at least half of the pairs are equal")
    return median


def maximum_mean_discrepancy(real: NDArray[Any], other: NDArray[Any], bandwidth: float) -> float:
    """Distance of the two sets' means under the kernel `exp(-|x - y|^2 / (2 bandwidth^2))`, from 0 to 1.41.

    The biased estimate (Gretton et al. 2012, equation 5). Of sets from one distribution it is not 0 but falls
    like `1 / sqrt(N)`, so it compares only at equal sizes. The unbiased estimate of the square is below 0 half
    of the time then, and no ratio to such a number means anything.

    Args:
        real: Shape (N, T, D).
        other: Shape (M, T, D).
        bandwidth: Above 0.
    """
    points, others = flat(real), flat(other)
    centre = points.mean(axis=0)  # the nearer to 0, the less is lost to rounding
    points, others = points - centre, others - centre
    within = [float(_kernel(one, one, bandwidth).mean()) for one in (points, others)]
    # Rounding makes tiny negative numbers of 0.
    return math.sqrt(max(0.0, sum(within) - 2 * float(_kernel(points, others, bandwidth).mean())))


def sliced_wasserstein(real: NDArray[Any], other: NDArray[Any], seed: int) -> float:
    """Mean Wasserstein-1 distance of the windows projected on 200 random directions; from 0.

    Bonneel et al. 2015, by Monte Carlo with directions uniform on the sphere.

    Args:
        real: Shape (N, T, D).
        other: Shape (M, T, D).
        seed: Fixes the directions.
    """
    points, others = flat(real), flat(other)
    directions = np.random.default_rng(seed).standard_normal((points.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    projected = zip((points @ directions).T, (others @ directions).T, strict=True)
    return float(np.mean([wasserstein_distance(*pair) for pair in projected]))


def precision_recall(real: NDArray[Any], other: NDArray[Any]) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    The distances are those of the library `prdc`, and so are the numbers; its own function of them prints.
    On the windows themselves, not on a network's embedding of them: scaled windows are points whose Euclidean
    distance means something, unlike that of pictures, and the numbers do not hang on how a network trained.
    What an embedding sees is in the Context-FID.

    Args:
        real: Shape (N, T, D).
        other: Shape (M, T, D).

    Returns:
        By name; each from 0, and to 1 but for the density.

    Raises:
        DataError: there are fewer windows than the fifth neighbour needs.
    """
    if min(len(real), len(other)) < NEIGHBOURS + 2:
        raise DataError(
            f"{NEIGHBOURS} nearest neighbours need at least {NEIGHBOURS + 2} windows of each kind, "
            f"got {len(real)} and {len(other)}"
        )
    points, others = flat(real), flat(other)
    centre = points.mean(axis=0)
    points, others = points - centre, others - centre
    radii, other_radii = (compute_nearest_neighbour_distances(each, NEIGHBOURS) for each in (points, others))
    distances = compute_pairwise_distance(points, others)
    in_real_ball = distances < radii[:, None]
    return {
        "precision": float(in_real_ball.any(axis=0).mean()),
        "recall": float((distances < other_radii).any(axis=1).mean()),
        "density": float(in_real_ball.sum(axis=0).mean() / NEIGHBOURS),
        "coverage": float((distances.min(axis=1) < radii).mean()),
    }


def _kernel(one: NDArray[Any], other: NDArray[Any], bandwidth: float) -> NDArray[np.float64]:
    kernel: NDArray[np.float64] = euclidean_distances(one, other, squared=True)
    kernel /= -2 * bandwidth**2
    return np.exp(kernel, out=kernel)
