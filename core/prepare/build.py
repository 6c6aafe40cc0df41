"""From a snapshot to a prepared series: chronological, encoded, cut at gaps, with all it takes to undo that.

The cells pass through by blocks: once in the order of the source (`core.prepare.rows.scan`: what is missing,
what cannot be used, categories, ranges), once more for each column whose scaler needs all its values or their
order, and once in the order of time to be filled, transformed, encoded and written. Of each row only keys stay
in memory.

A scaler is fitted to the cells of the rows to learn from that were there; filled cells count in differences
alone, which are not known without them.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import ColumnConfig, DatasetConfig
from core.config import WindowConfig
from core.errors import ConfigError, DataError
from core.handles import PreparedRef, SnapshotRef
from core.lake import build_once, code_digest, content_digest
from core.prepare.channels.layout import Column, Layout
from core.prepare.channels.transforms import is_differenced, level_column
from core.prepare.report.manifest import Ready, log_manifest
from core.prepare.rows.cells import kind_of
from core.prepare.rows.divide import Division, check_windows, divide
from core.prepare.rows.fit import Coder, fit_late
from core.prepare.rows.keys import Keys, read_keys
from core.prepare.rows.missing import Filling, check_fillable
from core.prepare.rows.scan import Scan, check_constant, check_missing, scan
from core.prepare.rows.scan_columns import Categories, Cells, Numbers, StaticCells
from core.prepare.rows.stream import BLOCK_ROWS
from core.prepare.rows.write import write
from core.prepare.series import PreparedSeries
from core.sources.stored import StoredRows

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


def prepare(
    dataset: DatasetConfig,
    window: WindowConfig,
    snapshot: SnapshotRef,
    lake: Path,
    excluded: NDArray[np.int64] | None = None,
    *,
    block_rows: int = BLOCK_ROWS,
) -> PreparedRef:
    """Prepare a snapshot in `lake/prepared/<dataset>/<key>/` (layout: `core.prepare.series.PreparedSeries`).

    The key is made of the snapshot's content, what the dataset says of time, series, columns, missing values
    and scaling, the window, the rows left out, and this package's code; a folder that is there is used again.

    Args:
        dataset: What the rows mean.
        window: How they will be cut.
        snapshot: The rows.
        lake: Where to write.
        excluded: Rows of the source (from 0, ascending) that are left out as if they had a missing cell and the
            policy were `drop_row`.
        block_rows: Rows in memory at a time.

    Raises:
        DataError: stamps or cells that cannot be used, named by row of the source (from 1).
        ConfigError: an unknown calendar or frequency, what contradicts itself, or no window fits between the
            gaps; like the former, before anything is written.
        StorageError: the snapshot cannot be read or the folder not be written.
    """
    out = np.empty(0, dtype=np.int64) if excluded is None else excluded
    key = _key(dataset, window, snapshot, out)
    folder = lake / "prepared" / dataset.name / key[:16]
    reused = folder.is_dir()
    if not reused:
        started = time.monotonic()
        ready = _assemble(dataset, window, StoredRows.open(snapshot), out, block_rows)
        reused = build_once(folder, lambda place: write(place, ready, snapshot.digest, started))
    manifest = PreparedSeries.open(folder).manifest
    if not reused:
        log_manifest(manifest)
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


def _key(dataset: DatasetConfig, window: WindowConfig, snapshot: SnapshotRef, excluded: Rows) -> str:
    said = {"name", "time", "series", "columns", "missing", "scaling", "holdout"}
    return content_digest(
        snapshot=snapshot.digest,
        dataset=dataset.model_dump(mode="json", include=said),
        window=window.model_dump(mode="json"),
        excluded=hashlib.sha256(excluded.astype("<i8").tobytes()).hexdigest(),
        code=code_digest("prepare", "pages.py"),
    )


def _assemble(
    dataset: DatasetConfig, window: WindowConfig, stored: StoredRows, excluded: Rows, block_rows: int
) -> Ready:
    """All that is known before the first cell is written."""
    keys = read_keys(dataset, stored)
    temporal = _temporal(dataset, stored, keys, takes_text=bool(len(excluded)))
    differenced = any(is_differenced(cells.column) for cells in temporal)
    keep = _without(keys, excluded, len(stored))
    quarantined = 0 if keep is None else int((~keep).sum())

    def divided(keep: Mask | None) -> Division:
        return divide(keys, stored, keep, dataset, window, differenced=differenced, block_rows=block_rows)

    division = divided(keep)
    found = _scanned(dataset, stored, division, temporal, takes_text=bool(len(excluded)))
    dropped = int(found.incomplete.sum())
    if dropped:
        if dropped == len(division.chronology):
            raise DataError(f"missing.policy=drop_row leaves 0 of the {dropped} rows of {dataset.name}")
        complete = ~keys.arrangement.arranged(found.incomplete)
        division = divided(complete if keep is None else keep & complete)
    ready = _ready(dataset, window, division, found, dropped, quarantined)
    check_windows(division, dataset, window)
    return ready


def _temporal(dataset: DatasetConfig, stored: StoredRows, keys: Keys, *, takes_text: bool) -> list[Cells]:
    """The features, not read yet.

    Raises:
        ConfigError: a column is differenced where cells may stay missing, or a level has the name of a column.
    """
    # Of rows with a missing cell nothing is learnt, and where they lie decides what is held out.
    fit = not (dataset.missing.policy == "drop_row" and dataset.holdout)
    temporal = []
    for name in keys.roles.features:
        column = _column(dataset, name, stored.schema.field(name).type)
        if is_differenced(column):
            _check_differenced(dataset, column, stored.schema.names)
        temporal.append(_cells(column, stored, len(stored), fit=fit, takes_text=takes_text))
    return temporal


def _column(dataset: DatasetConfig, name: str, given: pa.DataType, *, static: bool = False) -> Column:
    """What the dataset and its type say of a column."""
    kind = kind_of(dataset, name, given)
    if kind != "continuous":
        return Column(name, kind)
    whole = bool(pa.types.is_integer(given) or pa.types.is_boolean(given))
    if static:
        return Column(name, integer=whole)
    role = dataset.columns.get(name)
    own = (role.scaler, role.transform) if isinstance(role, ColumnConfig) else (None, None)
    scaler, transform = own[0] or dataset.scaling.scaler, own[1] or dataset.scaling.transform
    return Column(name, integer=whole, scaler=scaler, transform=transform)


def _check_differenced(dataset: DatasetConfig, column: Column, names: list[str]) -> None:
    if dataset.missing.policy == "mask":
        raise ConfigError(
            f"column {column.name!r} has transform={column.transform}, which needs the cell before, but "
            "missing.policy=mask keeps cells missing: choose another policy or transform: none"
        )
    level = level_column(column).name
    if level in names:
        raise ConfigError(
            f"transform={column.transform} of {column.name!r} makes a column {level!r}, but the data have one "
            "of that name: rename it"
        )


def _cells(column: Column, stored: StoredRows, places: int, *, fit: bool, takes_text: bool) -> Cells:
    given = stored.schema.field(column.name).type
    if column.kind == "continuous":
        return Numbers(column, given, fit=fit, text=takes_text)
    return Categories(column, given, places)


def _without(keys: Keys, excluded: Rows, rows: int) -> Mask | None:
    """Shape (rows of the keys,): those that are not excluded, None if all."""
    if not len(excluded):
        return None
    out = np.zeros(rows, dtype=np.bool_)
    out[excluded] = True
    return ~keys.arrangement.arranged(out)


def _scanned(
    dataset: DatasetConfig,
    stored: StoredRows,
    division: Division,
    temporal: list[Cells],
    *,
    takes_text: bool,
) -> Scan:
    keys, chronology = division.keys, division.chronology
    series = len(keys.names)
    static = []
    for name in keys.roles.static:
        column = _column(dataset, name, stored.schema.field(name).type, static=True)
        cells = _cells(column, stored, series, fit=True, takes_text=takes_text)
        static.append(StaticCells(cells, np.full(series, np.nan), np.full(series, -1)))
    policy = dataset.missing.policy
    # Which rows are learnt depends on those that are dropped, which are not known yet.
    known = dataset.holdout and policy != "drop_row"
    learnt = chronology.in_source(division.learnt) if known else None
    found = scan(stored, temporal, static, keys.codes, chronology.stays, learnt, policy, rows=chronology.rows)
    check_missing(dataset, found)
    check_constant(dataset, stored, found, keys.codes, keys.names)
    return found


def _ready(
    dataset: DatasetConfig,
    window: WindowConfig,
    division: Division,
    found: Scan,
    dropped: int,
    quarantined: int,
) -> Ready:
    policy = dataset.missing.policy
    chronology = division.chronology
    fillings, filled = _fillings(dataset, division, found)
    coder = Coder(chronology, division.ns, division.starts, fillings, division.ends if fillings else None)
    temporal, levels = [], []
    for cells in found.temporal:
        column = replace(cells.finish(), optional=policy == "mask" and cells.missing.count > 0)
        if not cells.fitted:
            column, level = fit_late(coder, column, division.learnt)
            levels += [level] if level is not None else []
        temporal.append(column)
    static, codes = _static(division, found)
    return Ready(
        dataset=dataset,
        window=window,
        division=division,
        coder=coder,
        layout=Layout(tuple(temporal), (*static, *levels)),
        static=codes,
        dropped=dropped,
        quarantined=quarantined,
        filled=filled,
        masked={
            cells.column.name: cells.missing.count
            for cells in found.temporal
            if policy == "mask" and cells.missing.count
        },
    )


def _fillings(
    dataset: DatasetConfig, division: Division, found: Scan
) -> tuple[dict[str, Filling], dict[str, int]]:
    """How missing cells are filled and how many, by column.

    Raises:
        DataError: some cannot be filled.
    """
    fillings, filled = {}, {}
    for cells in found.temporal:
        name = cells.column.name
        if name not in found.absent:
            continue
        absent = division.chronology.arranged(found.absent[name])
        filling = Filling.of(cells.column, dataset.missing)
        check_fillable(
            name,
            absent,
            division.stretches,
            dataset.missing.limit,
            division.chronology.row_number,
            straight=filling.straight,
        )
        fillings[name], filled[name] = filling, int(absent.sum())
    return fillings, filled


def _static(division: Division, found: Scan) -> tuple[list[Column], NDArray[np.float64]]:
    """Static columns and codes, shape (segments, columns): of those to learn from, then the held-out ones."""
    if not found.static:
        return [], np.empty((0, 0))
    parts, series = division.parts, len(division.keys.names)
    stays, learnt = (
        np.bincount(division.series_of(rows), minlength=series) > 0
        for rows in (division.cuts.runs[:, 0], parts.training[:, 0])
    )
    of = division.series_of(np.concatenate([parts.training, parts.held_out])[:, 0])
    columns, codes = [], []
    for column in found.static:
        cells = column.cells
        values = column.values[stays]
        cells.learn(values, learnt[stays])
        columns.append(replace(cells.finish(), optional=bool(np.isnan(values).any())))
        codes.append(cells.codes(column.values)[of])
    return columns, np.stack(codes, axis=1)
