"""Rows of a table in the order of time, as numbers, with the grid that their stamps should lie on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.errors import DataError
from core.prepare.columns import Roles, as_floats, find_time, is_numeric, mend_text, not_numbers, split_columns
from core.prepare.gaps import Cuts, cut_rows
from core.prepare.rows import Arrangement, arrange, series_codes
from core.prepare.stamps import Stamps, label, read_stamps
from core.prepare.timeline import Grid, build_grid


@dataclass(frozen=True)
class Rows:
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
        """Segments and gaps of these rows."""
        return cut_rows(self.codes, self.ns, self.grid, self.places)

    def only(self, keep: NDArray[np.bool_]) -> Rows:
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


def chronological(dataset: DatasetConfig, table: pa.Table) -> tuple[Rows, Arrangement]:
    """The features of a table in the order of time, missing cells still missing.

    Raises:
        DataError: an unreadable or repeated time stamp, a cell that is no finite number, an absent column.
        ConfigError: no time column, or an unknown calendar or frequency.
    """
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
    rows = Rows(
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
