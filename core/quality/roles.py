"""What part each column may play, by its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.prepare.rows.cells import both_of, too_many
from core.prepare.rows.columns import is_numeric
from core.quality.checks import shown
from core.quality.chunks import Chunk, chunk_rows, read_chunks
from core.quality.kinds import Constancy
from core.quality.scan import Progress
from core.quality.statistics import ColumnStatistics, countable, sample_rows
from core.sources.stored import StoredRows

_FEW = 1000
"""Different values in the sample up to which all are kept: of more no categories are made."""


@dataclass
class ProfiledColumns:
    """Statistics of the columns that may be features."""

    statistics: dict[str, ColumnStatistics]
    constancies: dict[str, Constancy]
    sample: pa.Table
    sampled: NDArray[np.int64]
    """Shape (rows of `sample`,): rows of the source."""


def read_columns(
    rows: StoredRows, codes: NDArray[Any] | None, count: int, progress: Progress | None
) -> ProfiledColumns:
    """Statistics of all columns.

    Args:
        rows: The rows.
        codes: Shape (rows,): number of each row's series; None if there is one.
        count: Number of series.
        progress: Takes rows read, and all rows.
    """
    index = sample_rows(len(rows), len(rows.schema.names))
    sample = rows.rows_at(index)
    statistics, constancies = {}, {}
    for each in rows.schema:
        few = len(sample) > 0 and len(countable(sample[each.name]).unique()) <= _FEW
        statistics[each.name] = ColumnStatistics(each.name, each.type, keep_values=few)
        if few and codes is not None:
            constancies[each.name] = Constancy(each.name, None, count)
    for start, table in read_chunks(rows, None, chunk_rows(len(rows.schema.names))):
        chunk = Chunk(table, start)
        for seen in statistics.values():
            seen.update(chunk)
        if codes is not None:
            for constancy in constancies.values():
                constancy.update(chunk, codes[start : start + len(chunk)])
        if progress is not None:
            progress(start + len(chunk), len(rows))
    return ProfiledColumns(statistics, constancies, sample, index)


def propose_role(seen: ColumnStatistics, columns: ProfiledColumns, count: int) -> tuple[str, str]:
    """The role of a column, and why; `count` is the number of series."""
    if seen.there == 0:
        return "drop", "no value at all"
    if seen.minimum == seen.maximum:
        return "drop", f"{shown(seen.minimum)} in every row"
    constancy = columns.constancies.get(seen.name)
    if constancy is not None and not constancy.changed and _few(seen, count):
        return "static", "one value in all rows of a series"
    if seen.values and not seen.too_many_values and _binary(seen):
        return "binary", f"{' and '.join(shown(value) for value in sorted(seen.values))} alone"
    if pa.types.is_string(seen.kind):
        few = bool(seen.values) and _few(seen, seen.rows)
        return (
            ("categorical", f"{len(seen.values)} texts that repeat") if few else ("drop", "text of many values")
        )
    if not is_numeric(seen.kind):
        return "drop", f"{seen.kind} is no number"
    if _counts_rows(seen, columns):
        return "drop", "it counts the rows"
    return "continuous", ""


def _few(seen: ColumnStatistics, places: int) -> bool:
    if pa.types.is_string(seen.kind) or pa.types.is_boolean(seen.kind):
        return bool(seen.values) and not seen.too_many_values and too_many(len(seen.values), places) is None
    return is_numeric(seen.kind)


def _binary(seen: ColumnStatistics) -> bool:
    if pa.types.is_string(seen.kind):
        return len(seen.values) == 2 and seen.rows > 2 * len(seen.values)
    values = list(seen.values)
    return is_numeric(seen.kind) and both_of(values) in ((False, True), (0, 1))


def _counts_rows(seen: ColumnStatistics, columns: ProfiledColumns) -> bool:
    if not pa.types.is_integer(seen.kind) or seen.missing or seen.maximum - seen.minimum != seen.rows - 1:
        return False
    values = np.asarray(columns.sample[seen.name].to_numpy(), dtype=np.float64)
    return seen.rows > 2 and bool((values - columns.sampled == seen.minimum).all())
