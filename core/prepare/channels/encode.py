"""Between cells as the user knows them and the channels that encode them, both ways.

A *code* is a cell as one number: of a continuous column its transformed value (see
`core.prepare.channels.transforms`; without a transform the value itself), of a binary or categorical one the
place of the value among the column's categories; NaN where the cell is missing.

This module is carried by registered models: it needs NumPy and pandas alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import DataError
from core.prepare.channels.layout import Column, Layout, WindowArrays, spans, width
from core.prepare.channels.scaler import MinMaxScaler, scaled, unscaled

TOLERANCE = 1e-6
"""How far beyond [0, 1] float32 rounding may carry a channel: less is not counted as outside."""

WHOLE = ("none", "difference")
"""Transforms that leave whole numbers whole."""

_CACHED = 256
"""Rows whose intermediate results stay in the processor's cache."""


def encode(columns: Sequence[Column], codes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Channels of rows.

    Args:
        columns: What the rows hold.
        codes: Shape (..., columns), NaN where a cell is missing.

    Returns:
        Shape (..., channels): see `core.prepare.channels.layout`.

    Raises:
        DataError: a cell is missing in a column that is not optional, or lies beyond what float32 can hold.
    """
    plain = _encoded_at_once(columns, codes)
    if plain is not None:
        return plain
    channels = np.zeros((*codes.shape[:-1], width(_blocks(columns))), dtype=np.float32)
    for place, (column, span) in enumerate(zip(columns, spans(_blocks(columns)), strict=True)):
        cells = codes[..., place]
        there = ~np.isnan(cells)
        if span.presence is not None:
            channels[..., span.presence] = there
        elif not there.all():
            raise DataError(
                f"column {column.name!r}: {int((~there).sum())} cells are missing, but none was when the "
                "layout was made: fill them in or choose missing.policy=mask"
            )
        if column.kind == "categorical":
            channels[..., span.values] = cells[..., None] == np.arange(len(column.categories))
        else:
            channels[..., span.values] = np.where(there, _channel(column, cells), 0)[..., None]
    return channels


def decode(columns: Sequence[Column], channels: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Codes of rows: what `encode` undoes, also for channels that are not exactly 0 or 1.

    A presence or binary channel counts as 1 from 1/2 on, a category is the largest of its channels, and
    continuous columns of whole numbers are rounded to them, unless their codes are logarithms.

    Args:
        columns: What the rows hold.
        channels: Shape (..., channels).

    Returns:
        Shape (..., columns), NaN where a cell is missing.
    """
    codes = np.empty((*channels.shape[:-1], len(columns)), dtype=np.float64)
    for place, (column, span) in enumerate(zip(columns, spans(_blocks(columns)), strict=True)):
        values = channels[..., span.values]
        if column.kind == "categorical":
            cells = values.argmax(axis=-1).astype(np.float64)
        elif column.kind == "binary":
            cells = (values[..., 0] >= 0.5).astype(np.float64)
        else:
            cells = unscaled(column, values[..., 0])
            cells = np.rint(cells) if column.integer and column.transform in WHOLE else cells
        if span.presence is not None:
            cells = np.where(channels[..., span.presence] >= 0.5, cells, np.nan)
        codes[..., place] = cells
    return codes


def count_outside(columns: Sequence[Column], channels: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many cells of continuous columns lie outside what a generator can make: [0, 1], or 0 if constant.

    Args:
        columns: What the rows hold.
        channels: Shape (..., channels).

    Returns:
        Shape (columns,).
    """
    if not columns:
        return np.zeros(0, dtype=np.int64)
    rows = channels.reshape(-1, channels.shape[-1])
    most = np.ones(rows.shape[1], dtype=np.float32)
    places = [span.values.start for span in spans(_blocks(columns))]
    for column, place in zip(columns, places, strict=True):
        if column.kind == "continuous" and column.minimum == column.maximum:
            most[place] = 0
    beyond = ((rows < -TOLERANCE) | (rows > most + np.float32(TOLERANCE))).sum(axis=0)
    continuous = [column.kind == "continuous" for column in columns]
    return np.where(continuous, beyond[places], 0).astype(np.int64)


def to_series(column: Column, codes: NDArray[np.float64]) -> pd.Series[Any]:
    """A column's cells as the user knows them; the type depends on the column alone, never on the cells.

    Args:
        column: What the cells are.
        codes: Shape (rows,).

    Returns:
        Numbers as float64 (NaN where missing), categories that are whole numbers as int64 and booleans as
        bool unless the column is optional (then float64 and objects with None), text as str.
    """
    if column.kind == "continuous":
        return pd.Series(codes, name=column.name, dtype="float64")
    missing = np.isnan(codes)
    places = np.where(missing, 0, codes).astype(np.int64)
    values = np.array(column.categories, dtype=object)[places]
    values[missing] = np.nan if category_type(column) in ("integer", "number") else None
    return pd.Series(values, name=column.name, dtype=_dtype(column))


def category_type(column: Column) -> Literal["text", "boolean", "integer", "number"]:
    """Of what type a column's cells are; a continuous one's are numbers."""
    if column.kind == "continuous":
        return "number"
    kinds = {type(value) for value in column.categories}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "integer"
    return "number" if kinds <= {int, float} else "text"


def channel_names(columns: Sequence[Column]) -> list[str]:
    """One name a channel: `price present`, `price`, `type=login`; of a binary column that of its 1."""
    names: list[str] = []
    for column in columns:
        if column.optional:
            names.append(f"{column.name} present")
        if column.kind == "categorical":
            names += [f"{column.name}={value}" for value in column.categories]
        elif column.kind == "binary" and column.categories not in ((0, 1), (False, True)):
            names.append(f"{column.name}={column.categories[1]}")
        else:
            names.append(column.name)
    return names


def joined(windows: WindowArrays) -> NDArray[np.float32]:
    """Static channels, conditions and the channels of each step as one array, 0 past a window's end.

    Returns:
        Shape (N, length, static + condition + temporal channels), named by `joined_names`.
    """
    length = windows.values.shape[1]
    inside = np.arange(length) < windows.lengths[:, None]
    constant = np.concatenate([windows.static, windows.condition], axis=1)[:, None, :] * inside[..., None]
    return np.concatenate([constant, windows.values], axis=2, dtype=np.float32)


def joined_names(layout: Layout) -> list[str]:
    """Names of the channels of `joined`."""
    return channel_names((*layout.static, *layout.condition, *layout.temporal))


def _blocks(columns: Sequence[Column]) -> list[Any]:
    return [column.block for column in columns]


def _encoded_at_once(columns: Sequence[Column], codes: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """Channels where one formula does for all columns and every cell has one, else None."""
    alike = (c.kind == "continuous" and not c.optional and not c.quantiles for c in columns)
    if not columns or not all(alike):
        return None
    both = ([float(getattr(column, end)) for column in columns] for end in ("minimum", "maximum"))
    scaler = MinMaxScaler(*(np.array(ends) for ends in both))
    # As long as the rows that they meet: NumPy walks through equal shapes at once, through others row by row.
    low, span = (np.tile(row, (_CACHED, 1)) for row in (scaler.minimum, scaler.span))
    part = np.empty_like(low)
    channels = np.empty(codes.shape, dtype=np.float32)
    rows, found = codes.reshape(-1, len(columns)), channels.reshape(-1, len(columns))
    with np.errstate(over="ignore"):
        for start in range(0, len(rows), _CACHED):
            block = rows[start : start + _CACHED]
            size = len(block)
            np.subtract(block, low[:size], out=part[:size])
            np.divide(part[:size], span[:size], out=part[:size])
            found[start : start + size] = part[:size]
    return channels if np.isfinite(channels).all() else None


def _channel(column: Column, cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Its value channel, NaN where a cell is missing, shape kept."""
    if column.kind != "continuous":
        return cells
    with np.errstate(over="ignore"):
        numbers = scaled(column, cells)
    far = np.abs(numbers) > np.finfo(np.float32).max
    if far.any():
        raise DataError(
            f"column {column.name!r}: {int(far.sum())} cells, such as {cells[far][0]:g}, lie so far outside "
            f"{column.minimum:g} to {column.maximum:g} that float32 cannot hold them; choose the scaler minmax "
            "or quantile, or mend them"
        )
    return numbers


def _dtype(column: Column) -> str:
    kind = category_type(column)
    if column.optional:
        return {"text": "str", "boolean": "object", "integer": "float64", "number": "float64"}[kind]
    return {"text": "str", "boolean": "bool", "integer": "int64", "number": "float64"}[kind]
