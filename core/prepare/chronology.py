"""Rows of a table in the order of time, as numbers, with the grid that their stamps should lie on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.errors import DataError
from core.prepare.cells import changes, kind_of, read_cells
from core.prepare.columns import Roles, find_time, split_columns
from core.prepare.gaps import Cuts, cut_rows
from core.prepare.layout import Column
from core.prepare.rows import Arrangement, arrange, series_codes
from core.prepare.stamps import Stamps, label, read_stamps
from core.prepare.timeline import Grid, build_grid


@dataclass(frozen=True)
class Rows:
    """Chronological rows as codes (see `core.prepare.encode`), the rows of a series together."""

    roles: Roles
    columns: tuple[Column, ...]
    """The features, ranges not known yet."""
    values: NDArray[np.float64]
    """Shape (rows, features), NaN where a cell is missing."""
    static_columns: tuple[Column, ...]
    static: NDArray[np.float64]
    """Shape (rows, static columns), NaN where a cell is missing; constant in each series."""
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
            static=self.static[keep],
            source=self.source[keep],
            places=self.places[keep],
            codes=self.codes[keep],
            ns=None if self.ns is None else self.ns[keep],
        )


def chronological(dataset: DatasetConfig, table: pa.Table) -> tuple[Rows, Arrangement]:
    """The columns of a table in the order of time, missing cells still missing.

    Raises:
        DataError: an unreadable or repeated time stamp, a cell that its column's kind has no place for, a
            static column that changes within a series, an absent column.
        ConfigError: no time column, or an unknown calendar or frequency.
    """
    roles = split_columns(table.column_names, dataset, find_time(table, dataset.time))
    stamps = None if roles.time is None else _stamps(table, roles.time)
    codes = (
        np.zeros(table.num_rows, dtype=np.int64) if roles.series is None else series_codes(table[roles.series])
    )
    columns, values = _read(table, roles.features, dataset, table.num_rows)
    static_columns, static = _read(table, roles.static, dataset, int(codes.max(initial=0)) + 1)
    _check_static(table, dataset, roles.static, static, codes)
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
        columns=columns,
        values=values[index],
        static_columns=static_columns,
        static=static[index],
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


def _read(
    table: pa.Table, names: tuple[str, ...], dataset: DatasetConfig, places: int
) -> tuple[tuple[Column, ...], NDArray[np.float64]]:
    """Columns and their codes, shape (rows, len(names)), in the order of the table."""
    codes = np.empty((table.num_rows, len(names)), dtype=np.float64)
    columns = []
    for place, name in enumerate(names):
        kind = kind_of(dataset, name, table.schema.field(name).type)
        cells = read_cells(table[name], name, kind, places)
        codes[:, place] = cells.codes
        columns.append(cells.column)
    return tuple(columns), codes


def _check_static(
    table: pa.Table,
    dataset: DatasetConfig,
    names: tuple[str, ...],
    static: NDArray[np.float64],
    series: NDArray[np.int64],
) -> None:
    """Refuse static columns (shape (rows, len(names)), order of the table) that are none or lack values."""
    for place, name in enumerate(names):
        cells = static[:, place]
        missing = np.flatnonzero(np.isnan(cells))
        if len(missing) and dataset.missing.policy != "mask":
            raise DataError(
                f"static column {name!r}: {len(missing)} cells are missing, first in row {missing[0] + 1}; "
                "fill them in, choose missing.policy=mask, or drop the column"
            )
        changed = np.flatnonzero(changes(cells, series))
        if len(changed):
            row = int(changed[0])
            first = int(np.argmax(series == series[row]))
            of = "the table" if dataset.series is None else f"series {table[dataset.series][row].as_py()!r}"
            raise DataError(
                f"static column {name!r} changes within {of}: {table[name][first].as_py()!r} in row "
                f"{first + 1}, {table[name][row].as_py()!r} in row {row + 1} ({len(changed)} such rows); mend "
                "them, or give the column a role that may change (categorical, binary, continuous)"
            )
