"""Which windows a judge is trained on and which test it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.evaluation.scores import TRAIN_SHARE

Index = NDArray[np.int64]
Parts = tuple[Index, Index]
"""Windows that train and windows that test."""


@dataclass(frozen=True)
class Split:
    """Numbers of windows, of the real and of the synthetic set each."""

    train_real: Index
    test_real: Index
    train_fake: Index
    test_fake: Index


def random_splits(real: int, synthetic: int, judges: int, seed: int) -> list[Split]:
    """One for each judge: 80 % of the windows of each kind, drawn at random, train it.

    Args:
        real: Windows there are.
        synthetic: Likewise.
        judges: How many splits.
        seed: Fixes them.
    """
    rng = np.random.default_rng(seed)
    splits = []
    for _ in range(judges):
        parts = []
        for count in (real, synthetic):
            order = rng.permutation(count)
            parts += [order[: int(TRAIN_SHARE * count)], order[int(TRAIN_SHARE * count) :]]
        splits.append(Split(*parts))
    return splits


def splits_by_time(real: Parts, synthetic: Parts | int, judges: int, seed: int) -> list[Split]:
    """One for each judge, real windows divided by time; so are the others, or by chance if they have no time.

    Args:
        real: Of the real windows, see `parts_by_time`.
        synthetic: Of the others, or how many of them there are.
        judges: How many splits.
        seed: Fixes what is left to chance.
    """
    if not isinstance(synthetic, int):
        return [Split(*real, *synthetic)] * judges
    drawn = random_splits(1, synthetic, judges, seed)
    return [Split(*real, split.train_fake, split.test_fake) for split in drawn]


def parts_by_time(starts: Index, length: int) -> Parts:
    """The earlier windows train, the later ones test, and no row is between them in both.

    Windows that overlap are nearly copies of each other: a random split would let a judge remember what it is
    tested on. The border stands where the first 80 % of the windows start; windows that start before it and
    reach across it are in neither part.

    Args:
        starts: First row of each window, ascending.
        length: Rows of a window.

    Raises:
        DataError: one part is empty.
    """
    border = starts[int(TRAIN_SHARE * len(starts))] if len(starts) else 0
    train, test = np.flatnonzero(starts + length <= border), np.flatnonzero(starts >= border)
    if not len(train) or not len(test):
        raise DataError(
            f"{len(starts)} windows of {length} steps cannot be split by time into windows that share no row; "
            "hold out more rows"
        )
    return train, test
