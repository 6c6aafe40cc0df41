"""What is known of each column once all chunks have passed, whatever their size; and a sample of the rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.prepare.rows.cells import distinct
from core.prepare.rows.columns import is_numeric
from core.quality.chunks import Chunk
from core.sources.stored import StoredRows

SAMPLE_ROWS = 100_000
_SAMPLE_CELLS = 2**23
MOST_VALUES = 10_000
"""Different values of a column that are kept; of more it is known that they are more."""
NEARLY_CONSTANT = 0.999


@dataclass
class ColumnStatistics:
    """Running statistics of one column."""

    name: str
    kind: pa.DataType
    keep_values: bool = False
    """Keep the different values, too."""
    rows: int = 0
    missing: int = 0
    minimum: Any = None
    maximum: Any = None
    """Of numbers, booleans, stamps, dates and text; None without a value."""
    changes: int = 0
    """Neighbours in a chunk that differ: few of them say that one value may be in nearly all rows."""
    values: dict[Any, None] = field(default_factory=dict)
    """The different ones in order of appearance, if kept: all, or more than `MOST_VALUES` of them."""

    @property
    def there(self) -> int:
        """Cells with a value."""
        return self.rows - self.missing

    @property
    def too_many_values(self) -> bool:
        """`values` is not complete."""
        return len(self.values) > MOST_VALUES

    def update(self, chunk: Chunk) -> None:
        """Add the rows of a chunk."""
        missing = int(np.count_nonzero(chunk.missing(self.name)))
        self.rows += len(chunk)
        self.missing += missing
        if missing == len(chunk):
            return
        if is_numeric(self.kind):
            values = chunk.floats(self.name)
            values = values[~chunk.missing(self.name)] if missing else values
            low, high = float(values.min()), float(values.max())
            self.changes += int(np.count_nonzero(values[1:] != values[:-1]))
        else:
            cells = chunk.table[self.name].drop_null()
            low, high = (pc.min_max(cells)[side].as_py() for side in ("min", "max"))
            self.changes += int(pc.sum(pc.not_equal(cells[1:], cells[:-1])).as_py() or 0)
        self.minimum = low if self.minimum is None else min(self.minimum, low)
        self.maximum = high if self.maximum is None else max(self.maximum, high)
        if self.keep_values and not self.too_many_values:
            self.values |= dict.fromkeys(distinct(chunk.table[self.name])[0])

    @property
    def perhaps_nearly_constant(self) -> bool:
        """False if no value can be in more than 99.9 % of the cells: any other makes two changes at most."""
        return self.changes < 2 * (1 - NEARLY_CONSTANT) * self.there


def countable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column, of a type whose values Arrow can count: it cannot those of 16-bit floats."""
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


def largest_shares(rows: StoredRows, names: list[str]) -> dict[str, float]:
    """Share of the most frequent value among the cells that have one, of columns that hardly ever change."""
    counts = {name: Counter[Any]() for name in names}
    for batch in rows.batches(names) if names else ():
        for name in names:
            for entry in pc.value_counts(countable(batch[name]).drop_null()).to_pylist():
                counts[name][entry["values"]] += entry["counts"]
    return {name: found.most_common(1)[0][1] / found.total() for name, found in counts.items() if found.total()}


def sample_rows(rows: int, columns: int) -> NDArray[np.int64]:
    """Rows of a sample, ascending: one drawn from each of at most 100,000 stretches, always the same ones.

    Every so many rows would not do: data have rhythms of their own.
    """
    size = min(rows, SAMPLE_ROWS, max(1000, _SAMPLE_CELLS // max(columns, 1)))
    edges = np.linspace(0, rows, size + 1).astype(np.int64)
    return np.random.default_rng(0).integers(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1))


class Sample:
    """Collects the sampled rows as chunks pass.

    Args:
        index: Rows of the source, ascending.
    """

    def __init__(self, index: NDArray[np.int64]) -> None:
        self.index = index
        self.found: list[pa.Table] = []

    def update(self, chunk: Chunk) -> None:
        """Take the rows of a chunk that belong to it."""
        low, high = np.searchsorted(self.index, [chunk.start, chunk.start + len(chunk)])
        self.found.append(chunk.table.take(pa.array(self.index[low:high] - chunk.start)))

    def table(self, schema: pa.Schema) -> pa.Table:
        """The rows, in the order of the source."""
        return pa.concat_tables([schema.empty_table(), *self.found])
