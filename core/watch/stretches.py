"""Whether a stretch of new windows is further from the training windows than stretches of these are.

A series is not the same in every month: a test that takes its windows for independent calls every month a
drift. So a distance of new windows is held against the same distance of stretches of the training windows:
of as many windows, consecutive in time, each from those of the rest that share no row with it. They carry the
series' own dependence and its own slow changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Index = NDArray[np.int64]
Values = NDArray[np.float64]

FEWEST = 12
"""Stretches that lie side by side in the training windows, at least."""
MOST = 60
"""Stretches that are compared, at most."""
_LEAST_SPREAD = 1e-6
"""Of roots: less is rounding."""


@dataclass(frozen=True)
class Stretch:
    """Some training windows and those to compare them with."""

    own: Index
    """Consecutive in time."""
    rest: Index
    """Share no row with those."""


@dataclass(frozen=True)
class Test:
    """One distance of the new windows beside the same of stretches of the training windows."""

    __test__ = False  # not one of pytest's

    name: str
    value: float
    references: tuple[float, ...]
    p: float
    """Chance of a value as large where nothing has changed."""

    @property
    def reference(self) -> float:
        """The median of the references."""
        return float(np.median(self.references))

    @property
    def beyond(self) -> bool:
        """No reference reaches it."""
        return self.value > max(self.references)


def stretch_size(training: int, new: int) -> int:
    """Windows of a stretch: all new ones unless the training windows then hold too few stretches.

    Args:
        training: Windows there are.
        new: Likewise.
    """
    return min(new, training // FEWEST)


def stretches(first: Index, last: Index, size: int, most: int) -> list[Stretch]:
    """Stretches of the training windows, evenly spread, neighbours overlapping by half at most.

    Args:
        first: Shape (N,): stamp, or number, of the first row of each window, ascending.
        last: Shape (N,): likewise of its last row.
        size: Windows of a stretch, at most N / FEWEST.
        most: Windows that one is compared with, at most; evenly spread.
    """
    count = min(MOST, 2 * (len(first) // size) - 1)
    found = []
    for start in np.linspace(0, len(first) - size, count).round().astype(np.int64):
        own = np.arange(start, start + size, dtype=np.int64)
        apart = np.flatnonzero((last < first[start]) | (first > last[own].max()))
        found.append(Stretch(own, evenly(apart, most)))
    return found


def evenly(index: Index, most: int) -> Index:
    """All, or `most` of them at even distances."""
    if len(index) <= most:
        return index
    return index[np.linspace(0, len(index) - 1, most).round().astype(np.int64)]


def held_against(name: str, value: float, references: Values, disjoint: float) -> Test:
    """The chance of a value as large as this one beside its references.

    Square roots of distances are taken as normal: distances are positive and lean to the right, about as the
    length of a normal vector does (for whose square Wilson and Hilferty 1931 take the cube root). The next one
    after K independent ones then exceeds their mean by `t sqrt(1 + 1/K)` of their standard deviations, t of
    Student's distribution with K - 1 degrees of freedom (the prediction interval of a normal sample). Stretches
    that overlap do not count anew: K is the number that lie side by side.

    Args:
        name: Of the measure.
        value: From 0.
        references: Shape (stretches,), from 0.
        disjoint: K, at least 2.
    """
    roots = np.sqrt(references)
    spread = float(roots.std(ddof=1)) * math.sqrt(1 + 1 / disjoint)
    # Where it never moved in training there is no spread: what moves now is certain.
    distance = (math.sqrt(value) - float(roots.mean())) / max(spread, _LEAST_SPREAD)
    return Test(name, value, tuple(references.tolist()), float(student.sf(distance, disjoint - 1)))


def benjamini_hochberg(p: Values) -> Values:
    """Adjusted p-values: the smallest rate of false discoveries at which each is one (1995), shape kept.

    Args:
        p: Shape (tests,).
    """
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
