"""Columns of a table as codes (see `core.prepare.encode`), by the kind that their role or type gives them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.catalog import DatasetConfig, StaticColumn
from core.errors import DataError
from core.prepare.columns import as_floats, is_numeric, mend_text, not_numbers
from core.prepare.layout import Column, ColumnKind

MAX_CATEGORIES = 1000
FEW_CATEGORIES = 20
"""So many are never too many for the rows: half of a few rows would be fewer than any real column has."""


@dataclass(frozen=True)
class Cells:
    """A column read."""

    column: Column
    """Its range and whether cells are missing are not known yet: see `fitted`."""
    codes: NDArray[np.float64]
    """Shape (rows,), in the order of the table, NaN where missing."""


def kind_of(dataset: DatasetConfig, name: str, kind: pa.DataType) -> ColumnKind:
    """What a column is: as its role says, else by its type: text categorical if static, booleans binary."""
    role = dataset.columns.get(name)
    if isinstance(role, StaticColumn):
        return role.kind
    if role in ("continuous", "binary", "categorical"):
        return role
    if pa.types.is_boolean(kind):
        return "binary"
    return "categorical" if role == "static" and pa.types.is_string(kind) else "continuous"


def read_cells(column: pa.ChunkedArray, name: str, kind: ColumnKind, places: int | None = None) -> Cells:
    """A column as codes.

    Args:
        column: Shape (rows,).
        name: Its name.
        kind: What it is.
        places: Of how many cells categories may be half: the rows, or the series if the column is static.

    Raises:
        DataError: cells that the kind has no place for, named by row (from 1), or too many categories.
    """
    if kind == "continuous":
        whole = pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
        return Cells(Column(name, integer=bool(whole)), _numbers(column, name))
    if problem := category_problem(column, kind, places):
        raise DataError(f"column {name!r}: {problem}")
    values, codes = coded(column)
    if kind == "binary":
        both = _both(values)
        codes = np.where(np.isnan(codes), np.nan, _places(values, both, codes))
        return Cells(Column(name, "binary", categories=both), codes)
    return Cells(Column(name, "categorical", categories=tuple(values)), codes)


def fitted(
    column: Column, codes: NDArray[np.float64], known: NDArray[np.bool_] | None = None
) -> tuple[Column, NDArray[np.float64]]:
    """A column with the range and the categories of the rows that stay, and its codes for these categories.

    Args:
        column: As read.
        codes: Shape (rows,), NaN where missing, at least one row.
        known: Shape (rows,): those whose range it is, all if None. What categories there are, and whether
            cells may be missing, is said by all rows: it is what a cell can hold, not what the rows are like.

    Raises:
        DataError: no cell has a value, or the range is too wide for float64.
    """
    missing = np.isnan(codes)
    there = codes[~missing]
    if len(there) == 0:
        raise DataError(f"column {column.name!r} has no value at all; leave it out: {_drop(column.name)}")
    if known is not None and not (known & ~missing).any():
        raise DataError(
            f"column {column.name!r} has no value in the rows to learn from that dataset.holdout leaves; "
            f"hold out less, or leave the column out: {_drop(column.name)}"
        )
    optional = bool(missing.any())
    if column.kind == "binary":
        return replace(column, optional=optional), codes
    if column.kind == "categorical":
        used = np.unique(there).astype(np.int64)
        categories = tuple(column.categories[place] for place in used)
        places = np.searchsorted(used, np.where(missing, used[0], codes))
        return replace(column, optional=optional, categories=categories), np.where(missing, np.nan, places)
    seen = there if known is None else codes[known & ~missing]
    low, high = float(seen.min()), float(seen.max())
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float64(high) - low):
            raise DataError(f"the range of column {column.name!r} is too wide for float64; rescale or drop it")
    return replace(column, optional=optional, minimum=low, maximum=high), codes


def category_problem(column: pa.ChunkedArray, kind: ColumnKind, places: int | None = None) -> str | None:
    """Why a column cannot be of kind `binary` or `categorical`, and what to do; None if it can."""
    if not is_numeric(column.type) and not pa.types.is_string(column.type):
        return f"it is {column.type}, and a {kind} column holds text, numbers or booleans: write it as text"
    if pa.types.is_floating(column.type):
        infinite = np.flatnonzero(np.isinf(as_floats(column)))
        if len(infinite):
            return f"row {infinite[0] + 1} is infinite ({len(infinite)} such cells); leave them empty"
    if kind == "binary":
        values = coded(column)[0]
        if _both(values):
            return None
        shown = ", ".join(map(repr, values[:5])) + ", ..." * (len(values) > 5)
        return (
            f"a binary column holds two values (or 0 and 1 alone), this one {len(values)}: {shown}; "
            "call it `categorical` or `drop`"
        )
    return _too_many(pc.count_distinct(column).as_py(), places or len(column))


def coded(column: pa.ChunkedArray) -> tuple[list[Any], NDArray[np.float64]]:
    """The different values of a column of text, numbers or booleans, sorted, and the place of each cell's.

    Returns:
        The values, and shape (rows,), NaN where a cell is missing.
    """
    if pa.types.is_decimal(column.type) or pa.types.is_floating(column.type):
        numbers = as_floats(column) + 0.0  # -0.0 is 0.0, not a category of its own
        column = pa.chunked_array([pa.array(numbers, mask=np.isnan(numbers))])
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    values = [] if pa.types.is_null(encoded.type) else encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=lambda place: values[place])
    rank = np.empty(len(values) + 1, dtype=np.float64)
    rank[order] = np.arange(len(values))
    rank[-1] = np.nan
    return [values[place] for place in order], rank[np.asarray(encoded.indices.fill_null(len(values)))]


def changes(codes: NDArray[np.float64], series: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Shape (rows,): cells of a static column that differ from the first row's of their series.

    Args:
        codes: Shape (rows,), NaN where missing (which differs from any value).
        series: Shape (rows,): number of the series, from 0 in order of appearance.
    """
    first = np.unique(series, return_index=True)[1]
    expected = codes[first][series]
    return np.asarray((codes != expected) & ~(np.isnan(codes) & np.isnan(expected)))


def _numbers(column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    if not is_numeric(column.type):
        bad = np.flatnonzero(not_numbers(column))
        shown = ", ".join(f"row {row + 1} {column[row].as_py()!r}" for row in bad[:20].tolist())
        raise DataError(
            f"column {name!r} is {column.type}, not numbers ({len(bad)} cells: {shown}); "
            f"{mend_text(column, name)}"
        )
    values = as_floats(column)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(
            f"column {name!r}, row {infinite[0] + 1}: infinite ({len(infinite)} such cells); "
            "mend them or leave them empty and choose a missing.policy"
        )
    return values


def _both(values: list[Any]) -> tuple[Any, ...]:
    """The two values of a binary column, empty if it has none such: of 0 and 1 one may never occur."""
    if values and all(isinstance(value, bool) for value in values):
        return (False, True)
    if values and all(not isinstance(value, str) and value in (0, 1) for value in values):
        return (0, 1)
    return tuple(values) if len(values) == 2 else ()


def _places(values: list[Any], both: tuple[Any, ...], codes: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.array([both.index(value) for value in values], dtype=np.float64)
    return places[np.where(np.isnan(codes), 0, codes).astype(np.int64)]


def _too_many(count: int, places: int) -> str | None:
    most = min(MAX_CATEGORIES, max(FEW_CATEGORIES, places // 2))
    if count <= most:
        return None
    return (
        f"it has {count:,} categories, too many to learn from {places:,} cells (at most {most:,}): group the "
        "rare ones, call the column `continuous` if it holds quantities, or `drop` it"
    )


def _drop(name: str) -> str:
    return f"`columns: {{{name}: drop}}`"
