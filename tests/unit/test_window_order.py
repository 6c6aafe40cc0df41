from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluation.files.order import window_starts
from core.evaluation.judges.holdout import hold_out_windows


def cut(rows: np.ndarray, length: int, stride: int) -> np.ndarray:
    return np.stack([rows[start : start + length] for start in range(0, len(rows) - length + 1, stride)])


def few_rows(count: int, values: int, sticky: bool, seed: int) -> np.ndarray:
    """Rows of one column of so many values; sticky ones mostly stay what they are."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, values, size=(count, 1))
    if sticky:
        last = np.maximum.accumulate(np.where(rng.random(count) < 0.2, np.arange(count), 0))
        rows = rows[last]
    return rows.astype(float)


@given(st.integers(2, 6), st.lists(st.integers(1, 8), min_size=1, max_size=12), st.integers(0, 2**16))
def test_where_windows_start_is_seen_from_what_they_share(length, moves, seed):
    starts = np.concatenate([[0], np.cumsum(moves)])
    rows = np.random.default_rng(seed).normal(size=(starts[-1] + length, 2))
    windows = np.stack([rows[start : start + length] for start in starts])
    expected = np.concatenate([[0], np.cumsum(np.minimum(moves, length))])
    assert window_starts(windows).tolist() == expected.tolist()


@given(
    length=st.integers(2, 12),
    stride=st.integers(1, 20),
    values=st.integers(1, 5),
    sticky=st.booleans(),
    pieces=st.integers(1, 6),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=200, derandomize=True)
def test_ordered_windows_of_few_distinct_rows_are_taken_for_ordered(
    length, stride, values, sticky, pieces, seed
):
    """However often rows recur, in however many series; and no two windows are taken for farther apart."""
    series = [few_rows(length + 40 * stride, values, sticky, seed + piece) for piece in range(pieces)]
    starts = window_starts(np.concatenate([cut(rows, length, stride) for rows in series]))
    assert starts is not None
    assert (np.diff(starts) <= np.minimum(stride, length))[:40].all()


@pytest.mark.parametrize("values", [2, 3])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_the_stride_is_found_though_single_windows_would_fit_others(values, stride):
    windows = cut(few_rows(400, values, True, 0), 12, stride)
    assert window_starts(windows).tolist() == [stride * number for number in range(len(windows))]


@given(
    length=st.integers(2, 12), share=st.floats(0, 0.99), features=st.integers(1, 3), seed=st.integers(0, 2**16)
)
@settings(max_examples=100, derandomize=True)
def test_shuffled_windows_that_overlap_have_no_starts(length, share, features, seed):
    rng = np.random.default_rng(seed)
    windows = cut(rng.normal(size=(150, features)), length, 1 + int(share * (length - 1)))
    assert window_starts(windows) is not None
    assert window_starts(windows[rng.permutation(len(windows))]) is None
    assert window_starts(windows[::-1]) is None


@pytest.mark.parametrize(
    "disorder",
    [
        pytest.param(lambda windows, rng: windows[rng.permutation(577)[:200]], id="some of them"),
        pytest.param(
            lambda windows, rng: windows[:560].reshape(20, 28, 24, 2)[rng.permutation(20)].reshape(560, 24, 2),
            id="blocks",
        ),
        pytest.param(
            lambda windows, _: np.stack([windows, windows + 9], axis=1).reshape(-1, 24, 2),
            id="two series in turn",
        ),
    ],
)
def test_other_orders_than_that_of_time_are_seen(disorder):
    rng = np.random.default_rng(0)
    windows = cut(rng.normal(size=(600, 2)), 24, 1)
    assert window_starts(disorder(windows, rng)) is None


def test_shuffled_categories_are_seen_where_windows_are_long_enough_to_tell_them_apart():
    rng = np.random.default_rng(0)
    windows = cut(rng.integers(0, 3, size=(400, 1)).astype(float), 24, 1)
    assert window_starts(windows).tolist() == list(range(377))
    assert window_starts(windows[rng.permutation(377)]) is None


def test_episodes_that_begin_and_end_alike_are_in_order():
    """Each rises from rest and falls to it; windows do not cross them."""
    rng = np.random.default_rng(0)
    rest = np.zeros((3, 1))
    episodes = [np.concatenate([rest, rng.normal(size=(20, 1)), rest]) for _ in range(30)]
    starts = window_starts(np.concatenate([cut(rows, 8, 1) for rows in episodes]))
    assert starts is not None
    assert np.unique(np.diff(starts), return_counts=True)[1].tolist() == [30 * 18, 29]


def test_constant_windows_are_one_row_apart_and_a_window_that_comes_twice_is_one():
    assert window_starts(np.ones((10, 4, 1))).tolist() == list(range(10))
    windows = np.random.default_rng(0).normal(size=(3, 4, 2))
    assert window_starts(np.repeat(windows, 2, axis=0)).tolist() == [0, 0, 4, 4, 8, 8]
    assert window_starts(windows[:1]).tolist() == [0]


def test_a_hold_out_by_these_starts_shares_no_row_with_what_is_learnt():
    rows = np.random.default_rng(0).normal(size=(300, 1))
    windows = cut(rows, 24, 3)
    learnt, _, held_out = hold_out_windows(windows, window_starts(windows), 0.3)
    assert not set(learnt.ravel().tolist()) & set(held_out.windows.ravel().tolist())


@pytest.mark.parametrize("draw", ["to the end", "any"])
def test_windows_of_different_lengths_are_followed_to_their_ends(draw):
    rng = np.random.default_rng(0)
    starts = np.arange(0, 200, 2)
    lengths = np.minimum(12, 204 - starts) if draw == "to the end" else rng.integers(5, 13, len(starts))
    windows = np.zeros((len(starts), 12, 2))
    rows = rng.normal(size=(220, 2))
    for window, start, length in zip(windows, starts, lengths, strict=True):
        window[:length] = rows[start : start + length]
    assert window_starts(windows, lengths).tolist() == starts.tolist()
    order = rng.permutation(len(starts))
    assert window_starts(windows[order], lengths[order]) is None


def test_sequences_of_different_lengths_share_no_row():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 100)
    windows = rng.normal(size=(100, 8, 1)) * (np.arange(8) < lengths[:, None])[..., None]
    assert window_starts(windows, lengths).tolist() == list(range(0, 800, 8))
