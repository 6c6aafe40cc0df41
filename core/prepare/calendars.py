"""Trading calendars, by `exchange_calendars`."""

from __future__ import annotations

import difflib
from typing import Any

import pandas as pd

from core.errors import ConfigError

# A calendar without any session is refused, and a week of holidays has none.
_MARGIN = pd.Timedelta(days=15)


def calendar_sessions(name: str, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    """Sessions from the day `start` to the day `end`, both included, without a zone.

    Raises:
        ConfigError: an unknown calendar, or years that it does not know.
    """
    calendar = _calendar(name, start=start - _MARGIN, end=end + _MARGIN)
    days: pd.DatetimeIndex = calendar.sessions
    return days[(days >= start) & (days <= end)]


def calendar_zone(name: str) -> str:
    """The exchange's time zone.

    Raises:
        ConfigError: an unknown calendar.
    """
    return str(_calendar(name).tz)


def _calendar(name: str, **span: pd.Timestamp) -> Any:
    import exchange_calendars as xcals

    try:
        return xcals.get_calendar(name, **span)
    except xcals.errors.InvalidCalendarName as error:
        names = xcals.get_calendar_names()
        near = difflib.get_close_matches(name.upper(), names, n=3, cutoff=0.4)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ConfigError(f"there is no trading calendar {name!r}{hint}; XNYS is New York's") from error
    except ValueError as error:
        raise ConfigError(f"the trading calendar {name} does not know all years asked for: {error}") from error
