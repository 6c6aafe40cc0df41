"""Which series each row belongs to, when it happened, and in which order that puts the rows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.catalog import DatasetConfig, TimeConfig
from core.errors import DataError
from core.prepare.rows.columns import Roles, find_time, split_columns
from core.prepare.rows.order import Arrangement, arrange
from core.prepare.rows.repeats import Repeats, differing_column, find_repeats
from core.prepare.time.frequency import usual_step
from core.prepare.time.gaps import Cuts, cut_rows
from core.prepare.time.stamps import Stamps, label, read_stamps
from core.prepare.time.timeline import Grid, build_grid
from core.sources.stored import StoredRows

logger = logging.getLogger(__name__)

_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Keys:
    """Series, time and order of a snapshot's rows: all of them that has to be in memory at once."""

    roles: Roles
    names: tuple[Any, ...]
    """Of the series, in order of appearance; one None where there is no `series` column."""
    codes: NDArray[Any]
    """Shape (rows of the source,): number of the series of each, 32 bits; of a single one without memory."""
    timezone: str | None
    grid: Grid | None
    """None without time."""
    arrangement: Arrangement
    """Chronological order of the rows that stay, as rows of the source."""
    ns: NDArray[np.int64] | None
    """Shape (rows that stay,), chronological: nanoseconds since 1970 UTC; None without time."""
    repeated: NDArray[np.int64]
    """Rows of the source, ascending, that repeat another one's stamp and are left out (time.duplicates)."""
    assumed: int = 0
    """Stamps in a repeated hour of autumn that were taken as summer time (`Stamps.assumed`)."""

    def cut(self, keep: NDArray[np.bool_] | None = None) -> Cuts:
        """Segments and gaps of the chronological rows, or of those that `keep` (same shape) says."""
        single = len(self.names) == 1
        codes = self.codes[: self.arrangement.rows] if single else self.arrangement.arranged(self.codes)
        if keep is None:
            return cut_rows(codes, self.ns, self.grid)
        places = np.flatnonzero(keep)
        ns = None if self.ns is None else self.ns[places]
        return cut_rows(codes[: len(places)] if single else codes[places], ns, self.grid, places)


def read_keys(dataset: DatasetConfig, rows: StoredRows) -> Keys:
    """Series, time and order of a snapshot.

    Raises:
        DataError: an unreadable time stamp, one that `time.duplicates` does not let occur again, a row without
            series, an absent column.
        ConfigError: no time column or several, an unknown calendar, frequency or time zone.
    """
    apart = {*dataset.columns, *filter(None, (dataset.series,))}
    roles = split_columns(rows.schema.names, dataset, find_time(rows, dataset.time, apart))
    codes, names = read_series(rows, roles.series)
    several = codes if len(names) > 1 else None
    if roles.time is None:
        arrangement = arrange(None, codes, newest_first=dataset.time.newest_first)
        return Keys(roles, names, codes, None, None, arrangement, None, _NONE)
    stamps = read_time(rows, roles.time, dataset.time, several)
    _refuse_bad(rows, roles.time, stamps)
    arrangement = arrange(stamps.ns, several)
    ns = arrangement.arranged(stamps.ns)
    series = None if several is None else arrangement.arranged(several)
    repeats = find_repeats(rows, arrangement, ns, series, dataset.time.duplicates, (roles.time, roles.series))
    _refuse_conflicts(rows, roles, stamps, repeats, dataset.time)
    if len(repeats.rows):
        arrangement, ns = arrangement.without(repeats.places), np.delete(ns, repeats.places)
        series = None if series is None else np.delete(series, repeats.places)
    step = np.array([usual_step(ns, series)], dtype=np.int64)
    grid = build_grid(ns, step, dataset.time, stamps.timezone)
    keys = Keys(roles, names, codes, stamps.timezone, grid, arrangement, ns, repeats.rows, stamps.assumed)
    _log(dataset, keys)
    return keys


def read_series(rows: StoredRows, name: str | None) -> tuple[NDArray[Any], tuple[Any, ...]]:
    """Number of the series of each row, shape (rows,), 32 bits, and the names, in order of appearance.

    Raises:
        DataError: a row names no series.
    """
    if name is None:
        return np.broadcast_to(np.int32(0), len(rows)), (None,)
    codes = np.empty(len(rows), dtype=np.int32)
    numbers: dict[Any, int] = {}
    start, nameless, first = 0, 0, 0
    for batch in rows.batches([name]):
        column = batch[name].combine_chunks()
        missing = np.asarray(column.is_null(nan_is_null=True))
        if missing.any():
            first = first if nameless else start + int(np.argmax(missing))
            nameless += int(missing.sum())
        encoded = pc.dictionary_encode(column, null_encoding="encode")
        here = [numbers.setdefault(value, len(numbers)) for value in encoded.dictionary.to_pylist()]
        codes[start : start + len(batch)] = np.array(here, dtype=np.int32)[np.asarray(encoded.indices)]
        start += len(batch)
    if nameless:
        raise DataError(
            f"{nameless} rows name no series ({name!r}), first row {first + 1}; fill the column in or drop them"
        )
    names = tuple(numbers)
    return (np.broadcast_to(np.int32(0), len(rows)) if len(names) == 1 else codes), names


def read_time(rows: StoredRows, name: str, time: TimeConfig, codes: NDArray[Any] | None = None) -> Stamps:
    """A column as time stamps, see `core.prepare.time.stamps`.

    Args:
        rows: The snapshot.
        name: Of the column.
        time: What the dataset says.
        codes: Shape (rows,): number of the series of each row, or None if there is one.
    """
    return read_stamps(rows.column(name), time, codes)


def _refuse_bad(rows: StoredRows, name: str, stamps: Stamps) -> None:
    if len(stamps.bad_rows) == 0:
        return
    row, why = next(iter(stamps.bad.items()))
    value = rows.rows_at(np.array([row], dtype=np.int64), [name])[name][0].as_py()
    raise DataError(
        f"time column {name!r}, row {row + 1}: {value!r} is no time stamp: {why} ({len(stamps.bad_rows)} such "
        "rows); write stamps as 2019-04-09 or 2019-04-09T17:30:00+00:00"
    )


def _refuse_conflicts(
    rows: StoredRows, roles: Roles, stamps: Stamps, repeats: Repeats, time: TimeConfig
) -> None:
    if repeats.example is None:
        return
    one, other = repeats.example
    column = None
    if time.duplicates == "equal":
        column = differing_column(rows, repeats.example, (roles.time, roles.series))
    differ = f", which differ in column {column!r}" if column else ""
    raise DataError(
        f"{repeats.conflicts} time stamps occur again in the same series, the first is "
        f"{label(int(stamps.ns[one]), stamps.timezone)} in rows {one + 1} and {other + 1}{differ}; keep one "
        "row of each, say which with `time: {duplicates: first}` (or last), or name the column that tells "
        "series apart with `series: COLUMN`"
    )


def _log(dataset: DatasetConfig, keys: Keys) -> None:
    if len(keys.repeated):
        policy = dataset.time.duplicates
        logger.warning("%s: %d rows left out by time.duplicates=%s", dataset.name, len(keys.repeated), policy)
    if keys.assumed:
        logger.warning(
            "%s: %d stamps are in an hour that the clocks of %s repeat, but occur once: taken as summer time",
            dataset.name,
            keys.assumed,
            keys.timezone,
        )
