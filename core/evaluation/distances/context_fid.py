"""Context-FID (Jeha et al. 2022, section 5): the Fréchet distance of learned representations of windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, svdvals

from core.evaluation.distances.ts2vec import train_ts2vec

Gaussian = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean (C,) and covariance (C, C)."""


class ContextFid:
    """Compares windows with real ones, by an encoder that is trained on those.

    The encoder is TS2Vec, as in Diffusion-TS and TSGBench. The distance hangs on how the encoder trained and
    on how many windows there are (fewer look farther), so it compares only with the same encoder's distance
    of as many real windows: its reference, not another tool's figure.

    Args:
        real: Shape (N, T, D), N at least 2, scaled to about [0, 1].
        seed: Fixes the encoder.
        iterations: Of its training; see `train_ts2vec`.
    """

    def __init__(self, real: NDArray[Any], seed: int, iterations: int | None = None) -> None:
        self._encode = train_ts2vec(real, seed=seed, iterations=iterations)
        self._real = gaussian(self._encode(real))

    def __call__(self, other: NDArray[Any]) -> float:
        """The distance of the windows `other`, shape (M, T, D), M at least 2; from 0."""
        return frechet_distance(self._real, gaussian(self._encode(other)))


def gaussian(codes: NDArray[np.float64]) -> Gaussian:
    """Mean and covariance of codes, shape (N, C), N at least 2."""
    return codes.mean(axis=0), np.atleast_2d(np.cov(codes, rowvar=False))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """`|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`, from 0 (Heusel et al. 2017, equation 6).

    The trace of the root is the sum of the singular values of `S1^(1/2) S2^(1/2)` (Dowson and Landau 1982):
    real, and exact where a covariance is singular, as with fewer windows than codes; `sqrtm` is neither.

    Args:
        one: A Gaussian.
        other: Another of the same dimension.
    """
    (mean, covariance), (other_mean, other_covariance) = one, other
    overlap = svdvals(_root(covariance) @ _root(other_covariance)).sum()
    spread = np.trace(covariance) + np.trace(other_covariance) - 2 * overlap
    # Rounding makes tiny negative numbers of 0.
    return float(((mean - other_mean) ** 2).sum() + max(0.0, spread))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric square root of a positive semi-definite matrix."""
    values, vectors = eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root
