"""The rows that a user wants filled in: read, their time continued, and put together again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from core.catalog import DatasetConfig, TimeConfig
from core.errors import ConfigError, DataError
from core.generators.bundle import SeriesInfo
from core.generators.filling import MOST_CELLS
from core.prepare.rows.columns import find_time, guess_time
from core.prepare.time.stamps import read_stamps
from core.prepare.time.timeline import future_stamps
from core.sources.digest import table_digest
from core.sources.load import open_source
from core.sources.rows import TypesChangedError


@dataclass(frozen=True)
class Table:
    """Rows of one series, oldest first."""

    rows: pa.Table
    """All columns but those that the dataset drops."""
    time: str | None
    """The column of stamps."""
    aside: tuple[str, ...]
    """The other columns that are not the generator's: that of the series."""
    info: SeriesInfo
    timing: TimeConfig
    digest: str
    """SHA-256 of the file's bytes; of what is no file, of the rows."""

    @property
    def frame(self) -> pd.DataFrame:
        """The generator's columns, each cell as it was read."""
        aside = {self.time, *self.aside}
        own = self.rows.select([name for name in self.rows.schema.names if name not in aside])
        frame: pd.DataFrame = own.to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def continued(self, horizon: int) -> pa.ChunkedArray | None:
        """The stamps, and those of so many further rows; None without time.

        Raises:
            ConfigError: the generator was trained without time, its calendar ends before, or the stamps are of
                a kind that is not continued.
            DataError: a stamp cannot be read, or is not after the one before.
        """
        if self.time is None:
            return None
        column = self.rows[self.time]
        stamps = read_stamps(column, self.timing)
        if stamps.bad:
            row, why = next(iter(stamps.bad.items()))
            raise DataError(f"column {self.time!r}, row {row + 1} is no time stamp: {why}")
        back = np.flatnonzero(np.diff(stamps.ns) <= 0)
        if len(back):
            raise DataError(
                f"column {self.time!r}, row {int(back[0]) + 2} is not after the row before: sort the rows, "
                "oldest first, one row a stamp"
            )
        if not horizon:
            return column
        if self.info.time is None:
            raise ConfigError(
                f"the generator was trained without time, so column {self.time!r} cannot go on: leave it out, "
                "or the horizon"
            )
        last = stamps.labels_at(np.array([len(column) - 1]))[0]
        future = future_stamps(self.info.time, last, horizon + 1)
        zone = future.tz if last.tz is None else last.tz
        later = future[future > (last if last.tz is not None or zone is None else last.tz_localize(zone))]
        known = stamps.labels_at(np.arange(len(column)))
        written = _as(later[:horizon], column, known, self.time)
        return pa.chunked_array([*column.chunks, written])

    def joined(self, made: pd.DataFrame, stamps: pa.ChunkedArray | None, *, draws: int) -> pa.Table:
        """All versions with all columns, in the order of the rows.

        Args:
            made: See `core.generators.filling.Filled`.
            stamps: Of one version.
            draws: Versions.
        """
        columns: dict[str, Any] = {"draw": pa.array(made["draw"])} if draws > 1 else {}
        each = len(made) // draws
        for name in self.rows.schema.names:
            if name == self.time and stamps is not None:
                columns[name] = pa.chunked_array(stamps.chunks * draws, type=stamps.type)
            elif name in self.aside:
                named = self.rows[name].drop_null()
                one = named[0].as_py() if len(named) else None
                columns[name] = pa.array([one] * each * draws, self.rows[name].type)
            else:
                columns[name] = _in_type(pa.Array.from_pandas(made[name]), self.rows[name].type)
        return pa.table(columns)


def read_table(dataset: DatasetConfig, info: SeriesInfo, lake: Path) -> Table:
    """The rows of a dataset.

    Raises:
        ConfigError: there are too many of them, a column is called as those that are written, or there is no
            such source.
        DataError: they cannot be read, or are of several series.
        SourceError: they could not be reached.
    """
    most = MOST_CELLS // max(info.layout.channels.features, 1)
    with open_source(dataset, lake) as source:
        while True:
            found, count = [], 0
            try:
                for part in source.chunks():
                    found.append(part)
                    count += len(part)
                    if count > most:
                        raise ConfigError(f"{source.place} has more than {most:,} rows: fill a part of them")
                break
            except TypesChangedError:
                continue
        rows, key = pa.concat_tables(found), source.key
    dropped = [name for name, role in dataset.columns.items() if role == "drop"]
    rows = rows.select([name for name in rows.schema.names if name not in dropped])
    if "draw" in rows.schema.names:
        raise ConfigError("the data have a column 'draw', as filled rows have: rename it")
    aside = () if dataset.series is None else (dataset.series,)
    for name in aside:
        if name not in rows.schema.names:
            raise ConfigError(f"the data have no column {name!r}, which is to name the series")
        if (count := len(rows[name].drop_null().unique())) > 1:
            raise DataError(f"column {name!r} names {count:,} series: fill each alone")
    said = dataset.time.none or dataset.time.column is not None
    time = find_time(rows, dataset.time, aside) if said else guess_time(rows, dataset.time, aside)
    return Table(rows, time, aside, info, dataset.time, key or table_digest(rows))


def _in_type(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cells in the type of their column, where it holds what was drawn, too."""
    try:
        return cells if cells.type == kind else cells.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return cells


def _as(stamps: pd.DatetimeIndex, column: pa.ChunkedArray, known: pd.DatetimeIndex, name: str) -> pa.Array:
    """Stamps in the type of the column that they go on from, text as its own stamps are written.

    Raises:
        ConfigError: in that way they cannot be written.
    """
    kind = column.type
    if pa.types.is_date(kind):
        return pa.array(stamps.date, kind)
    if pa.types.is_timestamp(kind):
        return pa.array(stamps.as_unit("ns")).cast(kind, safe=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = column.to_pylist()
        for write in _WRITTEN:
            if all(write(stamp) == text for stamp, text in zip(known, texts, strict=True)):
                return pa.array([write(stamp) for stamp in stamps], kind)
        raise ConfigError(
            f"column {name!r} holds time as {texts[-1]!r}, which is not continued: write it as 2024-12-31 or "
            "2024-12-31T23:59:59"
        )
    raise ConfigError(
        f"column {name!r} holds time as {kind}, which is not continued: write it as dates or stamps, or leave "
        "it out"
    )


_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y%m%d")
_CLOCKS = (" %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S", " %H:%M:%S.%f")
_WRITTEN: tuple[Callable[[pd.Timestamp], str], ...] = (
    *(partial(pd.Timestamp.strftime, format=day) for day in _DAYS),
    *(partial(pd.Timestamp.strftime, format=day + clock) for day in _DAYS for clock in _CLOCKS),
    pd.Timestamp.isoformat,
    str,
)
"""Ways in which stamps are written as text."""
