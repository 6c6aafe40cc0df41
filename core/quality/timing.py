"""Checks of time that look at neighbouring rows: order, gaps, days off the calendar."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.prepare.gaps import cut_rows
from core.prepare.rows import Arrangement, arrange, series_codes
from core.prepare.stamps import Stamps, label
from core.prepare.timeline import Grid, build_grid
from core.quality.checks import MAX_BAD_ROWS, BadRow, Check, first_rows

_ORDERS = {
    "ascending": "oldest first",
    "flipped": "newest first: turned round at preparation",
    "sorted": "in no order: sorted at preparation",
}


def check_timing(dataset: DatasetConfig, table: pa.Table, time: str, stamps: Stamps) -> Iterator[Check]:
    """Order, gaps and days off the calendar; nothing where stamps or series names are missing.

    Raises:
        ConfigError: an unknown calendar or frequency.
    """
    named = dataset.series is None or table[dataset.series].null_count == 0
    if stamps.bad or not named:
        return
    codes = (
        np.zeros(table.num_rows, dtype=np.int64)
        if dataset.series is None
        else series_codes(table[dataset.series])
    )
    arrangement = arrange(stamps.ns, codes)
    index = arrangement.index
    ns, codes = stamps.ns[index], codes[index]
    grid = build_grid(ns, np.diff(ns)[np.diff(codes) == 0], dataset.time, stamps.timezone)
    yield _order(time, arrangement)
    yield _gaps(time, ns, codes, index, grid, stamps.timezone)
    if grid.marks is not None:
        yield _off_grid(time, ns, index, grid, stamps.timezone)


def _order(time: str, arrangement: Arrangement) -> Check:
    unsorted = arrangement.order == "sorted"
    return Check(
        "order",
        time,
        "warning",
        success=not unsorted,
        expected="rows by time, oldest or newest first",
        found=_ORDERS[arrangement.order] + (f" ({arrangement.moved:,} rows move)" if unsorted else ""),
        unexpected=arrangement.moved if unsorted else 0,
        advice="see whether rows of several series are mixed: name their column with `series: COLUMN`"
        if unsorted
        else "",
    )


def _gaps(
    time: str,
    ns: NDArray[np.int64],
    codes: NDArray[np.int64],
    index: NDArray[np.int64],
    grid: Grid,
    timezone: str | None,
) -> Check:
    cuts = cut_rows(codes, ns, grid, np.arange(len(ns)))
    count, steps = len(cuts.gaps), int(cuts.missing.sum())
    rows = []
    for row in cuts.gaps[:MAX_BAD_ROWS]:
        start, stop = int(ns[row]), int(ns[row + 1])
        marks = grid.between(start, stop, limit=5)
        lost = f" (missing {', '.join(marks)}{', …' if len(marks) == 5 else ''})" if marks else ""
        text = f"{label(start, timezone)} to {label(stop, timezone)}{lost}"
        rows.append(BadRow(int(index[row]) + 1, text))
    return Check(
        "gaps",
        time,
        "warning",
        success=count == 0,
        expected=f"no {grid.rule.removeprefix('a ')}",
        found=f"{count:,} gaps, {steps:,} steps missing" if count else "as expected",
        unexpected=count,
        rows=tuple(rows),
        advice="no window crosses a gap; bring the missing rows if too few windows are left" if count else "",
    )


def _off_grid(
    time: str, ns: NDArray[np.int64], index: NDArray[np.int64], grid: Grid, timezone: str | None
) -> Check:
    off = np.flatnonzero(grid.off(ns))
    place = grid.calendar or grid.frequency
    stamps = {int(index[row]): int(ns[row]) for row in off[:MAX_BAD_ROWS]}
    return Check(
        "on the calendar",
        time,
        "warning",
        success=len(off) == 0,
        expected=f"every row on a date of {place}",
        found=f"{len(off):,} rows are on none" if len(off) else "as expected",
        unexpected=len(off),
        rows=first_rows(sorted(stamps), lambda row: label(stamps[row], timezone)),
        advice="take the rows out, or name the right calendar or frequency" if len(off) else "",
    )
