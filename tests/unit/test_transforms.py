"""Logarithms and differences: what they make of rows, and how windows come back in original units."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from core.prepare.channels.conditions import encode_values
from core.prepare.channels.encode import decode, encode
from core.prepare.channels.layout import Column, Layout, WindowArrays
from core.prepare.channels.recode import recode, recode_windows
from core.prepare.channels.scaler import ScalerFit
from core.prepare.channels.transforms import (
    decode_windows,
    is_differenced,
    level_column,
    levels_before,
    transformed,
)
from core.prepare.series import PreparedSeries

SCALERS = ["minmax", "standard", "robust", "quantile"]
TRANSFORMS = ["none", "log", "difference", "log_difference"]


def starts_of(sizes: list[int]) -> np.ndarray:
    starts = np.zeros(sum(sizes), dtype=np.bool_)
    starts[np.cumsum([0, *sizes[:-1]])] = True
    return starts


def fitted(column: Column, codes: np.ndarray) -> Column:
    fit = ScalerFit(column)
    fit.update(codes[~np.isnan(codes)])
    return fit.finish()


# Rows


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_codes_are_what_pandas_computes_by_segment(transform: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [5, 1, 7, 2]
    levels = rng.lognormal(size=15)
    levels[8] = np.nan
    by = pd.Series(levels).groupby(np.repeat(np.arange(4), sizes))
    expected = {
        "none": pd.Series(levels),
        "log": np.log(pd.Series(levels)),
        "difference": by.diff(),
        "log_difference": np.log(pd.Series(levels) / by.shift()),
    }[transform]
    found = transformed(Column("x", transform=transform), levels, starts=starts_of(sizes))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_parts_of_the_rows_give_what_all_rows_do(sizes: list[int], data: st.DataObject) -> None:
    levels, starts = np.random.default_rng(1).normal(size=sum(sizes)), starts_of(sizes)
    column = Column("x", transform="difference")
    cut = data.draw(st.integers(0, len(levels)))
    before = levels[cut - 1] if cut else np.nan
    parts = [
        transformed(column, levels[:cut], np.nan, starts[:cut]),
        transformed(column, levels[cut:], before, starts[cut:]),
    ]
    np.testing.assert_array_equal(np.concatenate(parts), transformed(column, levels, np.nan, starts))


def test_the_level_before_a_row_is_the_row_before_it() -> None:
    levels, starts = np.array([2.0, 4.0, 8.0, 3.0, 9.0]), starts_of([3, 2])
    log = Column("x", transform="log_difference", integer=True)
    np.testing.assert_allclose(
        np.exp(levels_before(log, levels, starts=starts)), [np.nan, 2, 4, np.nan, 3], rtol=1e-12
    )
    plain = Column("x", transform="difference")
    np.testing.assert_array_equal(levels_before(plain, levels, 7.0, starts & False), [7, 2, 4, 8, 3])
    assert level_column(log) == Column("x before", integer=True, transform="log", level_of="x")
    assert level_column(plain).transform == "none"


# Windows


def whole_numbers(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.integers(1, 500, rows).astype(float)


def outliers(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.lognormal(size=rows) * np.where(rng.random(rows) < 0.1, 1e4, 1)


def with_mass(rng: np.random.Generator, rows: int) -> np.ndarray:
    return np.where(rng.random(rows) < 0.4, 2.5, rng.uniform(1, 4, rows))


SHAPES = {
    "plain": lambda rng, rows: rng.uniform(3, 90, rows),
    "integer": whole_numbers,
    "constant": lambda _, rows: np.full(rows, 7.3),
    "outliers": outliers,
    "mass": with_mass,
}


def written(folder: Path, columns: list[Column], levels: np.ndarray, sizes: list[int]) -> PreparedSeries:
    """A prepared series by its documented layout, one column at a time, as a build would write it."""
    starts = starts_of(sizes)
    differs = any(is_differenced(column) for column in columns)
    temporal, values, before, levels_found = [], [], [], []
    for column, own in zip(columns, levels.T, strict=True):
        codes = transformed(column, own, starts=starts)
        if is_differenced(column):
            level_codes = levels_before(column, own, starts=starts)
            before.append(fitted(level_column(column), level_codes))
            levels_found.append(np.where(starts, before[-1].minimum, level_codes))
            codes = np.where(starts, codes[~starts].min(), codes)
        temporal.append(fitted(column, codes))
        values.append(codes)
    layout = Layout(tuple(temporal), tuple(before))
    stops = np.cumsum(sizes)
    segments = np.stack([stops - sizes + differs, stops], axis=1)
    np.save(folder / "values.npy", encode(layout.temporal, np.stack(values, axis=1)))
    if before:
        np.save(folder / "levels.npy", encode(before, np.stack(levels_found, axis=1)))
    manifest = {"dataset": "x", "layout": layout.to_json(), "segments": segments.tolist(), "time": None}
    (folder / "prepared.json").write_text(json.dumps(manifest))
    return PreparedSeries.open(folder)


def tolerance(column: Column, levels: np.ndarray, length: int) -> np.ndarray:
    """What float32 channels may cost a value in original units, shape of `levels` kept."""
    steep = len(column.quantiles) or 1
    reach = max(1.0, np.ptp(transformed(column, levels)[1:]) / ((column.maximum - column.minimum) or 1))
    code = 2.0**-23 * reach * steep * (column.maximum - column.minimum)
    if is_differenced(column):
        level = np.log(levels) if column.transform == "log_difference" else levels
        code = length * code + 2.0**-23 * np.ptp(level)
    error = levels * np.expm1(code) if "log" in column.transform else code
    return error + 1e-11 * np.abs(levels)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("scaler", SCALERS)
@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=3),
    st.lists(st.integers(2, 30), min_size=1, max_size=4),
    st.integers(2, 6),
    st.integers(0, 2**32),
)
def test_windows_come_back_in_original_units(
    scaler: str, transform: str, shapes: list[str], sizes: list[int], length: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sizes = [40, *sizes]
    columns = [
        Column(f"{shape} {place}", integer=shape == "integer", scaler=scaler, transform=transform)
        for place, shape in enumerate(shapes)
    ]
    levels = np.stack([SHAPES[shape](rng, sum(sizes)) for shape in shapes], axis=1)
    if scaler == "robust":
        # Of half its values equal a column has no interquartile range.
        levels += rng.uniform(0, 0.5, levels.shape) * [shape == "mass" for shape in shapes]
    with tempfile.TemporaryDirectory() as folder:
        series = written(Path(folder), columns, levels, sizes)
        windows = series.windows(length, min_length=1)
        decoded = decode_windows(series.layout, windows.gather(np.arange(len(windows))))
    assert decoded.temporal.shape == (len(windows), length, len(columns))
    for window, (start, steps) in enumerate(zip(windows.starts, windows.lengths, strict=True)):
        assert np.isnan(decoded.temporal[window, steps:]).all()
        for place, column in enumerate(series.layout.temporal):
            found, true = decoded.temporal[window, :steps, place], levels[start : start + steps, place]
            allowed = tolerance(column, levels[:, place], length)[start : start + steps]
            if column.integer:
                assert (found == np.rint(found)).all()
                allowed = np.rint(allowed)
            assert (np.abs(found - true) <= allowed).all()
    if is_differenced(columns[0]):
        np.testing.assert_allclose(decoded.static, levels[windows.starts - 1], rtol=1e-4)


@pytest.mark.parametrize("transform", ["difference", "log_difference"])
def test_no_window_of_differences_reaches_across_a_gap(tmp_path: Path, transform: str) -> None:
    sizes = [6, 4, 5]
    levels = np.repeat([100.0, 1e6, 3.0], sizes)[:, None]
    series = written(tmp_path, [Column("x", transform=transform)], levels, sizes)
    windows = series.windows(3)
    assert windows.starts.tolist() == [1, 2, 3, 7, 11, 12]
    decoded = decode_windows(series.layout, windows.gather(np.arange(6)))
    # Within a segment nothing changes; a difference across a gap would.
    np.testing.assert_allclose(np.ptp(decoded.temporal, axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(decoded.temporal[:, 0, 0], [100, 100, 100, 1e6, 3, 3], rtol=1e-6, atol=0.2)


def priced(tmp_path: Path) -> PreparedSeries:
    rng = np.random.default_rng(4)
    close = np.exp(np.cumsum(rng.normal(0, 0.02, 50))) * 100
    columns = [Column("close", transform="log_difference"), Column("volume", integer=True)]
    levels = np.stack([close, rng.integers(1, 900, 50)], axis=1)
    return written(tmp_path, columns, levels, [50])


def test_static_values_of_the_series_come_first_and_levels_after_them(tmp_path: Path) -> None:
    plain = priced(tmp_path)
    group = Column("group", "categorical", categories=("a", "b"))
    tree = plain.manifest | {
        "layout": Layout(plain.layout.temporal, (group, *plain.layout.static)).to_json(),
        "segments": [[1, 20], [26, 50]],
    }
    (tmp_path / "prepared.json").write_text(json.dumps(tree))
    np.save(tmp_path / "static.npy", np.array([[1, 0], [0, 1]], dtype=np.float32))
    series = PreparedSeries.open(tmp_path)
    windows = series.windows(10)
    assert windows.static.shape == (len(windows), 3)
    np.testing.assert_array_equal(windows.static[:, 0], windows.starts < 20)
    np.testing.assert_array_equal(windows.static[:, 2], series.levels[windows.starts, 0])
    given_level = series.windows(10, condition=["close before"])
    np.testing.assert_array_equal(given_level.static, windows.static[:, :2])
    np.testing.assert_array_equal(given_level.condition, windows.static[:, 2:])
    given_group = series.windows(10, condition=["group"])
    np.testing.assert_array_equal(given_group.condition, windows.static[:, :2])
    assert given_group.channels == series.conditioned(["group"]).channels
    some = series.windows(10).only(np.array([3, 20]))
    np.testing.assert_array_equal(some.static, windows.static[[3, 20]])


def test_held_out_windows_have_their_own_levels(tmp_path: Path) -> None:
    plain = priced(tmp_path)
    tree = plain.manifest | {"segments": [[1, 30]], "holdout": {"segments": [[34, 50]]}}
    (tmp_path / "prepared.json").write_text(json.dumps(tree))
    held_out = PreparedSeries.open(tmp_path).windows(5, held_out=True)
    np.testing.assert_array_equal(held_out.static, plain.levels[held_out.starts])


def test_a_level_that_is_given_decides_where_windows_go_on_from(tmp_path: Path) -> None:
    series = priced(tmp_path)
    layout = series.conditioned(["close before"])
    real = series.windows(5, condition=["close before"]).gather(np.arange(3))
    low, high = np.exp([layout.condition[0].minimum, layout.condition[0].maximum])
    for level in (low, 0.3 * low + 0.7 * high, high):
        code = encode_values(layout.condition, {"close before": level})
        started = WindowArrays(real.values, real.static, np.repeat(code[None], 3, axis=0), real.lengths)
        found = decode_windows(layout, started)
        np.testing.assert_allclose(found.condition, level, rtol=1e-5)
        returns = np.cumsum(decode(layout.temporal, real.values)[..., 0], axis=1)
        np.testing.assert_allclose(found.temporal[..., 0], level * np.exp(returns), rtol=1e-5)
    with pytest.raises(ConfigError, match=f"from {low:g} to {high:g}"):
        encode_values(layout.condition, {"close before": high * 1.01})
    for wrong in (0, -1, "dear"):
        with pytest.raises(ConfigError, match="close before must be a number from"):
            encode_values(layout.condition, {"close before": wrong})


def test_differences_without_their_level_are_no_windows_in_original_units() -> None:
    layout = Layout((Column("x", transform="difference"),))
    none = np.empty((2, 0), dtype=np.float32)
    windows = WindowArrays(np.zeros((2, 3, 1), dtype=np.float32), none, none, np.array([3, 3]))
    with pytest.raises(DataError, match="'x' is differenced"):
        decode_windows(layout, windows)


# Layouts


def test_recoding_needs_equal_transforms_and_bridges_scalers(tmp_path: Path) -> None:
    series = priced(tmp_path)
    windows = series.windows(5).gather(np.arange(20))
    close = series.layout.temporal[0]
    counts = decode(series.layout.temporal, series.values)[:, 1]
    ranks = fitted(Column("volume", integer=True, scaler="quantile"), counts)
    other = Layout((close, ranks), series.layout.static)
    found, outside = recode_windows(windows, series.layout, other)
    assert outside == 0
    for left, right in zip(
        asdict(decode_windows(other, found)).values(),
        asdict(decode_windows(series.layout, windows)).values(),
        strict=True,
    ):
        np.testing.assert_allclose(left, right, rtol=1e-6)
    logged = Layout((close, Column("volume", integer=True, transform="log")), series.layout.static)
    with pytest.raises(DataError, match=r"volume \(log of continuous\).*transforms"):
        recode(windows.values, series.layout, logged)


def test_layouts_of_older_models_load_and_those_of_today_survive_json(tmp_path: Path) -> None:
    column = {"name": "x", "kind": "continuous", "minimum": 1, "maximum": 3, "integer": False}
    old = {"temporal": [column | {"categories": [], "optional": False}], "static": [], "condition": []}
    assert Layout.from_json(old) == Layout((Column("x", minimum=1, maximum=3),))
    layout = priced(tmp_path).layout
    ranked = fitted(Column("y", scaler="quantile", transform="log"), np.log(np.arange(1.0, 50)))
    layout = Layout((*layout.temporal, ranked), layout.static)
    again = Layout.from_json(json.loads(json.dumps(layout.to_json())))
    assert again == layout
    assert again.static[0].level_of == "close"
    assert hash(again) == hash(layout)
    assert again.own == Layout(layout.temporal)
    assert again.conditioned_on(["close before"]).own.condition == layout.static
