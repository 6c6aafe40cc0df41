"""Which windows a judge is trained on and which test it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin

from core.errors import DataError
from core.prepare.holdout import TRAIN_SHARE

logger = logging.getLogger(__name__)

Index = NDArray[np.int64]
Parts = tuple[Index, Index]
"""Windows that train and windows that test."""

_BLOCK_WINDOWS = 4
_FEWEST_BLOCKS = 10
_TRIES = 10
"""For each division by blocks: others are drawn in the place of those with an empty part."""
_FEWEST_ALIKE = 0.25
"""A part's share of the real windows times this is its share of the synthetic ones, at least."""


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
    kinds = [random_parts(count, judges, rng) for count in (real, synthetic)]
    return [Split(*parts, *others) for parts, others in zip(*kinds, strict=True)]


def random_parts(windows: int, judges: int, rng: np.random.Generator) -> list[Parts]:
    """80 % of so many windows, drawn at random for each judge, and the rest."""
    orders, trained = (rng.permutation(windows) for _ in range(judges)), int(TRAIN_SHARE * windows)
    return [(order[:trained], order[trained:]) for order in orders]


def block_splits(starts: Index, length: int, count: int, seed: int) -> list[Parts]:
    """As a random split, but by blocks of rows, so that no row is in both parts.

    Windows that overlap are nearly copies of each other: dividing them one by one would let a judge remember
    what it is tested on. A window that lies in blocks of both parts is in neither.

    Args:
        starts: Shape (N,): first row of each window, ascending.
        length: Rows of a window.
        count: How many, each drawn anew; their parts are of the same sizes.
        seed: Fixes them.

    Raises:
        DataError: there are too few rows to divide.
    """
    blocks = _Blocks.of(starts, length)
    rng = np.random.default_rng(seed)
    drawn: list[Parts] = []
    for _ in range(count * _TRIES):
        trains = np.zeros(blocks.count, dtype=np.bool_)
        trains[rng.permutation(blocks.count)[: int(TRAIN_SHARE * blocks.count)]] = True
        pair = blocks.inside(trains), blocks.inside(~trains)
        if all(map(len, pair)):  # blocks may stand so that no window lies in those of a part
            drawn.append(pair)
        if len(drawn) == count:
            break
    if len(drawn) < count:
        raise DataError(
            f"{len(starts)} windows of {length} steps cannot be split into windows that share no row; "
            "bring more rows"
        )
    sizes = [min(len(parts[part]) for parts in drawn) for part in (0, 1)]
    return [
        (np.sort(rng.permutation(train)[: sizes[0]]), np.sort(rng.permutation(test)[: sizes[1]]))
        for train, test in drawn
    ]


def divided(windows: int, starts: Index | None, length: int, count: int, seed: int) -> list[Parts]:
    """By blocks of rows where it is known which windows share some, else (or if they are too few) at random.

    Args:
        windows: How many there are.
        starts: Shape (N,): first row of each, ascending; None: they share none, or nobody knows.
        length: Rows of a window.
        count: How many splits.
        seed: Fixes them.
    """
    if starts is not None:
        try:
            return block_splits(starts, length, count, seed)
        except DataError as reason:
            logger.warning("%s: they are divided at random, into near copies of each other", reason)
    return random_parts(windows, count, np.random.default_rng(seed))


def nearest_real(synthetic: NDArray[Any], real: NDArray[Any]) -> Index:
    """The real window that each synthetic one is nearest to, shape (M,).

    Args:
        synthetic: Shape (M, T, D), in the units of the real ones.
        real: Shape (N, T, D).
    """
    flat = [np.asarray(windows, dtype=np.float32).reshape(len(windows), -1) for windows in (synthetic, real)]
    found: Index = pairwise_distances_argmin(*flat)
    return found


def divided_alike(nearest: Index, real: int, parts: Sequence[Parts], seed: int) -> list[Parts]:
    """Synthetic windows divided as the real ones are that they are nearest to.

    Real windows are divided by stretches of time. Synthetic ones divided at random stand in every stretch:
    where real windows are tested, a judge has then learnt synthetic ones alone, and takes the real ones for
    synthetic, however good the generator is. Windows of a stretch that is in neither part are in neither.

    Args:
        nearest: See `nearest_real`.
        real: Real windows there are.
        parts: Of these.
        seed: Fixes which windows are left out so that each part is of the same size every time, and how windows
            are divided, with a warning, of which too few are near to those of a part.
    """
    rng, drawn = np.random.default_rng(seed), list[Parts]()
    for pair in parts:
        train, test = (np.flatnonzero(np.isin(nearest, part)) for part in pair)
        fewest = [max(1.0, _FEWEST_ALIKE * len(part) / real * len(nearest)) for part in pair]
        if len(train) < fewest[0] or len(test) < fewest[1]:
            logger.warning(
                "of %d synthetic windows %d are nearest to the %d real ones that a judge learns, %d to the %d "
                "that test it: they are divided at random",
                *(len(nearest), len(train), len(pair[0]), len(test), len(pair[1])),
            )
            ((train, test),) = random_parts(len(nearest), 1, rng)
        drawn.append((train, test))
    sizes = [min(len(pair[part]) for pair in drawn) for part in (0, 1)]
    return [
        (np.sort(rng.permutation(train)[: sizes[0]]), np.sort(rng.permutation(test)[: sizes[1]]))
        for train, test in drawn
    ]


def halves_alike(parts: Parts, seed: int) -> Split:
    """Half of the real windows in the place of synthetic ones: each part is halved at random.

    Args:
        parts: Of the real windows, each of at least two.
        seed: Fixes which.
    """
    rng = np.random.default_rng(seed)
    (train, others), (test, other_tests) = (np.array_split(rng.permutation(part), 2) for part in parts)
    return Split(train, test, others, other_tests)


def halves_by_blocks(starts: Index, length: int, seed: int) -> Parts:
    """Two halves that share no row and yet cover the same times: of two neighbouring blocks each gets one.

    Args:
        starts: Shape (N,): first row of each window, ascending.
        length: Rows of a window.
        seed: Fixes which.

    Raises:
        DataError: a half would have fewer than two windows.
    """
    blocks = _Blocks.of(starts, length)
    coins = np.random.default_rng(seed).integers(0, 2, size=(blocks.count + 1) // 2)
    first = np.stack([coins == 0, coins == 1], axis=1).ravel()[: blocks.count]
    halves = blocks.inside(first), blocks.inside(~first)
    if min(map(len, halves)) < 2:
        raise DataError(
            f"{len(starts)} windows of {length} steps cannot be halved into windows that share no row"
        )
    return halves


@dataclass(frozen=True)
class _Blocks:
    """Blocks of rows, and in which of them each window lies."""

    first: Index
    """Shape (N,): the block of a window's first row."""
    last: Index
    """Shape (N,): of its last row."""
    count: int

    @classmethod
    def of(cls, starts: Index, length: int) -> _Blocks:
        """Blocks of four windows' lengths, of fewer rows where there would not be ten."""
        rows = int(starts[-1] - starts[0]) + length
        size = max(length, min(_BLOCK_WINDOWS * length, rows // _FEWEST_BLOCKS))
        first, last = ((starts - starts[0] + step) // size for step in (0, length - 1))
        # Rows that no window covers leave blocks empty: those must not take places of others.
        used = np.unique(np.concatenate([first, last]))
        return cls(np.searchsorted(used, first), np.searchsorted(used, last), len(used))

    def inside(self, chosen: NDArray[np.bool_]) -> Index:
        """Windows whose rows are all in chosen blocks, shape (blocks,)."""
        return np.flatnonzero(chosen[self.first] & chosen[self.last])
