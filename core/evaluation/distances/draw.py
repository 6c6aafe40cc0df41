"""Sets of windows of equal size, so that a distance and its reference compare."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.evaluation.judges.splits import halves_by_blocks

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


def halves(count: int, starts: Index | None, length: int, seed: int) -> tuple[Index, Index]:
    """Two halves of the real windows: one to compare with, one to stand in the synthetic windows' place.

    They share no row (`halves_by_blocks`): of windows cut at a small stride, each in one random half has a near
    copy in the other, and a generator that knows the distribution alone could not come as near. Random halves
    are left where that cannot be done; the log says so.

    Args:
        count: Real windows there are.
        starts: Shape (count,), the first row of each, ascending; None if nobody knows.
        length: Rows of a window.
        seed: Fixes the halves.

    Raises:
        DataError: there is not one start for each window, or they do not ascend.
    """
    if starts is None:
        logger.warning(
            "nobody knows which real windows overlap, so the references of distances are of random halves: "
            "too small where windows do overlap"
        )
    elif starts.shape != (count,) or (np.diff(starts) < 0).any():
        raise DataError(
            f"expected an ascending start for each of the {count} real windows, got shape {starts.shape}"
        )
    else:
        try:
            return halves_by_blocks(starts, length, seed)
        except DataError as reason:
            logger.warning(
                "%s: the references of distances are of random halves, too small where windows overlap", reason
            )
    order = some(count, count, np.random.default_rng(seed))
    return order[: count // 2], order[count // 2 :]


def draw(real: Index, synthetic: int, reference: Index, windows: int, seed: int) -> Drawn:
    """Draw without replacement.

    Args:
        real: The real windows to draw from.
        synthetic: Synthetic windows there are.
        reference: The windows to draw from that stand in the synthetic ones' place.
        windows: Most windows of each set, at least 2.
        seed: Fixes the draw.

    Raises:
        ConfigError: fewer than 2 windows are asked for.
        DataError: there are fewer than 2 for a set.
    """
    if windows < 2:
        raise ConfigError(f"windows must be at least 2, got {windows}")
    count = min(windows, len(real), synthetic, len(reference))
    if count < 2:
        raise DataError(
            "distances need 2 windows of each kind, and 4 real ones where halves of them are the reference; "
            f"got {len(real)} real, {synthetic} synthetic and {len(reference)} reference windows: bring more"
        )
    rng = np.random.default_rng(seed)
    chosen, others = (
        windows_there[some(len(windows_there), count, rng)] for windows_there in (real, reference)
    )
    return Drawn(chosen, some(synthetic, count, rng), others)


def some(count: int, most: int, rng: np.random.Generator) -> Index:
    """Numbers from 0 to `count - 1`, all of them or `most` drawn without replacement, in random order."""
    return rng.permutation(count)[:most]
