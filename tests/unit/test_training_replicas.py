"""Several seeds as one program: each goes its own way, and the best is kept."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.catalog import DatasetConfig
from core.config import build_job, with_model
from core.errors import ConfigError, TrainingDivergedError, TrainingInterruptedError
from core.generators.losses import adversarial_error, weighted_mean
from core.generators.registry import GENERATORS, new_generator
from core.generators.timegan import TimeGAN
from core.generators.timegan.losses import Objective, gradient_penalty, moment_error
from core.generators.timegan.training import TimeGANTraining
from core.prepare.channels.layout import WindowArrays
from core.prepare.series import Windows
from core.training.batches import Batch
from core.training.loop import LoopOptions, LoopResult, train
from core.training.metrics import Point, read_points
from core.training.replicas import apart, together
from tests.unit.test_timegan import mixed_windows
from tests.unit.tiny_timegan import BATCH, CPU, LENGTH, OFTEN, SEED, sine_windows, tiny_training

R = 3
HELD: dict[str, Any] = {"selection": {"validation": 0.25, "every": 10, "windows": 60}}
MANY: dict[str, Any] = {**HELD, "replicas": R}


def of_replica(x: Tensor | None, replica: int) -> Tensor | None:
    return None if x is None else x[replica * BATCH : (replica + 1) * BATCH]


class Shared:
    """Gives trainings of one seed each the batches and noise that the training of all draws."""

    def __init__(self, many: TimeGANTraining, alone: list[TimeGANTraining]) -> None:
        self.trainings = [many, *alone]
        self.drawn: list[Any] = []
        draw, noise = many.batches.draw, many.noise
        many.batches.draw = lambda: self.kept(draw())  # type: ignore[method-assign]
        many.noise = lambda: self.kept(noise())  # type: ignore[method-assign]
        for replica, training in enumerate(alone):
            self.feed(training, replica)

    def kept(self, what: Any) -> Any:
        self.drawn.append(what)
        return what

    def feed(self, training: TimeGANTraining, replica: int) -> None:
        def draw() -> Batch:
            batch = self.drawn.pop(0)
            return Batch(*(of_replica(getattr(batch, field.name), replica) for field in fields(Batch)))  # type: ignore[arg-type]

        def noise() -> tuple[Tensor, ...]:
            return tuple(part[replica * BATCH : (replica + 1) * BATCH] for part in self.drawn.pop(0))

        training.batches.draw = draw  # type: ignore[method-assign]
        training.noise = noise  # type: ignore[method-assign]

    def iterate(self, index: int, step: int, **how: Any) -> list[dict[str, Tensor]]:
        """One iteration of all; the losses, those of all replicas first."""
        self.drawn = []
        many, *alone = self.trainings
        losses = [many.iterate(many.phases[index], step, **how)]
        drawn = self.drawn
        for training in alone:
            self.drawn = list(drawn)
            losses.append(training.iterate(training.phases[index], step, **how))
        return losses


CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "code": (sine_windows, OFTEN, {}),
    "code, mixed": (mixed_windows, {}, {}),
    "paper, mixed": (mixed_windows, {}, {"variant": "paper"}),
    "norm": (mixed_windows, {"losses": {"form": "norm", "gradient_penalty": 1.0}}, {"cell": "lstm"}),
    "everything": (
        sine_windows,
        {
            **OFTEN,
            "optimizer": {
                "kind": "adamw",
                "weight_decay": 0.1,
                "groups": {"discriminator": {"learning_rate": 0.02}},
            },
            "gradients": {"clip_norm": 1.0, "clip_value": 0.5},
            "schedule": {"kind": "cosine", "warmup": 2},
            "l1": {"weight": 0.01},
            "ema": 0.9,
        },
        {"bidirectional": True},
    ),
    "the CPU's recurrence": (mixed_windows, {"recurrence": None}, {}),
}


def same_curves(many: TimeGANTraining, alone: list[TimeGANTraining], index: int, step: int) -> None:
    """Largest gradient norms, also by step of the window."""
    ours = many.observe(many.phases[index], step)
    theirs = [training.observe(training.phases[index], step) for training in alone]
    for name in (name for name in theirs[0] if name.startswith("gradient/")):
        assert ours[name] == pytest.approx(max(seen[name] for seen in theirs), rel=5e-3, abs=1e-5)
    for name, norms in many.profile().items():
        largest = np.max([training.profile().get(name, np.zeros(len(norms))) for training in alone], axis=0)
        np.testing.assert_allclose(norms, largest, rtol=5e-3, atol=1e-6)


def same_weights(many: TimeGANTraining, alone: list[TimeGANTraining]) -> None:
    assert many.several is not None
    for replica, training in enumerate(alone):
        ours = many.several.slice(replica)
        for name, weight in training.model.state_dict().items():
            torch.testing.assert_close(
                ours[name], weight, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("case", CASES)
def test_each_replica_goes_the_way_of_its_seed_alone(case: str) -> None:
    """Fed the same batches and noise, 10 iterations of each phase; also what is logged of them."""
    make, options, model = CASES[case]
    windows = make()
    many = tiny_training({**MANY, **options}, windows, **model)
    alone = [tiny_training({**HELD, **options, "seed": SEED + r}, windows, **model) for r in range(R)]
    shared = Shared(many, alone)
    at_odds = 0
    for index in range(len(many.phases)):
        for step in range(1, 11):
            logged = step % 5 == 0
            losses = shared.iterate(index, step, logged=logged, profiled=logged)
            for name, loss in losses[0].items():
                expected = torch.stack([other[name] for other in losses[1:]]).mean()
                torch.testing.assert_close(loss, expected, rtol=2e-4, atol=1e-5)
            moved = ["discriminator" in training._notes.moved for training in alone]
            assert many._notes.moves.get("discriminator", torch.tensor(moved)).tolist() == moved
            at_odds += len(set(moved)) > 1
            if logged:
                same_curves(many, alone, index, step)
        same_weights(many, alone)
    assert at_odds or "discriminator_threshold" not in options


def test_a_replica_starts_as_its_seed_does() -> None:
    training = tiny_training(MANY)
    assert training.several is not None
    for replica in range(R):
        model = TimeGAN(
            length=LENGTH, channels=training.model.channels, hidden=4, layers=2, seed=SEED + replica
        )
        weights = training.several.slice(replica)
        assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())
    names = [name for name, _ in training.model.named_parameters()]
    assert [name for name, _ in training.trained.named_parameters()] == names


def test_replicas_of_given_weights_start_there_all() -> None:
    training = tiny_training({**MANY, "start_from": "somewhere"})
    assert training.several is not None
    for replica in range(R):
        weights = training.several.slice(replica)
        assert all(torch.equal(weights[n], weight) for n, weight in training.model.state_dict().items())
    batch = training.batches.draw()
    assert not torch.equal(batch.X[:BATCH], batch.X[BATCH : 2 * BATCH])


def test_rows_stay_with_their_replica() -> None:
    one, other = torch.arange(6).view(6, 1), torch.arange(10, 16).view(6, 1)
    joined = together([one, other], 3)
    assert joined.flatten().tolist() == [0, 1, 10, 11, 2, 3, 12, 13, 4, 5, 14, 15]
    for part, whole in zip(apart(joined, 2, 3), (one, other), strict=True):
        assert torch.equal(part, whole)
    assert together([torch.empty(6, 0)] * 2, 3).shape == (12, 0)


@pytest.mark.parametrize("form", ["root_mean_square", "norm"])
def test_losses_of_replicas_are_those_of_their_rows(form: str) -> None:
    rng = torch.Generator().manual_seed(0)
    X, X_hat, logits = (torch.randn((R * BATCH, 5, d), generator=rng) for d in (2, 2, 1))
    rows = (torch.rand((R * BATCH, 5, 1), generator=rng) < 0.7).float()
    w, H = torch.randn(2, generator=rng), X.clone().requires_grad_()
    several, single = (Objective.resolve("code", {"form": form}, replicas) for replicas in (R, 1))

    def cut(x: Tensor, r: int) -> Tensor:
        return x[r * BATCH : (r + 1) * BATCH]

    together_ = {
        "error": several.error(X, X_hat),
        "weighted": several.error(X, X_hat, rows),
        "adversarial": adversarial_error(logits, rows, real=False, replicas=R),
        "mean": weighted_mean(logits, None, R),
        "moments": moment_error(X, X_hat, None, R),
        "moments of rows": moment_error(X, X_hat, rows, R),
        "penalty": gradient_penalty((H.square() @ w).mean(1), H, R),
    }
    for r in range(R):
        h = cut(X, r).clone().requires_grad_()
        x, x_hat, part = cut(X, r), cut(X_hat, r), cut(rows, r)
        alone = {
            "error": single.error(x, x_hat),
            "weighted": single.error(x, x_hat, part),
            "adversarial": adversarial_error(cut(logits, r), part, real=False),
            "mean": weighted_mean(cut(logits, r), None),
            "moments": moment_error(x, x_hat),
            "moments of rows": moment_error(x, x_hat, part),
            "penalty": gradient_penalty((h.square() @ w).mean(1), h),
        }
        for name, loss in alone.items():
            assert loss.shape == ()
            assert together_[name].shape == (R,)
            torch.testing.assert_close(together_[name][r], loss, msg=lambda m, n=name: f"{n}: {m}")


def run(run_dir: Path, options: dict[str, Any], stop_after: int = 0) -> tuple[TimeGANTraining, LoopResult]:
    """Interrupted once, if so said, and resumed by a new training."""
    run_dir.mkdir()
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == stop_after

    while True:
        training = tiny_training(options)
        try:
            return training, train(training, run_dir, LoopOptions(1000.0, 5), stop)
        except TrainingInterruptedError:
            continue


def points(run_dir: Path) -> list[Point]:
    return read_points(run_dir / "metrics.jsonl")[0]


def test_the_replica_that_was_nearest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.training.distance.COLLAPSED", 0.0)  # so short a training hardly spreads
    training, result = run(tmp_path / "run", MANY)
    seen: dict[tuple[int, int], float] = {}
    for point in points(tmp_path / "run"):
        distances = {r: point.values.get(f"replica/{r}/distance") for r in range(R)}
        if None not in distances.values():
            assert point.values["validation/distance"] == min(distances.values())  # type: ignore[type-var]
            seen |= {(point.step, r): distance for r, distance in distances.items() if distance is not None}
    assert len(seen) == 3 * R
    assert result.best is not None
    assert result.looks == {"looks": 3 * R, "collapsed": 0, "memorised": 0}
    assert (result.best["step"], result.best["replica"]) == min(seen, key=lambda at: seen[at])
    assert result.best["distance"] == min(seen.values())
    assert result.kept == "best"
    assert training.selection is not None
    drawn = training.model.sample(training.selection.distance.count, training.selection.seed)
    assert training.selection.distance.look(drawn).distance == pytest.approx(result.best["distance"], rel=1e-5)


def test_where_every_look_tripped_a_guard_the_nearest_is_kept(tmp_path: Path) -> None:
    training = tiny_training(MANY)
    assert training.selection is not None
    assert training.several is not None
    look = training.selection.distance.look
    found: list[float] = []

    def collapsed(windows: WindowArrays) -> Any:
        seen = look(windows)
        found.append(seen.distance)
        return type(seen)(seen.distance, seen.reference, 0.0, seen.nearness)

    training.selection.distance.look = collapsed  # type: ignore[method-assign]
    result = train(training, tmp_path, LoopOptions(1000.0, 5))
    assert (result.best, result.kept) == (None, "last")
    nearest = int(np.argmin(found[-R:]))
    weights = training.several.slice(nearest)
    assert all(torch.equal(weights[name], weight) for name, weight in training.model.state_dict().items())


@pytest.mark.parametrize(
    "after", [pytest.param(7, marks=pytest.mark.slow), 23, pytest.param(55, marks=pytest.mark.slow), 61]
)
def test_replicas_resume_exactly(after: int, tmp_path: Path) -> None:
    options = {**MANY, **OFTEN, "ema": 0.9, "gradients": {"clip_norm": 1.0}}
    expected, result = run(tmp_path / "whole", options)
    resumed, again = run(tmp_path / "resumed", options, after)
    assert again.resumed
    assert not result.resumed
    for name in ("best", "kept", "looks", "iterations", "diverged"):
        assert getattr(again, name) == getattr(result, name), name
    ours, theirs = resumed.state(), expected.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert all(
        torch.equal(one, other)
        for one, other in zip(resumed.model.parameters(), expected.model.parameters(), strict=True)
    )


def poisoned(options: dict[str, Any], replicas: tuple[int, ...], at: int) -> TimeGANTraining:
    """Some weights are no numbers from an iteration of the last phase on."""
    training = tiny_training(options)
    iterate = training.iterate

    def poison(phase: Any, step: int, **more: Any) -> Any:
        if phase.name == "joint" and step == at:
            with torch.no_grad():
                for replica in replicas:
                    training.trained.generator.dense.weight[replica, 0, 0] = float("nan")
        return iterate(phase, step, **more)

    training.iterate = poison  # type: ignore[method-assign]
    return training


def test_a_replica_that_diverges_goes_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.training.distance.COLLAPSED", 0.0)
    (tmp_path / "run").mkdir()
    options = {**MANY, **OFTEN, "gradients": {"clip_norm": 1.0}, "ema": 0.5}
    healthy, _ = run(tmp_path / "healthy", options)
    training = poisoned(options, (1,), at=12)
    with caplog.at_level(logging.WARNING):
        result = train(training, tmp_path / "run", LoopOptions(1000.0, 5))
    told = [record for record in caplog.records if "diverged" in record.getMessage()]
    assert len(told) == 1
    assert "step 15: replica 1 of 3 diverged" in told[0].getMessage()
    assert result.diverged == [1]
    assert result.best is not None
    assert (result.best["replica"] != 1) or result.best["step"] == 10
    for name, ours in training.trained.state_dict().items():
        theirs = healthy.trained.state_dict()[name]
        assert all(torch.equal(ours[r], theirs[r]) for r in (0, 2)), name
    for point in points(tmp_path / "run"):
        assert all(np.isfinite(value) for value in point.values.values())
        late = point.phase == "joint" and point.step > 12
        assert point.values["replica/diverged"] == float(late)
        assert ("replica/1/distance" in point.values) == ("replica/0/distance" in point.values and not late)


def test_a_replica_without_finite_gradients_diverged_too() -> None:
    training = tiny_training(MANY)
    phase = training.phases[0]
    training.iterate(phase, 1, logged=True)
    weight = training.trained.recovery.dense.weight
    assert weight.grad is not None
    weight.grad[2] = float("inf")
    values = training.observe(phase, 1)
    assert np.isfinite(values["gradient/recovery"])
    assert training.several is not None
    assert training.several.alive.tolist() == [True, True, False]
    assert np.isnan(training.sample(5, 0).values[10:]).all()


def test_where_all_diverge_the_training_does(tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match="diverged in phase joint at step 15"):
        train(poisoned(MANY, (0, 1, 2), at=12), tmp_path, LoopOptions(1000.0, 5))


REFUSED: dict[str, dict[str, Any]] = {
    r"selection\.validation": {"selection": {"validation": 0.0}},
    r"selection\.keep_best": {"selection": {"validation": 0.2, "keep_best": False}},
    r"training\.update": {"update": {"rule": "magnitude"}},
    r"gradients\.action": {"gradients": {"action": "lower_rate"}},
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_ties_replicas_together_is_refused(named: str) -> None:
    """By the training and, before anything is started, by the configuration."""
    options = {**MANY, **REFUSED[named]}
    with pytest.raises(ConfigError, match=named):
        tiny_training(options)
    dataset = DatasetConfig.model_validate({"name": "x", "source": {"kind": "sine"}})
    build_job(dataset, values={"training": MANY})
    with pytest.raises(ConfigError, match=named):
        build_job(dataset, values={"training": options})


@pytest.mark.parametrize("kind", [kind for kind in GENERATORS if kind != "timegan"])
def test_other_generators_are_trained_alone(kind: str) -> None:
    windows: Windows = sine_windows()
    generator = new_generator({"kind": kind}, length=LENGTH, channels=windows.channels, seed=0)
    with pytest.raises(ConfigError, match=f"a generator of kind {kind} is trained alone"):
        generator.start_training(windows, MANY, CPU)
    dataset = DatasetConfig.model_validate({"name": "x", "source": {"kind": "sine"}})
    with pytest.raises(ConfigError, match=r"training\.replicas: TimeGAN's alone"):
        build_job(dataset, values={"model": {"kind": kind}, "training": MANY})
    assert with_model(build_job(dataset, values={"training": MANY}), kind).training.replicas == 1
