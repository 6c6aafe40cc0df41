"""How old the newest row is: by the clock, or by the sessions of a trading calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError
from core.prepare.time.calendars import calendar_sessions, calendar_zone, session_hours
from core.prepare.time.frequency import DAY
from core.prepare.time.stamps import label
from core.prepare.time.zones import as_ns, to_index


@dataclass(frozen=True)
class Freshness:
    """Of the newest row, at a moment."""

    latest: str
    """Its stamp."""
    now: str
    """The moment, by the clock of the stamps."""
    age_seconds: float
    """By the clock; below 0 where the stamp lies in the future."""
    sessions: int | None
    """Of the trading calendar, closed since; None without one."""
    stale: bool
    text: str
    """In a sentence."""


def freshness(
    stamps: NDArray[np.int64] | None, time: dict[str, Any] | None, max_age: str | None, now: datetime
) -> Freshness | None:
    """How old the newest row is; None where rows carry no time.

    With a trading calendar, days of `max_age` are sessions that opened after the newest row and have closed,
    and a time below a day is one in which the exchange was open. Stamps without a zone are by the exchange's
    clock, or UTC where there is no calendar; one at midnight stands for its whole day.

    Args:
        stamps: Shape (rows,), nanoseconds since 1970.
        time: `time` of `prepared.json`.
        max_age: As `3D` or `6h`; None: nothing is stale.
        now: With a zone.

    Raises:
        ConfigError: there is a `max_age`, but the rows carry no time.
    """
    if stamps is None or time is None:
        if max_age is None:
            return None
        raise ConfigError(f"max_age={max_age}: the rows carry no time, so nobody knows their age; leave it out")
    zone, calendar = time.get("timezone"), time.get("calendar")
    newest = int(stamps.max())
    stamp = to_index(np.array([newest], dtype=np.int64), zone)[0]
    clock = zone or (calendar_zone(calendar) if calendar else "UTC")
    moment = pd.Timestamp(now).tz_convert(clock)
    latest = stamp if zone else stamp.tz_localize(clock, ambiguous=True, nonexistent="shift_forward")
    day_alone = stamp == stamp.normalize()
    age = moment - latest
    limit = None if max_age is None else pd.Timedelta(max_age)
    sessions, reached = None, age
    if calendar:
        since = _Sessions.between(calendar, latest, moment, day_alone=day_alone)
        sessions = since.closed
        by_sessions = limit is None or limit % pd.Timedelta(days=1) == pd.Timedelta(0)
        reached = pd.Timedelta(days=sessions) if by_sessions else since.open_time
    stale = limit is not None and reached > limit
    shown = label(newest, zone)
    return Freshness(
        latest=shown,
        now=str((moment if zone else moment.tz_localize(None)).floor("s")),
        age_seconds=age.total_seconds(),
        sessions=sessions,
        stale=stale,
        text=_text(shown, age, sessions, calendar, max_age, stale=stale),
    )


@dataclass(frozen=True)
class _Sessions:
    closed: int
    """Opened and closed in between."""
    open_time: pd.Timedelta
    """In which the exchange was open."""

    @classmethod
    def between(
        cls, calendar: str, latest: pd.Timestamp, moment: pd.Timestamp, *, day_alone: bool
    ) -> _Sessions:
        first = latest.tz_localize(None).normalize()
        last = max(first, moment.tz_convert("UTC").tz_localize(None).normalize()) + pd.Timedelta(days=1)
        hours = session_hours(calendar, first, last)
        if day_alone:
            hours = hours[calendar_sessions(calendar, first, last) > first]
        begin, end = as_ns(pd.DatetimeIndex([latest, moment]).tz_convert("UTC")).tolist()
        closed = int(((hours[:, 0] > begin) & (hours[:, 1] <= end)).sum())
        spent = np.clip(hours[:, 1], begin, end) - np.clip(hours[:, 0], begin, end)
        return cls(closed, pd.Timedelta(int(spent.sum()), unit="ns"))


def _text(
    latest: str,
    age: pd.Timedelta,
    sessions: int | None,
    calendar: str | None,
    max_age: str | None,
    *,
    stale: bool,
) -> str:
    days = age.total_seconds() * 1e9 / DAY
    old = f"{days:,.1f} days old" if abs(days) >= 2 else f"{age.total_seconds() / 3600:,.1f} hours old"
    since = "" if sessions is None else f", {sessions:,} sessions of {calendar} have closed since"
    limit = "" if max_age is None else f" ({'stale' if stale else 'fresh'}: at most {max_age} are allowed)"
    return f"The newest row is of {latest}, {old}{since}{limit}."
