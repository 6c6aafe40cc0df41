"""Between values in original units and codes, the numbers that are scaled (see `core.prepare.channels.scaler`).

The code of the value x[t] of a continuous column is

    none             x[t]
    log              log x[t]
    difference       x[t] - x[t-1]
    log_difference   log x[t] - log x[t-1]

so that the first row of a segment has none of the last two. What they leave out, the level before a window, is
a static column with one value a window: x[t-1] at the window's first row t, of transform `log` for
`log_difference`.

This module is carried by registered models: it needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.prepare.channels.encode import decode
from core.prepare.channels.layout import Column, Layout, WindowArrays

Floats = NDArray[np.float64]


def transformed(
    column: Column, levels: Floats, before: float = np.nan, starts: NDArray[np.bool_] | None = None
) -> Floats:
    """Codes of a continuous column's rows.

    Args:
        column: Its `transform` says which; values that are logarithmised must be above 0.
        levels: Shape (rows,), original units, NaN where missing or not to be used.
        before: The level of the row before the first one, NaN if there is none.
        starts: Shape (rows,), True where a row begins a segment: it has no row before it. None if no row does.

    Returns:
        Shape (rows,), NaN where a level is missing, and of differences where the one before is.
    """
    if column.transform == "none":
        return levels
    codes = np.log(levels) if column.transform in ("log", "log_difference") else levels
    if column.transform == "log":
        return codes
    return codes - levels_before(column, levels, before, starts)


def levels_before(
    column: Column, levels: Floats, before: float = np.nan, starts: NDArray[np.bool_] | None = None
) -> Floats:
    """Codes of `level_column(column)` at each row of a differenced column: arguments as in `transformed`."""
    shifted = np.concatenate([[before], levels[:-1]]) if len(levels) else levels
    if starts is not None:
        shifted = np.where(starts, np.nan, shifted)
    return transformed(level_column(column), shifted)


def level_column(column: Column) -> Column:
    """The static column of the level before each window of a differenced column, not fitted yet."""
    return Column(
        f"{column.name} before",
        integer=column.integer,
        transform="log" if column.transform == "log_difference" else "none",
        level_of=column.name,
    )


def is_differenced(column: Column) -> bool:
    """Whether a level column belongs to it."""
    return column.transform in ("difference", "log_difference")


def original(column: Column, codes: Floats) -> Floats:
    """Values of a column that is not differenced in original units, shape kept; other kinds' codes."""
    if column.transform != "log":
        return codes
    values = np.exp(codes)
    return np.asarray(np.rint(values) if column.integer else values)


@dataclass(frozen=True)
class DecodedWindows:
    """Windows in original units; of binary and categorical columns codes, see `core.prepare.channels.encode`.

    NaN where a cell is missing.
    """

    static: Floats
    """Shape (N, static columns)."""
    condition: Floats
    """Shape (N, conditions)."""
    temporal: Floats
    """Shape (N, length, columns); NaN past a window's end."""


def decode_windows(
    layout: Layout, windows: WindowArrays, levels: Mapping[str, Floats] | None = None
) -> DecodedWindows:
    """What encoded windows say in original units: logarithms undone, differences added up from their level.

    Args:
        layout: Of the windows.
        windows: Encoded.
        levels: Codes of the level before each window by differenced column, each of shape (N,), in place of
            what the windows' static columns say.

    Raises:
        DataError: there is no level of a differenced column.
    """
    static = decode(layout.static, windows.static)
    condition = decode(layout.condition, windows.condition)
    temporal = decode(layout.temporal, windows.values)
    known = {
        column.level_of: codes
        for columns, part in ((layout.static, static), (layout.condition, condition))
        for column, codes in zip(columns, part.T, strict=True)
    }
    for place, column in enumerate(layout.temporal):
        temporal[..., place] = _undone(column, temporal[..., place], known if levels is None else levels)
    temporal[np.arange(temporal.shape[1]) >= windows.lengths[:, None]] = np.nan
    for columns, part in ((layout.static, static), (layout.condition, condition)):
        for place, column in enumerate(columns):
            part[:, place] = original(column, part[:, place])
    return DecodedWindows(static, condition, temporal)


def _undone(column: Column, codes: Floats, levels: Mapping[str, Floats]) -> Floats:
    """Original units, shape (N, length) kept."""
    if not is_differenced(column):
        return original(column, codes)
    if column.name not in levels:
        raise DataError(
            f"column {column.name!r} is differenced, but no static column holds the level before a window"
        )
    summed = levels[column.name][:, None] + np.cumsum(codes, axis=1)
    values = np.exp(summed) if column.transform == "log_difference" else summed
    return np.asarray(np.rint(values) if column.integer else values)
