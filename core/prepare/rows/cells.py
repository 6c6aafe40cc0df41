"""What kind each column is, and cells of binary and categorical ones as codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import ColumnConfig, DatasetConfig
from core.prepare.channels.layout import ColumnKind
from core.prepare.rows.columns import as_floats, is_numeric

MAX_CATEGORIES = 1000
FEW_CATEGORIES = 20
"""So many are never too many for the rows: half of a few rows would be fewer than any real column has."""


def kind_of(dataset: DatasetConfig, name: str, kind: pa.DataType) -> ColumnKind:
    """What a column is: as its role says, else by its type: text categorical if static, booleans binary."""
    role = dataset.columns.get(name)
    if isinstance(role, ColumnConfig):
        return role.kind
    if role in ("continuous", "binary", "categorical"):
        return role
    if pa.types.is_boolean(kind):
        return "binary"
    return "categorical" if role == "static" and pa.types.is_string(kind) else "continuous"


def wrong_type(given: pa.DataType, kind: ColumnKind) -> str | None:
    """Why a column of type `given` cannot be of kind `binary` or `categorical`; None if it can."""
    if is_numeric(given) or pa.types.is_string(given):
        return None
    return f"it is {given}, and a {kind} column holds text, numbers or booleans: write it as text"


def not_binary(values: list[Any]) -> str:
    """Why a column with the sorted `values` is not binary."""
    shown = ", ".join(map(repr, values[:5])) + ", ..." * (len(values) > 5)
    return (
        f"a binary column holds two values (or 0 and 1 alone), this one {len(values)}: {shown}; "
        "call it `categorical` or `drop`"
    )


def too_many(count: int, places: int) -> str | None:
    """Why `count` categories are too many for `places` cells; None if they are not."""
    most = min(MAX_CATEGORIES, max(FEW_CATEGORIES, places // 2))
    if count <= most:
        return None
    return (
        f"it has {count:,} categories, too many to learn from {places:,} cells (at most {most:,}): group the "
        "rare ones, call the column `continuous` if it holds quantities, or `drop` it"
    )


def distinct(column: pa.ChunkedArray) -> tuple[list[Any], NDArray[np.int64]]:
    """The different values of a column of text, numbers or booleans, and the place of each cell's among them.

    Returns:
        The values in order of appearance, and shape (rows,), their number where a cell is missing.
    """
    if pa.types.is_null(column.type):
        return [], np.zeros(len(column), dtype=np.int64)
    if pa.types.is_decimal(column.type) or pa.types.is_floating(column.type):
        numbers = as_floats(column) + 0.0  # -0.0 is 0.0, not a category of its own
        column = pa.chunked_array([pa.array(numbers, mask=np.isnan(numbers))])
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    values = encoded.dictionary.to_pylist()
    return values, np.asarray(encoded.indices.fill_null(len(values))).astype(np.int64)


def place_among(values: Sequence[Any], column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Place of each cell's value in `values`, shape (rows,), NaN where it is missing or not among them."""
    found, places = distinct(column)
    known = {value: place for place, value in enumerate(values)}
    return np.array([*(known.get(value, np.nan) for value in found), np.nan], dtype=np.float64)[places]


def both_of(values: list[Any]) -> tuple[Any, ...]:
    """The two values of a binary column, empty if it has none such: of 0 and 1 one may never occur."""
    if values and all(isinstance(value, bool) for value in values):
        return (False, True)
    if values and all(not isinstance(value, str) and value in (0, 1) for value in values):
        return (0, 1)
    return tuple(values) if len(values) == 2 else ()
