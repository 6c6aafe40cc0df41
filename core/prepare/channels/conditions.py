"""What a user gives to a generator that is conditioned on static columns.

This module is carried by registered models: it needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.prepare.channels.encode import encode
from core.prepare.channels.layout import Column
from core.prepare.channels.transforms import original, transformed


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


def _code(column: Column, value: Any) -> float:
    if value is None and column.optional:
        return float("nan")
    if column.kind == "continuous":
        return _number(column, value)
    place = place_of(column, value)
    if place is not None:
        return float(place)
    known = ", ".join(repr(category) for category in column.categories[:50])
    raise ConfigError(f"{column.name} is never {value!r}; it is one of {known}")


def place_of(column: Column, value: Any) -> int | None:
    """Place of a value among a column's categories, matched as in `encode_values`; None if it is not there."""
    return next((n for n, category in enumerate(column.categories) if _matches(value, category)), None)


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
    """The code of a number in original units."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    low, high = original(column, np.array([column.minimum, column.maximum])).tolist()
    # A logarithm and its undoing may miss the ends by a rounding.
    slack = 1e-12 * max(abs(low), abs(high)) if column.transform == "log" else 0.0
    if not low - slack <= number <= high + slack:
        raise ConfigError(
            f"{column.name} must be a number from {low:g} to {high:g}, as in the training data, got {value!r}"
        )
    return float(transformed(column, np.array([number]))[0])
