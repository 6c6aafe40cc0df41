"""A pass over the cells of a snapshot in the order of the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.errors import DataError
from core.prepare.rows.scan_columns import Cells, StaticCells
from core.sources.stored import BATCH_ROWS, StoredRows

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scan:
    """What the pass found."""

    temporal: tuple[Cells, ...]
    static: tuple[StaticCells, ...]
    absent: dict[str, Mask]
    """By temporal column with missing cells, shape (source rows,), if asked for."""
    incomplete: Mask
    """Shape (source rows,): a temporal cell is missing; empty unless asked for."""


def scan(
    stored: StoredRows,
    temporal: Sequence[Cells],
    static: Sequence[StaticCells],
    series: NDArray[np.int64],
    stays: Mask | None,
    learnt: Mask | None,
    policy: str,
    *,
    rows: int = BATCH_ROWS,
) -> Scan:
    """Read all cells once, in the order of the source.

    Args:
        stored: The rows.
        temporal: Told their cells.
        static: Likewise.
        series: Shape (source rows,): number of the series of each.
        stays: Shape (source rows,): those that are looked at, all if None.
        learnt: Shape (source rows,): those to fit to, all if None.
        policy: `missing.policy`: with `drop_row` nothing is learnt of rows with a missing cell.
        rows: In a batch.
    """
    found = Scan(tuple(temporal), tuple(static), {}, np.zeros(len(stored) * (policy == "drop_row"), np.bool_))
    names = [cells.column.name for cells in (*temporal, *(column.cells for column in static))]
    start = 0
    for batch in stored.batches(names, rows=rows):
        stop = start + len(batch)
        numbers, table = np.arange(start, stop), batch
        if stays is not None and not stays[start:stop].all():
            table = batch.filter(pa.array(stays[start:stop]))
            numbers = numbers[stays[start:stop]]
        known = None if learnt is None or learnt[start:stop].all() else learnt[numbers]
        _temporal(found, table, numbers, known, policy, len(stored))
        for column in static:
            column.read(table[column.cells.column.name], numbers, series[numbers])
        start = stop
    for cells in (*temporal, *(column.cells for column in static)):
        cells.check()
    return found


def _temporal(
    found: Scan, table: pa.Table, numbers: NDArray[np.int64], known: Mask | None, policy: str, total: int
) -> None:
    values = []
    for cells in found.temporal:
        before = cells.missing.count
        values.append(cells.read(table[cells.column.name], numbers))
        if cells.missing.count == before:
            continue
        missing = np.isnan(values[-1])
        if policy == "drop_row":
            found.incomplete[numbers[missing]] = True
        elif policy in ("forward_fill", "interpolate"):
            found.absent.setdefault(cells.column.name, np.zeros(total, dtype=np.bool_))[numbers[missing]] = True
    out = found.incomplete[numbers] if policy == "drop_row" else np.zeros(0, dtype=np.bool_)
    for cells, column in zip(found.temporal, values, strict=True):
        if out.any():
            cells.learn(column[~out], None if known is None else known[~out])
        else:
            cells.learn(column, known)


def check_missing(dataset: DatasetConfig, found: Scan) -> None:
    """Refuse missing cells that no policy mends.

    Raises:
        DataError: with counts by column and the first row of each.
    """
    for column in found.static:
        missing = column.cells.missing
        if missing.count and dataset.missing.policy != "mask":
            raise DataError(
                f"static column {column.cells.column.name!r}: {missing.count} cells are missing, first in row "
                f"{missing.first + 1}; fill them in, choose missing.policy=mask, or drop the column"
            )
    lines = [
        f"{cells.column.name!r}: {cells.missing.count}, first in row {cells.missing.first + 1}"
        for cells in found.temporal
        if cells.missing.count
    ]
    if lines and dataset.missing.policy == "refuse":
        raise DataError(
            f"values are missing: {'; '.join(lines)}; fill them in, or choose missing.policy=drop_row, "
            "forward_fill, interpolate or mask"
        )


def check_constant(
    dataset: DatasetConfig, stored: StoredRows, found: Scan, series: NDArray[np.int64], names: Sequence[Any]
) -> None:
    """Refuse static columns that change within a series.

    Raises:
        DataError: with both values and their rows.
    """
    for column in found.static:
        if not column.changed.count:
            continue
        name, row = column.cells.column.name, column.changed.first
        first = int(column.rows[series[row]])
        values = stored.rows_at(np.array([first, row]), [name])[name]
        of = "the table" if dataset.series is None else f"series {names[series[row]]!r}"
        count = column.changed.count
        raise DataError(
            f"static column {name!r} changes within {of}: {values[0].as_py()!r} in row {first + 1}, "
            f"{values[1].as_py()!r} in row {row + 1} ({count} such rows); mend them, or give the column a "
            "role that may change (categorical, binary, continuous)"
        )
