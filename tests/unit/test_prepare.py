from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalog import DatasetConfig, FileSource
from core.config import WindowConfig
from core.errors import ConfigError, DataError
from core.handles import PreparedRef
from core.prepare.build import prepare
from core.prepare.channels.encode import decode, to_series
from core.prepare.channels.layout import Column, Layout
from core.prepare.series import PreparedSeries, window_index
from core.sources.resolve import resolve_dataset
from core.sources.snapshots import snapshot

CATALOG = Path(__file__).resolve().parents[2] / "data" / "catalog"
SHORT = WindowConfig(length=2)


def prepare_frame(
    folder: Path, frame: pd.DataFrame, window: WindowConfig = SHORT, **dataset: object
) -> PreparedRef:
    path = folder / "x.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    config = DatasetConfig.model_validate(
        {"name": "set", "source": {"kind": "file", "path": str(path)}, **dataset}
    )
    lake = folder / "lake"
    return prepare(config, window, snapshot(config, lake), lake)


def manifest_of(ref: PreparedRef) -> dict:
    return json.loads((ref.path / "prepared.json").read_text())


def original(ref: PreparedRef) -> np.ndarray:
    series = PreparedSeries.open(ref.path)
    return decode(series.layout.temporal, series.values)


def daily(rows: int = 10, **columns: object) -> pd.DataFrame:
    days = pd.date_range("2020-01-01", periods=rows, freq="D")
    return pd.DataFrame({"date": days, "x": np.arange(rows, dtype=float), **columns})


def sp500_frame() -> pd.DataFrame:
    from arch.data import sp500

    return sp500.load().rename_axis("Date").reset_index()


def test_prepared_folder_holds_what_its_layout_says(tmp_path):
    frame = daily(5, n=np.array([3, 1, 2, 5, 4]), aside=["a", "b", "c", "d", "e"])
    ref = prepare_frame(tmp_path, frame, columns={"aside": "drop"})
    values = np.load(ref.path / "values.npy")
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[0, 0.5], [0.25, 0], [0.5, 0.25], [0.75, 1], [1, 0.75]])
    time = np.load(ref.path / "time.npy")
    assert time.dtype == np.int64
    np.testing.assert_array_equal(time, frame["date"].dt.as_unit("ns").astype("int64"))
    manifest = manifest_of(ref)
    assert manifest["features"] == ["x", "n"] == list(ref.features)
    columns = Layout.from_json(manifest["layout"]).temporal
    assert columns == (Column("x", minimum=0, maximum=4), Column("n", minimum=1, maximum=5, integer=True))
    assert manifest["segments"] == [[0, 5]]
    assert manifest["window"] == {"length": 2, "stride": 1, "min_length": None}
    assert not (ref.path / "static.npy").exists()
    assert (manifest["rows"], manifest["windows"], ref.windows) == (5, 4, 4)
    assert manifest["time"]["first"] == "2020-01-01"
    assert manifest["time"]["last"] == "2020-01-05"
    assert manifest["time"]["frequency"] == "D"


def test_second_call_reuses_and_another_window_does_not(tmp_path):
    first = prepare_frame(tmp_path, daily())
    assert not first.reused
    assert prepare_frame(tmp_path, daily()).reused
    other = prepare_frame(tmp_path, daily(), WindowConfig(length=3))
    assert not other.reused
    assert other.path != first.path


@pytest.mark.parametrize(("order", "label"), [("descending", "flipped"), ("mixed", "sorted")])
def test_any_order_of_rows_gives_the_series_of_the_ascending_one(tmp_path, order, label):
    frame = daily(50, y=np.random.default_rng(0).normal(size=50)).drop(index=[20, 21])
    turned = frame[::-1] if order == "descending" else frame.sample(frac=1, random_state=1)
    one_place, other_place = tmp_path / "a", tmp_path / "b"
    one_place.mkdir()
    other_place.mkdir()
    one = prepare_frame(one_place, frame)
    two = prepare_frame(other_place, turned)
    for name in ("values.npy", "time.npy"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()
    assert manifest_of(one)["segments"] == manifest_of(two)["segments"] == [[0, 20], [20, 48]]
    assert (manifest_of(one)["order"], manifest_of(two)["order"]) == ("ascending", label)
    assert manifest_of(one)["moved_rows"] == 0
    assert manifest_of(two)["moved_rows"] > 40


def test_descending_csv_equals_ascending(tmp_path):
    frame = daily(30)
    config = DatasetConfig(name="set", source=FileSource(path=str(tmp_path / "x.csv")))
    found = []
    for table in (frame, frame[::-1]):
        table.to_csv(tmp_path / "x.csv", index=False, date_format="%Y-%m-%d")
        found.append(original(prepare(config, SHORT, snapshot(config, tmp_path), tmp_path)))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0][:, 0], np.arange(30), atol=1e-5)


def test_rows_without_time_turn_round_only_when_told(tmp_path):
    frame = pd.DataFrame({"x": [3.0, 2.0, 1.0]})
    kept = prepare_frame(tmp_path, frame, time={"none": True})
    turned = prepare_frame(tmp_path, frame, time={"none": True, "newest_first": True})
    np.testing.assert_allclose(original(kept)[:, 0], [3, 2, 1])
    np.testing.assert_allclose(original(turned)[:, 0], [1, 2, 3])
    assert (manifest_of(kept)["order"], manifest_of(turned)["order"]) == ("as given", "flipped")
    assert manifest_of(kept)["time"] is None
    assert not (kept.path / "time.npy").exists()


def test_sp500_has_no_gap_and_deleted_sessions_are_found(tmp_path):
    dataset = resolve_dataset("sp500", CATALOG).dataset
    whole = prepare(dataset, WindowConfig(), snapshot(dataset, tmp_path), tmp_path)
    assert (manifest_of(whole)["gap_count"], whole.segments, whole.windows) == (0, 1, 5031 - 23)
    frame = sp500_frame()
    # The Monday and Tuesday around a holiday, and one more day.
    gone = ["2005-01-14", "2005-01-18", "2010-06-16"]
    frame = frame[~frame["Date"].isin(pd.to_datetime(gone))]
    cut = prepare_frame(tmp_path, frame, WindowConfig(), time={"calendar": "XNYS"})
    gaps = manifest_of(cut)["gaps"]
    assert [gap["missing"] for gap in gaps] == [gone[:2], gone[2:]]
    assert [gap["missing_steps"] for gap in gaps] == [2, 1]
    assert [(gap["from"], gap["to"]) for gap in gaps] == [
        ("2005-01-13", "2005-01-19"),
        ("2010-06-15", "2010-06-17"),
    ]
    assert [gap["windows_lost"] for gap in gaps] == [23, 23]
    assert manifest_of(cut)["windows_lost"] == 46
    assert cut.windows == (5028 - 23) - 46


@pytest.mark.parametrize(
    ("time", "gaps"),
    [
        ({}, [("2020-01-03", "2020-01-06", 2)]),
        ({"frequency": "D"}, [("2020-01-03", "2020-01-06", 2)]),
        ({"frequency": "B"}, []),
        ({"max_gap": "3D"}, []),
        ({"max_gap": "2D"}, [("2020-01-03", "2020-01-06", 2)]),
        ({"calendar": "XNYS"}, []),
        ({"calendar": "24/7"}, [("2020-01-03", "2020-01-06", 2)]),
    ],
)
def test_what_counts_as_a_gap_over_a_weekend(tmp_path, time, gaps):
    days = pd.bdate_range("2020-01-02", "2020-01-10")
    ref = prepare_frame(tmp_path, pd.DataFrame({"date": days, "x": np.arange(7.0)}), time=time)
    found = [(gap["from"], gap["to"], gap["missing_steps"]) for gap in manifest_of(ref)["gaps"]]
    assert found == gaps


def test_months_have_their_own_length(tmp_path):
    days = pd.date_range("2020-01-01", periods=30, freq="MS").delete(5)
    ref = prepare_frame(tmp_path, pd.DataFrame({"date": days, "x": np.arange(29.0)}))
    assert manifest_of(ref)["time"]["frequency"] == "MS"
    assert [gap["missing"] for gap in manifest_of(ref)["gaps"]] == [["2020-06-01"]]


def test_rows_off_the_calendar_are_counted_and_are_no_gap(tmp_path):
    days = [*pd.bdate_range("2020-01-06", "2020-01-17"), pd.Timestamp("2020-01-11")]
    ref = prepare_frame(
        tmp_path, pd.DataFrame({"date": sorted(days), "x": np.arange(11.0)}), time={"calendar": "XNYS"}
    )
    assert manifest_of(ref)["gap_count"] == 0
    assert manifest_of(ref)["time"]["off_grid_rows"] == 1


def test_series_are_grouped_and_never_joined(tmp_path):
    frame = pd.concat([daily(4).assign(name="b"), daily(4).assign(name="a", x=[10.0, 11, 12, 13])])
    mixed = frame.sort_values("date", kind="stable")
    ref = prepare_frame(tmp_path, mixed, series="name")
    assert manifest_of(ref)["segments"] == [[0, 4], [4, 8]]
    np.testing.assert_allclose(original(ref)[:, 0], [0, 1, 2, 3, 10, 11, 12, 13], atol=1e-5)
    assert ref.features == ("x",)
    assert manifest_of(ref)["gap_count"] == 0


def test_dropped_rows_are_gaps_that_no_rule_joins(tmp_path):
    frame = daily(10)
    frame.loc[[0, 4, 5], "x"] = np.nan
    ref = prepare_frame(tmp_path, frame, missing={"policy": "drop_row"}, time={"max_gap": "30D"})
    manifest = manifest_of(ref)
    assert manifest["segments"] == [[0, 3], [3, 7]]
    assert manifest["dropped_rows"] == 3
    assert [(gap["from_row"], gap["to_row"], gap["dropped_rows"]) for gap in manifest["gaps"]] == [(4, 7, 2)]
    np.testing.assert_allclose(original(ref)[:, 0], [1, 2, 3, 6, 7, 8, 9], atol=1e-5)
    np.testing.assert_array_equal(
        pd.to_datetime(np.load(ref.path / "time.npy")), frame["date"][[1, 2, 3, 6, 7, 8, 9]]
    )


def test_forward_fill_within_its_limit(tmp_path):
    frame = daily(8, y=[0.0, np.nan, np.nan, 3, 4, np.nan, 6, 7])
    ref = prepare_frame(tmp_path, frame, missing={"policy": "forward_fill", "limit": 2})
    np.testing.assert_allclose(original(ref)[:, 1], [0, 0, 0, 3, 4, 4, 6, 7], atol=1e-6)
    assert manifest_of(ref)["filled"] == {"y": 3}
    with pytest.raises(DataError, match="row 3"):
        prepare_frame(tmp_path, frame, missing={"policy": "forward_fill", "limit": 1})


def test_forward_fill_stops_at_gaps_series_and_the_beginning(tmp_path):
    policy = {"policy": "forward_fill", "limit": 9}
    gap = daily(8, y=[0.0, 1, 2, 3, np.nan, 5, 6, 7]).drop(index=3)
    with pytest.raises(DataError, match="row 4"):
        prepare_frame(tmp_path, gap, missing=policy)
    with pytest.raises(DataError, match="row 1"):
        prepare_frame(tmp_path, daily(3, y=[np.nan, 1, 2]), missing=policy)
    two = pd.concat([daily(2).assign(s=1), daily(2, y=[np.nan, 2.0]).assign(s=2)]).fillna({"y": np.nan})
    with pytest.raises(DataError, match="row 1"):
        prepare_frame(tmp_path, two, missing=policy, series="s")


def test_constant_column_is_zero_and_comes_back(tmp_path):
    ref = prepare_frame(tmp_path, daily(5, c=7.5))
    assert (PreparedSeries.open(ref.path).values[:, 1] == 0).all()
    assert (original(ref)[:, 1] == 7.5).all()


@pytest.mark.parametrize(
    ("frame", "options", "part"),
    [
        (daily(3, y=[1.0, None, 2]), {}, r"'y': 1, first in row 2"),
        (daily(3, y=[1.0, np.inf, 2]), {}, r"'y', row 2"),
        (daily(3, y=["1", "x", "2"]), {}, r"'y'.*row 2 'x'"),
        (daily(3, y=["1,234", "2,345", "3"]), {}, r"thousands"),
        (daily(3, y=[-1.5e308, 1.5e308, 0]), {}, r"'y'"),
        (daily(3, y=pd.Series([None] * 3, dtype="float64")), {"missing": {"policy": "drop_row"}}, "0 of the 3"),
        (daily(3)[["date"]], {}, "no feature"),
        (daily(3), {"columns": {"y": "drop"}}, "y"),
        (daily(3), {"series": "name"}, "name"),
        (daily(3, name=["a", None, "b"]), {"series": "name"}, "first row 2"),
        (daily(3).assign(date=["2020-01-01", "2020-13-01", "2020-01-03"]), {}, r"row 2.*2020-13-01"),
        (daily(3).assign(date=["2020-01-01", None, "2020-01-03"]), {}, r"row 2.*missing"),
        (daily(3).assign(date=["2020-01-01", "2020-01-02", "2020-01-01"]), {}, r"2020-01-01 in rows 1 and 3"),
        (
            daily(3).assign(date=["2020-01-01T00:00:00Z", "2020-01-02T00:00:00", "2020-01-03"]),
            {},
            r"row 2.*none",
        ),
        (daily(3).assign(date=["01/02/2020", "02/02/2020", "03/02/2020"]), {}, r"day or month first"),
        (daily(3).assign(date=pd.to_datetime([1, 2, 3])), {}, "1970"),
        (daily(3).assign(date=[0.5, 1.5, 2.5]), {"time": {"column": "date"}}, "row 1"),
        (
            daily(3).assign(date=pd.Series(np.array(["2020-01-01", "2500-01-01", "2020-01-03"], "M8[s]"))),
            {},
            "1677",
        ),
    ],
)
def test_bad_rows_are_refused_by_name_and_leave_nothing(tmp_path, frame, options, part):
    with pytest.raises(DataError, match=part):
        prepare_frame(tmp_path, frame, **options)
    assert not (tmp_path / "lake" / "prepared").exists()


@pytest.mark.parametrize(
    ("options", "window", "part"),
    [
        ({"time": {"calendar": "XNYX"}}, SHORT, "XNYS"),
        ({"time": {"frequency": "fortnight"}}, SHORT, "fortnight"),
        ({"time": {"max_gap": "soon"}}, SHORT, "soon"),
        ({"time": {"max_gap": "-1D"}}, SHORT, "-1D"),
        ({}, WindowConfig(length=11), r"window\.length<=10"),
        ({"columns": {"date": "drop"}, "time": {}}, WindowConfig(length=11), "10"),
    ],
)
def test_wrong_configuration_is_refused_and_leaves_nothing(tmp_path, options, window, part):
    with pytest.raises(ConfigError, match=part):
        prepare_frame(tmp_path, daily(10), window, **options)
    assert not (tmp_path / "lake" / "prepared").exists()


def test_rows_without_any_time_column_ask_for_one(tmp_path):
    with pytest.raises(ConfigError, match="none: true"):
        prepare_frame(tmp_path, pd.DataFrame({"x": [1.0, 2.0, 3.0]}))


def test_window_as_long_as_the_series_is_one_window(tmp_path):
    assert prepare_frame(tmp_path, daily(10), WindowConfig(length=10)).windows == 1


def test_zone_is_kept(tmp_path):
    frame = daily(5)
    frame["date"] = frame["date"].dt.tz_localize("Europe/Berlin")
    manifest = manifest_of(prepare_frame(tmp_path, frame))
    assert manifest["time"]["timezone"] == "Europe/Berlin"
    assert manifest["time"]["first"] == "2020-01-01 00:00:00+01:00"


def test_reading_a_prepared_series_needs_no_configuration_library():
    code = (
        "import sys, core.prepare.series\n"
        "print({'pydantic', 'yaml', 'great_expectations', 'exchange_calendars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Columns of mixed types


def events(**columns: object) -> pd.DataFrame:
    """Three series of 2, 4 and 3 rows."""
    frame = pd.DataFrame({"who": ["x"] * 2 + ["y"] * 4 + ["z"] * 3, "n": np.arange(9.0)})
    return frame.assign(**columns)


MIXED = {"series": "who", "time": {"none": True}}


def test_every_role_is_encoded_as_it_says(tmp_path):
    frame = events(
        type=list("abcabcabc"),
        flag=[True, False] * 4 + [True],
        sign=[-1, 1, 1] * 3,
        code=pd.array([7, 3, 7, 3, 7, 3, 7, 3, 7], dtype="Int64"),
        group=["left"] * 2 + ["right"] * 4 + ["left"] * 3,
        level=[5] * 2 + [1] * 4 + [3] * 3,
        member=[True] * 2 + [False] * 7,
        region=[10] * 2 + [20] * 4 + [30] * 3,
    )
    ref = prepare_frame(
        tmp_path,
        frame,
        **MIXED,
        columns={
            "type": "categorical",
            "sign": "binary",
            "code": "categorical",
            "group": "static",
            "level": "static",
            "member": "static",
            "region": {"static": True, "kind": "categorical"},
        },
    )
    layout = PreparedSeries.open(ref.path).layout
    assert layout == Layout(
        temporal=(
            Column("n", minimum=0, maximum=8),
            Column("type", "categorical", categories=("a", "b", "c")),
            Column("flag", "binary", categories=(False, True)),
            Column("sign", "binary", categories=(-1, 1)),
            Column("code", "categorical", categories=(3, 7)),
        ),
        static=(
            Column("group", "categorical", categories=("left", "right")),
            Column("level", minimum=1, maximum=5, integer=True),
            Column("member", "binary", categories=(False, True)),
            Column("region", "categorical", categories=(10, 20, 30)),
        ),
    )
    series = PreparedSeries.open(ref.path)
    np.testing.assert_array_equal(
        series.values[:3],
        np.float32([[0, 1, 0, 0, 1, 0, 0, 1], [1 / 8, 0, 1, 0, 0, 1, 1, 0], [2 / 8, 0, 0, 1, 1, 1, 0, 1]]),
    )
    np.testing.assert_array_equal(
        np.load(ref.path / "static.npy"),
        [[1, 0, 1, 1, 1, 0, 0], [0, 1, 0, 0, 0, 1, 0], [1, 0, 0.5, 0, 0, 0, 1]],
    )
    assert ref.features == ("n", "type", "flag", "sign", "code")
    rows = {
        column.name: to_series(column, codes).tolist()
        for column, codes in zip(layout.temporal, decode(layout.temporal, series.values).T, strict=True)
    }
    for name, values in rows.items():
        assert values == frame[name].tolist(), name


def test_masked_cells_stay_missing_and_are_counted(tmp_path):
    frame = events(
        type=["a", None, "b", "a", None, "b", "a", "b", "a"],
        flag=pd.array([True, None, False, True, False, True, False, True, True], dtype="boolean"),
        price=[np.nan, 5.0, 7, 6, 5, np.nan, 9, 5, 5],
        group=["left"] * 2 + [None] * 4 + ["right"] * 3,
    )
    ref = prepare_frame(
        tmp_path,
        frame,
        **MIXED,
        missing={"policy": "mask"},
        columns={"type": "categorical", "group": "static"},
    )
    series = PreparedSeries.open(ref.path)
    assert manifest_of(ref)["masked"] == {"type": 2, "flag": 1, "price": 2}
    assert [column.optional for column in series.layout.temporal] == [False, True, True, True]
    np.testing.assert_array_equal(series.values[1], np.float32([1 / 8, 0, 0, 0, 0, 0, 1, 0]))
    np.testing.assert_array_equal(series.values[0], np.float32([0, 1, 1, 0, 1, 1, 0, 0]))
    np.testing.assert_array_equal(series.static, [[1, 1, 0], [0, 0, 0], [1, 0, 1]])


def test_categories_of_dropped_rows_leave_no_channel(tmp_path):
    frame = events(type=list("abcabdabc"))
    frame.loc[5, "n"] = np.nan
    ref = prepare_frame(
        tmp_path, frame, **MIXED, missing={"policy": "drop_row"}, columns={"type": "categorical"}
    )
    assert PreparedSeries.open(ref.path).layout.temporal[1].categories == ("a", "b", "c")
    assert manifest_of(ref)["segments"] == [[0, 2], [2, 5], [5, 8]]


def test_forward_fill_carries_categories_on(tmp_path):
    frame = events(type=["a", None, "b", "c", None, None, "a", "b", None])
    ref = prepare_frame(
        tmp_path, frame, **MIXED, missing={"policy": "forward_fill"}, columns={"type": "categorical"}
    )
    layout = PreparedSeries.open(ref.path).layout
    assert to_series(layout.temporal[1], original(ref)[:, 1]).tolist() == list("aabcccabb")


def test_static_values_follow_their_segments_across_gaps(tmp_path):
    parts = [daily(6).drop(index=3).assign(who=who, group=group) for who, group in (("a", "x"), ("b", "y"))]
    ref = prepare_frame(tmp_path, pd.concat(parts), series="who", columns={"group": "static"})
    series = PreparedSeries.open(ref.path)
    assert series.segments.tolist() == [[0, 3], [3, 5], [5, 8], [8, 10]]
    np.testing.assert_array_equal(series.static, [[1, 0], [1, 0], [0, 1], [0, 1]])
    windows = series.windows(2)
    np.testing.assert_array_equal(windows.static, [[1, 0]] * 3 + [[0, 1]] * 3)


def test_conditions_are_taken_out_of_the_static_columns_in_their_order(tmp_path):
    frame = events(group=["left"] * 2 + [None] * 4 + ["right"] * 3, level=[5] * 2 + [1] * 4 + [3] * 3, size=1.5)
    roles = {"group": "static", "level": "static", "size": "static"}
    ref = prepare_frame(tmp_path, frame, **MIXED, columns=roles, missing={"policy": "mask"})
    series = PreparedSeries.open(ref.path)
    windows = series.windows(2, condition=("size", "group"))
    layout = series.conditioned(("size", "group"))
    assert [column.name for column in layout.condition] == ["group", "size"]
    assert windows.channels == layout.channels
    np.testing.assert_array_equal(windows.condition[:2], [[1, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(windows.static[:2], [[1], [0]])
    for names in (("n",), ("nowhere",), ("group", "group")):
        with pytest.raises(ConfigError, match="static columns: group, level, size"):
            series.windows(2, condition=names)


@pytest.mark.parametrize(
    ("frame", "options", "part"),
    [
        (events(g=list("aabbbbccd")), {"columns": {"g": "static"}}, r"'g' changes within series 'z'.*row 9"),
        (events(g=["a", None] + ["b"] * 7), {"columns": {"g": "static"}}, r"'g': 1 cells are missing.*row 2"),
        (
            events(g=["a", None] + ["b"] * 7),
            {"columns": {"g": "static"}, "missing": {"policy": "mask"}},
            r"'g' changes within series 'x': 'a' in row 1, None in row 2",
        ),
        (
            events(g=[None] * 2 + ["b"] * 7),
            {"columns": {"g": "static"}, "missing": {"policy": "forward_fill"}},
            "2 cells are missing, first in row 1",
        ),
        (events(b=list("abcabcabc")), {"columns": {"b": "binary"}}, "two values.*this one 3: 'a', 'b', 'c'"),
        (events(b=["a"] * 9), {"columns": {"b": "binary"}}, "this one 1: 'a'"),
        (events(t=list("abcabcabc")), {}, r"'t' is string.*columns: \{t: categorical\}"),
        (events(t=list("abcabcabc")), {"columns": {"t": "continuous"}}, "'t' is string, not numbers"),
        (
            events(t=pd.date_range("2020", periods=9)),
            {"columns": {"t": "categorical"}},
            "'t': it is timestamp.*write it as text",
        ),
        (events(t=[1.0, np.inf] + [2.0] * 7), {"columns": {"t": "categorical"}}, "row 2 is infinite"),
        (events(step=1.0), {}, "column 'step'.*rename or drop"),
        (events(t=[np.nan] * 9), {"missing": {"policy": "mask"}}, "'t' has no value at all"),
        (
            events(t=pd.Series([None] * 9, dtype="str")),
            {"columns": {"t": "categorical"}, "missing": {"policy": "mask"}},
            "'t' has no value at all",
        ),
    ],
)
def test_bad_columns_of_each_kind_are_refused(tmp_path, frame, options, part):
    with pytest.raises(DataError, match=part):
        prepare_frame(tmp_path, frame, **MIXED, **options)
    assert not (tmp_path / "lake" / "prepared").exists()


def test_too_many_categories_are_refused_by_rows_and_by_series(tmp_path):
    rows = pd.DataFrame({"who": np.repeat(np.arange(30), 2), "x": np.arange(60.0)})
    ids = rows.assign(id=np.arange(60).astype(str))
    with pytest.raises(DataError, match=r"'id': it has 60 categories.*60 cells \(at most 30\)"):
        prepare_frame(tmp_path, ids, **MIXED, columns={"id": "categorical"})
    names = rows.assign(id=rows["who"].astype(str))
    assert prepare_frame(tmp_path, names, **MIXED, columns={"id": "categorical"}).windows == 30
    with pytest.raises(DataError, match=r"30 categories.*30 cells \(at most 20\)"):
        prepare_frame(tmp_path, names, **MIXED, columns={"id": "static"})
    many = pd.DataFrame({"x": np.arange(4000.0), "id": np.arange(4000) % 1001})
    with pytest.raises(DataError, match="at most 1,000"):
        prepare_frame(tmp_path, many, time={"none": True}, columns={"id": "categorical"})


# Windows of different lengths


def windows_by_hand(
    segments: list[list[int]], length: int, stride: int, min_length: int | None
) -> list[tuple[int, int, int]]:
    """(start, length, segment) of every window, by looking at one start after the other."""
    found = []
    for number, (first, stop) in enumerate(segments):
        covered = first
        for start in range(first, stop, stride):
            if start + length <= stop:
                found.append((start, length, number))
                covered = start + length
                continue
            # The first that is not whole; later ones would be shorter still and lie inside it.
            if min_length is not None and stop - start >= min_length and covered < stop:
                found.append((start, stop - start, number))
            break
    return found


@given(
    st.lists(st.integers(1, 15), max_size=6),
    st.integers(2, 8),
    st.integers(1, 10),
    st.none() | st.integers(1, 8),
)
def test_windows_are_those_found_one_by_one(sizes, length, stride, min_length):
    stops = np.cumsum(sizes, dtype=np.int64)
    segments = np.stack([stops - sizes, stops], axis=1).reshape(-1, 2).astype(np.int64)
    index = window_index(segments, length, stride, min_length)
    found = list(zip(index.starts, index.lengths, index.segments, strict=True))
    assert found == windows_by_hand(segments.tolist(), length, stride, min_length)
    assert index.starts.dtype == index.lengths.dtype == np.int64
    if min_length == 1 and stride <= length:
        covered = {row for start, rows, _ in found for row in range(start, start + rows)}
        assert covered == set(range(sum(sizes)))


def test_short_windows_run_to_the_end_of_their_segment_and_are_padded_with_zeros(tmp_path):
    ref = prepare_frame(
        tmp_path, events(), WindowConfig(length=4, min_length=3), **MIXED, expectations={"min_rows": 2}
    )
    assert (ref.windows, manifest_of(ref)["short_windows"]) == (2, 1)
    windows = PreparedSeries.open(ref.path).windows(4, min_length=3)
    assert windows.variable
    arrays = windows.gather(np.array([1, 0]))
    assert arrays.lengths.tolist() == [3, 4]
    np.testing.assert_allclose(arrays.values[..., 0] * 8, [[6, 7, 8, 0], [2, 3, 4, 5]])
    with pytest.raises(ConfigError, match=r"window\.min_length=5.*min_length<=4"):
        prepare_frame(tmp_path, events(), WindowConfig(length=6, min_length=5), **MIXED)


def test_windows_are_recoded_with_all_their_parts(tmp_path):
    frame = events(group=["left"] * 2 + ["right"] * 7, level=[5] * 2 + [1] * 7)
    ref = prepare_frame(tmp_path, frame, **MIXED, columns={"group": "static", "level": "static"})
    series = PreparedSeries.open(ref.path)
    windows = series.windows(2, condition=("group",))
    wider = Layout(
        (Column("n", minimum=0, maximum=4),),
        (Column("level", minimum=1, maximum=9),),
        (Column("group", "categorical", categories=("left", "mid", "right")),),
    )
    recoded, outside = windows.recoded(series.conditioned(("group",)), wider)
    np.testing.assert_allclose(recoded.values[:, 0], np.arange(9) / 4)
    assert outside == 4
    assert recoded.channels == wider.channels
    np.testing.assert_array_equal(recoded.condition[0], [1, 0, 0])
    np.testing.assert_array_equal(recoded.condition[-1], [0, 0, 1])
    np.testing.assert_array_equal(recoded.static[[0, -1], 0], [0.5, 0])
