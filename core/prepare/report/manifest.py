"""What `prepared.json` says: layout, segments, and what was done to the rows, in numbers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.config import WindowConfig
from core.prepare.channels.layout import Layout
from core.prepare.rows.divide import Division
from core.prepare.rows.fit import Coder
from core.prepare.series import window_counts
from core.prepare.time.gaps import gap_list, gap_totals, windows_lost
from core.prepare.time.stamps import label

logger = logging.getLogger(__name__)

MAX_GAPS = 1000
MAX_SERIES = 1000
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Ready:
    """A preparation of which all is known but what the blocks hold."""

    dataset: DatasetConfig
    window: WindowConfig
    division: Division
    coder: Coder
    layout: Layout
    """The level columns are the last of its static part."""
    static: NDArray[np.float64]
    """Codes, shape (segments, static columns that are no levels)."""
    dropped: int
    quarantined: int
    filled: dict[str, int]
    masked: dict[str, int]

    @property
    def differenced(self) -> bool:
        """Some column is, so that the first row of each stretch has no code."""
        return any(column.level_of for column in self.layout.static)


def manifest_of(ready: Ready, snapshot: str, outside: tuple[Counts, Counts]) -> dict[str, Any]:
    """What `prepared.json` holds, but for the seconds.

    Args:
        ready: What was prepared.
        snapshot: Digest of the rows.
        outside: Shape (temporal columns,) each: cells outside [0, 1] of the rows to learn from, and held out.
    """
    division = ready.division
    keys = division.keys
    return {
        "dataset": ready.dataset.name,
        "snapshot": snapshot,
        "features": list(keys.roles.features),
        "layout": ready.layout.to_json(),
        "series": keys.roles.series,
        "dropped_columns": list(keys.roles.dropped),
        "rows": len(division.chronology),
        "time": _time_facts(division),
        "order": keys.arrangement.order,
        "moved_rows": keys.arrangement.moved,
        "repeated_rows": len(keys.repeated),
        "quarantined_rows": ready.quarantined,
        "dropped_rows": ready.dropped,
        "missing": ready.dataset.missing.model_dump(mode="json"),
        "filled": ready.filled,
        "masked": ready.masked,
        "rows_without_difference": len(division.stretches) if ready.differenced else 0,
        "outside": {
            part: {
                name: count for name, count in zip(keys.roles.features, found.tolist(), strict=True) if count
            }
            for part, found in zip(("learnt", "held_out"), outside, strict=True)
        },
        "window": ready.window.model_dump(mode="json"),
        **_gap_facts(ready),
        **_part_facts(ready),
        **_series_facts(ready),
    }


def _time_facts(division: Division) -> dict[str, Any] | None:
    ns, keys, grid = division.ns, division.keys, division.keys.grid
    if ns is None or grid is None:
        return None
    return {
        "column": keys.roles.time,
        "calendar": grid.calendar,
        "frequency": grid.frequency,
        "timezone": keys.timezone,
        "first": label(int(ns.min()), keys.timezone),
        "last": label(int(ns.max()), keys.timezone),
        "ends": grid.ends,
        "gap_rule": grid.rule,
        "off_grid_rows": int(grid.off(ns).sum()),
        "assumed_summer_time": keys.assumed,
    }


def _gap_facts(ready: Ready) -> dict[str, Any]:
    division, window = ready.division, ready.window
    keys, index = division.keys, division.chronology.index
    total, lost = windows_lost(division.cuts, window.length, window.stride)
    return {
        "gap_count": len(division.cuts.gaps),
        "gaps": gap_list(division.cuts, index, lost, division.ns, keys.grid, keys.timezone, MAX_GAPS),
        "gaps_by_series": []
        if keys.roles.series is None
        else gap_totals(
            division.cuts,
            division.series_of(division.cuts.runs[:, 0]),
            tuple(map(str, keys.names)),
            window.length,
            window.stride,
            MAX_SERIES,
        ),
        "windows_lost": total,
    }


def _part_facts(ready: Ready) -> dict[str, Any]:
    """What is learnt, and what is held out; `windows` and `segments` are the former's."""
    division, parts, window = ready.division, ready.division.parts, ready.window
    whole, learnt, held_out = (
        int(window_counts(segments, window.length, window.stride, least).sum())
        for segments, least in (
            (parts.training, None),
            (parts.training, window.min_length),
            (parts.held_out, window.min_length),
        )
    )
    first = None
    if parts.first is not None and division.ns is not None:
        first = label(int(division.ns[parts.first]), division.keys.timezone)
    return {
        "segments": parts.training.tolist(),
        "windows": learnt,
        "short_windows": learnt - whole,
        "holdout": None
        if not ready.dataset.holdout
        else {
            "segments": parts.held_out.tolist(),
            "rows": int((parts.held_out[:, 1] - parts.held_out[:, 0]).sum()),
            "windows": held_out,
            "purged_rows": parts.purged,
            "from": first,
        },
    }


def _series_facts(ready: Ready) -> dict[str, Any]:
    """The first `MAX_SERIES` series, with what is learnt of each."""
    division, window = ready.division, ready.window
    runs, segments = division.cuts.runs, division.parts.training
    names = [division.keys.names[place] for place in division.series_of(runs[:MAX_SERIES, 0]).tolist()]
    windows = window_counts(segments, window.length, window.stride, window.min_length)
    of = np.searchsorted(runs[:, 0], segments[:, 0], side="right") - 1
    counts = [np.bincount(of, weights, minlength=len(runs)).astype(np.int64) for weights in (None, windows)]
    listed = zip(names, (runs[:, 1] - runs[:, 0]).tolist(), *(count.tolist() for count in counts), strict=False)
    keys = ("name", "rows", "segments", "windows")
    return {
        "series_count": len(runs),
        "series_list": [dict(zip(keys, (str(name), *facts), strict=True)) for name, *facts in listed]
        if division.keys.roles.series is not None
        else [],
    }


def log_manifest(manifest: dict[str, Any]) -> None:
    """Tell what was done to the rows."""
    name = manifest["dataset"]
    logger.info("%s: order of rows: %s, %d moved", name, manifest["order"], manifest["moved_rows"])
    for what in ("repeated", "quarantined", "dropped"):
        if count := manifest[f"{what}_rows"]:
            logger.warning("%s: %d rows left out: %s", name, count, what)
    for what in ("filled", "masked"):
        if manifest[what]:
            logger.warning("%s: missing cells %s: %s", name, what, manifest[what])
    if manifest["gap_count"]:
        logger.warning("%s: %d gaps cost %d windows", name, manifest["gap_count"], manifest["windows_lost"])
    for part, counts in manifest["outside"].items():
        if counts:
            logger.warning("%s: cells beyond the scaler's range, %s rows: %s", name, part, counts)
    _log_parts(manifest)


def _log_parts(manifest: dict[str, Any]) -> None:
    name, held_out = manifest["dataset"], manifest["holdout"]
    if held_out and held_out["rows"]:
        logger.info(
            "%s: %d rows are held out from %s on, %d before them belong to neither part",
            name,
            held_out["rows"],
            held_out["from"] or f"row {held_out['segments'][0][0] + 1}",
            held_out["purged_rows"],
        )
    if manifest["rows_without_difference"]:
        logger.info(
            "%s: %d rows have no row before them to differ from", name, manifest["rows_without_difference"]
        )
    if manifest["time"] and manifest["time"]["off_grid_rows"]:
        logger.warning("%s: %d rows are on no expected stamp", name, manifest["time"]["off_grid_rows"])
