"""Sets of windows of equal size, so that a distance and its reference compare."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """Which windows are compared, equally many of each, in random order."""

    real: Index
    """Of the real windows."""
    synthetic: Index
    """Of the synthetic windows, compared with those: the value."""
    reference: Index
    """Of the reference or, where there is none, of the other real windows: the reference."""


@dataclass(frozen=True)
class Sets:
    """The three sets of windows, each of shape (n, T, D)."""

    real: NDArray[Any]
    synthetic: NDArray[Any]
    reference: NDArray[Any]

    def only(self, features: NDArray[np.bool_]) -> Sets:
        """With those features alone."""
        return Sets(*(windows[..., features] for windows in (self.real, self.synthetic, self.reference)))


def draw(real: int, synthetic: int, reference: int | None, windows: int, seed: int) -> Drawn:
    """Draw without replacement; the real windows and the reference are disjoint.

    Args:
        real: Real windows there are.
        synthetic: Synthetic windows there are.
        reference: Windows of the reference, None if it is drawn from the real ones too.
        windows: Most windows of each set, at least 2.
        seed: Fixes the draw.

    Raises:
        ConfigError: fewer than 2 windows are asked for.
        DataError: there are fewer than 2 for a set.
    """
    if windows < 2:
        raise ConfigError(f"windows must be at least 2, got {windows}")
    most = min(real // 2, synthetic) if reference is None else min(real, synthetic, reference)
    if most < 2:
        raise DataError(
            "distances need 2 windows of each kind, and 4 real ones where halves of them are the reference; "
            f"got {real} real, {synthetic} synthetic and {reference or 'no'} reference windows: bring more"
        )
    count = min(windows, most)
    if count < max(real, synthetic):
        logger.info("distances compare %d of %d real and of %d synthetic windows", count, real, synthetic)
    rng = np.random.default_rng(seed)
    order = rng.permutation(real)
    others = order[count : 2 * count] if reference is None else rng.permutation(reference)[:count]
    return Drawn(order[:count], rng.permutation(synthetic)[:count], others)
