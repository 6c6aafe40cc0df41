"""The grid that a series' stamps should lie on: gaps in it, and its future."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.catalog import TimeConfig
from core.errors import ConfigError
from core.prepare.time.calendars import Ends, calendar_sessions, calendar_zone, session_hours, session_stamps
from core.prepare.time.forms import LIMIT
from core.prepare.time.frequency import (
    DAY,
    dates_between,
    fixed_step,
    infer_frequency,
    most_common_step,
)
from core.prepare.time.stamps import label
from core.prepare.time.zones import PIECE, as_ns, to_index, wall_clock


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
    ends: Ends | None = None
    """The marks are within the sessions: which ends of a session have one."""
    shown_in: str | None = None
    """Zone in which marks in UTC are shown."""

    def missing(self, ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Steps missing between neighbours, shape (rows - 1,); `ns` has shape (rows,)."""
        if self.marks is not None:
            places = np.searchsorted(self.marks, self._place(ns), side="right")
            return np.asarray(np.maximum(np.diff(places) - 1, 0), dtype=np.int64)
        steps = np.diff(ns)
        # Two stamps may lie further apart than 64 bits hold.
        steps[(steps < 0) & (ns[1:] > ns[:-1])] = LIMIT
        lost = np.zeros(len(steps), dtype=np.int64)
        long = np.flatnonzero(steps > self.tolerance)
        lost[long] = np.maximum(np.rint(steps[long] / self.step).astype(np.int64) - 1, 1)
        return lost

    def off(self, ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Shape (rows,): stamps that are on no mark."""
        off = np.zeros(len(ns), dtype=bool)
        if self.marks is None or len(self.marks) == 0:
            return off if self.marks is None else ~off
        for start in range(0, len(ns), PIECE):
            places = self._place(ns[start : start + PIECE])
            nearest = np.minimum(np.searchsorted(self.marks, places), len(self.marks) - 1)
            off[start : start + PIECE] = self.marks[nearest] != places
        return off

    def between(self, start: int, stop: int, limit: int = 20) -> list[str]:
        """The first `limit` marks strictly between two stamps; empty without marks."""
        if self.marks is None:
            return []
        low, high = self._place(np.array([start, stop], dtype=np.int64))
        first, last = np.searchsorted(self.marks, low, "right"), np.searchsorted(self.marks, high)
        return [label(int(mark), self.shown_in) for mark in self.marks[first:last][:limit]]

    def _place(self, ns: NDArray[np.int64]) -> NDArray[np.int64]:
        clock = wall_clock(ns, self.zone)
        return np.asarray(clock - clock % DAY) if self.days else clock


def build_grid(ns: NDArray[np.int64], steps: NDArray[np.int64], time: TimeConfig, timezone: str | None) -> Grid:
    """The grid of a series: by `max_gap`, else the calendar, else the frequency, else the most common step.

    A step longer than 1.5 times a frequency of fixed length is a gap. With a calendar and a frequency below a
    day, a stamp that is missing inside a session is one, and the night between sessions is none.

    Args:
        ns: Shape (rows,), any order, at least one row.
        steps: Differences of neighbours of the same series, nanoseconds; of many rows the usual step alone
            (`core.prepare.time.frequency.usual_step`).
        time: What the dataset says.
        timezone: Of the stamps; without one, stamps within sessions are by the exchange's clock.

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
        step = None if time.frequency is None else fixed_step(time.frequency)
        if time.frequency is not None and step is not None and step < DAY:
            return _session_grid(ns, time.calendar, time.frequency, step, timezone)
        return _calendar_grid(ns, usual, time.calendar, time.frequency, timezone)
    frequency = time.frequency or infer_frequency(ns, usual, timezone)
    step = fixed_step(frequency)
    if step is not None:
        return Grid(None, frequency, f"a step longer than 1.5 times {frequency}", step, step + step // 2)
    first, last = _ends(ns, timezone)
    marks = as_ns(dates_between(first, last, frequency))
    return Grid(None, frequency, f"a missing stamp of {frequency}", usual, marks=marks, zone=timezone)


def _ends(ns: NDArray[np.int64], timezone: str | None) -> tuple[int, int]:
    """First and last stamp by the clock on the wall."""
    first, last = wall_clock(np.array([ns.min(), ns.max()]), timezone).tolist()
    return first, last


def _days(ns: NDArray[np.int64], timezone: str | None) -> tuple[pd.Timestamp, pd.Timestamp]:
    first, last = to_index(np.array(_ends(ns, timezone)), None).normalize()
    return first, last


def _calendar_grid(
    ns: NDArray[np.int64], usual: int, calendar: str, frequency: str | None, timezone: str | None
) -> Grid:
    # Stamps at midnight are days already; others belong to the exchange's day.
    zone = calendar_zone(calendar) if timezone is not None and not _midnights(ns, timezone) else timezone
    marks = as_ns(calendar_sessions(calendar, *_days(ns, zone)))
    if frequency is None and usual < DAY:
        frequency = infer_frequency(ns, usual, timezone)
    rule = f"a missing session of {calendar}"
    return Grid(calendar, frequency, rule, usual, marks=marks, zone=zone, days=True)


def _midnights(ns: NDArray[np.int64], timezone: str) -> bool:
    """Whether all stamps are midnight."""
    pieces = (ns[start : start + PIECE] for start in range(0, len(ns), PIECE))
    return all((wall_clock(piece, timezone) % DAY == 0).all() for piece in pieces)


def _session_grid(
    ns: NDArray[np.int64], calendar: str, frequency: str, step: int, timezone: str | None
) -> Grid:
    zone = calendar_zone(calendar)
    # A session may begin on the evening before its day.
    first, last = _days(ns, None if timezone is None else zone)
    last += pd.Timedelta(days=1)
    hours = session_hours(calendar, first, last)
    hours = hours if timezone is not None else wall_clock(hours.ravel(), zone).reshape(-1, 2)
    marks = session_stamps(calendar, first, last, step, ends := _session_ends(ns, hours))
    if timezone is None:
        marks = np.sort(wall_clock(marks, zone))
    rule = f"a missing stamp of {frequency} within the sessions of {calendar}"
    return Grid(calendar, frequency, rule, step, marks=marks, ends=ends, shown_in=timezone)


def _session_ends(ns: NDArray[np.int64], hours: NDArray[np.int64]) -> Ends:
    """Whether stamps are at the openings, the closes, or both, of most sessions; `hours` (sessions, 2)."""
    found = np.zeros(hours.shape, dtype=bool)
    for start in range(0, len(ns) if len(hours) else 0, PIECE):
        piece = ns[start : start + PIECE]
        for side in (0, 1):
            place = np.minimum(np.searchsorted(hours[:, side], piece), len(hours) - 1)
            found[place[hours[place, side] == piece], side] = True
    opened, closed = found.sum(axis=0)
    # Half of the rarer end's days could be chance where close and opening are the same minute.
    if min(opened, closed) * 2 > max(opened, closed):
        return "both"
    return "left" if opened >= closed else "right"


def future_stamps(
    time_info: dict[str, Any] | None, start: str | pd.Timestamp, periods: int
) -> pd.DatetimeIndex:
    """Stamps of `periods` further steps, on the calendar's sessions or at the frequency of a prepared series.

    Args:
        time_info: `time` of `prepared.json`: `calendar`, `frequency`, `timezone`, and `ends` (see `Grid`),
            openings where it is not there.
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
    calendar = time_info.get("calendar")
    if calendar is None:
        return pd.date_range(first, periods=periods, freq=frequency or "D")
    step = (fixed_step(frequency) if frequency else None) or DAY
    if step < DAY:
        return _within_sessions(str(calendar), first, periods, step, time_info.get("ends") or "left")
    days = _sessions_from(str(calendar), first.tz_localize(None).normalize(), periods)
    return days if zone is None else days.tz_localize(zone)


def _within_sessions(
    calendar: str, first: pd.Timestamp, periods: int, step: int, ends: Ends
) -> pd.DatetimeIndex:
    zone = calendar_zone(calendar)
    start = first.tz_localize(zone) if first.tzinfo is None else first
    day = start.tz_convert(zone).tz_localize(None).normalize()
    # Sessions last 4 to 24 hours; the loop is for long holidays.
    span = periods * step * 9 // DAY + 15
    while True:
        stamps = session_stamps(calendar, day, day + pd.Timedelta(days=span), step, ends)
        found = to_index(stamps[stamps >= start.as_unit("ns").value][:periods], zone)
        if len(found) == periods:
            return found.tz_localize(None) if first.tzinfo is None else found.tz_convert(first.tzinfo)
        span *= 2


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


def _duration(text: str) -> int:
    try:
        value = int(pd.Timedelta(text).as_unit("ns").value)
    except ValueError as error:
        raise ConfigError(f"time.max_gap must be a length of time such as 5D or 2h, got {text!r}") from error
    if value <= 0:
        raise ConfigError(f"time.max_gap must be longer than nothing, got {text!r}")
    return value
