"""Channels of one layout as those of another.

This module is carried by registered models: it needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.prepare.channels.encode import count_outside, decode, encode
from core.prepare.channels.layout import Column, Layout, WindowArrays

Part = Literal["temporal", "static", "condition"]


def recode(
    values: NDArray[np.float32], old: Layout, new: Layout, part: Part = "temporal"
) -> tuple[NDArray[np.float32], int]:
    """Channels of one layout as those of another: continuous ones by its scaler, categories by their values.

    Both layouts have the same columns of the same kinds and transforms in the same order; scalers, ranges,
    categories and whether cells may be missing may differ. Nothing is clipped.

    Args:
        values: Shape (..., channels of `old`).
        old: What the values mean.
        new: What they shall mean.
        part: Which columns.

    Returns:
        Shape (..., channels of `new`), and how many cells lie outside there, see `count_outside`.

    Raises:
        DataError: the columns differ, or a cell holds a category or is missing where `new` knows no such.
    """
    before, after = getattr(old, part), getattr(new, part)
    _check_same(before, after)
    if [replace(column, integer=False) for column in before] == [replace(c, integer=False) for c in after]:
        # The same bits, not what two roundings make of them.
        return values, int(count_outside(after, values).sum())
    exact = [replace(column, integer=False) for column in before]
    codes = decode(exact, values)
    for place, (source, target) in enumerate(zip(before, after, strict=True)):
        codes[..., place] = _recoded(source, target, codes[..., place])
    recoded = encode(after, codes)
    return recoded, int(count_outside(after, recoded).sum())


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


def _check_same(before: Sequence[Column], after: Sequence[Column]) -> None:
    listed = [", ".join(map(_described, columns)) for columns in (before, after)]
    if listed[0] != listed[1]:
        raise DataError(
            f"the layouts do not have the same columns: {listed[0] or 'none'} against {listed[1] or 'none'}; "
            "bring data with the same columns, roles and transforms, or train from the start"
        )


def _described(column: Column) -> str:
    kind = column.kind if column.transform == "none" else f"{column.transform} of {column.kind}"
    return f"{column.name} ({kind})"


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
