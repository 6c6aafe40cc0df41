"""Between cells as the user knows them and the channels that encode them, both ways, and to another layout.

A *code* is a cell as one number: of a continuous column the value itself in original units, of a binary or
categorical one the place of the value among the column's categories; NaN where the cell is missing.

This module is carried by registered models: it needs NumPy and pandas alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.prepare.layout import Column, Layout, WindowArrays, spans, width
from core.prepare.scaler import MinMaxScaler

TOLERANCE = 1e-6
"""How far beyond [0, 1] float32 rounding may carry a channel: less is not counted as outside."""

Part = Literal["temporal", "static", "condition"]


def encode(columns: Sequence[Column], codes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Channels of rows.

    Args:
        columns: What the rows hold.
        codes: Shape (..., columns), NaN where a cell is missing.

    Returns:
        Shape (..., channels): see `core.prepare.layout`.

    Raises:
        DataError: a cell is missing in a column that is not optional.
    """
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
            hot = cells[..., None] == np.arange(len(column.categories))
            channels[..., span.values] = hot
        else:
            scaled = _scaler(column).transform(cells) if column.kind == "continuous" else cells
            channels[..., span.values] = np.where(there, scaled, 0)[..., None]
    return channels


def decode(columns: Sequence[Column], channels: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Codes of rows: what `encode` undoes, also for channels that are not exactly 0 or 1.

    A presence or binary channel counts as 1 from 1/2 on, a category is the largest of its channels, and
    continuous columns of whole numbers are rounded to them.

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
            cells = _scaler(column).inverse(values[..., 0])
            cells = np.rint(cells) if column.integer else cells
        if span.presence is not None:
            cells = np.where(channels[..., span.presence] >= 0.5, cells, np.nan)
        codes[..., place] = cells
    return codes


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


def encode_values(columns: Sequence[Column], values: Mapping[str, Any]) -> NDArray[np.float32]:
    """Channels of one row whose values a user gives: the condition of a generator.

    Values are matched to categories as they are or, where they are text (from a command line), by how the
    category is written; None is a missing cell.

    Args:
        columns: What there is; every one needs a value.
        values: By column.

    Returns:
        Shape (channels,).

    Raises:
        ConfigError: a column that is not there or lacks a value, or a value that the column never had.
    """
    known = [column.name for column in columns]
    if not columns:
        raise ConfigError(f"the generator takes no condition, got {', '.join(map(str, values))}: leave it out")
    unknown = [str(name) for name in values if name not in known]
    if unknown or len(values) < len(known):
        wrong = f"there is no {unknown[0]!r}" if unknown else "some are not given"
        raise ConfigError(f"a condition needs a value for each of {', '.join(known)}: {wrong}")
    codes = np.array([_code(column, values[column.name]) for column in columns], dtype=np.float64)
    return encode(columns, codes)


def recode(
    values: NDArray[np.float32], old: Layout, new: Layout, part: Part = "temporal"
) -> tuple[NDArray[np.float32], int]:
    """Channels of one layout as those of another: continuous ones by its range, categories by their values.

    Both layouts have the same columns of the same kinds in the same order; ranges, categories and whether
    cells may be missing may differ. Nothing is clipped.

    Args:
        values: Shape (..., channels of `old`).
        old: What the values mean.
        new: What they shall mean.
        part: Which columns.

    Returns:
        Shape (..., channels of `new`), and how many continuous values lie outside [0, 1] there.

    Raises:
        DataError: the columns differ, or a cell holds a category or is missing where `new` knows no such.
    """
    before, after = getattr(old, part), getattr(new, part)
    _check_same(before, after)
    if [replace(column, integer=False) for column in before] == [replace(c, integer=False) for c in after]:
        # The same bits, not what two roundings make of them.
        return values, _outside(after, values)
    exact = [replace(column, integer=False) for column in before]
    codes = decode(exact, values)
    for place, (source, target) in enumerate(zip(before, after, strict=True)):
        codes[..., place] = _recoded(source, target, codes[..., place])
    recoded = encode(after, codes)
    return recoded, _outside(after, recoded)


def recode_windows(windows: WindowArrays, old: Layout, new: Layout) -> tuple[WindowArrays, int]:
    """`recode` of windows; what stands past a window's end stays 0 and is not counted.

    Raises:
        DataError: see `recode`.
    """
    inside = np.arange(windows.values.shape[1]) < windows.lengths[:, None]
    rows, outside = recode(windows.values[inside], old, new)
    values = np.zeros((*inside.shape, rows.shape[-1]), dtype=np.float32)
    values[inside] = rows
    static, outside_static = recode(windows.static, old, new, "static")
    condition, outside_condition = recode(windows.condition, old, new, "condition")
    arrays = WindowArrays(values, static, condition, windows.lengths)
    return arrays, outside + outside_static + outside_condition


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


def _scaler(column: Column) -> MinMaxScaler:
    return MinMaxScaler(np.float64(column.minimum), np.float64(column.maximum))  # type: ignore[arg-type]


def _dtype(column: Column) -> str:
    kind = category_type(column)
    if column.optional:
        return {"text": "str", "boolean": "object", "integer": "float64", "number": "float64"}[kind]
    return {"text": "str", "boolean": "bool", "integer": "int64", "number": "float64"}[kind]


def _code(column: Column, value: Any) -> float:
    if value is None and column.optional:
        return float("nan")
    if column.kind == "continuous":
        return _number(column, value)
    for place, category in enumerate(column.categories):
        if _matches(value, category):
            return float(place)
    known = ", ".join(repr(category) for category in column.categories[:50])
    raise ConfigError(f"{column.name} is never {value!r}; it is one of {known}")


def _matches(value: Any, category: Any) -> bool:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and isinstance(category, bool):
        return value.casefold() == str(category).casefold()
    if isinstance(value, str) and not isinstance(category, str):
        try:
            return bool(float(value) == category)
        except ValueError:
            return False
    # `True == 1` in Python, but a column of booleans has no 1.
    return bool(value == category) and isinstance(value, bool) == isinstance(category, bool)


def _number(column: Column, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not column.minimum <= number <= column.maximum:
        raise ConfigError(
            f"{column.name} must be a number from {column.minimum:g} to {column.maximum:g}, as in the "
            f"training data, got {value!r}"
        )
    return number


def _check_same(before: Sequence[Column], after: Sequence[Column]) -> None:
    listed = [", ".join(f"{column.name} ({column.kind})" for column in columns) for columns in (before, after)]
    if listed[0] != listed[1]:
        raise DataError(
            f"the layouts do not have the same columns: {listed[0] or 'none'} against {listed[1] or 'none'}; "
            "bring data with the same columns and roles, or train from the start"
        )


def _recoded(old: Column, new: Column, codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Codes of `old` as those of `new`, shape kept."""
    missing = np.isnan(codes)
    if missing.any() and not new.optional:
        raise DataError(
            f"column {new.name!r}: {int(missing.sum())} cells are missing, but the layout to recode to knows "
            "no missing cells: fill them in, or train from the start"
        )
    if new.kind == "continuous":
        return codes
    places = np.array(
        [new.categories.index(value) if value in new.categories else -1 for value in old.categories]
    )
    found = places[np.where(missing, 0, codes).astype(np.int64)]
    unknown = (found < 0) & ~missing
    if unknown.any():
        value = old.categories[int(codes[unknown][0])]
        known = ", ".join(map(repr, new.categories[:50]))
        raise DataError(
            f"column {new.name!r} holds {value!r} ({int(unknown.sum())} cells of unknown categories), but the "
            f"layout to recode to knows {known}: take those rows out, or train from the start"
        )
    return np.where(missing, np.nan, found)


def _outside(columns: Sequence[Column], channels: NDArray[np.float32]) -> int:
    count = 0
    for column, span in zip(columns, spans(_blocks(columns)), strict=True):
        if column.kind == "continuous":
            values = channels[..., span.values]
            count += int(((values < -TOLERANCE) | (values > 1 + TOLERANCE)).sum())
    return count
