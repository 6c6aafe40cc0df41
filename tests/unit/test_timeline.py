from __future__ import annotations

import exchange_calendars
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalog import TimeConfig
from core.errors import ConfigError
from core.prepare.rows import order
from core.prepare.rows.order import arrange
from core.prepare.series import window_index
from core.prepare.time import frequency, gaps
from core.prepare.time.frequency import DAY, infer_frequency, usual_step
from core.prepare.time.gaps import cut_rows, gap_list, gap_totals, windows_lost
from core.prepare.time.timeline import Grid, build_grid, future_stamps

NEW_YORK = "America/New_York"


@pytest.fixture
def small_pieces(monkeypatch):
    for module in (frequency, gaps, order):
        monkeypatch.setattr(module, "PIECE", 4)


def grid_of(ns: np.ndarray, timezone: str | None = None, **time: object) -> Grid:
    return build_grid(ns, np.array([usual_step(ns)]), TimeConfig.model_validate(time), timezone)


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="M8[ns]").astype(np.int64)


# Order


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), min_size=1, max_size=60),
    st.sampled_from(["as it is", "ascending", "descending"]),
)
@settings(deadline=None, max_examples=50)
def test_order_is_that_of_a_stable_sort_by_series_and_time(pairs, given_order):
    if given_order != "as it is":
        pairs = sorted(pairs, key=lambda pair: pair[1], reverse=given_order == "descending")
    numbers: dict[int, int] = {}
    codes = np.array([numbers.setdefault(series, len(numbers)) for series, _ in pairs], dtype=np.int32)
    ns = np.array([stamp for _, stamp in pairs], dtype=np.int64)
    found = arrange(ns, codes)
    expected = (
        pd.DataFrame({"code": codes, "ns": ns}).sort_values(["code", "ns"], kind="stable").index.to_numpy()
    )
    np.testing.assert_array_equal(found.index, expected)
    assert found.moved == (expected != np.arange(len(ns))).sum()
    np.testing.assert_array_equal(found.arranged(ns), ns[expected])
    steps = [(np.diff(ns[codes == code])) for code in range(len(numbers))]
    up, down = (all((sign * step >= 0).all() for step in steps) for sign in (1, -1))
    assert found.order == ("ascending" if up else "flipped" if down else "sorted")
    if len(numbers) == 1:
        np.testing.assert_array_equal(arrange(ns, None).index, expected)


@pytest.mark.usefixtures("small_pieces")
def test_order_is_found_across_pieces():
    up = np.arange(13, dtype=np.int64)
    assert arrange(up, None).order == "ascending"
    assert arrange(up, None).permutation is None
    assert arrange(up[::-1].copy(), None).order == "flipped"
    turned = up.copy()
    turned[[4, 5]] = [5, 4]
    assert (arrange(turned, None).order, arrange(turned, None).moved) == ("sorted", 2)


def test_rows_without_time_are_turned_round_in_each_series():
    codes = np.array([0, 1, 0, 1, 1], dtype=np.int32)
    assert arrange(None, codes).index.tolist() == [0, 2, 1, 3, 4]
    assert arrange(None, codes, newest_first=True).index.tolist() == [2, 0, 4, 3, 1]
    assert arrange(None, np.zeros(3, dtype=np.int32), newest_first=True).index.tolist() == [2, 1, 0]


# Steps


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.lists(st.booleans(), min_size=40, max_size=40))
@settings(deadline=None, max_examples=50)
def test_usual_step_is_the_mode_of_steps_within_series(steps, breaks):
    ns = np.cumsum(np.array([0, *steps], dtype=np.int64))
    codes = np.cumsum([False, *breaks[: len(steps)]])
    inside = pd.Series(steps)[[not new for new in breaks[: len(steps)]]]
    modes = inside[inside > 0].mode()
    found = usual_step(ns, codes)
    if modes.empty:
        assert found == DAY
    elif 2 * (inside[inside > 0] == found).sum() <= (inside > 0).sum():
        assert found == modes.iloc[0]
    else:
        assert [found] == modes.tolist()


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("frequency", ["7min", "h", "D", "7D", "ME", "MS", "QE-DEC", "YE-DEC"])
def test_frequency_of_a_regular_series_is_found(frequency):
    dates = pd.date_range("1990-01-31", periods=40, freq=frequency)
    ns = dates.as_unit("ns").asi8
    name = infer_frequency(ns, usual_step(ns), None)
    assert pd.date_range(dates[0], periods=40, freq=name).equals(dates)


# Gaps


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("frequency", "periods"), [("B", 60), ("W", 60), ("MS", 40), ("QE", 40), ("10min", 60), ("D", 60)]
)
@pytest.mark.parametrize("timezone", [None, "Europe/Berlin"])
def test_deleted_stamps_are_gaps_and_no_others(frequency, periods, timezone):
    dates = pd.date_range("2024-02-01", periods=periods, freq=frequency, tz=timezone)
    ns = dates.as_unit("ns").asi8
    grid = grid_of(ns, timezone, frequency=frequency)
    codes = np.zeros(len(ns), dtype=np.int32)
    assert len(cut_rows(codes, ns, grid).gaps) == 0
    left = np.delete(np.arange(len(ns)), [7, 20, 21])
    cuts = cut_rows(codes[left], ns[left], grid)
    assert (cuts.gaps.tolist(), cuts.missing.tolist()) == ([6, 18], [1, 2])
    assert cuts.segments.tolist() == [[0, 7], [7, 19], [19, periods - 3]]


@pytest.mark.parametrize("timezone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("ends", ["left", "right", "both"])
def test_a_missing_minute_of_a_session_is_a_gap_and_the_night_is_none(timezone, ends):
    # Thanksgiving on the 28th, half a day on the 29th.
    calendar = exchange_calendars.get_calendar("XNYS", start="2024-11-01", end="2024-12-31")
    minutes = calendar.trading_index("2024-11-25", "2024-12-03", "1min", intervals=False, closed=ends)
    if timezone is None:
        minutes = minutes.tz_convert(NEW_YORK).tz_localize(None)
    ns = minutes.as_unit("ns").asi8
    grid = grid_of(ns, timezone, calendar="XNYS", frequency="1min")
    assert (grid.ends, grid.missing(ns).sum(), grid.off(ns).sum()) == (ends, 0, 0)
    half_day = minutes.get_indexer(minutes[minutes.normalize() == minutes[minutes.day == 29][0].normalize()])
    gone = [100, 101, *half_day]
    left = np.delete(ns, gone)
    missing = grid.missing(left)
    assert missing[missing > 0].tolist() == [2, len(half_day)]
    assert len(grid.between(int(ns[99]), int(ns[102]))) == 2
    assert grid.off(np.array([ns[5] + 1, ns[5]])).tolist() == [True, False]


def test_sessions_that_adjoin_and_lunch_breaks():
    hours = pd.date_range("2024-01-03", "2024-01-20", freq="1h", tz="UTC").as_unit("ns").asi8
    assert grid_of(hours, "UTC", calendar="24/7", frequency="1h").missing(np.delete(hours, [48, 49])).sum() == 2
    calendar = exchange_calendars.get_calendar("XHKG", start="2024-10-01", end="2024-12-31")
    stamps = calendar.trading_index("2024-11-25", "2024-11-29", "30min", intervals=False, closed="left")
    ns = stamps.as_unit("ns").asi8
    assert grid_of(ns, "UTC", calendar="XHKG", frequency="30min").missing(ns).sum() == 0


def test_too_many_stamps_within_sessions_are_refused():
    ns = pd.date_range("2000-01-03", "2024-01-20", periods=50, tz="UTC").as_unit("ns").asi8
    with pytest.raises(ConfigError, match="max_gap"):
        grid_of(ns, "UTC", calendar="XNYS", frequency="1s")


def test_deleted_sessions_are_gaps_and_holidays_none():
    calendar = exchange_calendars.get_calendar("XNYS", start="2000-12-01", end="2003-01-31")
    sessions = calendar.sessions_in_range("2001-01-02", "2002-12-31")
    ns = np.asarray(sessions.as_unit("ns").asi8)
    grid = grid_of(ns, calendar="XNYS")
    assert grid.missing(ns).sum() == 0
    gone = [3, 100, 101]
    missing = grid.missing(np.delete(ns, gone))
    assert missing[missing > 0].tolist() == [1, 2]
    assert grid.between(int(ns[99]), int(ns[102])) == [str(day.date()) for day in sessions[[100, 101]]]


def test_intraday_stamps_in_another_zone_fall_on_the_exchange_s_day():
    # 01:00 UTC on Saturday is Friday evening in New York.
    ns = stamps("2020-01-09 20:00", "2020-01-10 20:00", "2020-01-11 01:00", "2020-01-13 20:00")
    grid = grid_of(ns, "UTC", calendar="XNYS")
    assert (grid.off(ns).sum(), grid.missing(ns).sum()) == (0, 0)


@given(
    st.lists(st.integers(0, 60), max_size=30),
    st.integers(2, 6),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=50)
def test_windows_cross_no_gap_and_every_window_without_one_is_there(removed, length, stride):
    steps = np.array([step for step in range(61) if step not in removed], dtype=np.int64)
    ns = steps * DAY
    grid = build_grid(ns, np.diff(ns), TimeConfig(frequency="D"), None)
    codes = np.zeros(len(ns), dtype=np.int64)
    cuts = cut_rows(codes, ns, grid, np.arange(len(ns)))
    starts = window_index(cuts.segments, length, stride).starts
    for start in starts:
        assert (np.diff(steps[start : start + length]) == 1).all()
    if stride == 1:
        whole = [i for i in range(len(steps) - length + 1) if steps[i + length - 1] - steps[i] == length - 1]
        assert starts.tolist() == whole
    total, lost = windows_lost(cuts, length, stride)
    free = list(range(0, len(steps) - length + 1, stride))
    assert total == max(0, len(free) - len(starts))
    crossing = [sum(start <= gap < start + length - 1 for start in free) for gap in cuts.gaps]
    assert lost.tolist() == crossing


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 40), st.booleans()), min_size=1, max_size=80, unique=True
    )
)
@settings(deadline=None, max_examples=50)
def test_cuts_are_where_days_or_rows_are_missing_and_nowhere_else(cells):
    cells = sorted({(series, day): kept for series, day, kept in cells}.items())
    codes = np.array([series for (series, _), _ in cells])
    days = np.array([day for (_, day), _ in cells])
    keep = np.array([kept for _, kept in cells])
    if not keep.any():
        return
    places = np.flatnonzero(keep)
    grid = Grid(None, "D", "", DAY, DAY + DAY // 2)
    cuts = cut_rows(codes[keep], days[keep] * DAY, grid, places)
    inside = np.zeros(keep.sum(), dtype=int)
    for start, stop in cuts.segments:
        inside[start:stop] += 1
        assert (np.diff(days[keep][start:stop]) == 1).all()
        assert (np.diff(codes[keep][start:stop]) == 0).all()
    assert (inside == 1).all()
    assert sum(stop - start for start, stop in cuts.runs) == keep.sum()
    assert len(cuts.segments) == len(cuts.gaps) + len(cuts.runs)
    numbers = codes[keep][cuts.runs[:, 0]]
    totals = {entry["series"]: entry for entry in gap_totals(cuts, numbers, "abc", 3, 1, 10)}
    for number, (start, stop) in zip(numbers, cuts.runs, strict=True):
        mine = (cuts.gaps >= start) & (cuts.gaps < stop)
        pieces = [b - a for a, b in cuts.segments if start <= a < stop]
        entry = totals.get("abc"[number], {"gaps": 0, "windows_lost": 0})
        assert entry["gaps"] == mine.sum()
        assert entry["windows_lost"] == max(stop - start - 2, 0) - sum(max(size - 2, 0) for size in pieces)


def test_listed_gaps_say_how_long_they_are():
    ns = stamps("2020-01-01", "2020-01-02", "2020-01-05 12:00", "2020-01-06 12:00")
    grid = grid_of(ns, frequency="D")
    cuts = cut_rows(np.zeros(4, dtype=int), ns, grid)
    entry = gap_list(cuts, np.array([9, 8, 7, 6]), windows_lost(cuts, 2, 1)[1], ns, grid, None, 5)[0]
    assert (entry["length"], entry["from"], entry["to"]) == (
        "3 days 12:00:00",
        "2020-01-02",
        "2020-01-05 12:00:00",
    )
    assert (entry["from_row"], entry["to_row"], entry["missing_steps"], entry["windows_lost"]) == (9, 8, 3, 1)


def test_a_gap_of_more_than_64_bits_of_nanoseconds_is_one():
    ns = stamps("1700-01-01", "1700-01-02", "2250-01-01", "2250-01-02")
    days = (pd.Timestamp("2250-01-01") - pd.Timestamp("1700-01-02").as_unit("s")).days
    for step in ("D", "B"):
        grid = grid_of(ns, frequency=step)
        cuts = cut_rows(np.zeros(4, dtype=int), ns, grid)
        assert cuts.segments.tolist() == [[0, 2], [2, 4]]
        assert gap_list(cuts, np.arange(4), windows_lost(cuts, 2, 1)[1], ns, grid, None, 5)[0]["length"] == (
            f"{days} days"
        )


def test_a_frequency_that_leaves_the_calendar_is_refused():
    with pytest.raises(ConfigError, match=r"time\.frequency=999999999ME"):
        grid_of(stamps("2020-01-01", "2020-01-02"), frequency="999999999ME")


# The future


def test_future_sessions_of_new_york():
    info = {"calendar": "XNYS", "frequency": None, "timezone": None}
    found = future_stamps(info, "2019-12-24", 5)
    expected = ["2019-12-24", "2019-12-26", "2019-12-27", "2019-12-30", "2019-12-31"]
    assert [str(day.date()) for day in found] == expected
    assert str(future_stamps(info, "2025-01-09", 1)[0].date()) == "2025-01-10"  # a day of mourning
    assert len(future_stamps(info, "2030-01-01", 600)) == 600


@pytest.mark.parametrize(
    ("info", "start", "expected"),
    [
        ({"frequency": "10min"}, "2020-01-01 00:05", ["2020-01-01 00:05", "2020-01-01 00:15"]),
        ({"frequency": "MS"}, "2020-01-15", ["2020-02-01", "2020-03-01"]),
        ({"frequency": "D", "timezone": "Europe/Berlin"}, "2020-03-28", ["2020-03-28", "2020-03-29"]),
    ],
)
def test_future_stamps_by_frequency(info, start, expected):
    zone = info.get("timezone")
    found = future_stamps({"calendar": None, "timezone": zone, **info}, start, 2)
    assert found.equals(pd.DatetimeIndex(pd.to_datetime(expected)).tz_localize(zone).as_unit(found.unit))


@pytest.mark.parametrize("timezone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("ends", ["left", "both", None])
def test_future_stamps_within_sessions(timezone, ends):
    calendar = exchange_calendars.get_calendar("XNYS", start="2024-11-01", end="2025-02-28")
    expected = calendar.trading_index(
        "2024-11-29", "2024-12-31", "30min", intervals=False, closed=ends or "left"
    )[:60]
    expected = (
        expected.tz_convert(NEW_YORK).tz_localize(None) if timezone is None else expected.tz_convert(timezone)
    )
    info = {"calendar": "XNYS", "frequency": "30min", "timezone": timezone} | ({"ends": ends} if ends else {})
    found = future_stamps(info, "2024-11-28", 60)
    assert found.equals(expected.as_unit(found.unit))


@pytest.mark.parametrize(
    ("info", "start", "periods"),
    [
        (None, "2020-01-01", 3),
        ({}, "2020-01-01", 3),
        ({"frequency": "D"}, "some day", 3),
        ({"frequency": "D"}, "", 3),
        ({"frequency": "D"}, "2020-01-01T00:00:00Z", 3),
        ({"frequency": "D"}, "2020-01-01", 0),
        ({"calendar": "XHKG"}, "2049-12-01", 300),
    ],
)
def test_future_that_cannot_be_told_is_refused(info, start, periods):
    with pytest.raises(ConfigError):
        future_stamps(info, start, periods)
