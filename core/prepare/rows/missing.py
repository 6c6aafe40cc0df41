"""Missing cells: whether a policy can fill them, and filling them block by block.

`forward_fill` carries the last value of the segment on; `interpolate` goes straight, by time, from the last
value of the segment to the next, and carries on what is no number. It carries on, too, what is learnt where the
next value stands past the border of the hold-out, and would tell of rows that are kept from the generator. A
run of missing cells longer than `missing.limit`, or one that no value of its segment stands before (of
interpolated numbers: and after), is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.catalog import MissingConfig
from core.errors import DataError
from core.prepare.channels.layout import Column

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Filling:
    """How the missing cells of a column are filled."""

    straight: bool
    """Interpolated, else carried on."""
    whole: bool
    """Rounded to whole numbers."""
    place: int = 0
    """Of the column in a block."""

    @classmethod
    def of(cls, column: Column, missing: MissingConfig) -> Filling:
        """By the policy and the kind of the column."""
        return cls(missing.policy == "interpolate" and column.kind == "continuous", column.integer)


def check_fillable(
    name: str,
    absent: NDArray[np.bool_],
    segments: Rows,
    limit: int,
    source_row: Callable[[int], int],
    *,
    straight: bool,
) -> None:
    """Refuse missing cells that cannot be filled.

    Args:
        name: Of the column.
        absent: Shape (rows,), chronological: its cells that are missing.
        segments: Shape (S, 2), stretches [start, stop) without a gap that hold all rows, ascending.
        limit: Longest run that is filled.
        source_row: Row of the source, from 1, of a chronological one.
        straight: A value must stand after them, too.

    Raises:
        DataError: with the first such row and how many there are.
    """
    starts, stops, segment = _runs(absent, segments)
    long = stops - starts > limit
    no_value = starts == segments[segment, 0]
    none_after = straight & (stops == segments[segment, 1])
    # What is carried on goes wrong `limit` rows into a run, what is interpolated at its start.
    whole = no_value | none_after | (long & straight)
    first = np.where(whole, starts, starts + limit)
    bad = np.flatnonzero(whole | long)
    if not len(bad):
        return
    run = bad[0]
    count = int((stops[bad] - first[bad]).sum())
    why = f"more than missing.limit={limit} rows in a row are missing"
    if no_value[run] or (none_after[run] and not long[run]):
        why = f"no value stands {'before' if no_value[run] else 'after'} it {_since(no_value[run])}"
    raise DataError(
        f"column {name!r}, row {source_row(int(first[run]))}: {why} ({count} such cells); fill them in, raise "
        "missing.limit or choose missing.policy=drop_row or mask"
    )


def _since(before: np.bool_) -> str:
    return "since the last gap" if before else "up to the next gap"


def _runs(absent: NDArray[np.bool_], segments: Rows) -> tuple[Rows, Rows, Rows]:
    """Start, stop and segment of each run of missing cells inside one segment; each has shape (runs,)."""
    cells = np.flatnonzero(absent)
    segment = np.searchsorted(segments[:, 0], cells, side="right") - 1
    begins = np.ones(len(cells), dtype=np.bool_)
    begins[1:] = (np.diff(cells) > 1) | (np.diff(segment) > 0)
    ends = np.roll(begins, -1)
    return cells[begins], cells[ends] + 1, segment[begins]


def filled(
    blocks: Iterable[Floats],
    fillings: Sequence[Filling],
    ns: Rows | None,
    ends: NDArray[np.bool_] | None = None,
) -> Iterator[Floats]:
    """Blocks with their missing cells filled, as if all rows were one block; other borders, the same rows.

    Args:
        blocks: Codes, shape (rows, columns), chronological; they are changed.
        fillings: Columns with missing cells, all of which `check_fillable` found fillable.
        ns: Shape (all rows,): stamps; None without time: then rows are as far apart as one another.
        ends: Shape (all rows,): rows past which those up to them look for no value; None if there are none.
    """
    if not fillings:
        yield from blocks
        return
    held, start, given = np.empty((0, 0)), 0, 0
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else block
        times = np.arange(len(held)) if ns is None else ns[start : start + len(held)]
        last = np.flatnonzero(ends[start : start + len(held)]) if ends is not None else _NO_ROWS
        ready = min(_fill(held[:, filling.place], times, filling, last) for filling in fillings)
        # The last row that is given stays, as it is now: what comes is filled from it, and who takes the block
        # may change it.
        rest = held[ready - 1 :].copy()
        if ready > given:
            yield held[given:ready]
        held, start, given = rest, start + ready - 1, 1


def _fill(cells: Floats, times: Rows, filling: Filling, ends: Rows) -> int:
    """Fill the cells, shape (rows,), in place; the row of the first that has to wait for a later value.

    `ends` are rows past which those up to them look for no value, ascending.
    """
    absent = np.isnan(cells)
    if not absent.any():
        return len(cells)
    at, there = np.flatnonzero(absent), np.flatnonzero(~absent)
    after = np.searchsorted(there, at)
    if not filling.straight:
        cells[at] = cells[there[after - 1]]
        return len(cells)
    waiting = after == len(there)
    at, left, right = at[~waiting], there[after[~waiting] - 1], there[after[~waiting]]
    share = (times[at] - times[left]) / (times[right] - times[left])
    values = cells[left] + share * (cells[right] - cells[left])
    if len(ends):
        # An end between a cell and its next value.
        hidden = np.searchsorted(ends, at) < np.searchsorted(ends, right)
        values = np.where(hidden, cells[left], values)
    cells[at] = np.rint(values) if filling.whole else values
    return int(there[-1]) + 1
