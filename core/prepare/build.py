"""From a snapshot to a prepared series: chronological, scaled, cut at gaps, with all it takes to undo that."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.config import WindowConfig
from core.errors import DataError
from core.handles import PreparedRef, SnapshotRef
from core.lake import build_once, code_digest, content_digest, write_json
from core.prepare.columns import Roles, as_floats, find_time, is_numeric, mend_text, not_numbers, split_columns
from core.prepare.gaps import Cuts, cut_rows, gap_list, windows_lost
from core.prepare.rows import Arrangement, arrange, mend_missing, series_codes
from core.prepare.scaler import MinMaxScaler
from core.prepare.series import PreparedSeries, window_starts
from core.prepare.stamps import Stamps, label, read_stamps
from core.prepare.timeline import Grid, build_grid
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
        dataset=dataset.model_dump(mode="json", include={"name", "time", "series", "columns", "missing"}),
        window=window.model_dump(mode="json"),
        code=code_digest("prepare"),
    )
    folder = lake / "prepared" / dataset.name / key[:16]
    reused = folder.is_dir()
    if not reused:
        ready = _assemble(dataset, window, table_from_snapshot(snapshot), snapshot.digest)
        if ready.manifest["windows"] == 0:
            PreparedSeries(folder, ready.manifest).windows(window.length, window.stride)  # says why
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
    """A prepared series in memory."""

    values: NDArray[np.float32]
    ns: NDArray[np.int64] | None
    manifest: dict[str, Any]

    def write(self, folder: Path) -> None:
        np.save(folder / "values.npy", self.values, allow_pickle=False)
        if self.ns is not None:
            np.save(folder / "time.npy", self.ns, allow_pickle=False)
        write_json(folder / "prepared.json", self.manifest)


@dataclass(frozen=True)
class _Rows:
    """Chronological rows in original units, the rows of a series together."""

    roles: Roles
    values: NDArray[np.float64]
    """Shape (rows, features), NaN where a cell is missing."""
    source: NDArray[np.int64]
    """Shape (rows,): row of the source, from 0."""
    places: NDArray[np.int64]
    """Shape (rows,): place before rows were dropped."""
    codes: NDArray[np.int64]
    """Shape (rows,): number of the series."""
    ns: NDArray[np.int64] | None
    timezone: str | None
    grid: Grid | None

    def cut(self) -> Cuts:
        return cut_rows(self.codes, self.ns, self.grid, self.places)

    def only(self, keep: NDArray[np.bool_]) -> _Rows:
        """The rows `keep`, shape (rows,)."""
        if keep.all():
            return self
        return replace(
            self,
            values=self.values[keep],
            source=self.source[keep],
            places=self.places[keep],
            codes=self.codes[keep],
            ns=None if self.ns is None else self.ns[keep],
        )


def _assemble(dataset: DatasetConfig, window: WindowConfig, table: pa.Table, digest: str) -> _Ready:
    rows, arrangement = _chronological(dataset, table)
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
    scaler = _fit(rows)
    manifest = {
        "dataset": dataset.name,
        "snapshot": digest,
        **_column_facts(rows.roles, table),
        "scaler": scaler.to_json(),
        "rows": len(rows.values),
        "time": _time_facts(rows),
        "order": arrangement.order,
        "moved_rows": arrangement.moved,
        "dropped_rows": dropped,
        "filled": mended.filled,
        "window": window.model_dump(mode="json"),
        **_cut_facts(rows, window),
    }
    _log(manifest)
    return _Ready(_scale(rows.values, scaler), rows.ns, manifest)


def _chronological(dataset: DatasetConfig, table: pa.Table) -> tuple[_Rows, Arrangement]:
    roles = split_columns(table.column_names, dataset, find_time(table, dataset.time))
    stamps = None if roles.time is None else _stamps(table, roles.time)
    codes = (
        np.zeros(table.num_rows, dtype=np.int64) if roles.series is None else series_codes(table[roles.series])
    )
    arrangement = arrange(None if stamps is None else stamps.ns, codes, newest_first=dataset.time.newest_first)
    index = arrangement.index
    ns, grid = None, None
    if stamps is not None:
        ns = stamps.ns[index]
        _refuse_twice(ns, codes[index], stamps, index)
        steps = np.diff(ns)[np.diff(codes[index]) == 0]
        grid = build_grid(ns, steps, dataset.time, stamps.timezone)
    rows = _Rows(
        roles=roles,
        values=_values(table, roles.features, index),
        source=index,
        places=np.arange(len(index), dtype=np.int64),
        codes=codes[index],
        ns=ns,
        timezone=None if stamps is None else stamps.timezone,
        grid=grid,
    )
    return rows, arrangement


def _stamps(table: pa.Table, name: str) -> Stamps:
    stamps = read_stamps(table[name])
    if stamps.bad:
        row, why = next(iter(stamps.bad.items()))
        raise DataError(
            f"time column {name!r}, row {row + 1}: {table[name][row].as_py()!r} is no time stamp: {why} "
            f"({len(stamps.bad)} such rows); write stamps as 2019-04-09 or 2019-04-09T17:30:00+00:00"
        )
    return stamps


def _refuse_twice(
    ns: NDArray[np.int64], codes: NDArray[np.int64], stamps: Stamps, index: NDArray[np.int64]
) -> None:
    twice = np.flatnonzero((np.diff(ns) == 0) & (np.diff(codes) == 0))
    if len(twice):
        row = int(twice[0])
        raise DataError(
            f"{len(twice)} time stamps occur again in the same series, the first is "
            f"{label(int(ns[row]), stamps.timezone)} in rows {index[row] + 1} and {index[row + 1] + 1}; keep "
            "one row of each, or name the column that tells series apart with `series: COLUMN`"
        )


def _values(table: pa.Table, features: tuple[str, ...], index: NDArray[np.int64]) -> NDArray[np.float64]:
    values = np.empty((len(index), len(features)), dtype=np.float64)
    for place, name in enumerate(features):
        column = table[name]
        if not is_numeric(column.type):
            bad = np.flatnonzero(not_numbers(column))
            shown = ", ".join(f"row {row + 1} {column[row].as_py()!r}" for row in bad[:20].tolist())
            raise DataError(
                f"column {name!r} is {column.type}, not numbers ({len(bad)} cells: {shown}); "
                f"{mend_text(column, name)}"
            )
        values[:, place] = as_floats(column)[index]
        infinite = np.flatnonzero(np.isinf(values[:, place]))
        if len(infinite):
            raise DataError(
                f"column {name!r}, row {index[infinite].min() + 1}: infinite ({len(infinite)} such cells); "
                "mend them or leave them empty and choose a missing.policy"
            )
    return values


def _fit(rows: _Rows) -> MinMaxScaler:
    scaler = MinMaxScaler.fit(rows.values)
    with np.errstate(over="ignore"):
        wide = np.flatnonzero(~np.isfinite(scaler.span))
    if len(wide):
        name = rows.roles.features[int(wide[0])]
        raise DataError(f"the range of column {name!r} is too wide for float64; rescale or drop it")
    return scaler


def _scale(values: NDArray[np.float64], scaler: MinMaxScaler) -> NDArray[np.float32]:
    scaled = np.empty(values.shape, dtype=np.float32)
    for start in range(0, len(values), _BLOCK):
        scaled[start : start + _BLOCK] = scaler.transform(values[start : start + _BLOCK])
    return scaled


def _column_facts(roles: Roles, table: pa.Table) -> dict[str, Any]:
    types = [table.schema.field(name).type for name in roles.features]
    return {
        "features": list(roles.features),
        "integer": [bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind)) for kind in types],
        "dtypes": [str(kind) for kind in types],
        "series": roles.series,
        "dropped_columns": list(roles.dropped),
    }


def _time_facts(rows: _Rows) -> dict[str, Any] | None:
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


def _cut_facts(rows: _Rows, window: WindowConfig) -> dict[str, Any]:
    cuts = rows.cut()
    total, lost = windows_lost(cuts, window.length, window.stride)
    return {
        "segments": cuts.segments.tolist(),
        "windows": len(window_starts(cuts.segments, window.length, window.stride)),
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
    if manifest["gap_count"]:
        logger.warning("%s: %d gaps cost %d windows", name, manifest["gap_count"], manifest["windows_lost"])
    if manifest["time"] and manifest["time"]["off_grid_rows"]:
        logger.warning("%s: %d rows are on no expected stamp", name, manifest["time"]["off_grid_rows"])
