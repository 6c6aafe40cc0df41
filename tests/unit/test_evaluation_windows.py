from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from core.evaluation.windows import judged_pair, read_windows, window_starts


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
    np.testing.assert_array_equal(read.values, values)
    assert read.features == tuple(f"feature {number + 1}" for number in range(shape[2]))

    names = [f"column {number}" for number in range(shape[2])]
    frame = long_form(values, names)
    frame["window"] = frame["window"] * 10 - 3
    frame["step"] += 5
    frame.sample(frac=1, random_state=seed).to_parquet(folder / "w.parquet")
    read = read_windows(folder / "w.parquet")
    np.testing.assert_array_equal(read.values, values)
    assert read.features == tuple(names)


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
        (lambda frame: frame.assign(window=frame["window"] + 0.5), "integer column 'window'.*float64"),
        (lambda frame: frame.drop(index=4), "consecutive and single.*window 1"),
        (lambda frame: frame.assign(step=[0, 1, 2, 0, 1, 1]), "consecutive and single.*window 1"),
        (lambda frame: frame.assign(step=[0, 2, 4, 0, 1, 2]), "consecutive and single.*window 0"),
        (lambda frame: frame.assign(b="x"), r"every feature must be a number, got b"),
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
    assert short.values[1, 2].tolist() == [0, 0]
    assert len(short.frame()) == 5
    real, synthetic, names = judged_pair(whole, short)
    assert names == ("row present", "a", "b")
    assert (real[..., 0] == 1).all()
    assert synthetic[..., 0].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert (real[..., 1:] == whole.values).all()


def test_features_are_put_in_the_order_of_the_real_ones(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 2))
    long_form(values, ["a", "b"]).to_parquet(tmp_path / "real.parquet")
    long_form(values, ["a", "b"])[["b", "step", "a", "window"]].to_parquet(tmp_path / "turned.parquet")
    long_form(values, ["a", "c"]).to_parquet(tmp_path / "other.parquet")
    np.save(tmp_path / "plain.npy", values)
    real, turned, other = (read_windows(tmp_path / f"{name}.parquet") for name in ("real", "turned", "other"))
    first, second, names = judged_pair(real, turned)
    assert (first == second).all()
    assert names == ("a", "b")
    assert (judged_pair(real, read_windows(tmp_path / "plain.npy"))[1] == values).all()
    with pytest.raises(DataError, match="same features, got a, b and a, c"):
        judged_pair(real, other)


@given(st.integers(2, 6), st.lists(st.integers(1, 8), min_size=1, max_size=12), st.integers(0, 2**16))
def test_where_windows_start_is_seen_from_what_they_share(length, moves, seed):
    starts = np.concatenate([[0], np.cumsum(moves)])
    rows = np.random.default_rng(seed).normal(size=(starts[-1] + length, 2))
    windows = np.stack([rows[start : start + length] for start in starts])
    expected = np.concatenate([[0], np.cumsum(np.minimum(moves, length))])
    assert window_starts(windows).tolist() == expected.tolist()
