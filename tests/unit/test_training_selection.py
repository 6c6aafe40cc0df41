"""Holding out, the distance to what was held out, its guards, and choosing by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import ConfigError, StorageError
from core.generators.base import Phase
from core.prepare.channels.layout import Block, Channels, WindowArrays
from core.prepare.series import Windows
from core.training.checkpoints import load_latest_checkpoint
from core.training.distance import HeldOutDistance, Look
from core.training.loop import LoopOptions, train
from core.training.metrics import read_points
from core.training.options import training_options
from core.training.selection import Selection, hold_out
from tests.unit.toy_generator import (
    LENGTH,
    ToyTraining,
    interrupted,
    parameters,
    toy_training,
    toy_windows,
    whole,
)

HELD = {"selection": {"validation": 0.3, "every": 5, "windows": 100}, "learning_rate": 0.02}


def walk(rows: int = 2000, seed: int = 0) -> NDArray[np.float32]:
    """Two stationary columns, an autoregression and its noisy copy, about in [0, 1]."""
    rng = np.random.default_rng(seed)
    x = np.zeros(rows)
    for t in range(1, rows):
        x[t] = 0.9 * x[t - 1] + rng.normal()
    both = np.stack([x, x + rng.normal(size=rows)], axis=1)
    return (both / 20 + 0.5).astype(np.float32)


def windows_of(values: NDArray[np.float32], length: int = 12) -> Windows:
    return Windows.of(values, np.arange(len(values) - length + 1), length)


def rows_of(windows: Windows) -> set[int]:
    ends = zip(windows.starts.tolist(), windows.lengths.tolist(), strict=True)
    return {row for start, length in ends for row in range(start, start + length)}


@given(
    segments=st.lists(st.tuples(st.integers(1, 4), st.integers(5, 60)), min_size=1, max_size=6),
    stride=st.integers(1, 4),
    share=st.floats(0.05, 0.85),
)
def test_no_row_is_on_both_sides(segments: list[tuple[int, int]], stride: int, share: float) -> None:
    """Segments with gaps between them, windows of two lengths."""
    starts, lengths, row = [], [], 0
    for gap, size in segments:
        row += gap
        for start in range(0, size - 2, stride):
            starts.append(row + start)
            lengths.append(min(5, size - start))
        row += size
    values = np.zeros((row, 1), dtype=np.float32)
    every = replace(Windows.of(values, np.array(starts), 5), lengths=np.array(lengths))
    try:
        training, held_out = hold_out(every, share)
    except ConfigError:
        return
    assert held_out is not None
    assert rows_of(training).isdisjoint(rows_of(held_out))
    assert max(rows_of(training)) < min(rows_of(held_out))
    # Only windows across the border are lost.
    assert len(every) - len(training) - len(held_out) <= 5
    kept = max(rows_of(held_out)) - min(rows_of(held_out)) + 1
    assert kept <= round(share * (max(rows_of(every)) + 1 - min(rows_of(every)))) + 1


def test_the_latest_rows_of_one_series_are_held_out() -> None:
    training, held_out = hold_out(toy_windows(rows=200), 0.25)
    assert held_out is not None
    assert rows_of(training) == set(range(150))
    assert rows_of(held_out) == set(range(150, 200))
    assert hold_out(toy_windows(), 0.0)[1] is None


def test_too_little_on_one_side_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"selection\.validation=0\.01 leaves .* windows to train on and 0"):
        hold_out(toy_windows(), 0.01)


def test_batches_and_margins_come_from_the_training_part() -> None:
    training = toy_training(HELD)
    assert int(training.batches.starts.max()) + LENGTH <= 140
    assert int(training.model.margins.lengths.sum()) == len(training.batches.starts) == 140 - LENGTH + 1
    values = training.batches.values
    seen = torch.cat([training.batches.draw().X.reshape(-1, 3) for _ in range(50)])
    held_out = values[140:]
    assert torch.cdist(seen, held_out).min() > 0


@pytest.fixture(scope="module")
def distance() -> HeldOutDistance:
    training, held_out = hold_out(windows_of(walk()), 0.3)
    assert held_out is not None
    return HeldOutDistance(training, held_out, 300, seed=1)


def fresh(count: int = 300, seed: int = 7) -> WindowArrays:
    """Windows of another draw of the same process."""
    every = windows_of(walk(20_000, seed))
    return every.gather(np.random.default_rng(seed).choice(len(every), count, replace=False))


def changed(change: Any) -> WindowArrays:
    windows = fresh()
    return replace(windows, values=change(windows.values.astype(np.float64)).astype(np.float32))


def test_a_shift_is_its_mean_length_along_the_directions() -> None:
    """Sliced Wasserstein of a set and its shift by s: the mean of |<s, direction>|, in units of the spread."""
    training, held_out = hold_out(windows_of(walk(400)), 0.3)
    assert held_out is not None
    judge = HeldOutDistance(training, held_out, 10_000, seed=0)
    assert judge.count == len(held_out)
    real = held_out.gather(np.arange(len(held_out)))
    shift = np.random.default_rng(0).normal(size=2)
    look = judge.look(replace(real, values=(real.values + shift).astype(np.float32)))
    directions = judge.directions[0].double().numpy()
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1, rtol=1e-5)
    projected = real.values.reshape(len(real), -1).astype(np.float64) @ directions
    moved = np.abs(np.tile(shift, 12) @ directions).mean() / projected.std(axis=0).mean()
    assert look.distance == pytest.approx(moved / 2, rel=1e-3)  # increments are where they were
    assert judge.look(real).distance == pytest.approx(0, abs=1e-6)


def test_another_draw_of_the_process_is_as_near_as_training_windows(distance: HeldOutDistance) -> None:
    look = distance.look(fresh())
    assert look.distance < 2 * look.reference
    assert not look.collapsed
    assert not look.memorised
    assert 0.8 < look.spread < 1.25
    assert 0.7 < look.nearness < 1.4


RNG = np.random.default_rng(0)
WORSE = {
    "shifted": lambda x: x + 0.2,
    "half as wide": lambda x: 0.5 + (x - 0.5) / 2,
    "shuffled steps": lambda x: x[:, np.random.default_rng(0).permutation(x.shape[1])],
    "too rough": lambda x: x + np.random.default_rng(0).normal(0, 0.05, x.shape),
    "too smooth": lambda x: np.cumsum(x, axis=1) / np.arange(1, x.shape[1] + 1)[None, :, None],
    "columns independent": lambda x: np.stack([x[..., 0], np.roll(x[..., 1], 1, axis=0)], axis=-1),
}


@pytest.mark.parametrize("how", WORSE)
def test_what_is_wrong_with_windows_shows(how: str, distance: HeldOutDistance) -> None:
    good, worse = distance.look(fresh()).distance, distance.look(changed(WORSE[how])).distance
    assert worse > 1.2 * good


def test_collapsed_windows_trip_the_guard(distance: HeldOutDistance) -> None:
    look = distance.look(changed(lambda x: x.mean(axis=0) + 0.1 * (x - x.mean(axis=0))))
    assert look.spread == pytest.approx(0.1, rel=0.2)
    assert look.collapsed
    assert not look.memorised


def test_copies_of_training_windows_trip_the_guard() -> None:
    every = windows_of(walk())
    training, held_out = hold_out(every, 0.3)
    assert held_out is not None
    judge = HeldOutDistance(training, held_out, 300, seed=1)
    copies = training.gather(RNG.choice(len(training), 300, replace=False))
    noisy = replace(copies, values=copies.values + RNG.normal(0, 0.002, copies.values.shape).astype(np.float32))
    for look in (judge.look(copies), judge.look(noisy)):
        assert look.memorised
        assert look.nearness < 0.15
        assert not look.collapsed
        assert look.distance < 2 * look.reference  # the distance alone would have liked them


def test_looks_are_the_same_twice(distance: HeldOutDistance) -> None:
    assert distance.look(fresh()) == distance.look(fresh())


def test_statics_conditions_and_lengths_count() -> None:
    """Windows that differ from the held-out ones in one of them alone."""
    rng = np.random.default_rng(0)
    values = walk(600)
    starts = np.arange(0, 588)
    channels = Channels((Block("continuous"),) * 2, static=(Block("continuous"),), condition=(Block("binary"),))
    static = rng.random((588, 1), dtype=np.float32)
    condition = (rng.random((588, 1)) < 0.5).astype(np.float32)
    lengths = rng.integers(6, 13, size=588)
    every = Windows(values, starts, 12, channels, lengths, static, condition)
    training, held_out = hold_out(every, 0.4)
    assert held_out is not None
    judge = HeldOutDistance(training, held_out, 10_000, seed=0)
    assert judge.condition is not None
    assert judge.condition.shape == (judge.count, 1)
    real = held_out.gather(np.sort(np.arange(len(held_out))))
    assert judge.look(real).distance < 1e-6
    for other in (
        replace(real, static=real.static + np.float32(0.5)),
        replace(real, condition=1 - real.condition * 0),
        replace(
            real,
            values=real.values * (np.arange(12) < 6)[None, :, None],
            lengths=np.minimum(lengths[0], 6) + 0 * real.lengths,
        ),
    ):
        assert judge.look(other).distance > 0.005


class Scripted(Selection):
    """Finds what it is told to find."""

    def __init__(self, looks: list[Look], **options: Any) -> None:
        training, held_out = hold_out(toy_windows(), 0.3)
        assert held_out is not None
        super().__init__(training, held_out, training_options({"selection": options}))
        script = iter(looks)
        self.distance.look = lambda _: next(script)  # type: ignore[method-assign]


def good(distance: float) -> Look:
    return Look(distance, 0.1, 1.0, 1.0)


def sampler(n: int, seed: int, condition: Any) -> WindowArrays:  # noqa: ARG001
    return toy_windows().gather(np.arange(n))


def test_the_best_is_the_nearest_that_trips_no_guard() -> None:
    looks = [good(0.5), Look(0.1, 0.1, 0.01, 1.0), Look(0.2, 0.1, 1.0, 0.01), good(0.3), good(0.3), good(0.4)]
    selection = Scripted(looks, patience=3)
    better, over = [], []
    for step in range(1, 7):
        metrics, is_better = selection.look(1, step, sampler)
        better.append(is_better)
        over.append(selection.over)
    assert better == [True, False, False, True, False, False]
    assert over == [False] * 6
    assert selection.best is not None
    assert (selection.best.step, selection.best.distance) == (4, 0.3)
    assert selection.counted() == {"looks": 6, "collapsed": 1, "memorised": 1}
    assert metrics["validation/best"] == 0.3
    assert metrics["validation/distance"] == 0.4
    assert metrics["validation/distance_of_training"] == 0.1


def test_patience_counts_looks_without_progress_in_a_phase() -> None:
    selection = Scripted([good(0.5), good(0.6), good(0.7), good(0.6)], patience=2)
    for step in range(3):
        assert not selection.over
        selection.look(0, step, sampler)
    assert selection.over
    selection.begin_phase()
    assert not selection.over
    selection.look(1, 1, sampler)
    assert selection.waited == 1


def test_the_best_weights_are_those_of_its_step(tmp_path: Path) -> None:
    """A training that ended right there has the same weights, averages included."""
    options = {**HELD, "ema": 0.5}
    training, result = whole(options, tmp_path / "run")
    assert result.best is not None
    assert result.kept == "best"
    step = result.best["step"]
    assert result.best["phase"] == "play"  # the phase before does not generate
    looks = [p for p in read_points(tmp_path / "run" / "metrics.jsonl")[0] if "validation/distance" in p.values]
    assert [look.step for look in looks] == [5, 10, 15, 20, 25, 30]
    passed = {
        look.step: look.values["validation/distance"]
        for look in looks
        if not look.values["validation/collapsed"]
    }
    assert 0 < len(passed) < 6
    assert result.best["distance"] == passed[step] == min(passed.values())
    shorter = toy_training({**options, "selection": {**HELD["selection"], "keep_best": False}})
    shorter.phases = (shorter.phases[0], replace(shorter.phases[1], iterations=step))
    (tmp_path / "shorter").mkdir()
    assert train(shorter, tmp_path / "shorter", LoopOptions()).kept == "average"
    one, other = parameters(training.model), parameters(shorter.model)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_looking_changes_nothing_that_is_learnt(tmp_path: Path) -> None:
    weights = []
    for every in (1, 1000):
        options = {**HELD, "selection": {**HELD["selection"], "every": every, "keep_best": False}}
        training, result = whole(options, tmp_path / str(every))
        assert result.looks["looks"] == (30 if every == 1 else 1)
        weights.append(parameters(training.model))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


IMPATIENT = {**HELD, "selection": {**HELD["selection"], "every": 1, "patience": 2}, "learning_rate": 0.3}


def test_a_phase_ends_early_without_progress(tmp_path: Path) -> None:
    _, result = whole(IMPATIENT, tmp_path / "run")
    assert result.iterations["warm"] == 10
    assert result.best is not None
    assert result.iterations["play"] == result.best["step"] + 2 < 30


@pytest.mark.parametrize("options", [HELD, IMPATIENT, {**HELD, "ema": 0.9}], ids=["held", "patience", "ema"])
@pytest.mark.parametrize("after", [3, 11, 13])
def test_selection_resumes_exactly(options: dict[str, Any], after: int, tmp_path: Path) -> None:
    expected, result = whole(options, tmp_path / "whole")
    resumed, again = interrupted(options, tmp_path / "resumed", after)
    assert (again.best, again.looks, again.iterations) == (result.best, result.looks, result.iterations)
    one, other = parameters(expected.model), parameters(resumed.model)
    assert all(torch.equal(one[name], other[name]) for name in one)
    values = [
        {(p.phase, p.step): {k: v for k, v in p.values.items() if k.startswith("validation")} for p in points}
        for points in (read_points(tmp_path / part / "metrics.jsonl")[0] for part in ("whole", "resumed"))
    ]
    assert values[0] == values[1]


class KilledError(Exception):
    """No checkpoint is written for it, as for SIGKILL."""


def test_a_killed_training_knows_the_best_weights_on_disk(tmp_path: Path) -> None:
    """Although what it finds from then on is not what it found before, as on another device."""

    def kill(phase: Phase, step: int) -> None:
        if (phase.name, step) == ("play", 7):
            raise KilledError

    def finding(look: Look) -> ToyTraining:
        training = toy_training(HELD)
        assert training.selection is not None
        training.selection.distance.look = lambda _: look  # type: ignore[method-assign]
        return training

    with pytest.raises(KilledError):
        train(finding(good(0.5)), tmp_path, LoopOptions(1000.0), on_step=kill)
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())["best"]
    found = load_latest_checkpoint(tmp_path / "checkpoints")
    assert found is not None
    assert (found[0].phase, found[0].step) == (best["phase"], best["step"]) == (1, 5)
    result = train(finding(good(0.6)), tmp_path, LoopOptions(1000.0))
    assert result.kept == "best"
    assert result.best == {**best, "phase": "play"}
    steps = [p.step for p in read_points(tmp_path / "metrics.jsonl")[0] if "validation/distance" in p.values]
    assert steps == [5, 10, 15, 20, 25, 30]


def test_best_weights_that_are_gone_or_others_are_not_replaced_by_worse(tmp_path: Path) -> None:
    """Once all is trained the same folder is finished again, as after a crash at the very end."""
    options = {**HELD}
    _, result = whole(options, tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.json"
    tree = json.loads(best.read_text())
    assert result.best == {**tree["best"], "phase": "play"}
    best.write_text(json.dumps({**tree, "best": {**tree["best"], "step": 1}}))
    with pytest.raises(StorageError, match=r"best\.safetensors holds the weights of .*step=1"):
        train(toy_training(options), tmp_path / "run", LoopOptions())
    best.unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        train(toy_training(options), tmp_path / "run", LoopOptions())


def test_without_held_out_windows_there_is_no_selection() -> None:
    assert toy_training().selection is None
