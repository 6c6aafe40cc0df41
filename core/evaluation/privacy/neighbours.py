"""Nearest windows by Euclidean distance, by brute force, windows of the same rows left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_chunked

Index = NDArray[np.int64]
Floats = NDArray[np.float64]

_MEBIBYTES_AT_ONCE = 32


@dataclass(frozen=True)
class Neighbours:
    """Of each of n windows."""

    index: Index
    """The nearest of a pool, shape (n,); -1 where there is none."""
    distance: Floats
    """To it, shape (n,); infinity where there is none."""
    second: Floats
    """To the nearest that shares no row with it, shape (n,); likewise."""


@dataclass(frozen=True)
class Pool:
    """Windows among which the nearest ones are searched."""

    flat: Floats
    """Shape (P, T D)."""
    places: Index
    """Shape (P,): two windows share a row where these differ by less than `length`."""
    length: int

    def nearest(self, queries: Floats, places: Index | None = None) -> Neighbours:
        """The two nearest windows to each query, their distance being the root mean square difference.

        Which is the nearest is found by the product form of the distance. The distance itself is taken from
        the differences: the product form loses half of the digits where windows are nearly the same.

        Args:
            queries: Shape (n, T D).
            places: Shape (n,), of queries from the pool's own series: what shares a row with one is left out.
        """
        parts = pairwise_distances_chunked(
            queries, self.flat, reduce_func=self._two_nearest(places), working_memory=_MEBIBYTES_AT_ONCE
        )
        first, second = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Neighbours(first, self._distance(queries, first), self._distance(queries, second))

    def nearest_others(self, index: Index) -> Neighbours:
        """Of the pool's own windows `index`."""
        return self.nearest(self.flat[index], self.places[index])

    def all_have_others(self) -> bool:
        """Every window has another one that shares no row with it."""
        reach = np.maximum(self.places - self.places.min(), self.places.max() - self.places)
        return bool((reach >= self.length).all())

    def _two_nearest(self, places: Index | None) -> Callable[[Floats, int], tuple[Index, Index]]:
        def of_chunk(distances: Floats, start: int) -> tuple[Index, Index]:
            if places is not None:
                self._leave_out(distances, places[start : start + len(distances)])
            first = _nearest_or_none(distances)
            self._leave_out(distances, self.places[first])
            return first, _nearest_or_none(distances)

        return of_chunk

    def _leave_out(self, distances: Floats, places: Index) -> None:
        distances[np.abs(places[:, None] - self.places) < self.length] = np.inf

    def _distance(self, queries: Floats, index: Index) -> Floats:
        distance: Floats = np.sqrt(((queries - self.flat[index]) ** 2).mean(axis=1))
        return np.where(index >= 0, distance, np.inf)


def _nearest_or_none(distances: Floats) -> Index:
    nearest = distances.argmin(axis=1)
    return np.where(np.isfinite(distances[np.arange(len(distances)), nearest]), nearest, -1)
