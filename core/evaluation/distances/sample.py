"""How far the set of windows, each a point in T * D dimensions, is from the set of real ones."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
    """Median Euclidean distance of two real windows: the bandwidth of Gretton et al. 2012, section 8.

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
    """Squared distance of the two sets' means under the kernel `exp(-|x - y|^2 / (2 bandwidth^2))`.

    The unbiased estimate (Gretton et al. 2012, equation 3): about 0 of sets from one distribution, below 0
    as often as above.

    Args:
        real: Shape (N, T, D), N at least 2.
        other: Shape (M, T, D), M at least 2.
        bandwidth: Above 0.
    """
    points, others = flat(real), flat(other)
    centre = points.mean(axis=0)  # the nearer to 0, the less is lost to rounding
    points, others = points - centre, others - centre
    within = [_mean_of_pairs(_kernel(one, one, bandwidth)) for one in (points, others)]
    return sum(within) - 2 * float(_kernel(points, others, bandwidth).mean())


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
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), by `prdc`.

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
    from prdc import compute_prdc

    if min(len(real), len(other)) < NEIGHBOURS + 2:
        raise DataError(
            f"{NEIGHBOURS} nearest neighbours need at least {NEIGHBOURS + 2} windows of each kind, "
            f"got {len(real)} and {len(other)}"
        )
    points, others = flat(real), flat(other)
    centre = points.mean(axis=0)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how many windows there are
        found = compute_prdc(points - centre, others - centre, NEIGHBOURS)
    return {name: float(value) for name, value in found.items()}


def _kernel(one: NDArray[Any], other: NDArray[Any], bandwidth: float) -> NDArray[np.float64]:
    kernel: NDArray[np.float64] = euclidean_distances(one, other, squared=True)
    kernel /= -2 * bandwidth**2
    return np.exp(kernel, out=kernel)


def _mean_of_pairs(kernel: NDArray[np.float64]) -> float:
    """Mean of a square matrix without its diagonal."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
