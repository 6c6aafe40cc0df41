"""The rows of a snapshot in the order of time, block by block."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.prepare.channels.layout import Column
from core.prepare.rows.cells import place_among
from core.prepare.rows.columns import as_floats, text_floats
from core.sources.stored import StoredRows

Floats = NDArray[np.float64]

BLOCK_ROWS = 16_384
"""So many that codes and channels of a block stay in the processor's cache."""
_LOOK = 1 << 20


@dataclass(frozen=True)
class Chronology:
    """Rows of a snapshot by their place in time."""

    stored: StoredRows
    permutation: NDArray[np.int64] | None
    """Shape (rows,): for each place, the row of the source; None if each is its own place."""
    direction: Literal["forwards", "backwards", "scattered"]
    """How the source lies to it."""
    rows: int = BLOCK_ROWS
    """In a block."""

    @classmethod
    def of(
        cls, stored: StoredRows, permutation: NDArray[np.int64] | None, rows: int = BLOCK_ROWS
    ) -> Chronology:
        """The rows `permutation`, shape (rows,), each at most once; all as they are if None."""
        if permutation is None or _steps(permutation, 1):
            return cls(stored, permutation, "forwards", rows)
        return cls(stored, permutation, "backwards" if _steps(permutation, -1) else "scattered", rows)

    def __len__(self) -> int:
        return len(self.stored) if self.permutation is None else len(self.permutation)

    @property
    def index(self) -> NDArray[np.int64]:
        """Shape (rows,): for each place, the row of the source."""
        return np.arange(len(self.stored)) if self.permutation is None else self.permutation

    def source(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the source, from 0, of `places`, shape kept."""
        return places if self.permutation is None else self.permutation[places]

    def row_number(self, place: int) -> int:
        """Row of the source, from 1."""
        return 1 + int(place if self.permutation is None else self.permutation[place])

    def arranged(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Cells of all rows of the source, shape (source rows,), at their places, shape (rows,)."""
        return cells if self.permutation is None else cells[self.permutation]

    def in_source(self, cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What `arranged` undoes: False for rows of the source without a place."""
        if self.permutation is None:
            return cells
        found = np.zeros(len(self.stored), dtype=np.bool_)
        found[self.permutation] = cells
        return found

    @property
    def stays(self) -> NDArray[np.bool_] | None:
        """Shape (source rows,): rows that have a place, None if all."""
        if len(self) == len(self.stored):
            return None
        return self.in_source(np.ones(len(self), dtype=np.bool_))

    def blocks(self, columns: Sequence[Column], scratch: Path | None = None) -> Iterator[Floats]:
        """Cells in the order of time, shape (at most `self.rows`, columns), see `read_codes`.

        Args:
            columns: Which.
            scratch: Folder for a temporary file of 8 bytes a cell, used where the source is in no order; if
                None the columns are held in memory instead.
        """
        if self.direction != "scattered":
            return self._straight(columns)
        return self._gathered(columns) if scratch is None else self._scattered(columns, scratch)

    def _straight(self, columns: Sequence[Column]) -> Iterator[Floats]:
        names = [column.name for column in columns]
        backwards = self.direction == "backwards"
        stays, start = self.stays, 0
        for table in self.stored.batches(names, rows=self.rows, backwards=backwards):
            if stays is None:
                yield read_codes(table, columns)
                continue
            row = len(self.stored) - start - len(table) if backwards else start
            kept = stays[row : row + len(table)]
            start += len(table)
            if kept.any():
                yield read_codes(table.filter(pa.array(kept[::-1] if backwards else kept)), columns)

    def _gathered(self, columns: Sequence[Column]) -> Iterator[Floats]:
        codes = np.empty((len(self), len(columns)))
        for places, found in self._placed(columns):
            codes[places] = found
        for start in range(0, len(self), self.rows):
            yield codes[start : start + self.rows].copy()

    def _scattered(self, columns: Sequence[Column], scratch: Path) -> Iterator[Floats]:
        """Sort the rows into one region of a file for each block, then each block in memory."""
        width = 8 * len(columns)
        with _temporary(scratch) as file:
            written = np.zeros(-(-len(self) // self.rows), dtype=np.int64)
            for places, codes in self._placed(columns):
                for block, rows in _by_block(places // self.rows):
                    _write(file, codes[rows], (block * self.rows + int(written[block])) * width)
                    written[block] += len(rows)
            for start in range(0, len(self), self.rows):
                index = self.index[start : start + self.rows]
                found = np.frombuffer(_read(file, len(index) * width, start * width)).reshape(len(index), -1)
                # In a region rows stand as in the source.
                yield found[np.searchsorted(np.sort(index), index)]

    def _placed(self, columns: Sequence[Column]) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Places, shape (n,), and codes, shape (n, columns), in the order of the source."""
        places = np.full(len(self.stored), -1, dtype=np.int64)
        places[self.permutation] = np.arange(len(self))
        start = 0
        for table in self.stored.batches([column.name for column in columns]):
            found = places[start : start + len(table)]
            start += len(table)
            kept = found >= 0
            yield found[kept], np.ascontiguousarray(read_codes(table.filter(pa.array(kept)), columns))


def read_codes(table: pa.Table, columns: Sequence[Column]) -> Floats:
    """Cells, shape (rows, columns): places of categories, numbers in original units; NaN where missing."""
    codes = np.empty((len(columns), len(table)))
    for place, column in enumerate(columns):
        cells = table[column.name]
        if column.kind != "continuous":
            codes[place] = place_among(column.categories, cells)
        else:
            codes[place] = text_floats(cells) if pa.types.is_string(cells.type) else as_floats(cells)
    return codes.T


def _steps(index: NDArray[np.int64], sign: int) -> bool:
    """Whether every step of `index`, shape (rows,), goes one way."""
    starts = range(0, len(index), _LOOK)
    return all(bool((np.diff(index[start : start + _LOOK + 1]) * sign > 0).all()) for start in starts)


def _by_block(blocks: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each block of `blocks`, shape (rows,), with the rows that belong to it, ascending."""
    order = np.argsort(blocks, kind="stable")
    edges = np.flatnonzero(np.diff(blocks[order])) + 1
    for rows in np.split(order, edges):
        if len(rows):
            yield int(blocks[rows[0]]), rows


@contextmanager
def _temporary(folder: Path) -> Iterator[int]:
    with tempfile.TemporaryFile(dir=folder) as file:
        yield file.fileno()


def _write(file: int, codes: Floats, offset: int) -> None:
    view = memoryview(codes.tobytes())
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


def _read(file: int, size: int, offset: int) -> bytes:
    found = os.pread(file, size, offset)
    while len(found) < size:
        found += os.pread(file, size - len(found), offset + len(found))
    return found
