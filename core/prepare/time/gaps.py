"""Where a series is cut: at gaps in time, at dropped rows, between series; and what that costs in windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.prepare.series import window_counts
from core.prepare.time.forms import LIMIT
from core.prepare.time.stamps import label
from core.prepare.time.timeline import Grid
from core.prepare.time.zones import PIECE

_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)


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
    codes: NDArray[Any],
    ns: NDArray[np.int64] | None,
    grid: Grid | None,
    places: NDArray[np.int64] | None = None,
) -> Cuts:
    """Cut chronological rows.

    Args:
        codes: Shape (rows,): number of the series, equal ones together.
        ns: Shape (rows,): stamps, or None without time.
        grid: Where stamps are expected; None without time.
        places: Shape (rows,): place of the row before rows were dropped, ascending; None if none was.
    """
    changes, gaps = [_NONE], [np.empty((3, 0), dtype=np.int64)]
    for start in range(0, len(codes) - 1, PIECE):
        piece = slice(start, start + PIECE + 1)
        change = codes[piece][1:] != codes[piece][:-1]
        zero = np.zeros(len(change), dtype=np.int64)
        missing = zero if ns is None or grid is None else grid.missing(ns[piece])
        dropped = zero if places is None else np.diff(places[piece]) - 1
        at = np.flatnonzero(~change & ((missing > 0) | (dropped > 0)))
        gaps.append(np.stack([at + start, missing[at], dropped[at]]))
        changes.append(np.flatnonzero(change) + start)
    change, (at, missing, dropped) = np.concatenate(changes), np.concatenate(gaps, axis=1)
    return Cuts(
        segments=_pieces(np.sort(np.concatenate([at, change])), len(codes)),
        runs=_pieces(change, len(codes)),
        gaps=at,
        missing=missing,
        dropped=dropped,
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
    whole, left = (int(window_counts(rows, length, stride).sum()) for rows in (cuts.runs, cuts.segments))
    total = max(0, whole - left)
    run = _runs_of_gaps(cuts)
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
            "length": None,
            "windows_lost": int(lost[gap]),
        }
        if ns is not None and grid is not None:
            start, stop = int(ns[row]), int(ns[row + 1])
            entry |= {
                "from": label(start, timezone),
                "to": label(stop, timezone),
                "missing": grid.between(start, stop),
                "length": _length(stop - start),
            }
        entries.append(entry)
    return entries


def _length(ns: int) -> str:
    # More than 292 years do not fit into nanoseconds.
    length = pd.Timedelta(np.timedelta64(ns, "ns") if ns <= LIMIT else np.timedelta64(ns // 1000, "us"))
    return str(length).removesuffix(" 00:00:00")


def gap_totals(
    cuts: Cuts, series: NDArray[np.int64], names: Sequence[Any], length: int, stride: int, limit: int
) -> list[dict[str, Any]]:
    """Gaps of each series that has any, JSON-able: the `limit` series first that lose the most windows.

    Args:
        cuts: The gaps.
        series: Shape (R,): number of the series of each run.
        names: Of the series, by number.
        length: Steps in a window.
        stride: Steps between the starts of neighbouring windows.
        limit: Entries at most.
    """
    count, run = len(cuts.runs), _runs_of_gaps(cuts)
    of = np.searchsorted(cuts.runs[:, 0], cuts.segments[:, 0], side="right") - 1
    gaps = np.bincount(run, minlength=count)
    left = np.bincount(of, weights=window_counts(cuts.segments, length, stride), minlength=count)
    facts = {
        "gaps": gaps,
        "missing_steps": np.bincount(run, weights=np.maximum(cuts.missing, cuts.dropped), minlength=count),
        "dropped_rows": np.bincount(run, weights=cuts.dropped, minlength=count),
        "windows_lost": np.maximum(window_counts(cuts.runs, length, stride) - left, 0),
    }
    order = np.lexsort((-gaps, -facts["windows_lost"]))
    worst = order[gaps[order] > 0][:limit]
    return [
        {"series": names[series[place]]} | {name: int(values[place]) for name, values in facts.items()}
        for place in worst.tolist()
    ]


def _runs_of_gaps(cuts: Cuts) -> NDArray[np.int64]:
    """Shape (G,): which of the runs each gap is in."""
    # By the row after it: the one before may be the first of its series, which belongs to no run where
    # columns are differenced.
    return np.searchsorted(cuts.runs[:, 0], cuts.gaps + 1, side="right") - 1
