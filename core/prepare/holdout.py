"""Rows that no generator ever sees: the latest ones, a purge apart from those that it learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

TRAIN_SHARE = 0.8
"""Share of the windows that a discriminative judge is trained on; the rest test it."""


@dataclass(frozen=True)
class HoldOut:
    """Segments of the rows on both sides of a border in time."""

    training: Rows
    """Shape (S, 2): rows [start, stop)."""
    held_out: Rows
    """Shape (H, 2): likewise, later in time."""
    origin: Rows
    """Shape (S + H,): which segment each was cut from, those of the training first."""
    purged: int
    """Rows that belong to neither."""
    first: int | None
    """The first held-out row in the order of time, None without a hold-out."""


def hold_out_rows(segments: Rows, runs: Rows, ns: Rows | None, share: float, purge: int) -> HoldOut:
    """Divide segments at a border in time.

    Where rows have stamps, the border is the stamp that about `share` of all rows do not lie before: with many
    series it cuts each of them at the same time. Without stamps it is a place in the order of rows: of one
    series its latest rows are held out, of many series the last ones.

    What is learnt of a row says much about the next ones (the purge of Lopez de Prado 2018, section 7.4.1): of
    a series that is learnt up to the border the first `purge` rows after it are in neither part, also where a
    gap stands at the border.

    Args:
        segments: Shape (S, 2), rows [start, stop) between gaps, ascending.
        runs: Shape (R, 2), rows [start, stop) of each series, ascending; each segment lies in one.
        ns: Shape (rows,), stamps, ascending within a series; None without time.
        share: Of the rows, in [0, 1); 0 holds out nothing.
        purge: Rows.
    """
    everything = np.arange(len(segments), dtype=np.int64)
    if not share:
        return HoldOut(segments, np.empty((0, 2), dtype=np.int64), everything, 0, None)
    borders = _borders(runs, ns, share)
    purged = np.where(borders > runs[:, 0], borders + purge, borders)
    starts, stops = segments[:, 0], segments[:, 1]
    of = np.searchsorted(runs[:, 1], starts, side="right")
    cuts, resumed = (np.clip(row[of], starts, stops) for row in (borders, purged))
    training, held_out = np.stack([starts, cuts], axis=1), np.stack([resumed, stops], axis=1)
    there = training[:, 0] < training[:, 1], held_out[:, 0] < held_out[:, 1]
    held = held_out[there[1]]
    first = None if not len(held) else int(held[np.argmin(held[:, 0] if ns is None else ns[held[:, 0]]), 0])
    return HoldOut(
        training=training[there[0]],
        held_out=held,
        origin=np.concatenate([everything[there[0]], everything[there[1]]]),
        purged=int((resumed - cuts).sum()),
        first=first,
    )


def parts_by_time(first: Rows, last: Rows, share: float = TRAIN_SHARE) -> tuple[Rows, Rows]:
    """Earlier and later windows that share no time.

    The border stands where the first `share` of the windows start; windows that start before it and reach
    across it are in neither part.

    Args:
        first: Shape (N,): stamp, or number, of the first row of each window.
        last: Shape (N,): likewise of its last row.
        share: In (0, 1).

    Returns:
        Numbers of the windows of each part, either of which may be empty.
    """
    if not len(first):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    border = np.sort(first)[int(share * len(first))]
    return np.flatnonzero(last < border), np.flatnonzero(first >= border)


def _borders(runs: Rows, ns: Rows | None, share: float) -> Rows:
    """Shape (R,): the first row of each series that is past the border, its stop if none is."""
    if ns is None:
        rows = int(runs[:, 1].max(initial=0))
        borders: Rows = np.clip(rows - max(1, round(share * rows)), runs[:, 0], runs[:, 1])
        return borders
    ordered = np.sort(ns)
    border = ordered[len(ordered) - max(1, round(share * len(ordered)))]
    return np.array(
        [start + np.searchsorted(ns[start:stop], border) for start, stop in runs.tolist()], dtype=np.int64
    )
