from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.catalog import DatasetConfig
from core.config import WindowConfig
from core.errors import ConfigError, DataError
from core.handles import PreparedRef, SnapshotRef
from core.prepare.build import prepare
from core.prepare.channels.transforms import decode_windows
from core.prepare.series import PreparedSeries

FILES = ("values.npy", "time.npy", "static.npy", "levels.npy")


def stored(folder: Path, frame: pd.DataFrame) -> SnapshotRef:
    """A snapshot in row groups of 7 rows."""
    folder.mkdir(exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    large = [place for place, field in enumerate(table.schema) if pa.types.is_large_string(field.type)]
    for place in large:
        table = table.set_column(place, table.column_names[place], table.column(place).cast(pa.string()))
    pq.write_table(table, folder / "data.parquet", row_group_size=7)
    manifest = {"rows": len(frame), "parts": [{"file": "data.parquet", "rows": len(frame)}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return SnapshotRef(
        path=folder,
        digest=str(folder),
        reused=False,
        dataset="set",
        rows=len(frame),
        columns=tuple(frame.columns),
    )


def prepared(
    folder: Path,
    frame: pd.DataFrame,
    excluded: list[int] | None = None,
    block_rows: int = 5,
    length: int = 2,
    **options: object,
) -> PreparedRef:
    dataset = DatasetConfig.model_validate({"name": "set", "source": {"path": "x.csv"}, **options})
    out = None if excluded is None else np.array(excluded, dtype=np.int64)
    snapshot = stored(folder, frame)
    return prepare(dataset, WindowConfig(length=length), snapshot, folder / "lake", out, block_rows=block_rows)


def manifest_of(ref: PreparedRef) -> dict:
    return json.loads((ref.path / "prepared.json").read_text())


def original(ref: PreparedRef, length: int = 2) -> np.ndarray:
    """Windows in original units."""
    series = PreparedSeries.open(ref.path)
    windows = series.windows(length)
    return decode_windows(series.layout, windows.gather(np.arange(len(windows)))).temporal


def hourly(rows: int = 40, seed: int = 0) -> pd.DataFrame:
    """A walk, positive prices, whole numbers and a category, with a gap after row 20."""
    rng = np.random.default_rng(seed)
    hours = pd.date_range("2020-01-01", periods=rows + 2, freq="h").delete([21, 22])
    return pd.DataFrame(
        {
            "date": hours,
            "walk": rng.normal(size=rows).cumsum(),
            "price": np.exp(rng.normal(size=rows).cumsum() / 10),
            "count": rng.integers(0, 9, rows),
            "state": rng.choice(["a", "b", "c"], rows),
        }
    )


def two_series() -> pd.DataFrame:
    """Interleaved in time, each with its own level."""
    parts = [hourly(30, seed).assign(who=who, size=seed + 1.5) for seed, who in enumerate("vw")]
    return pd.concat(parts).sort_values("date", kind="stable", ignore_index=True)


ROLES = {"state": "categorical", "price": {"kind": "continuous", "transform": "log_difference"}}


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled", "two series"])
def test_the_size_of_blocks_changes_nothing(tmp_path, order):
    frame = two_series() if order == "two series" else hourly()
    options = {"columns": ROLES, "missing": {"policy": "interpolate", "limit": 4}, "holdout": 0.3}
    if order == "two series":
        options |= {"series": "who", "columns": {**ROLES, "size": "static"}}
    frame.loc[[4, 5, 6, 15], "walk"] = np.nan
    frame["count"] = frame["count"].astype("Int64").where(~frame.index.isin([7, 30]))
    frame.loc[[8, 9], "state"] = None
    if order in ("backwards", "shuffled"):
        frame = frame[::-1] if order == "backwards" else frame.sample(frac=1, random_state=0)
    refs = [prepared(tmp_path / str(rows), frame, block_rows=rows, **options) for rows in (1, 3, 1000)]
    for name in FILES:
        found = {(ref.path / name).read_bytes() for ref in refs if (ref.path / name).exists()}
        assert len(found) == (name != "static.npy" or order == "two series"), name
    told = [
        {key: value for key, value in manifest_of(ref).items() if key not in ("seconds", "snapshot")}
        for ref in refs
    ]
    assert told[0] == told[1] == told[2]
    assert told[0]["filled"] == {"walk": 4, "count": 2, "state": 2}


def test_rows_in_no_order_are_those_of_the_ordered_file(tmp_path):
    frame = hourly()
    one = prepared(tmp_path / "a", frame, columns=ROLES)
    two = prepared(tmp_path / "b", frame.sample(frac=1, random_state=3), columns=ROLES)
    for name in ("values.npy", "time.npy", "levels.npy"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()
    assert sorted(path.name for path in two.path.iterdir()) == [
        "levels.npy",
        "prepared.json",
        "report.html",
        "report.md",
        "time.npy",
        "values.npy",
    ]


def test_interpolated_cells_lie_on_the_line_in_time(tmp_path):
    frame = pd.DataFrame(
        {"date": pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-04"]), "x": [0, np.nan, 9.0]}
    )
    options = {"missing": {"policy": "interpolate"}, "time": {"max_gap": "9D"}}
    ref = prepared(tmp_path, frame, **options)
    np.testing.assert_allclose(original(ref)[0, :, 0], [0, 3], atol=1e-6)
    assert manifest_of(ref)["filled"] == {"x": 1}
    with pytest.raises(DataError, match="'x', row 3: no value stands after it"):
        prepared(tmp_path / "end", frame.assign(x=[0, 1, np.nan]), **options)


@pytest.mark.parametrize("transform", ["log", "difference", "log_difference"])
@pytest.mark.parametrize("policy", ["forward_fill", "interpolate"])
def test_cells_are_filled_before_they_are_transformed_at_the_end_of_a_block_too(tmp_path, policy, transform):
    frame = hourly()[["date", "price"]]
    frame.loc[[4, 5, 6, 10, 30], "price"] = np.nan
    price = frame["price"].ffill() if policy == "forward_fill" else frame["price"].interpolate()
    options = {"missing": {"policy": policy}, "scaling": {"transform": transform}}
    first = 0 if transform == "log" else 1
    for rows in (1, 5, 1000):
        ref = prepared(tmp_path / str(rows), frame, block_rows=rows, **options)
        found = original(ref)[: 20 - first, 0, 0]
        np.testing.assert_allclose(found, price[first:20], rtol=1e-5)


def test_held_out_cells_say_nothing_of_those_that_are_learnt(tmp_path):
    frame = hourly()
    frame.loc[[28, 29], "walk"] = np.nan
    frame.loc[27, "walk"] = 0.5
    options = {
        "columns": {"state": "categorical", "count": "drop"},
        "missing": {"policy": "interpolate"},
        "holdout": 0.275,  # the border is row 29
    }
    values = []
    for after in (1e3, -1e3):
        later = frame.assign(walk=frame["walk"].where(frame.index < 30, after))
        ref = prepared(tmp_path / str(after), later, **options)
        series = PreparedSeries.open(ref.path)
        assert series.segments.tolist() == [[0, 21], [21, 29]]
        values.append(np.asarray(series.values[:29]))
        assert original(ref)[-1, :, 0].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    np.testing.assert_array_equal(*values)


def test_excluded_rows_cut_the_series_and_are_not_looked_at(tmp_path):
    frame = pd.DataFrame({"x": [0.0, 1, np.inf, 3, 4, 5, 6], "y": ["1", "2", "3", "4", "5", "total", "7"]})
    options = {"time": {"none": True}}
    with pytest.raises(DataError, match="'x', row 3: infinite"):
        prepared(tmp_path / "all", frame[["x"]], **options)
    with pytest.raises(DataError, match="'y' is string, not numbers"):
        prepared(tmp_path / "text", frame[["y"]], **options)
    ref = prepared(tmp_path / "some", frame, excluded=[2, 5], **options)
    manifest = manifest_of(ref)
    assert manifest["segments"] == [[0, 2], [2, 4], [4, 5]]
    assert (manifest["quarantined_rows"], manifest["dropped_rows"]) == (2, 0)
    assert [gap["dropped_rows"] for gap in manifest["gaps"]] == [1, 1]
    np.testing.assert_allclose(original(ref), [[[0, 1], [1, 2]], [[3, 4], [4, 5]]], atol=1e-5)
    assert [column.integer for column in PreparedSeries.open(ref.path).layout.temporal] == [False, True]
    halves = prepared(tmp_path / "halves", frame.assign(y=frame["y"] + ".5"), excluded=[2, 5], **options)
    assert not PreparedSeries.open(halves.path).layout.temporal[1].integer
    assert prepared(tmp_path / "some", frame, excluded=[2, 5, 6], **options).path != ref.path
    with pytest.raises(DataError, match="no row of set is left"):
        prepared(tmp_path / "some", frame, excluded=list(range(7)), **options)


@pytest.mark.parametrize("transform", ["log", "difference", "log_difference"])
@pytest.mark.parametrize("scaler", ["minmax", "standard", "robust", "quantile"])
def test_windows_come_back_through_every_scaler_and_transform(tmp_path, scaler, transform):
    frame = hourly()[["date", "price"]]
    ref = prepared(tmp_path, frame, length=4, scaling={"scaler": scaler, "transform": transform})
    differenced = transform != "log"
    starts = [0, 21] if not differenced else [1, 22]
    assert [start for start, _ in manifest_of(ref)["segments"]] == starts
    assert manifest_of(ref)["rows_without_difference"] == 2 * differenced
    price = frame["price"].to_numpy()
    rows = [row for start, stop in zip(starts, (21, 40), strict=True) for row in range(start, stop - 3)]
    expected = np.stack([price[row : row + 4] for row in rows])
    np.testing.assert_allclose(original(ref, 4)[..., 0], expected, rtol=1e-4)


@pytest.mark.parametrize("policy", ["drop_row", "forward_fill"])
def test_scalers_are_fitted_to_the_cells_there_were_in_the_rows_to_learn_from(tmp_path, policy):
    frame = hourly()[["date", "walk"]]
    frame.loc[[3, 25], "walk"] = np.nan
    frame.loc[39, "walk"] = 1e6
    scaling = {"scaler": "standard"}
    ref = prepared(tmp_path, frame, scaling=scaling, missing={"policy": policy}, holdout=0.3)
    manifest = manifest_of(ref)
    column = PreparedSeries.open(ref.path).layout.temporal[0]
    stamps = pd.to_datetime(np.load(ref.path / "time.npy"))
    learnt = np.concatenate([np.arange(start, stop) for start, stop in manifest["segments"]])
    cells = frame.set_index("date")["walk"][stamps[learnt]].dropna()
    middle, deviation = cells.mean(), cells.std(ddof=0)
    np.testing.assert_allclose(
        (column.minimum, column.maximum), (middle - 4 * deviation, middle + 4 * deviation)
    )
    assert manifest["outside"] == {"learnt": {}, "held_out": {"walk": 1}}


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        (
            {"scaling": {"transform": "log"}},
            DataError,
            r"'x', row 3: 0 or less \(2 such cells\).*transform: none",
        ),
        ({"scaling": {"transform": "log_difference"}}, DataError, "'x', row 3: 0 or less"),
        (
            {"scaling": {"transform": "difference"}, "missing": {"policy": "mask"}},
            ConfigError,
            "transform=difference.*policy=mask",
        ),
    ],
)
def test_transforms_that_the_cells_forbid_are_refused_and_leave_nothing(tmp_path, options, error, part):
    frame = pd.DataFrame({"x": [1.0, 2, 0, 4, -5]})
    with pytest.raises(error, match=part):
        prepared(tmp_path, frame, time={"none": True}, **options)
    assert not (tmp_path / "lake").exists()


def test_a_column_of_the_name_of_a_level_is_refused(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2, 3], "x before": [1.0, 2, 3]})
    with pytest.raises(ConfigError, match=r"'x before'.*rename"):
        prepared(tmp_path, frame, time={"none": True}, scaling={"transform": "difference"})


def test_series_are_listed_with_what_is_learnt_of_each(tmp_path):
    frame = pd.DataFrame({"who": list("aaabbbbb"), "x": np.arange(8.0)})
    frame.loc[5, "x"] = np.nan
    ref = prepared(tmp_path, frame, series="who", time={"none": True}, missing={"policy": "drop_row"})
    manifest = manifest_of(ref)
    assert manifest["series_count"] == 2
    assert [tuple(one.values()) for one in manifest["series_list"]] == [("a", 3, 1, 2), ("b", 4, 2, 2)]
    assert manifest["dropped_rows"] == 1
