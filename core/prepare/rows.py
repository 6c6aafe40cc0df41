"""The order of rows, and what is done about missing cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import MissingConfig
from core.errors import DataError

Order = Literal["ascending", "flipped", "sorted", "as given"]


@dataclass(frozen=True)
class Arrangement:
    """Rows of each series together, series in order of appearance, oldest first in each."""

    index: NDArray[np.int64]
    """Shape (rows,): for each place, the row of the source."""
    order: Order
    """What the source's order was turned into it by."""

    @property
    def moved(self) -> int:
        """Rows that are not where the source has them."""
        return int((self.index != np.arange(len(self.index))).sum())


def arrange(
    ns: NDArray[np.int64] | None, codes: NDArray[np.int64] | None, *, newest_first: bool = False
) -> Arrangement:
    """Chronological order, found from the stamps and never assumed.

    Args:
        ns: Shape (rows,), or None if the rows carry no time.
        codes: Shape (rows,): number of the series that a row belongs to, or None if there is one.
        newest_first: Only without `ns`: turn the rows of each series round.
    """
    rows = len(ns) if ns is not None else len(codes) if codes is not None else 0
    codes = np.zeros(rows, dtype=np.int64) if codes is None else codes
    grouped = np.argsort(codes, kind="stable")
    if ns is None:
        if not newest_first:
            return Arrangement(grouped, "as given")
        return Arrangement(np.lexsort((-np.arange(rows), codes)), "flipped")
    steps = np.diff(ns[grouped])[np.diff(codes[grouped]) == 0]
    if (steps >= 0).all():
        return Arrangement(grouped, "ascending")
    order: Order = "flipped" if (steps <= 0).all() else "sorted"
    return Arrangement(np.lexsort((ns, codes)), order)


def series_codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Number of the series of each row, shape (rows,), in order of appearance.

    Raises:
        DataError: a row names no series.
    """
    nameless = np.flatnonzero(np.asarray(column.is_null()))
    if len(nameless):
        raise DataError(
            f"{len(nameless)} rows name no series, first row {nameless[0] + 1}; fill the column in or drop them"
        )
    return np.asarray(column.combine_chunks().dictionary_encode().indices).astype(np.int64)


@dataclass(frozen=True)
class Mended:
    """What became of missing cells."""

    keep: NDArray[np.bool_]
    """Shape (rows,): rows that stay."""
    filled: dict[str, int]
    """Cells filled, by column; columns without any are left out."""
    masked: dict[str, int]
    """Cells that stay missing, likewise."""


def mend_missing(
    values: NDArray[np.float64],
    names: tuple[str, ...],
    missing: MissingConfig,
    segments: Callable[[], NDArray[np.int64]],
    source_row: Callable[[int], int],
) -> Mended:
    """Apply the policy; `forward_fill` changes `values` in place.

    Args:
        values: Codes, shape (rows, features), chronological, NaN where a cell is missing.
        names: Of the features.
        missing: The policy.
        segments: Gives shape (S, 2), stretches without a gap: nothing is carried over one.
        source_row: Row of the source, from 1, of a row of `values`.

    Raises:
        DataError: a cell is missing that the policy does not mend.
    """
    absent = np.isnan(values)
    keep = np.ones(len(values), dtype=bool)
    if not absent.any():
        return Mended(keep, {}, {})
    if missing.policy == "refuse":
        raise DataError(_refusal(absent, names, source_row))
    if missing.policy == "drop_row":
        return Mended(np.asarray(~absent.any(axis=1)), {}, {})
    if missing.policy == "mask":
        counts = zip(names, absent.sum(axis=0), strict=True)
        return Mended(keep, {}, {name: int(count) for name, count in counts if count})
    filled: dict[str, int] = {}
    stretches = segments()
    for feature, name in enumerate(names):
        if absent[:, feature].any():
            filled[name] = int(absent[:, feature].sum())
            _fill(values[:, feature], name, stretches, missing.limit, source_row)
    return Mended(keep, filled, {})


def _fill(
    column: NDArray[np.float64],
    name: str,
    segments: NDArray[np.int64],
    limit: int,
    source_row: Callable[[int], int],
) -> None:
    """Carry the last value of the segment on, at most `limit` rows; `column` has shape (rows,)."""
    rows = np.arange(len(column))
    starts = np.repeat(segments[:, 0], segments[:, 1] - segments[:, 0])
    last = np.maximum.accumulate(np.where(np.isnan(column), -1, rows))
    wrong = np.flatnonzero((last < starts) | (rows - last > limit))
    if len(wrong):
        row = int(wrong[0])
        why = (
            "no value stands before it since the last gap"
            if last[row] < starts[row]
            else f"more than missing.limit={limit} rows in a row are missing"
        )
        raise DataError(
            f"column {name!r}, row {source_row(row)}: {why} ({len(wrong)} such cells); fill them in, raise "
            "missing.limit or choose missing.policy=drop_row or mask"
        )
    column[:] = column[last]


def _refusal(absent: NDArray[np.bool_], names: tuple[str, ...], source_row: Callable[[int], int]) -> str:
    counts = absent.sum(axis=0)
    lines = [
        f"{name!r}: {int(counts[i])}, first in row {source_row(int(np.argmax(absent[:, i])))}"
        for i, name in enumerate(names)
        if counts[i]
    ]
    return (
        f"values are missing: {'; '.join(lines)}; fill them in, or choose missing.policy=drop_row, "
        "forward_fill or mask"
    )
