"""The order of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.prepare.time.zones import PIECE

Order = Literal["ascending", "flipped", "sorted", "as given"]


@dataclass(frozen=True)
class Arrangement:
    """Rows of each series together, series in order of appearance, oldest first in each."""

    rows: int
    """Rows that have a place."""
    order: Order
    """What the source's order was turned into it by."""
    moved: int
    """Rows that are not where the source has them."""
    permutation: NDArray[np.int64] | None = None
    """Shape (rows,): for each place, the row of the source; None where no row moves or is left out."""

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """Shape (rows,): for each place, the row of the source; 8 bytes a row from the first use on."""
        return np.arange(self.rows, dtype=np.int64) if self.permutation is None else self.permutation

    def arranged(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Cells of the rows of the source, shape (source rows,), by place, shape (rows,)."""
        return cells if self.permutation is None else cells[self.permutation]

    def without(self, places: NDArray[np.int64]) -> Arrangement:
        """Less the rows at `places`."""
        index = np.delete(self.index, places)
        return Arrangement(len(index), self.order, self.moved, index)


def arrange(
    ns: NDArray[np.int64] | None, codes: NDArray[Any] | None, *, newest_first: bool = False
) -> Arrangement:
    """Chronological order, found from the stamps and never assumed; of equal stamps the source's.

    Args:
        ns: Shape (rows,), or None if the rows carry no time.
        codes: Shape (rows,): number of the series that a row belongs to, or None if there is one.
        newest_first: Only without `ns`: turn the rows of each series round.
    """
    rows = len(ns) if ns is not None else len(codes) if codes is not None else 0
    grouped = None if codes is None or _steps_all(codes, None, 1) else _sorted_by(codes)
    if ns is None:
        if not newest_first:
            return _arrangement(rows, "as given", grouped)
        return _arrangement(rows, "flipped", _turned(rows, grouped, codes))
    stamps = ns if grouped is None else ns[grouped]
    numbers = codes if grouped is None or codes is None else codes[grouped]
    if _steps_all(stamps, numbers, 1):
        return _arrangement(rows, "ascending", grouped)
    order: Order = "flipped" if _steps_all(stamps, numbers, -1) else "sorted"
    if order == "flipped" and not _ties(stamps, numbers):
        return _arrangement(rows, order, _turned(rows, grouped, codes))
    del stamps, numbers
    # The first of two stable sorts: by time, then by series.
    by_time = np.argsort(ns, kind="stable")
    if codes is None or (grouped is None and codes[0] == codes[-1]):
        return _arrangement(rows, order, by_time)
    return _arrangement(rows, order, by_time[_sorted_by(codes[by_time])])


def _arrangement(rows: int, order: Order, index: NDArray[np.int64] | None) -> Arrangement:
    if index is None:
        return Arrangement(rows, order, 0)
    starts = range(0, rows, PIECE)
    moved = sum(int((index[i : i + PIECE] != np.arange(i, min(i + PIECE, rows))).sum()) for i in starts)
    return Arrangement(rows, order, moved, index if moved else None)


def _sorted_by(codes: NDArray[Any]) -> NDArray[np.int64]:
    """Rows by series, in the order of the source within each."""
    # Of 16-bit numbers the stable sort goes by their digits, in linear time.
    small = codes.max(initial=0) < 2**16
    return np.argsort(codes.astype(np.uint16) if small else codes, kind="stable")


def _turned(rows: int, grouped: NDArray[np.int64] | None, codes: NDArray[Any] | None) -> NDArray[np.int64]:
    """The rows of each series from the last to the first."""
    if codes is None or rows == 0 or (grouped is None and codes[0] == codes[-1]):
        return np.arange(rows, dtype=np.int64)[::-1]
    sizes = np.bincount(codes)
    stops = np.cumsum(sizes)
    index = np.repeat(stops + stops - sizes - 1, sizes) - np.arange(rows)
    return index if grouped is None else grouped[index]


def _pairs(rows: int) -> Iterator[slice]:
    """Stretches that have their first row in common with the end of the one before."""
    return (slice(start, start + PIECE + 1) for start in range(0, max(rows - 1, 0), PIECE))


def _steps_all(values: NDArray[Any], codes: NDArray[Any] | None, sign: int) -> bool:
    """Whether no step of `values`, shape (rows,), within a series goes against `sign`."""
    for pair in _pairs(len(values)):
        first, second = (values[pair][:-1], values[pair][1:])[::sign]
        wrong = first > second
        if codes is not None and wrong.any():
            wrong &= codes[pair][1:] == codes[pair][:-1]
        if wrong.any():
            return False
    return True


def _ties(values: NDArray[Any], codes: NDArray[Any] | None) -> bool:
    return len(repeated_places(values, codes)) > 0


def repeated_places(ns: NDArray[np.int64], codes: NDArray[Any] | None) -> NDArray[np.int64]:
    """Places, ascending, whose stamp is that of the place before, in the same series.

    Args:
        ns: Shape (rows,), chronological within a series.
        codes: Shape (rows,): number of the series, equal ones together; None if there is one.
    """
    found = [np.empty(0, dtype=np.int64)]
    for pair in _pairs(len(ns)):
        same = ns[pair][1:] == ns[pair][:-1]
        if codes is not None and same.any():
            same &= codes[pair][1:] == codes[pair][:-1]
        found.append(np.flatnonzero(same) + pair.start + 1)
    return np.concatenate(found)
