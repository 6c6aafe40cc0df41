"""Which windows there are, and what is gathered of them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.prepare.channels.layout import Channels
from core.prepare.series import Windows, window_counts, window_index


@st.composite
def cut_rows(draw: st.DrawFn) -> np.ndarray:
    """Segments, some empty, some with rows between them that belong to none."""
    segments, row = [], 0
    for size in draw(st.lists(st.integers(0, 30), max_size=8)):
        row += draw(st.integers(0, 3))
        segments.append([row, row + size])
        row += size
    return np.array(segments, dtype=np.int64).reshape(-1, 2)


def found_one_by_one(segments: np.ndarray, length: int, stride: int, least: int | None) -> list[list[int]]:
    """Start, steps and segment of each window."""
    windows = []
    for number, (first, stop) in enumerate(segments.tolist()):
        start, covered = first, first
        while start + length <= stop:
            windows.append([start, length, number])
            covered = start + length
            start += stride
        if least is not None and stop - start >= least and covered < stop:
            windows.append([start, stop - start, number])
    return windows


@given(cut_rows(), st.integers(1, 9), st.integers(1, 5), st.none() | st.integers(1, 9))
def test_windows_are_those_found_one_by_one(
    segments: np.ndarray, length: int, stride: int, least: int | None
) -> None:
    least = None if least is None else min(least, length)
    index = window_index(segments, length, stride, least)
    expected = np.array(found_one_by_one(segments, length, stride, least), dtype=np.int64).reshape(-1, 3)
    for found, column in zip((index.starts, index.lengths, index.segments), expected.T, strict=True):
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, column)
    counts = window_counts(segments, length, stride, least)
    np.testing.assert_array_equal(counts, np.bincount(expected[:, 2], minlength=len(segments)))


def test_an_index_takes_no_more_memory_than_what_it_holds() -> None:
    segments = np.array([[0, 400_000], [400_000, 1_000_000]], dtype=np.int64)
    tracemalloc.start()
    index = window_index(segments, 24, min_length=8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(index.starts) == 1_000_000 - 2 * 23
    assert peak < 1.05 * 3 * index.starts.nbytes


@pytest.fixture
def series(tmp_path: Path) -> np.ndarray:
    """A memory map of 50 rows, shape (50, 3)."""
    np.save(tmp_path / "values.npy", np.random.default_rng(0).random((50, 3), dtype=np.float32))
    return np.load(tmp_path / "values.npy", mmap_mode="r")


def test_gathered_windows_are_copies_of_the_rows_and_zero_past_their_ends(series: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    index = window_index(np.array([[0, 11], [13, 16], [20, 50]]), 6, 4, 2)
    static = rng.random((len(index.starts), 2), dtype=np.float32)
    windows = Windows(series, index.starts, 6, Channels.continuous(3), index.lengths, static, static[:, :0])
    assert windows.variable
    chosen = rng.integers(0, len(windows), 40)
    found = windows.gather(chosen)
    for place, number in enumerate(chosen):
        start, steps = index.starts[number], index.lengths[number]
        np.testing.assert_array_equal(found.values[place, :steps], series[start : start + steps])
        assert (found.values[place, steps:] == 0).all()
        np.testing.assert_array_equal(found.static[place], static[number])
    np.testing.assert_array_equal(found.lengths, index.lengths[chosen])
    assert found.values.dtype == np.float32
    assert type(found.values) is np.ndarray
    found.values[:] = -1
    assert series.min() >= 0


def test_the_last_window_ends_with_the_last_row(series: np.ndarray) -> None:
    windows = Windows.of(series, window_index(np.array([[0, 50]]), 50).starts, 50)
    assert not windows.variable
    np.testing.assert_array_equal(windows.gather(np.array([0])).values[0], series)
    assert windows.gather(np.array([], dtype=np.int64)).values.shape == (0, 50, 3)
