"""From mended blocks in original units to codes, and the fits that need all rows in their order or at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.prepare.channels.layout import Column
from core.prepare.channels.scaler import ScalerFit
from core.prepare.channels.transforms import is_differenced, level_column, levels_before, transformed
from core.prepare.rows.missing import Filling, filled
from core.prepare.rows.stream import Chronology, Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Coder:
    """Codes of chronological rows, block by block: read, filled, transformed."""

    chronology: Chronology
    ns: NDArray[np.int64] | None
    """Shape (rows,): stamps, or None without time."""
    starts: Mask
    """Shape (rows,): the first row of each stretch without a gap."""
    fillings: dict[str, Filling]
    """By column of which missing cells are filled."""
    ends: Mask | None = None
    """Shape (rows,): rows to learn from past which filling looks for no value, see `filled`."""

    def blocks(
        self, columns: Sequence[Column], scratch: Path | None = None
    ) -> Iterator[tuple[slice, Floats, Floats]]:
        """Rows, their codes, and the codes of the level before each; NaN where there is none.

        The codes have shape (rows, columns), the levels (rows, differenced columns).
        """
        fillings = [
            replace(filling, place=place)
            for place, column in enumerate(columns)
            if (filling := self.fillings.get(column.name)) is not None
        ]
        changed = [place for place, column in enumerate(columns) if column.transform != "none"]
        start, before = 0, np.full(len(columns), np.nan)
        for block in filled(self.chronology.blocks(columns, scratch), fillings, self.ns, self.ends):
            rows = slice(start, start + len(block))
            levels, last = _levels(columns, block, before, self.starts[rows]), block[-1].copy()
            for place in changed:
                block[:, place] = transformed(
                    columns[place], block[:, place], float(before[place]), self.starts[rows]
                )
            yield rows, block, levels
            start, before = rows.stop, last


def _levels(columns: Sequence[Column], block: Floats, before: Floats, starts: Mask) -> Floats:
    """Shape (rows, differenced columns)."""
    places = [place for place, column in enumerate(columns) if is_differenced(column)]
    levels = np.empty((len(block), len(places)))
    for target, place in enumerate(places):
        levels[:, target] = levels_before(columns[place], block[:, place], float(before[place]), starts)
    return levels


def fit_late(coder: Coder, column: Column, learnt: Mask) -> tuple[Column, Column | None]:
    """Fit a column on its own, in the order of time.

    Differences are fitted as they are learnt, those of filled cells with them; other values where they were
    there.

    Args:
        coder: The rows.
        column: What to fit.
        learnt: Shape (rows,): those to fit to.

    Returns:
        The column, and of a differenced one the level before a window.

    Raises:
        DataError: there is no value to learn from, or the range is too wide.
    """
    differenced = is_differenced(column)
    fit, level_fit = ScalerFit(column), ScalerFit(level_column(column))
    if not differenced:
        coder = Coder(coder.chronology, coder.ns, coder.starts, {})
    for rows, codes, levels in coder.blocks((column,)):
        fit.update(_there(codes[learnt[rows], 0]))
        if differenced:
            level_fit.update(_there(levels[learnt[rows], 0]))
    return fit.finish(), level_fit.finish() if differenced else None


def _there(codes: Floats) -> Floats:
    return codes[~np.isnan(codes)]
