"""How old the newest row is: by the clock and by the sessions of an exchange."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError
from core.watch.freshness import Freshness, freshness

# New York in July 2024: 4 July, a Thursday, is a holiday; on the 3rd the exchange closes at 13:00.
DAILY: dict[str, Any] = {"calendar": "XNYS", "frequency": None, "timezone": None}
HOURLY: dict[str, Any] = {"calendar": None, "frequency": "h", "timezone": None}


def at(stamp: str, time: dict[str, Any], max_age: str | None, now: datetime) -> Freshness:
    stamps = np.array([0, pd.Timestamp(stamp).as_unit("ns").value], dtype=np.int64)
    found = freshness(stamps, time, max_age, now)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("now", "sessions"),
    [
        (datetime(2024, 7, 3, 20, tzinfo=UTC), 0),  # of the row's own day
        (datetime(2024, 7, 5, 19, 59, tzinfo=UTC), 0),  # a holiday, and a session that is still open
        (datetime(2024, 7, 5, 20, 1, tzinfo=UTC), 1),
        (datetime(2024, 7, 8, 13, tzinfo=UTC), 1),  # a weekend
        (datetime(2024, 7, 9, 21, tzinfo=UTC), 3),
    ],
)
def test_days_of_a_calendar_are_sessions_that_have_closed(now: datetime, sessions: int) -> None:
    found = at("2024-07-03", DAILY, "2D", now)
    assert found.sessions == sessions
    assert found.stale is (sessions > 2)
    assert found.latest == "2024-07-03"


def test_the_age_by_the_clock_counts_from_the_exchange_s_midnight() -> None:
    found = at("2024-07-03", DAILY, None, datetime(2024, 7, 9, 4, tzinfo=UTC))
    assert found.age_seconds == 6 * 86_400
    assert not found.stale


def test_hours_of_a_calendar_are_those_in_which_it_is_open() -> None:
    """From 15:00 in New York on the 2nd: an hour that day, three and a half on the 3rd."""
    time = {"calendar": "XNYS", "frequency": "5min", "timezone": "America/New_York"}
    stamp, now = "2024-07-02T15:00:00-04:00", datetime(2024, 7, 4, 12, tzinfo=UTC)
    assert at(stamp, time, "4h", now).stale
    assert not at(stamp, time, "5h", now).stale
    assert at(stamp, time, "5h", now).sessions == 1  # the session that it lies in does not count


@pytest.mark.parametrize(("hour", "stale"), [(5, False), (6, False), (7, True)])
def test_without_a_calendar_the_clock_counts(hour: int, stale: bool) -> None:
    found = at("2024-07-06T00:00", HOURLY, "6h", datetime(2024, 7, 6, hour, tzinfo=UTC))
    assert found.stale is stale
    assert found.age_seconds == hour * 3600
    assert found.sessions is None


def test_stamps_with_a_zone_are_instants() -> None:
    time = {"calendar": None, "frequency": "h", "timezone": "Europe/Berlin"}
    found = at("2024-07-06T12:00:00+02:00", time, "3h", datetime(2024, 7, 6, 14, tzinfo=UTC))
    assert found.age_seconds == 4 * 3600
    assert found.stale
    assert found.now == "2024-07-06 16:00:00+02:00"


def test_a_row_of_the_future_is_fresh() -> None:
    found = at("2024-07-09", DAILY, "1D", datetime(2024, 7, 3, 20, tzinfo=UTC))
    assert found.sessions == 0
    assert found.age_seconds < 0
    assert not found.stale


def test_rows_without_time_have_no_age() -> None:
    now = datetime(2024, 7, 3, tzinfo=UTC)
    assert freshness(None, None, None, now) is None
    with pytest.raises(ConfigError, match="carry no time"):
        freshness(None, None, "3D", now)
