from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from core.errors import DataError
from core.evaluation.judges.holdout import HoldOutJudging, hold_out_windows
from core.evaluation.judges.paper import PaperJudges
from core.evaluation.judges.paper_scores import discriminative_score
from core.evaluation.judges.splits import (
    Split,
    block_splits,
    divided_alike,
    halves_alike,
    halves_by_blocks,
    nearest_real,
    random_parts,
    random_splits,
)
from core.prepare.holdout import parts_by_time

STEPS = 8


def windows_of(rows: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(rows, STEPS, axis=0).swapaxes(1, 2).astype(np.float32)


def rows_in(starts: np.ndarray) -> set[int]:
    return {row for start in starts for row in range(start, start + STEPS)}


STARTS = st.lists(st.integers(1, 2 * STEPS), min_size=60, max_size=120).map(np.cumsum)


@given(starts=STARTS, seed=st.integers(0, 5))
@settings(deadline=None)
def test_blocks_share_no_row(starts, seed):
    pairs = [*block_splits(starts, STEPS, 3, seed), halves_by_blocks(starts, STEPS, seed)]
    for one, other in pairs:
        assert not rows_in(starts[one]) & rows_in(starts[other])
    assert len({(len(train), len(test)) for train, test in pairs[:3]}) == 1


def test_blocks_are_drawn_anew_for_each_judge_and_halves_cover_the_same_times():
    starts = np.arange(1000)
    first, second = block_splits(starts, STEPS, 2, seed=0)
    assert not np.array_equal(first[1], second[1])
    assert 0.7 < len(first[0]) / len(starts) < 0.85
    one, other = halves_by_blocks(starts, STEPS, seed=0)
    assert len(one) + len(other) > 0.7 * len(starts)
    assert starts[one].mean() == pytest.approx(starts[other].mean(), abs=2 * 4 * STEPS)
    for half in (one, other):  # one of two neighbouring blocks of 32 rows is in each
        assert np.diff(half).max() <= 2 * 4 * STEPS + STEPS


def test_too_few_rows_are_not_split():
    with pytest.raises(DataError, match="cannot be split into windows that share no row"):
        block_splits(np.arange(5), STEPS, 1, 0)
    with pytest.raises(DataError, match="cannot be halved"):
        halves_by_blocks(np.arange(5), STEPS, 0)


def walk(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 2)).cumsum(axis=0)


def test_a_copy_is_divided_as_the_window_that_it_is_of():
    real = windows_of(walk(600, 0))
    parts = block_splits(np.arange(len(real)), STEPS, 3, seed=0)
    order = np.random.default_rng(1).permutation(len(real))
    for (train, test), (alike, tested) in zip(
        parts, divided_alike(nearest_real(real[order], real), len(real), parts, 0), strict=True
    ):
        assert sorted(order[alike]) == sorted(train)
        assert sorted(order[tested]) == sorted(test)


def nearest_judge(real: np.ndarray, fake: np.ndarray, split: Split) -> float:
    """Balanced accuracy of a judge that says what the nearest window that it learnt is."""
    learnt, kinds = [real[split.train_real], fake[split.train_fake]], (0, 1)
    labels = np.repeat(kinds, [len(part) for part in learnt])
    judge = KNeighborsClassifier(1).fit(np.concatenate(learnt).reshape(len(labels), -1), labels)
    tests = (real[split.test_real], fake[split.test_fake])
    right = [(judge.predict(x.reshape(len(x), -1)) == k).mean() for x, k in zip(tests, kinds, strict=True)]
    return float(np.mean(right))


def test_a_perfect_generators_windows_are_a_guess_to_a_judge_that_knows_the_stretches():
    """Every second window of a series is as good a generator as there can be. Divided at random it is found out
    the wrong way round: where real windows are tested, only the generator's were learnt."""
    windows = windows_of(walk(6000, 0))
    real, fake, starts = windows[::2], windows[1::2], np.arange(0, len(windows), 2)
    parts = block_splits(starts, STEPS, 5, seed=0)

    def judged(others: list) -> float:
        return float(
            np.mean([nearest_judge(real, fake, Split(*a, *b)) for a, b in zip(parts, others, strict=True)])
        )

    assert judged(divided_alike(nearest_real(fake, real), len(real), parts, 0)) == pytest.approx(0.5, abs=0.05)
    assert judged(random_parts(len(fake), 5, np.random.default_rng(0))) < 0.4
    assert np.mean([nearest_judge(real, real, halves_alike(part, 0)) for part in parts]) == pytest.approx(
        0.5, abs=0.05
    )


def test_windows_that_are_near_no_stretch_are_divided_at_random(caplog):
    real = windows_of(walk(600, 0))
    parts = block_splits(np.arange(len(real)), STEPS, 2, seed=0)
    with caplog.at_level("WARNING"):
        drawn = divided_alike(np.repeat(parts[0][0][:1], 50), len(real), parts, 0)
    assert "divided at random" in caplog.text
    for train, test in drawn:
        assert (len(train), len(test)) == (40, 10)
        assert sorted([*train, *test]) == list(range(50))


@pytest.mark.parametrize("rows", [200, 250])
def test_the_few_windows_of_a_short_series_are_divided_alike_too(rows, caplog):
    """Blocks leave almost no real windows to test with; of a perfect generator's as few are near them."""
    starts = np.arange(rows - 24 + 1)
    parts = block_splits(starts, 24, 3, seed=0)
    assert len(parts[0][1]) < 0.1 * len(starts)
    with caplog.at_level("WARNING"):
        assert [tuple(map(len, pair)) for pair in divided_alike(starts, len(starts), parts, 0)] == [
            tuple(map(len, pair)) for pair in parts
        ]
    assert not caplog.text


@pytest.mark.parametrize(("length", "stride", "windows"), [(24, 10, 20), (24, 5, 50), (10, 3, 15)])
def test_a_division_with_an_empty_part_is_drawn_again(length, stride, windows):
    for train, test in block_splits(stride * np.arange(windows), length, 10, seed=0):
        assert len(train)
        assert len(test)


def test_halves_of_parts_are_all_of_them():
    split = halves_alike((np.arange(9), np.arange(20, 24)), seed=0)
    assert sorted([*split.train_real, *split.train_fake]) == list(range(9))
    assert sorted([*split.test_real, *split.test_fake]) == list(range(20, 24))


def test_random_splits_are_eighty_to_twenty_and_differ():
    first, second = random_splits(50, 30, 2, seed=0)
    for split in (first, second):
        assert sorted([*split.train_real, *split.test_real]) == list(range(50))
        assert sorted([*split.train_fake, *split.test_fake]) == list(range(30))
        assert (len(split.test_real), len(split.test_fake)) == (10, 6)
    assert not np.array_equal(first.test_real, second.test_real)


def test_the_hold_out_comes_later_and_a_window_apart():
    windows = windows_of(np.arange(200.0)[:, None])
    learnt, starts, held_out = hold_out_windows(windows, np.arange(len(windows)), 0.25)
    assert learnt.max() < 150
    assert held_out.windows.min() == 150 + STEPS
    assert (starts, held_out.first[0]) == (pytest.approx(np.arange(len(learnt))), 150 + STEPS)
    assert held_out.windows[:, -1, 0] == pytest.approx(held_out.last)
    with pytest.raises(DataError, match="windows before and 0 after"):
        hold_out_windows(windows, np.arange(len(windows)), 0.01)


def test_judges_are_trained_and_tested_on_what_they_are_told():
    """Windows whose kind is only told in the training part cannot be told apart in the test part."""
    rng = np.random.default_rng(0)
    real, fake = (rng.uniform(size=(100, STEPS, 1)).astype(np.float32) for _ in range(2))
    real[:80] = 0.9
    fake[:80] = 0.1
    train, test = np.arange(80), np.arange(80, 100)
    splits = [Split(train, test, train, test)] * 4
    told = discriminative_score(real, fake, judges=4, iterations=200, batch_size=16, seed=0, splits=splits)
    assert told.median < 0.3
    turned = [Split(train, train, train, train)] * 4
    seen = discriminative_score(real, fake, judges=4, iterations=200, batch_size=16, seed=0, splits=turned)
    assert seen.median == pytest.approx(0.5)


def judging(rows: np.ndarray, like: np.ndarray) -> HoldOutJudging:
    """The second half of the rows is held out; `like` is a fresh draw of the first half's law."""
    learnt, starts, held_out = hold_out_windows(windows_of(rows), np.arange(len(rows) - STEPS + 1), 0.5)
    scale = learnt.min(), np.ptp(learnt)
    training, later, synthetic = (
        ((windows - scale[0]) / scale[1]).astype(np.float32)
        for windows in (learnt, held_out.windows, windows_of(like))
    )
    return HoldOutJudging(training, starts, later, held_out.first, held_out.last, synthetic)


PAPER = PaperJudges(
    judges=3, discriminative_iterations=250, predictive_iterations=5, batch_size=32, seed=0, progress=None
)


@pytest.mark.parametrize(("level", "drifted"), [(0.0, False), (0.5, True)])
def test_drift_shows_in_the_training_windows_as_in_the_synthetic_ones(level, drifted):
    rng = np.random.default_rng(1)
    rows = rng.uniform(0, 0.3, size=(1400, 1))
    rows[700:] += level
    subject = judging(rows, rng.uniform(0, 0.3, size=(700, 1)))
    scores = subject.paper(PAPER)["discriminative"]
    assert (scores["training"]["mean"] > 0.3) == drifted
    assert scores["synthetic"]["mean"] == pytest.approx(scores["training"]["mean"], abs=0.1)
    assert scores["training"]["held_out"]["real"] == len(parts_by_time(subject.first, subject.last)[1])


def test_a_perfect_generator_of_a_trend_scores_what_training_windows_do():
    """A trend is drift, too: the latest training windows, nearest to the hold-out, are no fair reference."""
    rng = np.random.default_rng(2)
    trend = np.linspace(0, 1, 1400)[:, None]
    rows = trend + rng.uniform(0, 0.5, size=trend.shape)
    again = trend[:700] + rng.uniform(0, 0.5, size=(700, 1))
    scores = judging(rows, again).paper(PAPER)["discriminative"]
    assert scores["training"]["mean"] > 0.2
    assert scores["synthetic"]["mean"] == pytest.approx(scores["training"]["mean"], abs=0.06)
