"""What the readers of time stamps (typed, numbers, text) have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

LIMIT = 2**63 - 1
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclass(frozen=True)
class Parsed:
    """A piece of a column, read. All arrays have the shape (rows,)."""

    ns: NDArray[np.int64]
    """Nanoseconds since 1970, 0 where there is no stamp."""
    missing: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    """Stamps that 64-bit nanoseconds have no room for."""
    bare: NDArray[np.bool_] | None = None
    """Stamps without an offset; None if none has one."""
    offsets: frozenset[str] = field(default=frozenset())
    """Offsets that occur."""


@dataclass(frozen=True)
class Form:
    """How the stamps of a column are to be read."""

    parse: Callable[[pa.ChunkedArray], Parsed]
    why: str = ""
    """What is wrong with a cell that cannot be read."""
    timezone: str | None = None
    """Of every stamp; None if they say it themselves, or have none."""


def from_units(
    values: NDArray[np.int64],
    unit: str,
    missing: NDArray[np.bool_],
    unreadable: NDArray[np.bool_] | None = None,
) -> Parsed:
    """Whole numbers of a unit since 1970, shape (rows,), as stamps."""
    factor = NANOSECONDS[unit]
    unreadable = np.zeros(len(values), dtype=bool) if unreadable is None else unreadable
    # The least of 64 bits has no absolute value.
    outside = (values > LIMIT // factor) | (values < -(LIMIT // factor))
    ns = values * factor if factor > 1 else values.copy()
    ns[outside | missing | unreadable] = 0
    return Parsed(ns, missing, unreadable & ~missing, outside & ~missing)
