"""Where a series is cut: at gaps in time, at dropped rows, between series; and what that costs in windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.prepare.series import window_index
from core.prepare.stamps import label
from core.prepare.timeline import Grid


@dataclass(frozen=True)
class Cuts:
    """Segments and the gaps between them."""

    segments: NDArray[np.int64]
    """Shape (S, 2): rows [start, stop) inside which no step is missing."""
    runs: NDArray[np.int64]
    """Shape (R, 2): rows [start, stop) of each series."""
    gaps: NDArray[np.int64]
    """Shape (G,): the row before each gap; a change of series is none."""
    missing: NDArray[np.int64]
    """Shape (G,): steps missing by the stamps."""
    dropped: NDArray[np.int64]
    """Shape (G,): rows that were dropped there."""


def cut_rows(
    codes: NDArray[np.int64],
    ns: NDArray[np.int64] | None,
    grid: Grid | None,
    places: NDArray[np.int64],
) -> Cuts:
    """Cut chronological rows.

    Args:
        codes: Shape (rows,): number of the series, equal ones together.
        ns: Shape (rows,): stamps, or None without time.
        grid: Where stamps are expected; None without time.
        places: Shape (rows,): place of the row before rows were dropped, ascending.
    """
    change = np.diff(codes) != 0
    missing = np.zeros(len(change), dtype=np.int64) if ns is None or grid is None else grid.missing(ns)
    dropped = np.diff(places) - 1
    gap = ~change & ((missing > 0) | (dropped > 0))
    at = np.flatnonzero(gap)
    return Cuts(
        segments=_pieces(np.flatnonzero(gap | change), len(codes)),
        runs=_pieces(np.flatnonzero(change), len(codes)),
        gaps=at,
        missing=missing[at],
        dropped=dropped[at],
    )


def _pieces(after: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Shape (len(after) + 1, 2): [start, stop) between the rows `after` each of which a cut lies."""
    edges = np.concatenate([[0], after + 1, [rows]]).astype(np.int64)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def windows_lost(cuts: Cuts, length: int, stride: int) -> tuple[int, NDArray[np.int64]]:
    """Windows there would be without gaps less those there are, and those that cross each gap, shape (G,).

    Whole windows alone: of a shorter one (`window.min_length`) nobody can say that a gap cost it. A window
    that crosses two gaps counts at both, so that the second does not add up to the first.
    """
    whole = len(window_index(cuts.runs, length, stride).starts)
    total = max(0, whole - len(window_index(cuts.segments, length, stride).starts))
    run = np.searchsorted(cuts.runs[:, 0], cuts.gaps, side="right") - 1
    start, stop = cuts.runs[run, 0], cuts.runs[run, 1]
    first = np.maximum(cuts.gaps + 2 - length - start, 0)
    last = np.minimum(cuts.gaps, stop - length) - start
    # Starts of windows are the multiples of the stride from the start of the series.
    crossing = last // stride - (first - 1) // stride
    return total, np.maximum(crossing, 0)


def gap_list(
    cuts: Cuts,
    source: NDArray[np.int64],
    lost: NDArray[np.int64],
    ns: NDArray[np.int64] | None,
    grid: Grid | None,
    timezone: str | None,
    limit: int,
) -> list[dict[str, Any]]:
    """The first `limit` gaps, JSON-able.

    Args:
        cuts: The gaps.
        source: Shape (rows,): row of the source (from 0) of each row.
        lost: Shape (G,): windows that cross each gap.
        ns: Shape (rows,): stamps, or None without time.
        grid: Gives the stamps that are missing.
        timezone: Of the stamps.
        limit: Entries at most.
    """
    entries = []
    for gap, row in enumerate(cuts.gaps[:limit]):
        entry: dict[str, Any] = {
            "from": None,
            "to": None,
            "from_row": int(source[row]) + 1,
            "to_row": int(source[row + 1]) + 1,
            "missing_steps": int(max(cuts.missing[gap], cuts.dropped[gap])),
            "dropped_rows": int(cuts.dropped[gap]),
            "missing": [],
            "windows_lost": int(lost[gap]),
        }
        if ns is not None and grid is not None:
            start, stop = int(ns[row]), int(ns[row + 1])
            entry |= {
                "from": label(start, timezone),
                "to": label(stop, timezone),
                "missing": grid.between(start, stop),
            }
        entries.append(entry)
    return entries
