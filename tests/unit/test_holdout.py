from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import WindowConfig
from core.errors import ConfigError, DataError
from core.prepare.holdout import hold_out_rows, parts_by_time
from core.prepare.series import PreparedSeries
from tests.unit.test_prepare import daily, manifest_of, prepare_frame


def rows_of(segments: np.ndarray) -> list[int]:
    return [row for start, stop in segments.tolist() for row in range(start, stop)]


def test_the_latest_rows_are_held_out_a_window_apart(tmp_path: Path):
    ref = prepare_frame(tmp_path, daily(100), WindowConfig(length=5), holdout=0.2)
    series = PreparedSeries.open(ref.path)
    assert series.segments.tolist() == [[0, 80]]
    assert series.held_out_segments.tolist() == [[85, 100]]
    assert ref.windows == 76
    held_out = manifest_of(ref)["holdout"]
    assert (held_out["rows"], held_out["windows"], held_out["purged_rows"]) == (15, 11, 5)
    assert held_out["from"].startswith("2020-03-26")
    learnt, judged = series.windows(5), series.windows(5, held_out=True)
    assert learnt.starts.max() + 5 <= 80
    assert judged.starts.min() == 85
    assert len(judged) == 11


def test_ranges_are_those_of_the_rows_to_learn_from(tmp_path: Path):
    series = PreparedSeries.open(prepare_frame(tmp_path, daily(100), holdout=0.2).path)
    (column,) = series.layout.temporal
    assert (column.minimum, column.maximum) == (0, 79)
    assert float(series.values.max()) == pytest.approx(99 / 79)
    whole = PreparedSeries.open(prepare_frame(tmp_path, daily(100)).path)
    assert whole.layout.temporal[0].maximum == 99
    assert whole.manifest["holdout"] is None
    assert len(whole.held_out_segments) == 0


def test_series_are_cut_at_the_same_time(tmp_path: Path):
    frame = pd.concat([daily(50).assign(name="a"), daily(50).iloc[20:].assign(name="b")])
    series = PreparedSeries.open(prepare_frame(tmp_path, frame, series="name", holdout=0.25).path)
    stamps = np.load(series.path / "time.npy")
    learnt, judged = (stamps[rows_of(part)] for part in (series.segments, series.held_out_segments))
    assert learnt.max() < judged.min()
    assert len(series.segments) == len(series.held_out_segments) == 2
    # A quarter of 80 rows, in both series the last ten days, the first two of them purged.
    assert len(judged) == 2 * (10 - 2)


def test_without_time_the_last_series_are_held_out(tmp_path: Path):
    frame = pd.DataFrame({"x": np.arange(40.0), "name": np.repeat(list("abcdefghij"), 4)})
    ref = prepare_frame(tmp_path, frame, series="name", time={"none": True}, holdout=0.3)
    series = PreparedSeries.open(ref.path)
    assert rows_of(series.segments) == list(range(28))
    assert rows_of(series.held_out_segments) == list(range(28, 40))


def test_static_values_follow_the_held_out_segments(tmp_path: Path):
    frame = pd.DataFrame({"x": np.arange(40.0), "name": np.repeat(list("abcdefghij"), 4)})
    frame["size"] = np.repeat(np.arange(10.0), 4)
    ref = prepare_frame(
        tmp_path, frame, series="name", time={"none": True}, columns={"size": "static"}, holdout=0.3
    )
    series = PreparedSeries.open(ref.path)
    judged = series.windows(2, held_out=True)
    assert sorted({round(float(value) * 6) for value in judged.static[:, 0]}) == [7, 8, 9]
    assert sorted({round(float(value) * 6) for value in series.windows(2).static[:, 0]}) == list(range(7))


def test_categories_are_those_of_all_rows(tmp_path: Path):
    frame = daily(40, kind=["a"] * 36 + ["b"] * 4)
    series = PreparedSeries.open(
        prepare_frame(tmp_path, frame, columns={"kind": "categorical"}, holdout=0.25).path
    )
    assert series.layout.temporal[1].categories == ("a", "b")


def test_what_is_learnt_is_what_is_left_of_dropped_rows(tmp_path: Path):
    # Of the rows that would be learnt if none were dropped, none stays.
    frame = daily(100, y=[np.nan] * 80 + [1.0, 2.0] * 10, c=["a", "b"] * 50)
    roles, missing = {"c": "categorical"}, {"policy": "drop_row"}
    ref = prepare_frame(tmp_path, frame, columns=roles, missing=missing, holdout=0.4)
    assert PreparedSeries.open(ref.path).segments.tolist() == [[0, 12]]


@pytest.mark.parametrize(
    ("frame", "options", "error", "part"),
    [
        (daily(20), {"holdout": 0.1}, ConfigError, "leaves 0 windows to judge by"),
        (daily(100), {"holdout": 0.05}, ConfigError, "too few to train judges"),
        (daily(4), {"holdout": 0.9}, ConfigError, "no row of set to learn from"),
        (
            daily(100, y=[np.nan] * 80 + [1.0] * 20),
            {"holdout": 0.2, "missing": {"policy": "mask"}},
            DataError,
            "has no value in the rows to learn from",
        ),
    ],
)
def test_what_leaves_too_little_is_refused_and_leaves_nothing(tmp_path, frame, options, error, part):
    with pytest.raises(error, match=part):
        prepare_frame(tmp_path, frame, **options)
    assert not list(tmp_path.glob("lake/prepared/*/*"))


@given(
    sizes=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=3), min_size=1, max_size=4),
    share=st.floats(0, 0.95),
    purge=st.integers(0, 8),
    stamped=st.booleans(),
)
@settings(deadline=None)
def test_every_row_is_learnt_held_out_or_purged(sizes, share, purge, stamped):
    """Of series, each with gaps: the border may stand in one."""
    edges = np.concatenate([[0], np.cumsum([size for series in sizes for size in series])])
    ends = np.concatenate([[0], np.cumsum([sum(series) for series in sizes])])
    segments, runs = (np.stack([places[:-1], places[1:]], axis=1) for places in (edges, ends))
    # Stamps of each series start from 0, so the border cuts all that reach it.
    ns = np.concatenate([np.arange(sum(series)) for series in sizes]) if stamped else None
    parts = hold_out_rows(segments, runs, ns, share, purge)
    learnt, judged = rows_of(parts.training), rows_of(parts.held_out)
    assert len(learnt) + len(judged) + parts.purged == edges[-1]
    assert not set(learnt) & set(judged)
    if not share:
        assert learnt == list(range(edges[-1]))
        return
    for (start, stop), origin in zip(
        np.concatenate([parts.training, parts.held_out]).tolist(), parts.origin, strict=True
    ):
        assert segments[origin, 0] <= start < stop <= segments[origin, 1]
    if learnt and judged:
        order = np.arange(edges[-1]) if ns is None else ns
        assert order[learnt].max() < order[judged].min()
    for start, stop in runs.tolist():
        before, after = ([row for row in part if start <= row < stop] for part in (learnt, judged))
        assert not before or not after or min(after) - max(before) > purge


@given(
    first=st.lists(st.integers(0, 50), max_size=40).map(lambda stamps: np.array(stamps, dtype=np.int64)),
    length=st.integers(1, 9),
)
def test_parts_by_time_share_no_time(first, length):
    earlier, later = parts_by_time(first, first + length - 1)
    assert not len(earlier) or not len(later) or (first[earlier] + length - 1).max() < first[later].min()
    if len(first):
        assert len(later) >= len(first) - int(0.8 * len(first))
        between = np.setdiff1d(np.arange(len(first)), [*earlier, *later])
        border = first[later].min()
        assert all(first[between] < border)
        assert all(first[between] + length - 1 >= border)


def test_held_out_windows_of_many_series_are_split_at_one_stamp(tmp_path: Path):
    frame = pd.concat([daily(100).assign(name="a"), daily(100).assign(name="b")])
    series = PreparedSeries.open(prepare_frame(tmp_path, frame, series="name", holdout=0.4).path)
    windows = series.windows(5, held_out=True)
    stamps = series.stamps
    assert stamps is not None
    earlier, later = parts_by_time(stamps[windows.starts], stamps[windows.starts + 4])
    assert stamps[windows.starts[earlier] + 4].max() < stamps[windows.starts[later]].min()
    for part in (earlier, later):  # both series in both
        assert {windows.starts[number] // 100 for number in part} == {0, 1}
