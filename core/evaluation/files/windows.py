"""Windows that anybody made, as arrays that can be judged, and whether two sets can be compared."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import DataError
from core.evaluation.checks import checked_pair

logger = logging.getLogger(__name__)

MAX_CATEGORIES = 1000
"""Of a column; each is a feature of its own to the judges."""


@dataclass(frozen=True)
class WindowSet:
    """Windows as rows of columns."""

    rows: pd.DataFrame
    """A row for each step, window after window: numbers, booleans and text as they come."""
    lengths: NDArray[np.int64]
    """Shape (N,), at least 1: steps of each window."""
    named: bool = True
    """The names of the columns are the file's own."""
    times: pd.DataFrame | None = None
    """Columns of times, likewise; they are no features."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.rows.columns)

    def frame(self, windows: int | None = None) -> pd.DataFrame:
        """The rows of all windows, or of the first ones, with the columns `window` and `step`, from 0."""
        lengths = self.lengths[:windows]
        step = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = self.rows if self.times is None else pd.concat([self.rows, self.times], axis=1)
        return rows[: len(step)].assign(window=np.repeat(np.arange(len(lengths)), lengths), step=step)


@dataclass(frozen=True)
class WindowPair:
    """Real and synthetic windows with the same features in the same order, and arrays of them to judge."""

    sets: tuple[WindowSet, WindowSet]
    """Under the real windows' names."""
    real: NDArray[Any]
    """Shape (N, T, D), finite."""
    synthetic: NDArray[Any]
    """Shape (M, T, D), finite."""
    features: tuple[str, ...]
    """D names."""
    variable: bool
    """Windows differ in length."""


def judged_pair(real: WindowSet, synthetic: WindowSet) -> WindowPair:
    """Two sets as arrays that can be judged.

    Columns are brought together by their names, or by their places where a set has none. A column of text or
    booleans becomes a feature of 0 and 1 for each category of the two sets, called `column=category`, in
    sorted order; all are 0 where the cell is missing. Where windows of a set differ in length, whether a row
    is there is a feature of its own before the others, and all are 0 past a window's end.

    Raises:
        DataError: the columns are not the same or not of the same type, one has too many categories, or the
            sets cannot be compared, see
            `core.evaluation.checks.checked_pair`.
    """
    sets = real, _in_order(real, synthetic)
    rows, features = _encoded(*(kind.rows for kind in sets))
    steps = [int(kind.lengths.max()) for kind in sets]
    variable = any(len(np.unique(kind.lengths)) > 1 for kind in sets)
    if variable:
        features, steps = ("row present", *features), [max(steps)] * 2
        rows = [np.insert(kind, 0, 1, axis=1) for kind in rows]
    first, second = (
        _windows(kind, each.lengths, most) for kind, each, most in zip(rows, sets, steps, strict=True)
    )
    checked_pair(first, second, np.float64)
    return WindowPair(sets, first, second, features, variable)


def _in_order(real: WindowSet, synthetic: WindowSet) -> WindowSet:
    """The synthetic windows with the real ones' columns, in their order."""
    by_name = real.named and synthetic.named
    names = [", ".join(kind.columns) for kind in (real, synthetic)]
    if by_name and sorted(real.columns) != sorted(synthetic.columns):
        raise DataError(f"real and synthetic windows must have the same features, got {' and '.join(names)}")
    if len(real.columns) != len(synthetic.columns):
        counts = [len(kind.columns) for kind in (real, synthetic)]
        raise DataError(
            f"real and synthetic windows must have the same features, got {counts[0]} ({names[0]}) and "
            f"{counts[1]} ({names[1]})"
        )
    if by_name:
        return replace(synthetic, rows=synthetic.rows[list(real.columns)])
    if synthetic.named or real.named:
        logger.info("columns are compared by their places: %s as %s", names[1], names[0])
    return replace(synthetic, rows=synthetic.rows.set_axis(real.rows.columns, axis=1), named=True)


def _encoded(real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[list[NDArray[Any]], tuple[str, ...]]:
    """Rows of features of both, and the features' names."""
    names = [str(name) for name in real]
    if all(_is_number(rows[name]) for rows in (real, synthetic) for name in names):
        return [real.to_numpy(), synthetic.to_numpy()], tuple(names)
    found: list[tuple[NDArray[Any], NDArray[Any]]] = []
    features: list[str] = []
    for name in names:
        columns = real[name], synthetic[name]
        if all(map(_is_number, columns)):
            features.append(name)
            found.append((columns[0].to_numpy(), columns[1].to_numpy()))
            continue
        categories = _categories(name, *columns)
        codes = [pd.Categorical(column, categories=categories).codes for column in columns]
        features += [f"{name}={category}" for category in categories]
        found += [(codes[0] == place, codes[1] == place) for place in range(len(categories))]
    rows = [np.stack(kind, axis=1, dtype=np.float64) for kind in zip(*found, strict=True)]
    return rows, tuple(features)


def _categories(name: str, real: pd.Series[Any], synthetic: pd.Series[Any]) -> list[Any]:
    """Of both, sorted."""
    categories = {category for column in (real, synthetic) for category in column.dropna()}
    if len(types := {type(category) for category in categories}) > 1:
        shown = " and ".join(sorted(kind.__name__ for kind in types))
        raise DataError(f"column {name!r} must be of the same type in both files, got cells of {shown}")
    if not categories:
        raise DataError(f"column {name!r} has no cells in either file: leave it out")
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"column {name!r} has {len(categories):,} categories, at most {MAX_CATEGORIES:,} can be judged: "
            "group the rare ones, write quantities as numbers, or leave the column out"
        )
    return sorted(categories)


def _is_number(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "fiu"


def _windows(rows: NDArray[Any], lengths: NDArray[np.int64], steps: int) -> NDArray[Any]:
    """Shape (N, steps, D), 0 past a window's end."""
    if (lengths == steps).all():
        return rows.reshape(len(lengths), steps, rows.shape[1])
    values = np.zeros((len(lengths), steps, rows.shape[1]), dtype=rows.dtype)
    values[np.arange(steps) < lengths[:, None]] = rows
    return values
