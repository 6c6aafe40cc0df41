"""From when to when a snapshot's rows are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.catalog import DatasetConfig
from core.errors import ConfigError
from core.prepare.rows.columns import find_time
from core.prepare.rows.keys import read_time
from core.prepare.time.stamps import label, read_stamps
from core.sources.stored import StoredRows


def time_span(dataset: DatasetConfig, rows: StoredRows) -> dict[str, str | None] | None:
    """Time column, first and last stamp and time zone; None where no column can be read as time.

    What is wrong with it then is the validation's to say: a snapshot is of any rows.
    """
    apart = {*dataset.columns, *filter(None, (dataset.series,))}
    try:
        name = find_time(rows, dataset.time, apart)
        if name is None or name not in rows.schema.names:
            return None
        extremes = _extremes(rows, name)
        if extremes is None:
            stamps = read_time(rows, name, dataset.time)
        else:
            stamps = read_stamps(extremes, dataset.time)
    except ConfigError:
        return None
    ns = np.delete(stamps.ns, stamps.bad_rows)
    if not len(ns):
        return None
    first, last = (label(int(end), stamps.timezone) for end in (ns.min(), ns.max()))
    return {"column": name, "first": first, "last": last, "timezone": stamps.timezone}


def _extremes(rows: StoredRows, name: str) -> pa.ChunkedArray | None:
    """The least and the largest stamp of each row group, by what the files say of themselves.

    None if the column is not one of stamps, or holds some that no calendar of Python knows.
    """
    kind = rows.schema.field(name).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return None
    place = rows.schema.get_field_index(name)
    found = []
    for path in rows.files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                statistics = file.metadata.row_group(group).column(place).statistics
                if statistics is not None and statistics.has_min_max:
                    try:
                        found += [statistics.min, statistics.max]
                    except (OverflowError, ValueError):
                        return None
    return pa.chunked_array([pa.array(found, kind)])
