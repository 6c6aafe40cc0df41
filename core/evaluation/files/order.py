"""Which rows windows share, read off the windows themselves.

Windows cut from one series at a stride below their length hold the same rows again: a window goes on with
what the one before it holds. Tools shuffle windows, though, and a hold-out of shuffled windows is full of rows
that were learnt; so it is found out, too, whether the windows are in the order of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtrc

Hashes = NDArray[np.uint64]
Index = NDArray[np.int64]

_FACTOR = 0x9E3779B97F4A7C15
_RARE = 1e-5
"""Chance below which what is found is no accident."""


def window_starts(values: NDArray[Any], lengths: Index | None = None) -> Index | None:
    """The row that each window starts at, as far as the windows tell; None if their order is not that of time.

    A window that goes on with what the one before it holds, `k` rows later, starts `k` rows after it. Windows
    of few distinct rows can go on at several `k`: there it is the one at which most windows of the set do, if
    it fits, else the smallest; ten equal constant windows start one row apart. So windows are rather taken
    to share rows than not. A window that is the one before it again and goes on nowhere starts with it; any
    other shares no row with those before it.

    In the order of time a stretch of windows that go on ends where the rows end. Of windows in another order
    many stretches end with rows that others begin with. Rows that recur by themselves look so, too, but then
    as many stretches end alike, or begin alike. The order is taken for another one if, by the binomial
    distribution with that share, fewer than one set in 100,000 looked like this one. So it takes some eight
    windows; an order that is broken in a few places passes for right, and so does one of windows that are in
    the set several times each, or that are so short and poor in values that most of them recur.

    Args:
        values: Shape (N, T, D).
        lengths: Shape (N,): steps of each window, T if None.

    Returns:
        Shape (N,), from 0, ascending.
    """
    steps = values.shape[1]
    rows = _Rows.of(values, np.full(len(values), steps) if lengths is None else lengths)
    moved = _moved(rows, steps)
    if _out_of_order(rows, moved == steps, steps):
        return None
    return np.concatenate([[0], np.cumsum(moved)])


@dataclass(frozen=True)
class _Rows:
    """Hashes of runs of rows in windows, equal for equal runs, and for no others but by a chance in 2^64."""

    prefixes: Hashes
    """Shape (N, T + 1), of the first rows from none to T: a polynomial of their hashes modulo 2^64."""
    powers: Hashes
    """Shape (T + 1,)."""
    lengths: Index
    """Shape (N,)."""

    @classmethod
    def of(cls, values: NDArray[Any], lengths: Index) -> _Rows:
        # 0.0 is added for the sign of zeros, whose bits would differ.
        rows = pd.DataFrame(values.reshape(-1, values.shape[2]) + 0.0)
        hashes = pd.util.hash_pandas_object(rows, index=False).to_numpy().reshape(values.shape[:2])
        prefixes = np.zeros((len(values), values.shape[1] + 1), dtype=np.uint64)
        for step in range(values.shape[1]):
            prefixes[:, step + 1] = prefixes[:, step] * np.uint64(_FACTOR) + hashes[:, step]
        powers = np.array([pow(_FACTOR, step, 2**64) for step in range(values.shape[1] + 1)], dtype=np.uint64)
        return cls(prefixes, powers, lengths)

    def run(self, windows: Index, first: Index | int, count: Index | int) -> Hashes:
        """Of so many rows from the first one on."""
        before, through = self.prefixes[windows, first], self.prefixes[windows, first + count]
        return np.asarray(through - before * self.powers[count])


def _moved(rows: _Rows, steps: int) -> Index:
    """Rows from the start of each window to the next one's, shape (N - 1,)."""
    here, following = np.arange(len(rows.lengths) - 1), np.arange(1, len(rows.lengths))
    same = rows.lengths[here] == rows.lengths[following]
    again = same & (rows.run(here, 0, rows.lengths[here]) == rows.run(following, 0, rows.lengths[here]))
    moved = np.where(again, 0, steps)
    usual, fits = steps, np.zeros(len(moved), dtype=np.bool_)
    for shift in range(steps - 1, 0, -1):
        shared = np.minimum(rows.lengths[here] - shift, rows.lengths[following])
        count = np.maximum(shared, 0)
        goes_on = (shared > 0) & (rows.run(here, shift, count) == rows.run(following, 0, count))
        if goes_on.sum() >= max(fits.sum(), 1):
            usual, fits = shift, goes_on
        moved[goes_on] = shift
    moved[fits] = usual
    return moved


def _out_of_order(rows: _Rows, breaks: NDArray[np.bool_], steps: int) -> bool:
    """Whether stretches of windows go on in other stretches more often than rows recur by themselves."""
    first = np.flatnonzero(np.concatenate([[True], breaks]))
    last = np.flatnonzero(np.concatenate([breaks, [True]]))
    return any(_more_than_chance(rows, first, last, count) for count in range(1, steps))


def _more_than_chance(rows: _Rows, first: Index, last: Index, count: int) -> bool:
    """Whether so many rows that end stretches begin others more often than either recur.

    Args:
        rows: Of all windows.
        first: First window of each stretch.
        last: Last window of each stretch.
        count: Rows that are compared, of stretches whose windows have so many.
    """
    fit = (rows.lengths[last] > count) & (rows.lengths[first] >= count)
    if not fit.any():
        return False
    begins = rows.run(first[fit], 0, count)
    ends = rows.run(last[fit], rows.lengths[last[fit]] - count, count)
    known, times = np.unique(begins, return_counts=True)
    place = np.minimum(np.searchsorted(known, ends), len(known) - 1)
    others = np.where(known[place] == ends, times[place], 0) - (begins == ends)
    met = int((others > 0).sum())
    recurring = max(_recurring(times), _recurring(np.unique(ends, return_counts=True)[1]))
    share = (recurring + 1) / (len(ends) + 1)
    return met > 0 and bool(bdtrc(met - 1, len(ends), share) < _RARE)


def _recurring(times: Index) -> int:
    return int(times[times > 1].sum())
