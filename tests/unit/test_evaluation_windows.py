from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from core.evaluation.files.read import read_windows
from core.evaluation.files.windows import MAX_CATEGORIES, judged_pair
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.timegan import TimeGAN
from core.prepare.channels.layout import Column, Layout
from tests.unit.fake_generator import write_windows


def long_form(values: np.ndarray, names: list[str]) -> pd.DataFrame:
    windows, steps, features = values.shape
    frame = pd.DataFrame(values.reshape(-1, features), columns=names)
    frame.insert(0, "window", np.repeat(np.arange(windows), steps))
    frame.insert(1, "step", np.tile(np.arange(steps), windows))
    return frame


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4)),
    dtype=st.sampled_from(["float32", "float64", "int64"]),
    seed=st.integers(0, 100),
)
@settings(max_examples=20, deadline=None)
def test_both_kinds_of_file_give_back_what_was_written(tmp_path_factory, shape, dtype, seed):
    folder = tmp_path_factory.mktemp("window=1")
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=shape) * 100).astype(dtype)
    np.save(folder / "w.npy", values)
    read = read_windows(folder / "w.npy")
    np.testing.assert_array_equal(read.rows.to_numpy().reshape(shape), values)
    assert read.columns == tuple(f"feature {number + 1}" for number in range(shape[2]))

    names = [f"column {number}" for number in range(shape[2])]
    frame = long_form(values, names)
    frame["window"] = frame["window"] * 10 - 3
    frame["step"] += 5
    frame.sample(frac=1, random_state=seed).to_parquet(folder / "w.parquet")
    read = read_windows(folder / "w.parquet")
    np.testing.assert_array_equal(read.rows.to_numpy().reshape(shape), values)
    assert read.columns == tuple(names)


def npy_bytes(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", b"", "no readable .npy"),
        ("a.npy", b"not an array at all", "no readable .npy"),
        ("a.npy", npy_bytes(np.zeros((2, 3, 4)))[:-5], "no readable .npy"),
        ("a.npy", npy_bytes(np.array([{}, 1], dtype=object), allow_pickle=True), "no readable .npy"),
        ("a.npy", npy_bytes(np.zeros((2, 3))), r"got float64 of shape \(2, 3\)"),
        ("a.npy", npy_bytes(np.full((2, 3, 1), "x")), "got <U1"),
        ("a.npy", npy_bytes(np.zeros((0, 3, 1))), "at least one window"),
        ("a.parquet", b"", "no readable Parquet"),
        ("a.parquet", b"PAR1 cut off", "no readable Parquet"),
        ("a.csv", b"window,step,a\n0,0,1\n", "ending in .npy or .parquet, got '.csv'"),
        ("a", b"", "got 'none'"),
    ],
)
def test_damaged_and_other_files_are_refused_by_name(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_windows(path)
    assert str(path) in str(caught.value)


def test_an_archive_is_no_array(tmp_path):
    np.savez(tmp_path / "a.npz", np.zeros((2, 3, 4)))
    path = (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match="an archive"):
        read_windows(path)


def test_a_missing_file_is_a_wrong_call(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.npy"):
        read_windows(tmp_path / "none.npy")
    with pytest.raises(ConfigError):
        read_windows(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda frame: frame.drop(columns="step"), "integer column 'step'"),
        (lambda frame: frame.assign(window=frame["window"] + 0.5), "integer column 'window'.*double"),
        (lambda frame: frame.drop(index=4), "consecutive and single.*window 1"),
        (lambda frame: frame.assign(step=[0, 1, 2, 0, 1, 1]), "consecutive and single.*window 1"),
        (lambda frame: frame.assign(step=[0, 2, 4, 0, 1, 2]), "consecutive and single.*window 0"),
        (
            lambda frame: frame.assign(b=[[1.0]] * 6),
            r"every feature must be a number, text or a boolean, got b",
        ),
        (lambda frame: frame.assign(step=frame["step"].where(frame.index > 0)), "'step' without empty cells"),
        (lambda frame: frame.iloc[:0], "at least one window"),
        (lambda frame: frame[["window", "step"]], "at least one window"),
    ],
)
def test_tables_that_hold_no_windows_are_refused(tmp_path, spoil, words):
    path = tmp_path / "w.parquet"
    spoil(long_form(np.zeros((2, 3, 2)), ["a", "b"])).to_parquet(path)
    with pytest.raises(DataError, match=words) as caught:
        read_windows(path)
    assert str(path) in str(caught.value)


def test_windows_of_different_lengths_are_padded_and_say_which_rows_are_there(tmp_path):
    frame = long_form(np.arange(1.0, 13.0).reshape(2, 3, 2), ["a", "b"])
    frame.drop(index=5).to_parquet(tmp_path / "short.parquet")
    frame.to_parquet(tmp_path / "whole.parquet")
    short, whole = read_windows(tmp_path / "short.parquet"), read_windows(tmp_path / "whole.parquet")
    assert short.lengths.tolist() == [3, 2]
    assert short.frame().to_dict("list") == {
        "a": [1, 3, 5, 7, 9],
        "b": [2, 4, 6, 8, 10],
        "window": [0, 0, 0, 1, 1],
        "step": [0, 1, 2, 0, 1],
    }
    pd.testing.assert_frame_equal(short.frame(1), short.frame()[:3])
    pair = judged_pair(whole, short)
    assert pair.features == ("row present", "a", "b")
    assert pair.variable
    assert (pair.real[..., 0] == 1).all()
    assert pair.synthetic[..., 0].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert (pair.real[..., 1:].ravel() == np.arange(1.0, 13.0)).all()
    assert pair.synthetic[1, 2].tolist() == [0, 0, 0]


def test_features_are_put_in_the_order_of_the_real_ones(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    long_form(values, ["a", "b"]).to_parquet(tmp_path / "real.parquet")
    long_form(values, ["a", "b"])[["b", "step", "a", "window"]].to_parquet(tmp_path / "turned.parquet")
    long_form(values, ["a", "c"]).to_parquet(tmp_path / "other.parquet")
    np.save(tmp_path / "plain.npy", values)
    real, turned, other = (read_windows(tmp_path / f"{name}.parquet") for name in ("real", "turned", "other"))
    pair = judged_pair(real, turned)
    assert (pair.real == pair.synthetic).all()
    assert pair.features == ("a", "b")
    assert not pair.variable
    with pytest.raises(DataError, match="same features, got a, b and a, c"):
        judged_pair(real, other)


@pytest.mark.parametrize("real_is_named", [False, True])
def test_columns_without_names_are_taken_by_their_places_under_the_real_ones_names(tmp_path, real_is_named):
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    long_form(values, ["a", "b"]).to_parquet(tmp_path / "named.parquet")
    np.save(tmp_path / "plain.npy", values)
    named, plain = read_windows(tmp_path / "named.parquet"), read_windows(tmp_path / "plain.npy")
    pair = judged_pair(named, plain) if real_is_named else judged_pair(plain, named)
    names = ("a", "b") if real_is_named else ("feature 1", "feature 2")
    assert pair.features == names
    assert (pair.real == pair.synthetic).all()
    for frame in (windows.frame() for windows in pair.sets):
        assert list(frame) == [*names, "window", "step"]
        assert (frame[list(names)].to_numpy() == values.reshape(-1, 2)).all()
    np.save(tmp_path / "narrow.npy", values[..., :1])
    with pytest.raises(DataError, match=r"same features, got 2 .* and 1 \(feature 1\)"):
        judged_pair(named, read_windows(tmp_path / "narrow.npy"))


def mixed(**columns: list[object]) -> pd.DataFrame:
    """Two windows of two steps."""
    return pd.DataFrame({"window": [0, 0, 1, 1], "step": [0, 1, 0, 1], "x": [1.0, 2.0, 3.0, 4.0]} | columns)


def test_text_and_booleans_are_judged_by_category_and_kept_in_the_frames(tmp_path, caplog):
    caplog.set_level("INFO")
    real = mixed(kind=["b", "a", None, "b"], flag=[True, False, True, True])
    real.insert(2, "time", pd.date_range("2020-01-01", periods=4))
    real["kind"] = real["kind"].astype("category")
    real.to_parquet(tmp_path / "real.parquet")
    made = mixed(kind=["a", "c", "c", "b"], flag=[None, False, False, True])
    made.to_parquet(tmp_path / "made.parquet")
    pair = judged_pair(read_windows(tmp_path / "real.parquet"), read_windows(tmp_path / "made.parquet"))
    assert "only their order is checked: time" in caplog.text
    assert pair.sets[0].frame()["time"].tolist() == real["time"].tolist()
    assert pair.features == ("x", "kind=a", "kind=b", "kind=c", "flag=False", "flag=True")
    assert pair.real.reshape(4, 6).tolist() == [
        [1, 0, 1, 0, 0, 1],
        [2, 1, 0, 0, 1, 0],
        [3, 0, 0, 0, 0, 1],
        [4, 0, 1, 0, 0, 1],
    ]
    assert pair.synthetic.reshape(4, 6).tolist() == [
        [1, 1, 0, 0, 0, 0],
        [2, 0, 0, 1, 1, 0],
        [3, 0, 0, 1, 1, 0],
        [4, 0, 1, 0, 0, 1],
    ]
    frames = [windows.frame() for windows in pair.sets]
    assert frames[0]["kind"].dropna().tolist() == ["b", "a", "b"]
    assert frames[1]["flag"].dropna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("real", "made", "words"),
    [
        (["a", "b", "a", "b"], [1.0, 2.0, 1.0, 2.0], "'kind' must be of the same type.*float and str"),
        ([True] * 4, ["yes"] * 4, "'kind' must be of the same type.*bool and str"),
    ],
)
def test_columns_of_different_types_are_refused(tmp_path, real, made, words):
    mixed(kind=real).to_parquet(tmp_path / "real.parquet")
    mixed(kind=made).to_parquet(tmp_path / "made.parquet")
    with pytest.raises(DataError, match=words):
        judged_pair(read_windows(tmp_path / "real.parquet"), read_windows(tmp_path / "made.parquet"))


def test_texts_that_name_no_categories_are_refused(tmp_path):
    frame = long_form(np.zeros((2, MAX_CATEGORIES, 1)), ["x"])
    frame.assign(note=[f"row {row}" for row in frame.index]).to_parquet(tmp_path / "notes.parquet")
    frame.assign(note=pd.Series([None] * len(frame), dtype="string")).to_parquet(tmp_path / "empty.parquet")
    notes, empty = read_windows(tmp_path / "notes.parquet"), read_windows(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="'note' has 2,000 categories, at most 1,000"):
        judged_pair(notes, notes)
    with pytest.raises(DataError, match="'note' has no cells"):
        judged_pair(empty, empty)


def test_rows_of_nan_at_a_windows_end_are_not_there(tmp_path, caplog):
    values = np.random.default_rng(0).normal(size=(4, 3, 2))
    np.save(tmp_path / "whole.npy", values)
    values[1, 2] = values[3, 1:] = np.nan
    np.save(tmp_path / "short.npy", values)
    whole, short = read_windows(tmp_path / "whole.npy"), read_windows(tmp_path / "short.npy")
    assert short.lengths.tolist() == [3, 2, 3, 1]
    assert "2 of 4 windows are shorter" in caplog.text
    pair = judged_pair(whole, short)
    assert pair.synthetic[..., 0].sum(axis=1).tolist() == [3, 2, 3, 1]
    assert (pair.synthetic[..., 1:] == np.nan_to_num(values)).all()
    for place in ((0, 0), (2, slice(None), 0), (0, 2, 1)):
        broken = values.copy()
        broken[place] = np.nan
        np.save(tmp_path / "broken.npy", broken)
        with pytest.raises(DataError, match="synthetic windows must be finite"):
            judged_pair(whole, read_windows(tmp_path / "broken.npy"))
    values[2] = np.nan
    np.save(tmp_path / "gone.npy", values)
    with pytest.raises(DataError, match="window 2 holds nothing but NaN"):
        read_windows(tmp_path / "gone.npy")


NUMBERS = Layout((Column("x", maximum=2.0), Column("n", "binary", categories=(0, 1))))
MIXED = Layout(
    (Column("type", "categorical", categories=("in", "out", "on")), Column("x", maximum=2.0)),
    (Column("vip", "binary", categories=(False, True)),),
)


@pytest.mark.parametrize(("layout", "ending"), [(NUMBERS, "npy"), (NUMBERS, "parquet"), (MIXED, "parquet")])
def test_what_this_project_generates_can_be_read(tmp_path, layout, ending):
    timegan = TimeGAN(length=5, channels=layout.channels, hidden=3, layers=1, seed=0)
    bundle = GeneratorBundle(timegan, SeriesInfo("made-up", layout, {"frequency": "D"}, "x"))
    start = "2020-01-01" if ending == "parquet" else None
    for seed in (0, 1):
        write_windows(bundle, tmp_path / f"{seed}.{ending}", n=7, seed=seed, start=start)
    pair = judged_pair(*(read_windows(tmp_path / f"{seed}.{ending}") for seed in (0, 1)))
    expected = bundle.sample_frame(7, 1)
    made = pair.sets[1].frame()
    assert (made["window"] == expected["window"]).all()
    columns = [column.name for column in (*layout.static, *layout.temporal)]
    for name, found in zip(columns, pair.sets[1].columns, strict=True):
        assert made[found].tolist() == expected[name].tolist()
