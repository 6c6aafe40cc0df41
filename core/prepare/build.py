"""From a snapshot to a prepared series: chronological, encoded, cut at gaps, with all it takes to undo that."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.config import WindowConfig
from core.errors import ConfigError, DataError
from core.handles import PreparedRef, SnapshotRef
from core.lake import build_once, code_digest, content_digest, write_json
from core.prepare.cells import fitted
from core.prepare.chronology import Rows, chronological
from core.prepare.encode import encode
from core.prepare.gaps import Cuts, gap_list, windows_lost
from core.prepare.holdout import HoldOut, hold_out_rows, parts_by_time
from core.prepare.layout import Column, Layout
from core.prepare.rows import mend_missing
from core.prepare.series import PreparedSeries, window_index
from core.prepare.stamps import label
from core.sources.snapshots import table_from_snapshot

logger = logging.getLogger(__name__)

_BLOCK = 65_536
_MAX_GAPS = 1000


def prepare(dataset: DatasetConfig, window: WindowConfig, snapshot: SnapshotRef, lake: Path) -> PreparedRef:
    """Prepare a snapshot in `lake/prepared/<dataset>/<key>/` (layout: `core.prepare.series.PreparedSeries`).

    The key is made of the snapshot's content, what the dataset says of time, series, columns and missing
    values, the window, and this package's code; a folder that is there is used again.

    Raises:
        DataError: stamps or cells that cannot be used, named by row of the source (from 1).
        ConfigError: an unknown calendar or frequency, or no window fits between the gaps; like the former,
            before anything is written.
        StorageError: the snapshot cannot be read or the folder not be written.
    """
    key = content_digest(
        snapshot=snapshot.digest,
        dataset=dataset.model_dump(
            mode="json", include={"name", "time", "series", "columns", "missing", "holdout"}
        ),
        window=window.model_dump(mode="json"),
        code=code_digest("prepare"),
    )
    folder = lake / "prepared" / dataset.name / key[:16]
    reused = folder.is_dir()
    if not reused:
        ready = _assemble(dataset, window, table_from_snapshot(snapshot), snapshot.digest)
        if ready.manifest["windows"] == 0:
            empty = PreparedSeries(folder, ready.manifest)
            empty.windows(window.length, window.stride, window.min_length)  # says why
        _check_holdout(dataset, window, ready)
        reused = build_once(folder, ready.write)
    manifest = PreparedSeries.open(folder).manifest
    return PreparedRef(
        path=folder,
        digest=key,
        reused=reused,
        rows=manifest["rows"],
        features=tuple(manifest["features"]),
        segments=len(manifest["segments"]),
        windows=manifest["windows"],
        window_length=window.length,
    )


@dataclass(frozen=True)
class _Ready:
    """A prepared series in memory, still as codes: channels may be many times as wide."""

    layout: Layout
    codes: NDArray[np.float64]
    """Shape (rows, temporal columns)."""
    static: NDArray[np.float64]
    """Shape (segments, static columns)."""
    ns: NDArray[np.int64] | None
    manifest: dict[str, Any]

    def write(self, folder: Path) -> None:
        channels = self.layout.channels
        shape = len(self.codes), channels.features
        values = np.lib.format.open_memmap(folder / "values.npy", mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, len(self.codes), _BLOCK):
            block = slice(start, start + _BLOCK)
            values[block] = encode(self.layout.temporal, self.codes[block])
        values.flush()
        if self.layout.static:
            np.save(folder / "static.npy", encode(self.layout.static, self.static), allow_pickle=False)
        if self.ns is not None:
            np.save(folder / "time.npy", self.ns, allow_pickle=False)
        write_json(folder / "prepared.json", self.manifest)


def _assemble(dataset: DatasetConfig, window: WindowConfig, table: pa.Table, digest: str) -> _Ready:
    rows, arrangement = chronological(dataset, table)
    mended = mend_missing(
        rows.values,
        rows.roles.features,
        dataset.missing,
        lambda: rows.cut().segments,
        lambda row: int(rows.source[row]) + 1,
    )
    dropped = int((~mended.keep).sum())
    if dropped == len(rows.values):
        raise DataError(f"missing.policy=drop_row leaves 0 of the {dropped} rows of {dataset.name}")
    rows = rows.only(mended.keep)
    cuts = rows.cut()
    parts = hold_out_rows(cuts.segments, cuts.runs, rows.ns, dataset.holdout, window.length)
    known = _rows_of(parts.training, len(rows.values))
    if not known.any():
        raise ConfigError(f"dataset.holdout={dataset.holdout:g} leaves no row of {dataset.name} to learn from")
    temporal, codes = _fit(rows.columns, rows.values, known)
    static_columns, static = _fit(rows.static_columns, rows.static, known)
    layout = Layout(temporal, static_columns)
    manifest = {
        "dataset": dataset.name,
        "snapshot": digest,
        "features": list(rows.roles.features),
        "layout": layout.to_json(),
        "series": rows.roles.series,
        "dropped_columns": list(rows.roles.dropped),
        "rows": len(rows.values),
        "time": _time_facts(rows),
        "order": arrangement.order,
        "moved_rows": arrangement.moved,
        "dropped_rows": dropped,
        "filled": mended.filled,
        "masked": mended.masked,
        "window": window.model_dump(mode="json"),
        **_cut_facts(rows, cuts, window),
        **_part_facts(rows, parts, window, dataset.holdout),
    }
    _log(manifest)
    return _Ready(layout, codes, static[cuts.segments[parts.origin, 0]], rows.ns, manifest)


def _rows_of(segments: NDArray[np.int64], rows: int) -> NDArray[np.bool_]:
    """Shape (rows,): those in a segment."""
    inside = np.zeros(rows, dtype=np.bool_)
    for start, stop in segments.tolist():
        inside[start:stop] = True
    return inside


def _fit(
    columns: tuple[Column, ...], codes: NDArray[np.float64], known: NDArray[np.bool_]
) -> tuple[tuple[Column, ...], NDArray[np.float64]]:
    """Columns with the ranges of the rows `known`, and the codes for them, shape kept."""
    found = [fitted(column, codes[:, place], known) for place, column in enumerate(columns)]
    cells = np.stack([cells for _, cells in found], axis=1) if found else codes
    return tuple(column for column, _ in found), cells


def _time_facts(rows: Rows) -> dict[str, Any] | None:
    if rows.ns is None or rows.grid is None:
        return None
    return {
        "column": rows.roles.time,
        "calendar": rows.grid.calendar,
        "frequency": rows.grid.frequency,
        "timezone": rows.timezone,
        "first": label(int(rows.ns.min()), rows.timezone),
        "last": label(int(rows.ns.max()), rows.timezone),
        "gap_rule": rows.grid.rule,
        "off_grid_rows": int(rows.grid.off(rows.ns).sum()),
    }


def _part_facts(rows: Rows, parts: HoldOut, window: WindowConfig, share: float) -> dict[str, Any]:
    """What is learnt, and what is held out; `windows` and `segments` are the former's."""
    index, held_out = (
        window_index(segments, window.length, window.stride, window.min_length)
        for segments in (parts.training, parts.held_out)
    )
    first = None if parts.first is None or rows.ns is None else label(int(rows.ns[parts.first]), rows.timezone)
    return {
        "segments": parts.training.tolist(),
        "windows": len(index.starts),
        "short_windows": int((index.lengths < window.length).sum()),
        "holdout": None
        if not share
        else {
            "segments": parts.held_out.tolist(),
            "rows": int((parts.held_out[:, 1] - parts.held_out[:, 0]).sum()),
            "windows": len(held_out.starts),
            "purged_rows": parts.purged,
            "from": first,
        },
    }


def _check_holdout(dataset: DatasetConfig, window: WindowConfig, ready: _Ready) -> None:
    """Refuse, before anything is trained, what judges could not be trained and tested on."""
    held_out = ready.manifest["holdout"]
    if held_out is None:
        return
    segments = np.array(held_out["segments"], dtype=np.int64).reshape(-1, 2)
    index = window_index(segments, window.length, window.stride, window.min_length)
    first, last = index.starts, index.starts + index.lengths - 1
    if ready.ns is not None:
        first, last = ready.ns[first], ready.ns[last]
    if not all(len(part) for part in parts_by_time(first, last)):
        raise ConfigError(
            f"dataset.holdout={dataset.holdout:g} leaves {held_out['windows']} windows to judge by, of "
            f"{held_out['rows']} rows ({held_out['purged_rows']} more are purged): too few to train judges on "
            "the earlier and test them on the later ones; choose a larger share or shorter windows"
        )


def _cut_facts(rows: Rows, cuts: Cuts, window: WindowConfig) -> dict[str, Any]:
    total, lost = windows_lost(cuts, window.length, window.stride)
    return {
        "gap_count": len(cuts.gaps),
        "gaps": gap_list(cuts, rows.source, lost, rows.ns, rows.grid, rows.timezone, _MAX_GAPS),
        "windows_lost": total,
    }


def _log(manifest: dict[str, Any]) -> None:
    name = manifest["dataset"]
    logger.info("%s: order of rows: %s, %d moved", name, manifest["order"], manifest["moved_rows"])
    if manifest["dropped_rows"] or manifest["filled"]:
        logger.warning(
            "%s: %d rows dropped, cells filled: %s", name, manifest["dropped_rows"], manifest["filled"] or 0
        )
    if manifest["masked"]:
        logger.warning("%s: cells kept as missing: %s", name, manifest["masked"])
    if manifest["gap_count"]:
        logger.warning("%s: %d gaps cost %d windows", name, manifest["gap_count"], manifest["windows_lost"])
    if (held_out := manifest["holdout"]) and held_out["rows"]:
        logger.info(
            "%s: %d rows are held out from %s on, %d before them belong to neither part",
            name,
            held_out["rows"],
            held_out["from"] or f"row {held_out['segments'][0][0] + 1}",
            held_out["purged_rows"],
        )
    if manifest["time"] and manifest["time"]["off_grid_rows"]:
        logger.warning("%s: %d rows are on no expected stamp", name, manifest["time"]["off_grid_rows"])
