"""Which rows are prepared, in which order, between which gaps, and which of them are held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.config import WindowConfig
from core.errors import ConfigError, DataError
from core.prepare.channels.layout import Layout
from core.prepare.holdout import HoldOut, hold_out_rows, parts_by_time
from core.prepare.rows.keys import Keys
from core.prepare.rows.stream import Chronology
from core.prepare.series import PreparedSeries, window_counts, window_index
from core.prepare.time.gaps import Cuts
from core.sources.stored import StoredRows

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """The rows that stay, in the order of time."""

    keys: Keys
    chronology: Chronology
    ns: Rows | None
    """Shape (rows,): stamps, or None without time."""
    stretches: Rows
    """Shape (T, 2): rows [start, stop) without a gap."""
    cuts: Cuts
    """Likewise, less the first row of each where a column is differenced."""
    parts: HoldOut

    @property
    def starts(self) -> Mask:
        """Shape (rows,): the first row of each stretch."""
        found = np.zeros(len(self.chronology), dtype=np.bool_)
        found[self.stretches[:, 0]] = True
        return found

    @property
    def ends(self) -> Mask | None:
        """Shape (rows,): the last rows to learn from of each segment; None where nothing is held out."""
        if self.parts.first is None:
            return None
        found = np.zeros(len(self.chronology), dtype=np.bool_)
        found[self.parts.training[:, 1] - 1] = True
        return found

    @property
    def learnt(self) -> Mask:
        """Shape (rows,): those to learn from."""
        return self.inside(self.parts.training)

    def inside(self, segments: Rows) -> Mask:
        """Shape (rows,): those in one of `segments`, shape (S, 2)."""
        steps = np.zeros(len(self.chronology) + 1, dtype=np.int8)
        steps[segments[:, 0]] += 1
        steps[segments[:, 1]] -= 1
        return np.asarray(np.cumsum(steps[:-1], dtype=np.int8), dtype=np.bool_)

    def series_of(self, rows: Rows) -> Rows:
        """Number of the series of each of `rows`, shape kept."""
        return np.asarray(self.keys.codes[self.chronology.source(rows)])


def divide(
    keys: Keys,
    stored: StoredRows,
    keep: Mask | None,
    dataset: DatasetConfig,
    window: WindowConfig,
    *,
    differenced: bool,
    block_rows: int,
) -> Division:
    """Cut the chronological rows that `keep`, shape (rows of the keys,), says, all if None.

    The first row of a stretch has no difference: with `differenced` it belongs to no segment.

    Raises:
        DataError: no row stays.
        ConfigError: the hold-out leaves nothing to learn from.
    """
    permutation, ns = keys.arrangement.permutation, keys.ns
    if keep is not None:
        permutation, ns = keys.arrangement.index[keep], None if ns is None else ns[keep]
    chronology = Chronology.of(stored, permutation, block_rows)
    if not len(chronology):
        raise DataError(f"no row of {dataset.name} is left to prepare")
    whole = keys.cut(keep)
    cuts = whole
    if differenced:
        cuts = replace(whole, segments=_without_first(whole.segments), runs=_without_first(whole.runs))
    parts = hold_out_rows(cuts.segments, cuts.runs, ns, dataset.holdout, window.length)
    if dataset.holdout and not len(parts.training):
        raise ConfigError(f"dataset.holdout={dataset.holdout:g} leaves no row of {dataset.name} to learn from")
    return Division(keys, chronology, ns, whole.segments, cuts, parts)


def _without_first(segments: Rows) -> Rows:
    longer = segments[segments[:, 1] - segments[:, 0] > 1]
    return np.asarray(longer + np.array([1, 0]))


def check_windows(division: Division, dataset: DatasetConfig, window: WindowConfig) -> None:
    """Refuse, before anything is written, what there is no window of, or too few held-out ones to judge by.

    Raises:
        ConfigError: with a length that would do, or what is held out.
    """
    size = window.length, window.stride, window.min_length
    if not window_counts(division.parts.training, *size).any():
        tree = {"dataset": dataset.name, "layout": Layout(()).to_json(), "segments": division.parts.training}
        PreparedSeries(Path(), tree).windows(*size)  # says why
    if not dataset.holdout:
        return
    held_out = division.parts.held_out
    index = window_index(held_out, *size)
    first, last = index.starts, index.starts + index.lengths - 1
    if division.ns is not None:
        first, last = division.ns[first], division.ns[last]
    if not all(len(part) for part in parts_by_time(first, last)):
        rows = int((held_out[:, 1] - held_out[:, 0]).sum())
        raise ConfigError(
            f"dataset.holdout={dataset.holdout:g} leaves {len(index.starts)} windows to judge by, of "
            f"{rows} rows ({division.parts.purged} more are purged): too few to train judges on the "
            "earlier and test them on the later ones; choose a larger share or shorter windows"
        )
