"""Rows that have the stamp of another row of their series, and which of them stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.prepare.rows.order import Arrangement, repeated_places
from core.prepare.time.zones import distinct
from core.sources.stored import StoredRows


@dataclass(frozen=True)
class Repeats:
    """Rows of equal stamps."""

    places: NDArray[np.int64]
    """Chronological places, ascending, of the rows that are left out."""
    rows: NDArray[np.int64]
    """The same as rows of the source, ascending."""
    conflicts: int = 0
    """Rows that the policy neither keeps nor leaves out."""
    example: tuple[int, int] | None = None
    """Two rows of the source, ascending, one of which is such a conflict."""


def find_repeats(
    stored: StoredRows,
    arrangement: Arrangement,
    ns: NDArray[np.int64],
    codes: NDArray[Any] | None,
    policy: Literal["refuse", "equal", "first", "last"],
    keys: tuple[str | None, ...],
) -> Repeats:
    """Find rows that repeat a stamp; rows are equal by a 64-bit hash of their cells, where NaN equals NaN.

    Args:
        stored: The snapshot; of many rows only hashes are held in memory.
        arrangement: Chronological order.
        ns: Shape (rows,), chronological.
        codes: Shape (rows,), chronological: number of the series; None if there is one.
        policy: `time.duplicates`.
        keys: Columns of time and series, which are equal by what they mean.
    """
    later = repeated_places(ns, codes)
    if len(later) == 0:
        return Repeats(later, later)
    places = distinct(np.concatenate([later - 1, later]))
    source = arrangement.index[places]
    first = ~np.isin(places, later, assume_unique=True)
    group = np.cumsum(first) - 1
    starts = np.flatnonzero(first)
    side = np.maximum if policy == "last" else np.minimum
    chosen = side.reduceat(source, starts)[group]
    conflict = np.zeros(len(places), dtype=bool)
    if policy == "refuse":
        conflict = source != chosen
    elif policy == "equal":
        members = np.sort(source)
        hashes = _hashes(stored, members, [name for name in stored.schema.names if name not in keys])
        of = [hashes[np.searchsorted(members, rows)] for rows in (source, chosen)]
        conflict = of[0] != of[1]
    out = source != chosen
    example = None
    if conflict.any():
        at = int(np.argmax(conflict))
        example = int(min(source[at], chosen[at])), int(max(source[at], chosen[at]))
    return Repeats(places[out], np.sort(source[out]), int(conflict.sum()), example)


def differing_column(stored: StoredRows, pair: tuple[int, int], keys: tuple[str | None, ...]) -> str | None:
    """The first column, but for `keys`, in which two rows of the source differ."""
    table = stored.rows_at(np.array(pair, dtype=np.int64))
    for name in table.column_names:
        if name not in keys and np.ptp(_hashed(table.select([name]))):
            return str(name)
    return None


def _hashes(stored: StoredRows, rows: NDArray[np.int64], names: list[str]) -> NDArray[np.uint64]:
    """Shape (rows,): of each row of the source in `rows`, ascending, a hash of its cells."""
    found, start = [np.empty(0, dtype=np.uint64)], 0
    for batch in stored.batches(names) if names else ():
        low, high = np.searchsorted(rows, [start, start + len(batch)])
        if high > low:
            found.append(_hashed(batch.take(pa.array(rows[low:high] - start))))
        start += len(batch)
    return np.concatenate(found) if names else np.zeros(len(rows), dtype=np.uint64)


def _hashed(table: pa.Table) -> NDArray[np.uint64]:
    columns: dict[str, Any] = {}
    for place, column in enumerate(table.columns):
        columns[f"{place} there"] = np.asarray(column.is_valid())
        columns[f"{place}"] = _comparable(column)
    return np.asarray(pd.util.hash_pandas_object(pd.DataFrame(columns), index=False))


def _comparable(column: pa.ChunkedArray) -> NDArray[Any]:
    """Values, shape (rows,), of which equal ones have equal bits; whole numbers stay whole."""
    kind, types = column.type, pa.types
    if types.is_floating(kind):
        values = np.asarray(column.cast(pa.float64()).fill_null(0.0))
        return np.where(np.isnan(values), np.nan, values + 0.0)  # -0.0 becomes 0.0
    if types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_temporal(column.type):
        whole = column.cast(pa.uint8()) if types.is_boolean(kind) else column
        return np.asarray(whole.cast(pa.int64(), safe=False).fill_null(0))
    return np.asarray(column.cast(pa.string()).fill_null("").to_pandas(), dtype=object)
