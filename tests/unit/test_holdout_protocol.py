from __future__ import annotations

import numpy as np
import pytest

from core.errors import DataError
from core.evaluation.holdout import HoldOutJudging, hold_out_windows
from core.evaluation.judges import discriminative_score
from core.evaluation.paper import PaperJudges
from core.evaluation.splits import parts_by_time, random_splits, splits_by_time

STEPS = 8


def windows_of(rows: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(rows, STEPS, axis=0).swapaxes(1, 2).astype(np.float32)


def rows_in(starts: np.ndarray) -> set[int]:
    return {row for start in starts for row in range(start, start + STEPS)}


def test_parts_by_time_share_no_row():
    starts = np.arange(100)
    train, test = parts_by_time(starts, STEPS)
    assert len(test) == 20
    assert max(rows_in(starts[train])) < min(rows_in(starts[test]))
    assert len(train) == 80 - (STEPS - 1)
    with pytest.raises(DataError, match="hold out more rows"):
        parts_by_time(np.arange(5), STEPS)


def test_random_splits_are_eighty_to_twenty_and_differ():
    first, second = random_splits(50, 30, 2, seed=0)
    for split in (first, second):
        assert sorted([*split.train_real, *split.test_real]) == list(range(50))
        assert sorted([*split.train_fake, *split.test_fake]) == list(range(30))
        assert (len(split.test_real), len(split.test_fake)) == (10, 6)
    assert not np.array_equal(first.test_real, second.test_real)


def test_windows_with_time_are_split_alike_for_every_judge():
    real = parts_by_time(np.arange(60), STEPS)
    by_time = splits_by_time(real, parts_by_time(np.arange(40), STEPS), 3, seed=0)
    assert all(split == by_time[0] for split in by_time)
    drawn = splits_by_time(real, 40, 2, seed=0)
    assert all((split.test_real == real[1]).all() for split in drawn)
    assert not np.array_equal(drawn[0].test_fake, drawn[1].test_fake)


def test_the_hold_out_comes_later_and_a_window_apart():
    windows = windows_of(np.arange(200.0)[:, None])
    learnt, starts, held_out = hold_out_windows(windows, np.arange(len(windows)), 0.25)
    assert learnt.max() < 150
    assert held_out.windows.min() == 150 + STEPS
    assert (starts, held_out.starts[0]) == (pytest.approx(np.arange(len(learnt))), 150 + STEPS)
    with pytest.raises(DataError, match="windows before and 0 after"):
        hold_out_windows(windows, np.arange(len(windows)), 0.01)


def test_judges_are_trained_and_tested_on_what_they_are_told():
    """Windows whose kind is only told in the training part cannot be told apart in the test part."""
    rng = np.random.default_rng(0)
    real, fake = (rng.uniform(size=(100, STEPS, 1)).astype(np.float32) for _ in range(2))
    real[:80] = 0.9
    fake[:80] = 0.1
    train, test = np.arange(80), np.arange(80, 100)
    splits = splits_by_time((train, test), (train, test), 4, seed=0)
    told = discriminative_score(real, fake, judges=4, iterations=200, batch_size=16, seed=0, splits=splits)
    assert told.median < 0.3
    turned = splits_by_time((train, train), (train, train), 4, seed=0)
    seen = discriminative_score(real, fake, judges=4, iterations=200, batch_size=16, seed=0, splits=turned)
    assert seen.median == pytest.approx(0.5)


def judging(level: float) -> HoldOutJudging:
    """A series whose second part stands higher by `level`; the generator is perfect for the first."""
    rng = np.random.default_rng(1)
    rows = rng.uniform(0, 0.3, size=(1400, 1))
    rows[700:] += level
    windows = windows_of(rows)
    learnt, starts, held_out = hold_out_windows(windows, np.arange(len(windows)), 0.5)
    synthetic = windows_of(rng.uniform(0, 0.3, size=(800, 1)))
    return HoldOutJudging(
        learnt.astype(np.float32), starts, held_out.windows.astype(np.float32), held_out.starts, synthetic
    )


@pytest.mark.parametrize(("level", "drifted"), [(0.0, False), (0.5, True)])
def test_drift_shows_in_the_training_windows_as_in_the_synthetic_ones(level, drifted):
    paper = PaperJudges(
        judges=3, discriminative_iterations=250, predictive_iterations=5, batch_size=32, seed=0, progress=None
    )
    scores = judging(level).paper(paper)["discriminative"]
    assert (scores["training"]["mean"] > 0.4) == drifted
    assert scores["synthetic"]["mean"] == pytest.approx(scores["training"]["mean"], abs=0.1)
    assert scores["training"]["held_out"]["real"] == len(
        parts_by_time(judging(level).held_out_starts, STEPS)[1]
    )
