"""Trading calendars, by `exchange_calendars`."""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError
from core.prepare.time.zones import as_ns, distinct

Ends = Literal["left", "right", "both"]
"""Which ends of a session have a stamp: its opening, its close, or both."""
# A calendar without any session is refused, and a week of holidays has none.
_MARGIN = pd.Timedelta(days=15)
_MAX_STAMPS = 20_000_000


def calendar_sessions(name: str, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    """Sessions from the day `start` to the day `end`, both included, without a zone.

    Raises:
        ConfigError: an unknown calendar, or years that it does not know.
    """
    days: pd.DatetimeIndex = _calendar(name, start=start - _MARGIN, end=end + _MARGIN).sessions
    return days[(days >= start) & (days <= end)]


def session_hours(name: str, start: pd.Timestamp, end: pd.Timestamp) -> NDArray[np.int64]:
    """Opening and close of those sessions, shape (sessions, 2), nanoseconds since 1970 UTC.

    Raises:
        ConfigError: as `calendar_sessions`.
    """
    return _columns(_schedule(name, start, end), "open", "close")


def session_stamps(
    name: str, start: pd.Timestamp, end: pd.Timestamp, step: int, ends: Ends
) -> NDArray[np.int64]:
    """Stamps every `step` nanoseconds within those sessions, lunch breaks left out, since 1970 UTC.

    Raises:
        ConfigError: as `calendar_sessions`, or more than 20 million stamps.
    """
    schedule = _schedule(name, start, end)
    whole = schedule[schedule["break_start"].isna()]
    broken = schedule[schedule["break_start"].notna()]
    spans = np.concatenate(
        [
            _columns(whole, "open", "close"),
            _columns(broken, "open", "break_start"),
            _columns(broken, "break_end", "close"),
        ]
    )
    counts = (spans[:, 1] - spans[:, 0]) // step + 1
    if counts.sum() > _MAX_STAMPS:
        raise ConfigError(
            f"sessions of {name} hold {counts.sum():,} stamps at time.frequency, more than {_MAX_STAMPS:,}: "
            "say `time.max_gap` instead of the calendar, or a longer frequency"
        )
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    stamps = np.repeat(spans[:, 0], counts) + place * step
    inside = np.ones(len(stamps), dtype=bool)
    if ends != "both":
        inside = place > 0 if ends == "right" else stamps < np.repeat(spans[:, 1], counts)
    # Where sessions adjoin, one's close is the next one's opening.
    return distinct(stamps[inside])


def calendar_zone(name: str) -> str:
    """The exchange's time zone.

    Raises:
        ConfigError: an unknown calendar.
    """
    # The zone is that of every year; a short calendar is quickly made.
    return str(_calendar(name, start=pd.Timestamp("2020-01-01"), end=pd.Timestamp("2020-03-01")).tz)


def _schedule(name: str, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    schedule: pd.DataFrame = _calendar(name, start=start - _MARGIN, end=end + _MARGIN).schedule
    return schedule.loc[start:end]


def _columns(schedule: pd.DataFrame, *names: str) -> NDArray[np.int64]:
    """Shape (sessions, names)."""
    return np.stack([as_ns(pd.DatetimeIndex(schedule[name])) for name in names], axis=1)


@lru_cache(maxsize=8)
def _calendar(name: str, start: pd.Timestamp, end: pd.Timestamp) -> Any:
    import exchange_calendars as xcals

    try:
        return xcals.get_calendar(name, start=start, end=end)
    except xcals.errors.InvalidCalendarName as error:
        names = xcals.get_calendar_names()
        near = difflib.get_close_matches(name.upper(), names, n=3, cutoff=0.4)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ConfigError(f"there is no trading calendar {name!r}{hint}; XNYS is New York's") from error
    except ValueError as error:
        raise ConfigError(f"the trading calendar {name} does not know all years asked for: {error}") from error
