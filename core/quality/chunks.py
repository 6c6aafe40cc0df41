"""A snapshot's rows in chunks of even size, each with its columns as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.prepare.rows.columns import as_floats, is_numeric, text_floats
from core.sources.stored import StoredRows

_CELLS = 2**22
_MOST_ROWS = 2**18
_FEWEST_ROWS = 2**12


@dataclass(frozen=True)
class Chunk:
    """Neighbouring rows."""

    table: pa.Table
    start: int
    """Row of the source (from 0) of the first."""
    ns: NDArray[np.int64] | None = None
    """Shape (rows,): stamps, nanoseconds since 1970; None without time."""
    unreadable: NDArray[np.bool_] | None = None
    """Shape (rows,): rows whose stamp cannot be read; None without time."""
    _floats: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    _missing: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def floats(self, name: str) -> NDArray[np.float64]:
        """A column of numbers, or of text that should be, shape (rows,), NaN where there is none."""
        if name not in self._floats:
            column = self.table[name]
            text = pa.types.is_string(column.type)
            self._floats[name] = text_floats(column) if text else as_floats(column)
        return self._floats[name]

    def no_number(self, name: str) -> NDArray[np.bool_]:
        """Shape (rows,): cells of a column of text (or dates) that are there and are no finite number."""
        there = ~self.missing(name)
        return there & ~np.isfinite(self.floats(name)) if pa.types.is_string(self.table[name].type) else there

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Shape (rows,): missing cells of a column, NaN included."""
        if name not in self._missing:
            column = self.table[name]
            numeric = is_numeric(column.type)
            self._missing[name] = np.isnan(self.floats(name)) if numeric else np.asarray(column.is_null())
        return self._missing[name]


def chunk_rows(columns: int) -> int:
    """Rows of a chunk: as many as keep its numbers at 32 MiB, so that wide tables fit as well."""
    return int(np.clip(_CELLS // max(columns, 1), _FEWEST_ROWS, _MOST_ROWS))


def read_chunks(rows: StoredRows, columns: Sequence[str] | None, size: int) -> Iterator[tuple[int, pa.Table]]:
    """All rows by `size` (the last chunk has what is left), each with the row of the source it starts at."""
    start, waiting, count = 0, list[pa.Table](), 0
    for batch in rows.batches(columns, rows=size):
        waiting.append(batch)
        count += len(batch)
        while count >= size:
            whole = pa.concat_tables(waiting)
            yield start, whole.slice(0, size)
            start, count = start + size, count - size
            waiting = [whole.slice(size)] if count else []
            del whole
    if count:
        yield start, pa.concat_tables(waiting)
