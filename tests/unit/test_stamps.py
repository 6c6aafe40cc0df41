from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalog import TimeConfig
from core.errors import ConfigError, DataError
from core.prepare.rows.columns import find_time, guess_time
from core.prepare.time import stamps, text, zones
from core.prepare.time.stamps import Stamps, read_stamps
from core.sources.stored import StoredRows

BERLIN = "Europe/Berlin"


def read(cells: object, codes: list[int] | None = None, **time: object) -> Stamps:
    column = cells if isinstance(cells, pa.Array) else pa.array(cells)
    numbers = None if codes is None else np.array(codes, dtype=np.int32)
    return read_stamps(pa.chunked_array([column]), TimeConfig.model_validate(time), numbers)


def utc(texts: list[str]) -> np.ndarray:
    return np.array(texts, dtype="M8[ns]").astype(np.int64)


@pytest.fixture
def small_pieces(monkeypatch):
    for module in (zones, stamps, text):
        monkeypatch.setattr(module, "PIECE", 3)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2020-01-02", "2020-01-03 04:05:06"], ["2020-01-02", "2020-01-03 04:05:06"]),
        (["20200102", "20200103"], ["2020-01-02", "2020-01-03"]),
        ([20200102, 20200103], ["2020-01-02", "2020-01-03"]),
        ([20200102.0, 20200229.0], ["2020-01-02", "2020-02-29"]),
        (["13/01/2020", "14/01/2020"], ["2020-01-13", "2020-01-14"]),
        (["01/12/2020", "01/13/2020"], ["2020-01-12", "2020-01-13"]),
        (["02.01.2020", "03.01.2020"], ["2020-01-02", "2020-01-03"]),
        (["Jan 02, 2020", "Jan 03, 2020"], ["2020-01-02", "2020-01-03"]),
        (["1/13/2020 1:30 PM", "1/14/2020 12:00 AM"], ["2020-01-13 13:30", "2020-01-14"]),
        ([" 2020-01-02", "2020-01-03 "], ["2020-01-02", "2020-01-03"]),
        (["2020-01-02T01:00:00+01:00", "2020-01-03T01:00:00+01:00"], ["2020-01-02", "2020-01-03"]),
        (["2020-01-02 00:00:00.123456789"], ["2020-01-02 00:00:00.123456789"]),
        (pa.array([18263, 18264], pa.date32()), ["2020-01-02", "2020-01-03"]),
        (pa.array([1577923200000], pa.date64()), ["2020-01-02"]),
        (pa.array(["2020-01-02", "2020-01-02"]).dictionary_encode(), ["2020-01-02", "2020-01-02"]),
    ],
)
def test_forms_of_time_stamps(cells, expected):
    found = read(cells)
    assert found.bad == {}
    np.testing.assert_array_equal(found.ns, utc(expected))


@given(
    st.lists(st.datetimes(min_value=pd.Timestamp(1700, 1, 1), max_value=pd.Timestamp(2200, 1, 1)), min_size=1)
)
@settings(deadline=None, max_examples=25)
def test_iso_stamps_are_read_to_the_microsecond(times):
    one, two = read([time.isoformat() for time in times]), read(pa.array(times, pa.timestamp("us")))
    np.testing.assert_array_equal(one.ns, two.ns)
    assert one.bad.keys() == two.bad.keys()


@given(
    # Those between may be years, months, days and hours, see below.
    st.lists(
        st.integers(631_152_000, 1_899_999_999) | st.integers(2_100_000_000, 4_102_444_799),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.sampled_from(["integer", "text", "float"]),
)
@settings(deadline=None, max_examples=25)
def test_numbers_since_1970_are_told_by_their_size(seconds, unit, form):
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    numbers = [second * factor for second in seconds]
    cells = {"integer": numbers, "text": list(map(str, numbers)), "float": list(map(float, numbers))}[form]
    for found in (read(cells), read(cells, unit=unit)):
        assert (found.bad, found.timezone) == ({}, "UTC")
        assert [datetime.fromtimestamp(ns / 10**9, UTC).replace(microsecond=0) for ns in found.ns.tolist()] == [
            datetime.fromtimestamp(second, UTC) for second in seconds
        ]


@pytest.mark.parametrize("form", [int, float, str])
def test_ten_digits_are_a_date_and_an_hour_and_no_seconds(form):
    numbers = [2019123122, 2019123123, 2020010100, 2020010101]
    expected = utc(["2019-12-31T22", "2019-12-31T23", "2020-01-01T00", "2020-01-01T01"])
    found = read([form(number) for number in numbers])
    assert (found.bad, found.timezone) == ({}, None)
    np.testing.assert_array_equal(found.ns, expected)
    np.testing.assert_array_equal(read(numbers, unit="s").ns, np.array(numbers) * 10**9)
    hourly = pd.date_range("2031-01-01", periods=5000, freq="h").as_unit("ns").asi8
    np.testing.assert_array_equal(read((hourly // 10**9).tolist()).ns, hourly)


def test_fractions_of_a_second_are_kept_to_the_microsecond():
    found = read([1583020800.25, 1583020801.000001, float("nan")])
    np.testing.assert_array_equal(found.ns[:2], [1583020800_250000000, 1583020801_000001000])
    assert found.bad == {2: "missing"}
    np.testing.assert_array_equal(read(["1583020800.5"]).ns, [1583020800_500000000])


def test_numbers_that_are_no_time_are_bad_unless_their_unit_is_said():
    assert len(read([0.5, 1.5, 2.5]).bad) == 3
    assert len(read([2019, 2020]).bad) == 2
    np.testing.assert_array_equal(read([0, 60], unit="s").ns, [0, 60 * 10**9])
    np.testing.assert_array_equal(read([2019, 2020], format="%Y").ns, utc(["2019-01-01", "2020-01-01"]))
    mixed = read([1583020800, 1583020801, 5, None])
    assert sorted(mixed.bad) == [2, 3]
    assert "1990" in mixed.bad[2]
    assert list(read(["1583020800", "x", "1583020801"]).bad) == [1]
    assert "1677" in read([1583020800, 2**62], unit="s").bad[1]


def test_day_first_only_without_doubt_or_when_said():
    doubtful = read(["3/4/2019", "4/5/2019"])
    assert "day_first" in doubtful.bad[0]
    assert len(doubtful.bad_rows) == 2
    np.testing.assert_array_equal(read(["3/4/2019"], day_first=True).ns, utc(["2019-04-03"]))
    np.testing.assert_array_equal(read(["3/4/2019"], day_first=False).ns, utc(["2019-03-04"]))
    np.testing.assert_array_equal(read(["3/4/2019", "25/4/2019"]).ns, utc(["2019-04-03", "2019-04-25"]))
    assert list(read(["25/4/2019", "4/25/2019", "26/4/2019"]).bad) == [1]
    assert list(read(["13/25/2019", "3/4/2019"], day_first=True).bad) == [0, 1]


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=20), st.booleans())
@settings(deadline=None, max_examples=25)
def test_dates_come_back_in_the_form_that_is_said(days, padded):
    dates = pd.Timestamp("1950-01-01") + pd.to_timedelta(days, unit="D")
    text = [date.strftime("%d/%m/%Y") if padded else f"{date.day}/{date.month}/{date.year}" for date in dates]
    np.testing.assert_array_equal(read(text, day_first=True).ns, dates.as_unit("ns").asi8)


@pytest.mark.parametrize(
    ("cells", "time", "expected"),
    [
        (["5. 2019 10"], {"format": "%d. %Y %m"}, "2019-10-05"),
        (["19/7/4"], {"format": "%y/%m/%d"}, "2019-07-04"),
        (["2019-07-04 01:00:00.5+0200"], {"format": "%Y-%m-%d %H:%M:%S.%f%z"}, "2019-07-03 23:00:00.5"),
    ],
)
def test_format_as_strptime_writes_it(cells, time, expected):
    np.testing.assert_array_equal(read(cells, **time).ns, utc([expected]))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("cells", "time", "bad"),
    [
        (["2019-01-01", "2019-02-30", None, "", "x"], {}, [1, 2, 3, 4]),
        (["28/02/2019", "29/02/2019", "31/04/2019", "30/04/2019"], {}, [1, 2]),
        (["31.02.2019", "01.03.2019"], {"format": "%d.%m.%Y"}, [0]),
        ([20190228, 20190230, 20191301, 20190101], {}, [1, 2]),
        ([2019022823, 2019022824, 2019023000, None, 2019030100, 2019030101, 2019030102], {}, [1, 2, 3]),
        ([-(2**63), 1, 2], {"unit": "ns"}, [0]),
        (["2019-01-01", "2500-01-01"], {}, [1]),
        (pa.array([0, 2**50], pa.timestamp("s")), {}, [1]),
        (pa.array([1, 2, None], pa.timestamp("ns")), {}, [0, 1, 2]),
        (pa.array([True, None]), {}, [0, 1]),
        (["2020-01-01T00:00:00Z", "2020-01-02T00:00:00", "2020-01-03"], {}, [1, 2]),
    ],
)
def test_what_is_no_time_stamp_is_bad_by_row(cells, time, bad):
    found = read(cells, **time)
    assert found.bad_rows.tolist() == list(found.bad) == bad
    assert (found.ns[bad] == 0).all()
    assert found.labels_at(np.arange(len(found.ns))).isna().sum() == len(bad)


def test_reasons_are_kept_of_the_first_thousand_bad_rows():
    found = read(["2020-01-01", *["x"] * 3000])
    assert list(found.bad) == list(range(1, 1001))
    assert len(found.bad_rows) == 3000


def test_mixed_offsets_become_utc():
    cells = ["2020-01-01T00:00:00+01:00", "2020-06-01T00:00:00+02:00", "2020-06-01T00:00:00Z"]
    found = read(cells)
    assert (found.timezone, found.bad) == ("UTC", {})
    np.testing.assert_array_equal(found.ns, utc(["2019-12-31 23:00", "2020-05-31 22:00", "2020-06-01"]))
    assert read(cells, timezone=BERLIN).timezone == BERLIN
    assert read(cells[:1]).timezone == "+01:00"
    assert read(cells[2:]).timezone == "UTC"


def test_zones_of_typed_stamps_are_kept_or_shown_in_another():
    cells = pa.array([1577836800], pa.timestamp("s", "Asia/Tokyo"))
    assert read(cells).timezone == "Asia/Tokyo"
    shown = read(cells, timezone=BERLIN)
    np.testing.assert_array_equal(shown.ns, read(cells).ns)
    assert str(shown.labels_at(np.array([0]))[0]) == "2020-01-01 01:00:00+01:00"
    with pytest.raises(DataError, match="Mars"):
        read(pa.array([0], pa.timestamp("s", "Mars/Olympus")))


@pytest.mark.parametrize(
    ("time", "part"),
    [
        ({"timezone": "Europe/Berlinn"}, "Europe/Berlin,"),
        ({"timezone": "+25:00"}, "no time zone"),
        ({"timezone": "berlin"}, "Europe/Berlin,"),
        ({"format": "%H:%M"}, "no year"),
        ({"format": "%Y %Q"}, "strptime"),
    ],
)
def test_what_cannot_be_said_of_time(time, part):
    with pytest.raises(ConfigError, match=part):
        read(["2020-01-01"], **time)


# The repeated hour of autumn, the skipped one of spring


def walls(start: str, stop: str, step: str) -> tuple[pd.DatetimeIndex, list[str]]:
    """Instants of Berlin and what its clocks show."""
    instants = pd.date_range(start, stop, freq=step, tz="UTC").tz_convert(BERLIN)
    return instants, instants.strftime("%Y-%m-%d %H:%M").tolist()


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("step", ["1h", "30min", "10min", "7min"])
@pytest.mark.parametrize("way", [1, -1])
def test_the_repeated_hour_is_told_apart_by_the_order_of_rows(step, way):
    instants, text = walls("2024-10-25", "2024-10-29", step)
    expected = instants.as_unit("ns").asi8[::way]
    naive = pa.array(instants.tz_localize(None).as_unit("us"))
    for cells in (text[::way], naive.take(pa.array(np.arange(len(text))[::way]))):
        found = read(cells, timezone=BERLIN)
        assert (found.bad, found.assumed, found.timezone) == ({}, 0, BERLIN)
        np.testing.assert_array_equal(found.ns, expected)


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=30, max_size=80), st.booleans())
@settings(deadline=None, max_examples=30)
def test_the_repeated_hour_of_each_series_is_its_own(turns, backwards):
    instants, text = walls("2024-10-26 22:00", "2024-10-27 06:00", "30min")
    ns = instants.as_unit("ns").asi8
    ways = [1, -1, -1 if backwards else 1]
    rest = {series: list(range(len(ns)))[:: ways[series]] for series in range(3)}
    order = [(series, rest[series].pop(0)) for series in [*turns, *[0, 1, 2] * len(ns)] if rest[series]]
    found = read([text[row] for _, row in order], [series for series, _ in order], timezone=BERLIN)
    assert found.bad == {}
    np.testing.assert_array_equal(found.ns, ns[[row for _, row in order]])


def test_an_hour_that_is_there_once_is_taken_as_summer_time_and_counted():
    text = ["2024-10-27 01:30", "2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 03:00"]
    one, other = read(text, timezone=BERLIN), read(text[::-1], timezone=BERLIN)
    assert (one.assumed, other.assumed, one.bad) == (2, 2, {})
    np.testing.assert_array_equal(one.ns, other.ns[::-1])
    expected = pd.DatetimeIndex(text).tz_localize(BERLIN, ambiguous=np.ones(4, dtype=bool))
    np.testing.assert_array_equal(one.ns, expected.as_unit("ns").asi8)


@pytest.mark.parametrize(
    ("hours", "bad"),
    [
        (["02:00", "05:00", "02:00", "01:00"], [0, 2]),
        (["01:00", "02:00", "02:30", "02:10", "02:40", "02:20", "04:00"], [1, 2, 3, 4, 5]),
        (["01:00", "02:00", "02:10", "02:10", "02:20", "04:00"], [1, 2, 3, 4]),
    ],
)
def test_rows_that_the_order_does_not_tell_apart_are_bad(hours, bad):
    found = read([f"2024-10-27 {hour}" for hour in hours], timezone=BERLIN)
    assert found.bad_rows.tolist() == bad
    assert "add offsets" in found.bad[bad[0]]


def test_an_hour_that_the_clocks_skip_is_bad():
    found = read(
        ["2024-03-31 01:59", "2024-03-31 02:00", "2024-03-31 02:59", "2024-03-31 03:00"], timezone=BERLIN
    )
    assert list(found.bad) == [1, 2]
    assert "skip" in found.bad[1]
    np.testing.assert_array_equal(found.ns[[0, 3]], utc(["2024-03-31 00:59", "2024-03-31 01:00"]))


# Which column is the time


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"x": [1.0], "made": pa.array([0], pa.date32())}, "made"),
        ({"x": [1.0], "Date": ["2020-01-01"]}, "Date"),
        ({"date": ["soon"], "x": [1]}, "date"),
        ({"x": [1.0], "ts": [1583020800]}, "ts"),
        ({"x": [1.0], "trade_date": [20200101]}, "trade_date"),
        ({"when": ["soon"], "x": [1]}, None),
        ({"day": ["Monday"], "x": [1]}, None),
        ({"time": [0.0, 0.1], "x": [1, 2]}, None),
        ({"period": [None], "x": [1]}, None),
        ({"date": ["2020-01-01"], "time": ["12:30"]}, "date"),
    ],
)
def test_time_column_is_found(table, expected):
    assert guess_time(pa.table(table)) == expected


def test_two_time_columns_ask_which():
    dates = pa.array([0], pa.timestamp("s"))
    with pytest.raises(ConfigError, match=r"'a', 'b'.*time: \{column"):
        find_time(pa.table({"a": dates, "b": dates}), TimeConfig())
    with pytest.raises(ConfigError, match="'date', 'ts'"):
        guess_time(pa.table({"date": ["2020-01-01"], "ts": [1583020800]}))
    assert find_time(pa.table({"a": dates, "b": dates}), TimeConfig(), {"a"}) == "b"
    assert find_time(pa.table({"a": dates, "b": dates}), TimeConfig(column="b")) == "b"
    assert find_time(pa.table({"a": dates}), TimeConfig(none=True)) is None
    assert find_time(pa.table({"a": dates}), TimeConfig(), {"a"}) == "a"


def test_time_column_of_a_snapshot_is_found_in_its_first_rows(tmp_path):
    table = pa.table({"x": np.arange(50_000.0), "ts": np.arange(50_000) + 1583020800})
    pq.write_table(table, tmp_path / "data.parquet")
    rows = StoredRows(tmp_path, {"rows": len(table), "parts": [{"file": "data.parquet", "rows": len(table)}]})
    assert guess_time(rows) == "ts"
