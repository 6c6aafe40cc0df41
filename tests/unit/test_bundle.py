"""What a generator's channels become: frames, arrays and files in original units and types."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow.types import DataType

from core.errors import ConfigError, StorageError
from core.generators import bundle as bundle_module
from core.generators.bundle import GeneratorBundle
from core.generators.integrity import write_manifest
from core.prepare.channels.layout import Column, Layout, WindowArrays, width
from tasks.registry.log import signature_of
from tests.unit.fake_generator import made, write_windows

MIXED = Layout(
    temporal=(
        Column("type", "categorical", categories=("login", "pay")),
        Column("flag", "binary", categories=(False, True), optional=True),
        Column("count", minimum=0.0, maximum=10.0, integer=True),
        Column("price", minimum=-5.0, maximum=15.0, optional=True),
    ),
    static=(Column("age", minimum=20.0, maximum=60.0),),
    condition=(Column("group", "categorical", categories=("a", "b", "c")),),
)
PLAIN = Layout((Column("x", minimum=-5.0, maximum=15.0), Column("n", minimum=0.0, maximum=9.0, integer=True)))


def daily(layout: Layout) -> GeneratorBundle:
    """A bundle whose rows are days."""
    bundle = made(layout)
    return replace(bundle, series=replace(bundle.series, time={"frequency": "D"}))


def row_by_row(windows: WindowArrays) -> list[dict[str, object]]:
    """The rows of MIXED windows, read channel by channel."""
    rows: list[dict[str, object]] = []
    for window in range(len(windows)):
        for step in range(windows.lengths[window]):
            login, pay, there, flag, count, priced, price = windows.values[window, step].astype(float)
            assert login + pay == 1
            rows.append(
                {
                    "window": window,
                    "step": step,
                    "age": 20 + 40 * float(windows.static[window, 0]),
                    "group": "abc"[int(windows.condition[window].argmax())],
                    "type": "pay" if pay else "login",
                    "flag": bool(flag) if there else None,
                    "count": float(round(10 * count)),
                    "price": 20 * price - 5 if priced else np.nan,
                }
            )
    return rows


def test_a_frame_holds_each_window_s_own_rows_in_the_user_s_terms() -> None:
    bundle = made(MIXED)
    frame = bundle.sample_frame(30, 1)
    expected = pd.DataFrame(row_by_row(bundle.sample_encoded(30, 1)))
    assert frame["flag"].isna().any()
    assert frame["price"].isna().any()
    assert frame["flag"].tolist() == expected["flag"].tolist()
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False, rtol=1e-6, atol=1e-6)
    assert frame.dtypes.astype(str).tolist() == [
        *("int64", "int64", "float64", "str", "str", "object", "float64", "float64"),
    ]


def test_conditions_are_given_in_the_user_s_terms() -> None:
    bundle = made(MIXED)
    assert set(bundle.sample_frame(40, 0)["group"]) == {"a", "b", "c"}
    assert set(bundle.sample_frame(40, 0, {"group": "b"})["group"]) == {"b"}
    for wrong in ({"group": "d"}, {"age": 3}, {}):
        with pytest.raises(ConfigError, match="group"):
            bundle.sample_frame(2, 0, wrong)
    with pytest.raises(ConfigError, match="no condition"):
        made(PLAIN).sample_frame(2, 0, {"group": "a"})


def test_arrays_of_plain_columns_have_their_units() -> None:
    bundle = made(PLAIN, whole=True)
    scaled, values = bundle.sample_scaled(5, 3), bundle.sample(5, 3)
    assert scaled.shape == values.shape == (5, 4, 2)
    np.testing.assert_allclose(values[..., 0], scaled[..., 0].astype(np.float64) * 20 - 5)
    np.testing.assert_array_equal(values[..., 1], np.rint(scaled[..., 1].astype(np.float64) * 9))


def test_arrays_of_numbers_have_holes_where_there_is_nothing() -> None:
    layout = Layout(
        (
            Column("code", "categorical", categories=(3, 7), optional=True),
            Column("flag", "binary", categories=(False, True)),
            Column("x", maximum=2.0),
        )
    )
    bundle = made(layout)
    windows, values = bundle.sample_encoded(50, 0), bundle.sample(50, 0)
    frame = bundle.sample_frame(50, 0)
    inside = np.arange(4) < windows.lengths[:, None]
    assert np.isnan(values[~inside]).all()
    np.testing.assert_array_equal(values[inside], frame[["code", "flag", "x"]].to_numpy(dtype=float))
    assert set(values[inside][:, 0][~np.isnan(values[inside][:, 0])]) == {3, 7}


DIFFERENCED = Layout(
    (
        Column("close", minimum=-0.1, maximum=0.1, transform="log_difference"),
        Column("stock", minimum=-3.0, maximum=3.0, transform="difference", integer=True),
        Column("rank", maximum=8.0, scaler="quantile", quantiles=(0.0, 1.0, 8.0)),
        Column("load", minimum=0.0, maximum=5.0, transform="log", scaler="standard"),
    ),
    (
        Column("close before", minimum=4.0, maximum=5.0, transform="log", level_of="close"),
        Column("stock before", minimum=0.0, maximum=90.0, integer=True, level_of="stock"),
    ),
)


def undone(windows: WindowArrays, close: float, stock: float, window: int) -> np.ndarray:
    """The rows of a window of DIFFERENCED after these levels, one after the other."""
    rows = []
    for returned, moved, rank, load in windows.values[window, : windows.lengths[window]].astype(float):
        close *= np.exp(0.2 * returned - 0.1)
        stock += round(6 * moved - 3)
        ranked = 2 * rank if rank < 0.5 else 1 + 7 * (2 * rank - 1)
        rows.append([close, stock, ranked, np.exp(5 * load)])
    return np.array(rows)


def test_transforms_are_undone_and_levels_are_not_shown() -> None:
    bundle = made(DIFFERENCED)
    windows, values, frame = (
        draw(9, 3) for draw in (bundle.sample_encoded, bundle.sample, bundle.sample_frame)
    )
    assert list(frame.columns) == ["window", "step", "close", "stock", "rank", "load"]
    for window in range(9):
        close, stock = windows.static[window].astype(float)
        expected = undone(windows, np.exp(4 + close), round(90 * stock), window)
        steps = windows.lengths[window]
        np.testing.assert_allclose(values[window, :steps], expected, rtol=1e-6)
        assert np.isnan(values[window, steps:]).all()
        np.testing.assert_array_equal(frame[frame["window"] == window].iloc[:, 2:], values[window, :steps])
    assert "close before" in bundle.scaled_frame(windows)


def test_windows_go_on_from_a_level_that_is_given(tmp_path: Path) -> None:
    bundle = made(DIFFERENCED.conditioned_on(["stock before"]))
    windows = bundle.sample_encoded(4, 1, {"stock before": 40})
    values, frame = bundle.numbers(windows), bundle.frame(windows)
    assert list(frame.columns) == ["window", "step", "stock before", "close", "stock", "rank", "load"]
    assert set(frame["stock before"]) == {40}
    for window in range(4):
        expected = undone(windows, np.exp(4 + float(windows.static[window, 0])), 40, window)
        np.testing.assert_allclose(values[window, : len(expected)], expected, rtol=1e-6)
    write_windows(bundle, tmp_path / "x.npy", n=4, seed=1, condition={"stock before": "40"})
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), values)
    with pytest.raises(ConfigError, match="stock before must be a number from 0 to 90"):
        bundle.sample(4, 1, {"stock before": 91})


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".npy"])
def test_the_same_seed_writes_the_same_bytes(tmp_path: Path, ending: str) -> None:
    scaled = ending == ".npy"
    for name in ("one", "two"):
        write_windows(made(MIXED), tmp_path / f"{name}{ending}", n=9, seed=4, scaled=scaled)
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()
    beside = [] if ending == ".parquet" else [f"{name}{ending}.json" for name in ("one", "two")]
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == sorted([f"one{ending}", f"two{ending}", *beside])


def test_parquet_keeps_types_and_lineage(tmp_path: Path) -> None:
    stamps = pd.date_range("2020-01-01", periods=4)
    path = tmp_path / "x.parquet"
    write_windows(daily(MIXED), path, n=20, seed=1, start="2020-01-01", condition={"group": "c"})
    table = pq.read_table(path)
    kinds = dict(zip(table.column_names, map(str, table.schema.types), strict=True))
    assert kinds.pop("time").startswith("timestamp")
    assert {name: kind.removeprefix("large_") for name, kind in kinds.items()} == {
        "window": "int64",
        "step": "int64",
        "age": "double",
        "group": "string",
        "type": "string",
        "flag": "bool",
        "count": "double",
        "price": "double",
    }
    lineage = json.loads(table.schema.metadata[b"timeloom"])
    assert lineage["model"] == "made-up"
    assert lineage["condition"] == {"group": "c"}
    frame = table.to_pandas()
    assert set(frame["group"]) == {"c"}
    assert (frame["time"] == stamps[frame["step"]]).all()


def test_arrays_refuse_what_they_have_no_place_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"type, age, group.*\.parquet"):
        write_windows(made(MIXED), tmp_path / "x.npy", n=2, seed=0)
    with pytest.raises(ConfigError, match=r"\.parquet, \.csv or \.npy"):
        write_windows(made(MIXED), tmp_path / "x.txt", n=2, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_scaled_files_hold_all_channels(tmp_path: Path) -> None:
    bundle = made(MIXED)
    windows = bundle.sample_encoded(6, 2)
    for name in ("x.npy", "x.parquet"):
        write_windows(bundle, tmp_path / name, n=6, seed=2, scaled=True)
    array = np.load(tmp_path / "x.npy")
    channels = sum(width(part) for part in (MIXED.channels.static, MIXED.channels.condition))
    assert array.shape == (6, 4, channels + MIXED.channels.features)
    np.testing.assert_array_equal(array[..., channels:], windows.values)
    frame = pd.read_parquet(tmp_path / "x.parquet")
    names = ["age", "group=a", "group=b", "group=c", "type=login", "type=pay", "flag present", "flag"]
    assert list(frame.columns) == ["window", "step", *names, "count", "price present", "price"]
    inside = np.arange(4) < windows.lengths[:, None]
    np.testing.assert_array_equal(frame.iloc[:, 2:].to_numpy(), array[inside])


def test_names_that_would_hide_each_other_are_refused(tmp_path: Path) -> None:
    layout = Layout((Column("x", optional=True), Column("x present"), Column("time")))
    with pytest.raises(ConfigError, match="several channels are called 'x present'"):
        write_windows(made(layout), tmp_path / "x.parquet", n=2, seed=0, scaled=True)
    with pytest.raises(ConfigError, match="column 'time' of its own"):
        write_windows(daily(layout), tmp_path / "x.parquet", n=2, seed=0, start="2020-01-01")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_comes_back_with_its_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = made(MIXED)
    bundle.save(tmp_path)
    monkeypatch.setattr(bundle_module, "load_generator", lambda _: bundle.generator)
    again = GeneratorBundle.load(tmp_path)
    assert again.series == bundle.series
    assert again.series.features == ("type", "flag", "count", "price")
    tree = json.loads((tmp_path / "series.json").read_text())
    for damage in ({"layout": []}, {"layout": {"temporal": [{}]}}, {"layout": {"sideways": []}}):
        (tmp_path / "series.json").write_text(json.dumps(tree | damage))
        write_manifest(tmp_path)
        with pytest.raises(StorageError, match="holds no trained generator"):
            GeneratorBundle.load(tmp_path)


# As a registered model


def test_the_signature_says_the_types_of_the_frame() -> None:
    signature = signature_of(made(MIXED))
    found = {column.name: (column.type, column.required) for column in signature.outputs.inputs}
    assert found == {
        "window": (DataType.long, True),
        "step": (DataType.long, True),
        "age": (DataType.double, True),
        "group": (DataType.string, True),
        "type": (DataType.string, True),
        "flag": (DataType.boolean, False),
        "count": (DataType.double, True),
        "price": (DataType.double, False),
    }
    params = {param.name: param.default for param in signature.params.params}
    assert params == {"n_samples": 1, "seed": 0, "condition": ""}
