from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.catalog import DatasetConfig
from core.errors import ConfigError, DataError
from core.prepare.rows.keys import Keys, read_keys, read_series
from core.sources.stored import StoredRows


def stored(folder: Path, frame: pd.DataFrame | pa.Table) -> StoredRows:
    """A snapshot in two files of small row groups."""
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    half = len(table) // 2
    for name, part in (("a.parquet", table.slice(0, half)), ("b.parquet", table.slice(half))):
        pq.write_table(part, folder / name, row_group_size=3)
    parts = [{"file": "a.parquet", "rows": half}, {"file": "b.parquet", "rows": len(table) - half}]
    return StoredRows(folder, {"rows": len(table), "parts": parts})


def keys_of(folder: Path, frame: pd.DataFrame | pa.Table, **dataset: object) -> Keys:
    config = DatasetConfig.model_validate({"name": "set", "source": {"kind": "sine"}, **dataset})
    return read_keys(config, stored(folder, frame))


def daily(*days: str, **columns: object) -> pd.DataFrame:
    frame = pd.DataFrame({"date": pd.to_datetime(list(days)), "x": np.arange(float(len(days)))})
    return frame.assign(**columns)


@given(st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shuffled_rows_give_the_keys_of_sorted_ones(tmp_path, data):
    cells = st.tuples(st.sampled_from("abc"), st.integers(0, 10**6))
    rows = data.draw(st.lists(cells, min_size=2, max_size=40, unique=True))
    frame = pd.DataFrame(rows, columns=["who", "minute"]).assign(x=1.0)
    frame["date"] = pd.Timestamp("2000-01-01") + pd.to_timedelta(frame.pop("minute"), unit="min")
    frame = frame.sort_values(["who", "date"], ignore_index=True)
    mixed = frame.iloc[data.draw(st.permutations(range(len(frame))))].reset_index(drop=True)
    for table in (frame, mixed):
        keys = keys_of(tmp_path, table, series="who")
        index = keys.arrangement.index
        names = np.array(keys.names)[keys.codes[index]]
        np.testing.assert_array_equal(names, table["who"].to_numpy()[index])
        for name in keys.names:
            expected = frame.loc[frame["who"] == name, "date"].dt.as_unit("ns").astype("int64")
            np.testing.assert_array_equal(keys.ns[names == name], expected)
        np.testing.assert_array_equal(keys.ns, table["date"].dt.as_unit("ns").astype("int64").to_numpy()[index])
    assert keys.names == tuple(mixed["who"].unique())


def test_rows_that_run_newest_first_are_turned_round(tmp_path):
    days = pd.date_range("2020-01-01", periods=10).astype(str)
    keys = keys_of(tmp_path, daily(*days[::-1]))
    assert (keys.arrangement.order, keys.arrangement.moved) == ("flipped", 10)
    assert keys.arrangement.index.tolist() == list(range(10))[::-1]
    assert keys_of(tmp_path, daily(*days)).arrangement.permutation is None


def test_one_series_needs_no_memory_for_its_number(tmp_path):
    frame = daily("2020-01-01", "2020-01-02", who="a")
    for keys in (keys_of(tmp_path, frame, series="who"), keys_of(tmp_path, frame[["date", "x"]])):
        assert (keys.codes.shape, keys.codes.strides) == ((2,), (0,))
        assert keys.cut().segments.tolist() == [[0, 2]]


def test_rows_without_time_keep_their_order_unless_told(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "who": ["a", "b", "a"]})
    keys = keys_of(tmp_path, frame, time={"none": True}, series="who")
    assert (keys.ns, keys.grid, keys.timezone) == (None, None, None)
    assert keys.arrangement.index.tolist() == [0, 2, 1]
    turned = keys_of(tmp_path, frame, time={"none": True, "newest_first": True}, series="who")
    assert turned.arrangement.index.tolist() == [2, 0, 1]
    assert turned.cut().segments.tolist() == [[0, 2], [2, 3]]
    assert turned.cut(np.array([True, False, True])).segments.tolist() == [[0, 1], [1, 2]]


def test_cuts_at_gaps_and_at_rows_left_out(tmp_path):
    keys = keys_of(tmp_path, daily("2020-01-01", "2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"))
    assert keys.cut().segments.tolist() == [[0, 3], [3, 5]]
    cuts = keys.cut(np.array([True, False, True, True, True]))
    assert cuts.segments.tolist() == [[0, 1], [1, 2], [2, 4]]
    assert (cuts.missing.tolist(), cuts.dropped.tolist()) == ([1, 2], [1, 0])


def test_the_repeated_hour_is_no_duplicate(tmp_path):
    hours = ["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 03:00"]
    keys = keys_of(tmp_path, daily(*hours), time={"timezone": "Europe/Berlin"})
    assert len(keys.repeated) == 0
    assert (np.diff(keys.ns) == 3600 * 10**9).all()
    assert len(keys.cut().gaps) == 0
    both = pd.concat([daily(*hours, who="a"), daily(*hours[::-1], who="b")]).sort_values("x", kind="stable")
    keys = keys_of(tmp_path, both, time={"timezone": "Europe/Berlin"}, series="who")
    assert keys.cut().segments.tolist() == [[0, 4], [4, 8]]


TWICE = ["2020-01-03", "2020-01-01", "2020-01-02", "2020-01-01", "2020-01-03", "2020-01-03"]


@pytest.mark.parametrize(("policy", "left_out"), [("first", [3, 4, 5]), ("last", [0, 1, 4])])
def test_first_or_last_of_repeated_stamps_stays(tmp_path, policy, left_out):
    keys = keys_of(tmp_path, daily(*TWICE), time={"duplicates": policy})
    assert keys.repeated.tolist() == left_out
    expected = daily(*TWICE).drop_duplicates("date", keep=policy).sort_values("date").index
    assert keys.arrangement.index.tolist() == expected.tolist()
    assert keys.arrangement.rows == len(keys.ns) == 3
    np.testing.assert_array_equal(keys.ns, pd.date_range("2020-01-01", periods=3).as_unit("ns").asi8)


def test_equal_rows_are_left_out_and_counted(tmp_path):
    table = pa.table(
        {
            "date": ["2020-01-01", "2020-01-01 00:00", "2020-01-02", "2020-01-02"],
            "x": pa.array([0.0, -0.0, np.nan, np.nan], from_pandas=False),
            "n": [2**60, 2**60, None, None],
            "text": ["a", "a", "", ""],
            "flag": [True, True, None, None],
        }
    )
    assert keys_of(tmp_path, table, time={"column": "date"}).repeated.tolist() == [1, 3]
    assert keys_of(tmp_path, daily(*TWICE, x=1.0)).repeated.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("columns", "differs"),
    [
        ({"x": [1.0, 2.0]}, "x"),
        ({"x": [1.0, 1.0], "n": [2**60, 2**60 + 1]}, "n"),
        ({"x": [1.0, 1.0], "n": pa.array([None, 0])}, "n"),
        ({"x": [1.0, 1.0], "t": ["", None]}, "t"),
        ({"x": [1.0, 1.0], "d": pa.array([1, 2], pa.date32())}, "d"),
    ],
)
def test_rows_of_one_stamp_that_differ_are_refused_by_both_rows(tmp_path, columns, differs):
    first = {name: pa.array(cells).slice(0, 1) for name, cells in columns.items()}
    table = pa.concat_tables(
        [
            pa.table({"date": ["2019-12-31"], **first}),
            pa.table({"date": ["2020-01-01", "2020-01-01"], **columns}),
        ]
    )
    with pytest.raises(DataError, match=rf"2020-01-01 in rows 2 and 3, which differ in column '{differs}'"):
        keys_of(tmp_path, table, time={"column": "date"})


def test_equal_rows_are_refused_when_told_so_and_series_have_their_own_stamps(tmp_path):
    frame = daily("2020-01-01", "2020-01-02", "2020-01-01", x=1.0, who=["a", "a", "b"])
    with pytest.raises(DataError, match=r"2020-01-01 in rows 1 and 3; keep one"):
        keys_of(tmp_path, frame.drop(columns="who"), time={"duplicates": "refuse"})
    assert len(keys_of(tmp_path, frame, series="who", time={"duplicates": "refuse"}).repeated) == 0


@pytest.mark.parametrize(
    ("frame", "options", "part"),
    [
        (daily("2020-01-01", "2020-01-02", who=["a", None]), {"series": "who"}, r"1 rows.*'who'.*first row 2"),
        (daily("2020-01-01", "2020-01-02", who=[1.0, np.nan]), {"series": "who"}, "first row 2"),
        (daily("2020-01-01").assign(date=["2019-02-30"]), {}, r"'date', row 1: '2019-02-30'"),
        (daily("2020-01-01"), {"time": {"column": "when"}}, "when"),
    ],
)
def test_keys_that_are_none_are_refused(tmp_path, frame, options, part):
    with pytest.raises(DataError, match=part):
        keys_of(tmp_path, frame, **options)


def test_two_time_columns_are_refused_unless_one_has_another_role(tmp_path):
    frame = daily("2020-01-01", "2020-01-02").assign(made=pd.to_datetime("2021-01-01"))
    with pytest.raises(ConfigError, match="'date', 'made'"):
        keys_of(tmp_path, frame)
    assert keys_of(tmp_path, frame, columns={"made": "drop"}).roles.time == "date"


def test_series_are_numbered_in_order_of_appearance(tmp_path):
    names = np.random.default_rng(0).integers(0, 7, 50).astype(str)
    codes, found = read_series(stored(tmp_path, pd.DataFrame({"who": names})), "who")
    expected, unique = pd.factorize(names)
    np.testing.assert_array_equal(codes, expected)
    assert (found, codes.dtype) == (tuple(unique), np.int32)
