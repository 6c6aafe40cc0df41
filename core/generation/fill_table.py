"""The rows that a user wants filled in: read, their time continued, and put together again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from core.catalog import DatasetConfig, TimeConfig
from core.errors import ConfigError, DataError
from core.generators.bundle import SeriesInfo
from core.generators.filling import MOST_CELLS
from core.prepare.rows.columns import find_time
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
        return pa.chunked_array([*column.chunks, _as(later[:horizon], column.type, self.time)])

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
                columns[name] = pa.array([self.rows[name][0].as_py()] * each * draws, self.rows[name].type)
            else:
                columns[name] = pa.Array.from_pandas(made[name])
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
        if (count := len(rows[name].unique())) > 1:
            raise DataError(f"column {name!r} names {count:,} series: fill each alone")
    time = find_time(rows, dataset.time, aside)
    return Table(rows, time, aside, info, dataset.time, key or table_digest(rows))


def _as(stamps: pd.DatetimeIndex, kind: pa.DataType, name: str) -> pa.Array:
    """Stamps in the type of the column that they go on from.

    Raises:
        ConfigError: of that type they are not written.
    """
    if pa.types.is_date(kind):
        return pa.array(stamps.date, kind)
    if pa.types.is_timestamp(kind):
        return pa.array(stamps.as_unit("ns")).cast(kind, safe=False)
    if pa.types.is_string(kind):
        days = bool((stamps == stamps.normalize()).all())
        return pa.array([str(stamp.date()) if days else stamp.isoformat() for stamp in stamps], kind)
    raise ConfigError(
        f"column {name!r} holds time as {kind}, which is not continued: write it as dates or stamps, or leave "
        "it out"
    )
