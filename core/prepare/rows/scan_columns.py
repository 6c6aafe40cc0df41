"""Columns told batch by batch: what is missing, what cannot be used, categories, static values, ranges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.errors import DataError
from core.prepare.channels.layout import Column
from core.prepare.channels.scaler import ScalerFit
from core.prepare.channels.transforms import is_differenced, transformed
from core.prepare.rows.cells import both_of, distinct, not_binary, too_many, wrong_type
from core.prepare.rows.columns import as_floats, is_numeric, mend_text, text_floats

Mask = NDArray[np.bool_]
_SHOWN = 20
_SAMPLE = 1000
_MOST_VALUES = 100_000
"""Different values of a column at which it is refused before all of it is read."""


@dataclass
class Found:
    """Cells of one sort."""

    count: int = 0
    first: int = -1
    """Row of the source, from 0."""

    def add(self, where: Mask, numbers: NDArray[np.int64]) -> None:
        """Count the cells `where`, shape (rows,), of the rows `numbers`, shape (rows,), ascending."""
        count = int(where.sum())
        if count and not self.count:
            self.first = int(numbers[np.argmax(where)])
        self.count += count


class Cells(ABC):
    """One column, its cells told batch by batch.

    Args:
        column: What is known of it.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        self.missing = Found()
        self.count = 0
        self.learnt = 0

    def read(self, cells: pa.ChunkedArray, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """The next cells as numbers, shape (rows,), NaN where missing; `numbers` are their rows, ascending."""
        values = self._read(cells, numbers)
        self.count += len(values)
        if cells.null_count or (len(values) and not np.isfinite(values.min())):
            self.missing.add(np.isnan(values), numbers)
        return values

    @abstractmethod
    def _read(self, cells: pa.ChunkedArray, numbers: NDArray[np.int64]) -> NDArray[np.float64]: ...

    def learn(self, values: NDArray[np.float64], rows: Mask | None) -> None:
        """Take what `read` gave as what there is; `rows`, shape (rows,): those to learn from, all if None."""
        self.learnt += self._learn(values, rows)

    @abstractmethod
    def _learn(self, values: NDArray[np.float64], rows: Mask | None) -> int:
        """As `learn`; how many values were learnt from."""

    def codes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Codes of what `read` gave, shape kept."""
        return values

    @property
    def fitted(self) -> bool:
        """Whether `finish` gives all there is to know."""
        return True

    def check(self) -> None:
        """Refuse what was read.

        Raises:
            DataError: cells that the column's kind has no place for, named by row.
        """
        if problem := self._problem():
            raise DataError(f"column {self.column.name!r}{problem}")

    @abstractmethod
    def _problem(self) -> str | None: ...

    def finish(self) -> Column:
        """The column: with the categories of the rows that stay, and its range if it was fitted.

        Raises:
            DataError: no cell has a value, or the range is too wide.
        """
        name = self.column.name
        if self.count == self.missing.count:
            raise DataError(f"column {name!r} has no value at all; leave it out: `columns: {{{name}: drop}}`")
        if not self.learnt:
            raise DataError(
                f"column {name!r} has no value in the rows to learn from that dataset.holdout leaves; "
                f"hold out less, or leave the column out: `columns: {{{name}: drop}}`"
            )
        return self._finish()

    @abstractmethod
    def _finish(self) -> Column: ...


class Numbers(Cells):
    """A continuous column.

    Args:
        column: Name, scaler and transform.
        kind: Its type.
        fit: Whether `learn` fits it; it never does where that takes all values at once or their order.
        text: Whether text that reads as numbers is taken, for the rows that do not are out already.
    """

    def __init__(self, column: Column, kind: pa.DataType, *, fit: bool, text: bool = False) -> None:
        super().__init__(column)
        self._kind = kind
        self._takes_text = text and pa.types.is_string(kind)
        self._whole = True
        self._infinite, self._not_positive, self._text = Found(), Found(), Found()
        self._texts: list[tuple[int, Any]] = []
        scaler = ScalerFit(column)
        now = fit and not scaler.needs_all and not is_differenced(column)
        self._fit = scaler if now else None

    def _read(self, cells: pa.ChunkedArray, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        if not is_numeric(self._kind):
            return self._read_text(cells, numbers)
        values = as_floats(cells)
        self._look(values, numbers)
        return values

    def _read_text(self, cells: pa.ChunkedArray, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        there = np.asarray(cells.is_valid())
        values = np.full(len(there), np.nan)
        if pa.types.is_string(self._kind):
            values = text_floats(cells)
            fraction = pc.any(pc.match_substring_regex(cells, "[.eE]")).as_py()
            self._whole = self._whole and not fraction
        bad = there & np.isnan(values)
        self._text.add(bad, numbers)
        for row in np.flatnonzero(bad)[: _SAMPLE - len(self._texts)].tolist():
            self._texts.append((int(numbers[row]), cells[row].as_py()))
        self._look(values, numbers)
        return values

    def _look(self, values: NDArray[np.float64], numbers: NDArray[np.int64]) -> None:
        if not len(values):
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            self._infinite.add(np.isinf(values), numbers)
        if self.column.transform.startswith("log") and not low > 0:
            self._not_positive.add(values <= 0, numbers)

    def _learn(self, values: NDArray[np.float64], rows: Mask | None) -> int:
        chosen = values if rows is None else values[rows]
        if len(chosen) and np.isnan(chosen.min()):
            chosen = chosen[~np.isnan(chosen)]
        if self._fit is not None and not (self._infinite.count or self._not_positive.count):
            self._fit.update(transformed(self.column, chosen))
        return len(chosen)

    def _problem(self) -> str | None:
        name, infinite, low = self.column.name, self._infinite, self._not_positive
        if not is_numeric(self._kind) and (self._text.count or not self._takes_text):
            shown = ", ".join(f"row {row + 1} {value!r}" for row, value in self._texts[:_SHOWN])
            sample = pa.chunked_array([pa.array([value for _, value in self._texts], self._kind)])
            advice = mend_text(sample, name)
            return f" is {self._kind}, not numbers ({self._text.count} cells: {shown}); {advice}"
        if infinite.count:
            return (
                f", row {infinite.first + 1}: infinite ({infinite.count} such cells); mend them or leave them "
                "empty and choose a missing.policy"
            )
        if low.count:
            return (
                f", row {low.first + 1}: 0 or less ({low.count} such cells), of which "
                f"transform={self.column.transform} takes the logarithm; mend them, or choose another one: "
                f"`columns: {{{name}: {{kind: continuous, transform: none}}}}`"
            )
        return None

    def _finish(self) -> Column:
        column = self.column if self._fit is None else self._fit.finish()
        # The rows that made it a column of text are out: the others are what they would be without them.
        return replace(column, integer=self._whole) if self._takes_text else column

    @property
    def fitted(self) -> bool:
        """Whether `finish` gives the range."""
        return self._fit is not None


class Categories(Cells):
    """A binary or categorical column.

    Args:
        column: Name and kind.
        kind: Its type.
        places: Of how many cells categories may be half.
    """

    def __init__(self, column: Column, kind: pa.DataType, places: int) -> None:
        super().__init__(column)
        if problem := wrong_type(kind, column.kind):
            raise DataError(f"column {column.name!r}: {problem}")
        self._kind, self._rows = kind, places
        self._places: dict[Any, int] = {}
        self._used = np.zeros(0, dtype=np.bool_)
        self._infinite = Found()

    def _read(self, cells: pa.ChunkedArray, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        if pa.types.is_floating(self._kind):
            self._infinite.add(np.isinf(as_floats(cells)), numbers)
        values, places = distinct(cells)
        table = [self._places.setdefault(value, len(self._places)) for value in values]
        if len(self._places) > _MOST_VALUES:
            self.check()
        return np.array([*table, np.nan], dtype=np.float64)[places]

    def _learn(self, values: NDArray[np.float64], rows: Mask | None) -> int:
        missing = np.isnan(values)
        # What categories there are is said by all rows: it is what a cell can hold, not what the rows are like.
        there = values[~missing].astype(np.int64)
        used = np.bincount(there, minlength=len(self._places)) > 0
        used[: len(self._used)] |= self._used
        self._used = used
        return int((~missing if rows is None else rows & ~missing).sum())

    def _problem(self) -> str | None:
        values = sorted(self._places)
        problem = None
        if self._infinite.count:
            row, count = self._infinite.first + 1, self._infinite.count
            problem = f"row {row} is infinite ({count} such cells); leave them empty"
        elif self.column.kind == "categorical":
            problem = too_many(len(values), self._rows)
        elif values and not both_of(values):
            problem = not_binary(values)
        return problem and f": {problem}"

    def _finish(self) -> Column:
        values = sorted(self._places)
        if self.column.kind == "binary":
            return replace(self.column, categories=both_of(values))
        return replace(self.column, categories=tuple(v for v in values if self._used[self._places[v]]))

    def codes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places among the categories of the column of what `read` gave, shape kept."""
        known = {value: place for place, value in enumerate(self.finish().categories)}
        table = np.array([*(known.get(value, np.nan) for value in self._places), np.nan])
        return table[np.where(np.isnan(values), -1, values).astype(np.int64)]


@dataclass
class StaticCells:
    """A static column: the first cell of each series, and whether others differ from it."""

    cells: Cells
    values: NDArray[np.float64]
    """Shape (series,): as `cells.read` gives them, NaN where missing or not seen."""
    rows: NDArray[np.int64]
    """Shape (series,): row of the source of it, -1 where not seen."""
    changed: Found = field(default_factory=Found)

    def read(self, cells: pa.ChunkedArray, numbers: NDArray[np.int64], series: NDArray[np.int64]) -> None:
        """The next cells, of the rows `numbers` and the series `series`, both of shape (rows,)."""
        values = self.cells.read(cells, numbers)
        appeared, at = np.unique(series, return_index=True)
        unseen = self.rows[appeared] < 0
        self.values[appeared[unseen]], self.rows[appeared[unseen]] = values[at[unseen]], numbers[at[unseen]]
        expected = self.values[series]
        self.changed.add((values != expected) & ~(np.isnan(values) & np.isnan(expected)), numbers)
