"""The rows that came after those a generator learnt, and what it learnt, both as it encodes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.config import WindowConfig
from core.errors import DataError
from core.generators.bundle import GeneratorBundle
from core.prepare.channels.encode import count_outside
from core.prepare.channels.layout import Layout, WindowArrays, spans
from core.prepare.channels.recode import recode, recode_windows
from core.prepare.series import PreparedSeries, Windows
from core.prepare.time.stamps import label

logger = logging.getLogger(__name__)

Index = NDArray[np.int64]

TOLERANCE = 1e-5
"""Of a column's training range: what encoding anew may change of a cell."""
_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Side:
    """Windows of one kind, old or new, in the order of time."""

    windows: Windows
    layout: Layout
    """What their channels mean."""
    known: Layout
    """What the generator's channels mean."""
    first: Index
    """Shape (N,): stamp, or number, of the first row of each window, ascending."""
    last: Index
    """Shape (N,): likewise of its last row."""

    @classmethod
    def of(cls, windows: Windows, layout: Layout, known: Layout, stamps: Index | None) -> Side:
        """Windows of several series, too: by the time at which they begin."""
        first, last = windows.starts, windows.starts + windows.lengths - 1
        if stamps is not None:
            first, last = stamps[first], stamps[last]
        order = np.argsort(first, kind="stable")
        return cls(windows.only(order), layout, known, first[order], last[order])

    def __len__(self) -> int:
        return len(self.windows)

    def take(self, index: Index) -> WindowArrays:
        """Windows in the generator's encoding.

        Raises:
            DataError: a cell holds what the generator does not know.
        """
        return recode_windows(self.windows.gather(index), self.layout, self.known)[0]


@dataclass(frozen=True)
class Restated:
    """Rows of the past that are not what they were."""

    rows: int
    """Rows that the generator's data had."""
    changed: int
    """Of those that are still there, how many have another value."""
    gone: int
    added: int
    first: str | None
    """Stamp (or number, from 1) of the first changed row."""
    columns: tuple[str, ...]
    """In which something changed."""

    @property
    def any(self) -> bool:
        """Something is different."""
        return bool(self.changed or self.gone or self.added)


@dataclass(frozen=True)
class Found:
    """Old and new, of a series that was prepared anew."""

    series: PreparedSeries
    bundle: GeneratorBundle
    window: WindowConfig
    condition: tuple[str, ...]
    learnt: PreparedSeries | None
    """What the generator learnt, if it is in this lake."""
    rows: int | None
    """How many rows its data had, where the rows carry no time."""

    @property
    def known(self) -> Layout:
        """The generator's layout."""
        return self.bundle.series.layout

    @cached_property
    def border(self) -> int:
        """The stamp, or the number, of the last row that the generator's data had.

        Raises:
            DataError: that cannot be told.
        """
        time, stamps = self.bundle.series.time, self.series.stamps
        if (time is None) != (stamps is None):
            now, then = ("no", "a") if stamps is None else ("a", "no")
            raise DataError(
                f"the rows carry {now} time now and the model's carried {then} time: which rows are new cannot "
                "be told; declare `time` as it was, or train from the start"
            )
        if time is not None:
            if self.learnt is not None and self.learnt.stamps is not None:
                return int(self.learnt.stamps.max())
            stamp = pd.Timestamp(time["last"])
            return int((stamp if stamp.tzinfo is None else stamp.tz_convert("UTC")).as_unit("ns").value)
        if self.series.manifest["series"] is not None:
            raise DataError(
                "of many series without time nobody can tell which rows are new: declare a time column"
            )
        rows = self.rows if self.learnt is None else len(self.learnt.values)
        if rows is None:
            raise DataError(
                "the rows carry no time, and neither this lake nor MLflow knows how many the model learnt: "
                "train it again here"
            )
        return rows - 1

    @cached_property
    def is_new(self) -> NDArray[np.bool_]:
        """Shape (rows,): rows that came later."""
        stamps = self.series.stamps
        numbers = np.arange(len(self.series.values)) if stamps is None else stamps
        return np.asarray(numbers > self.border)

    def new(self) -> Side | None:
        """Windows of new rows alone; None without any."""
        windows = self._windows(self.series)
        inside = windows.only(np.flatnonzero(self.is_new[windows.starts]))
        return self._side(inside, self.series) if len(inside) else None

    def training(self) -> Side:
        """Windows that the generator learnt; if they are not in this lake, those of the rows up to its last."""
        if self.learnt is not None:
            return self._side(self._windows(self.learnt), self.learnt)
        windows = self._windows(self.series)
        ends = windows.starts + windows.lengths - 1
        return self._side(windows.only(np.flatnonzero(~self.is_new[ends])), self.series)

    def _windows(self, series: PreparedSeries) -> Windows:
        window = self.window
        return series.windows(window.length, window.stride, window.min_length, self.condition)

    def _side(self, windows: Windows, series: PreparedSeries) -> Side:
        return Side.of(windows, series.conditioned(self.condition), self.known, series.stamps)

    def outside(self) -> dict[str, int]:
        """By column of a step: new cells that no generator of this layout can make.

        Raises:
            DataError: a cell holds what the generator does not know.
        """
        columns = self.known.temporal
        counts = np.zeros(len(columns), dtype=np.int64)
        for rows in _blocks(np.flatnonzero(self.is_new)):
            values, _ = recode(self.series.values[rows], self._layout(self.series), self.known)
            counts += count_outside(columns, values)
        return {column.name: int(count) for column, count in zip(columns, counts, strict=True) if count}

    def _layout(self, series: PreparedSeries) -> Layout:
        return series.conditioned(self.condition)

    def restated(self) -> Restated | None:
        """How the rows that the generator's data had differ now; None if they are not in this lake."""
        learnt = self.learnt
        if learnt is None:
            return None
        old = np.flatnonzero(~self.is_new)
        pair = _paired(learnt, self.series, old)
        if pair is None:
            return None
        then, now = pair
        known = _in_segments(learnt)[then] & _in_segments(self.series)[now]
        changed = np.zeros(len(now), dtype=np.bool_)
        columns = np.zeros(len(self.known.temporal), dtype=np.bool_)
        for block in _blocks(np.arange(len(now))):
            differs = self._differs(learnt, then[block], now[block]) & known[block, None]
            changed[block] = differs.any(axis=1)
            columns |= differs.any(axis=0)
        rows = now[changed]
        return Restated(
            rows=len(learnt.values),
            changed=len(rows),
            gone=len(learnt.values) - len(then),
            added=len(old) - len(now),
            first=self._name(int(rows[0])) if len(rows) else None,
            columns=tuple(c.name for c, found in zip(self.known.temporal, columns, strict=True) if found),
        )

    def _differs(self, learnt: PreparedSeries, then: Index, now: Index) -> NDArray[np.bool_]:
        """Shape (rows, columns)."""
        before, _ = recode(learnt.values[then], self._layout(learnt), self.known)
        after, _ = recode(self.series.values[now], self._layout(self.series), self.known)
        differs = np.abs(after - before) > TOLERANCE * np.maximum(1, np.abs(before))
        return np.stack(
            [differs[:, span.values].any(axis=1) for span in spans([c.block for c in self.known.temporal])],
            axis=1,
        )

    def _name(self, row: int) -> str:
        stamps, time = self.series.stamps, self.series.manifest["time"]
        return f"row {row + 1:,}" if stamps is None else label(int(stamps[row]), time["timezone"])


def learnt_series(bundle: GeneratorBundle, lake: Path) -> PreparedSeries | None:
    """What a generator learnt, if it was prepared in this lake and is still there."""
    info = bundle.series
    folder = lake / "prepared" / info.dataset / info.digest[:16]
    return PreparedSeries.open(folder) if folder.is_dir() else None


def _paired(before: PreparedSeries, after: PreparedSeries, rows: Index) -> tuple[Index, Index] | None:
    """Rows of the same series and stamp, or number, in both; None if that cannot be told."""
    if before.stamps is None or after.stamps is None:
        both = np.arange(min(len(before.values), len(rows)))
        return both, rows[both]
    names = _series_of(before), _series_of(after)
    if names[0] is None or names[1] is None:
        return None
    keys = pd.MultiIndex.from_arrays([names[0], np.asarray(before.stamps)])
    places = keys.get_indexer(pd.MultiIndex.from_arrays([names[1][rows], after.stamps[rows]]))
    there = places >= 0
    return places[there].astype(np.int64), rows[there]


def _in_segments(series: PreparedSeries) -> NDArray[np.bool_]:
    """Shape (rows,): rows that a window can hold; the first of a differenced stretch has no values."""
    inside = np.zeros(len(series.values), dtype=np.bool_)
    for start, stop in (*series.segments.tolist(), *series.held_out_segments.tolist()):
        inside[start:stop] = True
    return inside


def _series_of(series: PreparedSeries) -> NDArray[np.object_] | None:
    """Shape (rows,): the name of the series of each row; None where the manifest does not list all."""
    manifest = series.manifest
    if manifest["series"] is None:
        return np.full(len(series.values), "", dtype=object)
    listed = manifest["series_list"]
    if len(listed) < manifest["series_count"]:
        logger.warning("rows of the past are not compared: more series than %d", len(listed))
        return None
    return np.repeat(np.array([one["name"] for one in listed], dtype=object), [one["rows"] for one in listed])


def _blocks(rows: Index) -> Iterator[Index]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield rows[start : start + _BLOCK_ROWS]
