"""How far apart stamps are: the usual step, and what pandas calls it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError
from core.prepare.time.zones import PIECE, as_ns, distinct, wall_clock

DAY = 86_400 * 10**9
# From the coarsest on: the first whose dates contain every stamp is the step of a series of months.
_MONTHLY = ("YE", "YS", "QE", "QS", "ME", "MS")
_SHORTEST_MONTH = 28 * DAY
_MAX_STEPS = 200_000


def usual_step(ns: NDArray[np.int64], codes: NDArray[np.integer] | None = None) -> int:
    """The positive step between neighbours that occurs most often, in nanoseconds; one day where there is none.

    Of steps that are equally common the shortest; of more than 200,000 different ones the rare are forgotten
    on the way.

    Args:
        ns: Shape (rows,), chronological within a series.
        codes: Shape (rows,): number of the series, equal ones together; None if there is one.
    """
    guess, same, total = 0, 0, 0
    for steps in _steps(ns, codes):
        guess = guess or int(np.partition(steps, len(steps) // 2)[len(steps) // 2])
        same += int((steps == guess).sum())
        total += len(steps)
    if total == 0:
        return DAY
    return guess if 2 * same > total else _most_common(_steps(ns, codes))


def most_common_step(steps: NDArray[np.int64]) -> int:
    """The positive step that occurs most often, the shortest of equals; one day where there is none."""
    positive = steps[steps > 0]
    return _most_common(iter([positive])) if len(positive) else DAY


def _steps(ns: NDArray[np.int64], codes: NDArray[np.integer] | None) -> Iterator[NDArray[np.int64]]:
    """The positive steps, some at a time, never none."""
    for start in range(0, len(ns) - 1, PIECE):
        piece = slice(start, start + PIECE + 1)
        steps = np.diff(ns[piece])
        inside = steps > 0
        if codes is not None:
            inside &= codes[piece][1:] == codes[piece][:-1]
        if inside.any():
            yield steps[inside]


def _most_common(parts: Iterator[NDArray[np.int64]]) -> int:
    values, counts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    for steps in parts:
        more, times = np.unique(steps, return_counts=True)
        values, place = np.unique(np.concatenate([values, more]), return_inverse=True)
        counts = np.bincount(place, weights=np.concatenate([counts, times])).astype(np.int64)
        if len(values) > _MAX_STEPS:
            kept = np.sort(np.argpartition(counts, -_MAX_STEPS)[-_MAX_STEPS:])
            values, counts = values[kept], counts[kept]
    return int(values[np.argmax(counts)])


def infer_frequency(ns: NDArray[np.int64], step: int, timezone: str | None) -> str:
    """The frequency of stamps whose most common step is `step`: months and years by their dates."""
    if step >= _SHORTEST_MONTH:
        clock = _dates(ns, timezone)
        for frequency in _MONTHLY:
            if np.isin(clock, as_ns(dates_between(clock[0], clock[-1], frequency))).all():
                return frequency
    if step % DAY == 0:
        return "D" if step == DAY else f"{step // DAY}D"
    return str(pd.tseries.frequencies.to_offset(pd.Timedelta(step, unit="ns")).freqstr)


def _dates(ns: NDArray[np.int64], timezone: str | None) -> NDArray[np.int64]:
    """The different stamps, ascending, by the clock on the wall."""
    found = np.empty(0, dtype=np.int64)
    for start in range(0, len(ns), PIECE):
        found = distinct(np.concatenate([found, ns[start : start + PIECE]]))
    return distinct(wall_clock(found, timezone))


def dates_between(first: int, last: int, frequency: str) -> pd.DatetimeIndex:
    """Dates of a frequency between two stamps (nanoseconds since 1970), both included.

    Raises:
        ConfigError: a step of the frequency leaves the years 1677 to 2262.
    """
    ends = pd.DatetimeIndex(np.array([first, last], dtype="datetime64[ns]"))
    try:
        return pd.date_range(ends[0], ends[1], freq=frequency)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"time.frequency={frequency} has no dates from {ends[0]} on: {error}") from error


def fixed_step(frequency: str) -> int | None:
    """Nanoseconds of a frequency of fixed length; None for months, weekdays and business days.

    Raises:
        ConfigError: no frequency, or none that goes forward.
    """
    offset = _offset(frequency)
    if isinstance(offset, pd.offsets.Day):
        return int(offset.n) * DAY
    try:
        return int(pd.Timedelta(offset).as_unit("ns").value)
    except ValueError:
        return None


def _offset(frequency: str) -> Any:
    try:
        offset = pd.tseries.frequencies.to_offset(frequency)
        if offset is None or offset.n <= 0:
            raise ValueError("it does not go forward")
    except ValueError as error:
        raise ConfigError(
            f"time.frequency must be a step such as 10min, h, D or MS, got {frequency!r}: {error}"
        ) from error
    return offset
