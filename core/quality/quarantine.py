"""Rows that break a rule on cells, kept with the reason; and those that are left out for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.quality.checks import CellRule
from core.quality.chunks import Chunk

MOST_ROWS = 100_000
FILE = "quarantine.parquet"


class Quarantine:
    """`quarantine.parquet`: the row of the source, its cells as they are, and every reason; a context manager.

    The file appears with the first such row.

    Args:
        folder: Where it is written.
        schema: Of the snapshot.
        most: Rows to write; the others are counted.
    """

    def __init__(self, folder: Path, schema: pa.Schema, most: int = MOST_ROWS) -> None:
        self.path = folder / FILE
        self.most = most
        self.count = 0
        """Rows that break a rule."""
        self.written = 0
        self._left_out: list[NDArray[np.int64]] = []
        self._row, self._reason = _free("row", schema.names), _free("reason", schema.names)
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(
        self, chunk: Chunk, rules: Sequence[CellRule], masks: Sequence[NDArray[np.bool_]]
    ) -> NDArray[np.bool_]:
        """Add what breaks `rules` in a chunk; returns the rows that others can do without.

        `masks` and what is returned have shape (rows of the chunk,) each.
        """
        broken = [(rule, mask) for rule, mask in zip(rules, masks, strict=True) if rule.suspect and mask.any()]
        leave = np.zeros(len(chunk), dtype=bool)
        if not broken:
            return leave
        out = [mask for rule, mask in broken if rule.excludable and rule.severity == "critical"]
        if out:
            leave = np.logical_or.reduce(out)
            self._left_out.append(np.flatnonzero(leave) + chunk.start)
        rows = np.flatnonzero(np.logical_or.reduce([mask for _, mask in broken]))
        self.count += len(rows)
        self._write(chunk, rows[: self.most - self.written], broken)
        return leave

    @property
    def left_out(self) -> NDArray[np.int64]:
        """Rows of the source (from 0, ascending) that break a critical rule and that others can do without."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self._left_out])

    def _write(
        self, chunk: Chunk, rows: NDArray[np.int64], broken: list[tuple[CellRule, NDArray[np.bool_]]]
    ) -> None:
        if not len(rows):
            return
        reasons = [list[str]() for _ in rows]
        for rule, mask in broken:
            for place in np.flatnonzero(mask[rows]).tolist():
                reasons[place].append(f"{rule.column}: {rule.name}")
        table = chunk.table.take(pa.array(rows))
        table = table.add_column(0, self._row, pa.array(rows + chunk.start + 1))
        table = table.append_column(self._reason, pa.array(["; ".join(reason) for reason in reasons]))
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema)
        self._writer.write_table(table)
        self.written += len(rows)


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name
