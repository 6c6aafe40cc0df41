"""A table of one series as codes, cell by cell, and back, its own cells untouched.

This module is carried by registered models: it needs NumPy and pandas alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.prepare.channels.conditions import place_of
from core.prepare.channels.encode import to_series
from core.prepare.channels.layout import Column, Layout
from core.prepare.channels.transforms import original, transformed

Floats = NDArray[np.float64]


def check_columns(layout: Layout, frame: pd.DataFrame) -> None:
    """Refuse a table whose columns are not the user's columns of a layout, in any order.

    Raises:
        ConfigError: one is missing, unknown or there twice.
    """
    own = layout.own
    names = [column.name for column in (*own.temporal, *own.static, *own.condition)]
    if unknown := [str(name) for name in frame.columns if name not in names]:
        raise ConfigError(
            f"the generator has no column {unknown[0]!r}; it has {', '.join(names)}: take the column out"
        )
    if missing := [name for name in names if name not in frame.columns]:
        raise ConfigError(f"the table has no column {missing[0]!r}: add it, empty if nothing of it is known")
    if not frame.columns.is_unique:
        raise ConfigError("two columns of the table have the same name")


def check_given(columns: Sequence[Column], codes: Floats) -> None:
    """Refuse conditions that are not known; codes have shape (columns,).

    Raises:
        DataError: one is NaN.
    """
    for column, code in zip(columns, codes, strict=True):
        if np.isnan(code) and not column.optional and not column.level_of:
            raise DataError(f"column {column.name!r} is given to the generator: it must not be empty")


def cell_codes(column: Column, cells: pd.Series[Any]) -> Floats:
    """Codes, shape (rows,), NaN where a cell is empty; of a differenced column not differenced.

    Raises:
        DataError: a cell is no value of the column.
    """
    empty = cells.isna().to_numpy(dtype=bool)
    codes = np.full(len(cells), np.nan)
    if column.kind == "continuous":
        numbers = pd.to_numeric(cells[~empty], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        codes[~empty] = numbers
        logarithmic = column.transform in ("log", "log_difference")
        _refuse(column, cells, ~empty & ~np.isfinite(codes), "is no number")
        texts = np.array([isinstance(cell, str) for cell in cells], dtype=bool)
        _refuse(column, cells, texts, "is text, no number: write the column as numbers")
        _refuse(column, cells, ~empty & logarithmic & ~(codes > 0), "has no logarithm")
        plain = Column(column.name, transform="log" if logarithmic else "none")
        return transformed(plain, codes)
    for value in cells[~empty].unique():
        same = ~empty & (cells == value).to_numpy(dtype=bool, na_value=False)
        place = place_of(column, value)
        known = ", ".join(map(repr, column.categories[:50]))
        _refuse(column, cells, same & (place is None), f"is none of the categories {known}")
        codes[same] = np.nan if place is None else place
    return codes


def _refuse(column: Column, cells: pd.Series[Any], wrong: NDArray[np.bool_], why: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(f"column {column.name!r}, row {row + 1}: {cells.iloc[row]!r} {why}")


def constant_code(column: Column, frame: pd.DataFrame) -> float:
    """The code of a static column; NaN if it is empty, and of a level.

    Raises:
        DataError: it has several values.
    """
    if column.level_of:
        return float("nan")
    codes = cell_codes(column, frame[column.name])
    found = np.unique(codes[~np.isnan(codes)])
    if len(found) > 1:
        raise DataError(
            f"column {column.name!r} has one value a series, the table has {len(found)}: fill each alone"
        )
    return float(found[0]) if len(found) else float("nan")


def joined_cells(column: Column, table: pd.Series[Any], codes: Floats) -> pd.Series[Any]:
    """The table's cells, each as it is, and the drawn ones where it has none; codes (draws, rows)."""
    draws, rows = codes.shape
    empty = np.ones(rows, dtype=bool)
    empty[: len(table)] = table.isna()
    if not empty.any():
        return pd.concat([table] * draws, ignore_index=True)
    empty = np.tile(empty, draws)
    drawn = to_series(column, _original(column, codes.ravel()))[empty]
    kind = _type(table, drawn)
    known = table.reset_index(drop=True).astype(kind).reindex(range(rows))
    found: pd.Series[Any] = pd.concat([known] * draws, ignore_index=True)
    found[empty] = drawn.astype(kind)
    return found.infer_objects() if kind == "object" else found


def _type(table: pd.Series[Any], drawn: pd.Series[Any]) -> Literal["object", "Int64", "float64"]:
    """Of a column that holds both; whole numbers stay whole: they may have more digits than float64 holds."""
    types = pd.api.types
    if not types.is_numeric_dtype(table.dtype) or types.is_bool_dtype(table.dtype):
        return "object"
    if not types.is_integer_dtype(table.dtype) or not types.is_numeric_dtype(drawn.dtype):
        return "float64"
    return "Int64" if bool((drawn.dropna() % 1 == 0).all()) else "float64"


def _original(column: Column, codes: Floats) -> Floats:
    if column.transform == "log_difference":
        return np.asarray(np.rint(np.exp(codes)) if column.integer else np.exp(codes))
    return original(column, codes)
