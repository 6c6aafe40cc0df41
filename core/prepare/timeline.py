"""The grid that a series' stamps should lie on: gaps in it, and its future."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.catalog import TimeConfig
from core.errors import ConfigError
from core.prepare.calendars import calendar_sessions, calendar_zone
from core.prepare.stamps import label, to_index

DAY = 86_400 * 10**9
# From the coarsest on: the first whose dates contain every stamp is the step of a series of months.
_MONTHLY = ("YE", "YS", "QE", "QS", "ME", "MS")
_SHORTEST_MONTH = 28 * DAY


@dataclass(frozen=True)
class Grid:
    """Where stamps are expected: at marks or, without marks, within a tolerance of one another."""

    calendar: str | None
    frequency: str | None
    """Step of neighbours as pandas writes it; None for one row a session."""
    rule: str
    """What counts as a gap, in words."""
    step: int
    """Nanoseconds: the usual step."""
    tolerance: int = 0
    """Nanoseconds: a longer step is a gap, where there are no marks."""
    marks: NDArray[np.int64] | None = None
    """Shape (M,): the expected stamps, ascending, by the clock of `zone`."""
    zone: str | None = None
    days: bool = False
    """The marks are days: the time of day of a stamp does not count."""

    def missing(self, ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Steps missing between neighbours, shape (rows - 1,); `ns` has shape (rows,)."""
        if self.marks is not None:
            places = np.searchsorted(self.marks, self._place(ns), side="right")
            return np.asarray(np.maximum(np.diff(places) - 1, 0), dtype=np.int64)
        steps = np.diff(ns)
        lost = np.maximum(np.rint(steps / self.step).astype(np.int64) - 1, 1)
        return np.where(steps > self.tolerance, lost, 0)

    def off(self, ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Shape (rows,): stamps that are on no mark."""
        if self.marks is None:
            return np.zeros(len(ns), dtype=bool)
        return ~np.isin(self._place(ns), self.marks)

    def between(self, start: int, stop: int, limit: int = 20) -> list[str]:
        """The first `limit` marks strictly between two stamps; empty without marks."""
        if self.marks is None:
            return []
        low, high = self._place(np.array([start, stop], dtype=np.int64))
        inside = self.marks[(self.marks > low) & (self.marks < high)][:limit]
        return [label(int(mark), None) for mark in inside]

    def _place(self, ns: NDArray[np.int64]) -> NDArray[np.int64]:
        clock = wall_clock(ns, self.zone)
        return np.asarray(clock - clock % DAY) if self.days else clock


def build_grid(ns: NDArray[np.int64], steps: NDArray[np.int64], time: TimeConfig, timezone: str | None) -> Grid:
    """The grid of a series: by `max_gap`, else the calendar, else the frequency, else the most common step.

    A step longer than 1.5 times a frequency of fixed length is a gap.

    Args:
        ns: Shape (rows,), any order, at least one row.
        steps: Differences of neighbours of the same series, nanoseconds.
        time: What the dataset says.
        timezone: Of the stamps.

    Raises:
        ConfigError: an unknown calendar or frequency, or no length of time.
    """
    usual = most_common_step(steps)
    if time.max_gap is not None:
        frequency = time.frequency or infer_frequency(ns, usual, timezone)
        return Grid(
            time.calendar, frequency, f"a step longer than {time.max_gap}", usual, _duration(time.max_gap)
        )
    if time.calendar is not None:
        return _calendar_grid(ns, usual, time.calendar, time.frequency, timezone)
    frequency = time.frequency or infer_frequency(ns, usual, timezone)
    step = fixed_step(frequency)
    if step is not None:
        return Grid(None, frequency, f"a step longer than 1.5 times {frequency}", step, step + step // 2)
    clock = pd.DatetimeIndex(wall_clock(ns, timezone).astype("datetime64[ns]"))
    marks = _as_ns(pd.date_range(clock.min(), clock.max(), freq=frequency))
    return Grid(None, frequency, f"a missing stamp of {frequency}", usual, marks=marks, zone=timezone)


def _calendar_grid(
    ns: NDArray[np.int64], usual: int, calendar: str, frequency: str | None, timezone: str | None
) -> Grid:
    clock = wall_clock(ns, timezone)
    zone = timezone
    if timezone is not None and (clock % DAY != 0).any():
        # Stamps at midnight are days already; others belong to the exchange's day.
        zone = calendar_zone(calendar)
        clock = wall_clock(ns, zone)
    days = pd.DatetimeIndex(clock.astype("datetime64[ns]")).normalize()
    marks = _as_ns(calendar_sessions(calendar, days.min(), days.max()))
    if frequency is None and usual < DAY:
        frequency = infer_frequency(ns, usual, timezone)
    rule = f"a missing session of {calendar}"
    return Grid(calendar, frequency, rule, usual, marks=marks, zone=zone, days=True)


def most_common_step(steps: NDArray[np.int64]) -> int:
    """The positive step that occurs most often, the shortest of equals; one day where there is none."""
    positive = steps[steps > 0]
    if len(positive) == 0:
        return DAY
    values, counts = np.unique(positive, return_counts=True)
    return int(values[np.argmax(counts)])


def infer_frequency(ns: NDArray[np.int64], step: int, timezone: str | None) -> str:
    """The frequency of stamps whose most common step is `step`: months and years by their dates."""
    if step >= _SHORTEST_MONTH:
        clock = pd.DatetimeIndex(wall_clock(ns, timezone).astype("datetime64[ns]"))
        for frequency in _MONTHLY:
            if clock.isin(pd.date_range(clock.min(), clock.max(), freq=frequency)).all():
                return frequency
    if step % DAY == 0:
        return "D" if step == DAY else f"{step // DAY}D"
    return str(pd.tseries.frequencies.to_offset(pd.Timedelta(step, unit="ns")).freqstr)


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


def future_stamps(
    time_info: dict[str, Any] | None, start: str | pd.Timestamp, periods: int
) -> pd.DatetimeIndex:
    """Stamps of `periods` further steps, on the calendar's sessions or at the frequency of a prepared series.

    Args:
        time_info: `time` of `prepared.json`: `calendar`, `frequency`, `timezone`.
        start: The first stamp, or the day from which the next session or date of the frequency is taken.
        periods: How many, at least 1.

    Returns:
        Shape (periods,), in the series' time zone.

    Raises:
        ConfigError: the series carries no time, `start` is no time stamp, or the calendar ends before.
    """
    if not time_info:
        raise ConfigError("the series was prepared without time stamps: leave `start` out")
    if periods < 1:
        raise ConfigError(f"expected at least 1 step from {start}, got {periods}")
    zone = time_info.get("timezone")
    first = _start(start, zone)
    frequency = time_info.get("frequency")
    if time_info.get("calendar") is None:
        return pd.date_range(first, periods=periods, freq=frequency or "D")
    if frequency is not None and (fixed_step(frequency) or DAY) < DAY:
        raise ConfigError(
            f"stamps within the sessions of {time_info['calendar']} (every {frequency}) are not known: leave "
            "`start` out"
        )
    days = _sessions_from(str(time_info["calendar"]), first.tz_localize(None).normalize(), periods)
    return days if zone is None else days.tz_localize(zone)


def _sessions_from(calendar: str, first: pd.Timestamp, periods: int) -> pd.DatetimeIndex:
    # Exchanges trade about 250 of 365 days; the loop is for those that trade less.
    days = periods * 3 // 2 + 30
    while True:
        sessions = calendar_sessions(calendar, first, first + pd.Timedelta(days=days))
        if len(sessions) >= periods:
            return sessions[:periods]
        days *= 2


def _start(start: str | pd.Timestamp, zone: str | None) -> pd.Timestamp:
    try:
        stamp = pd.Timestamp(start)
        if pd.isna(stamp):
            raise ValueError("it is empty")
        if stamp.tzinfo is None:
            return stamp.tz_localize(zone)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"expected a time stamp such as 2024-01-31, got {start!r}: {error}") from error
    if zone is None:
        raise ConfigError(f"the series' stamps carry no time zone, but {start!r} does: leave it out")
    return stamp.tz_convert(zone)


def wall_clock(ns: NDArray[np.int64], timezone: str | None) -> NDArray[np.int64]:
    """What the clock on the wall showed at stamps in UTC, as nanoseconds since 1970."""
    return ns if timezone is None else _as_ns(to_index(ns, timezone).tz_localize(None))


def _as_ns(index: pd.DatetimeIndex) -> NDArray[np.int64]:
    return np.asarray(index.as_unit("ns").asi8)


def _duration(text: str) -> int:
    try:
        value = int(pd.Timedelta(text).as_unit("ns").value)
    except ValueError as error:
        raise ConfigError(f"time.max_gap must be a length of time such as 5D or 2h, got {text!r}") from error
    if value <= 0:
        raise ConfigError(f"time.max_gap must be longer than nothing, got {text!r}")
    return value


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
