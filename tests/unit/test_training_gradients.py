"""Clipping against its formula, alarms provoked, gradients by step against autograd."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.errors import TrainingDivergedError
from core.training.gradients import PROFILES, clip_norm, clip_value, network_norms, profile_due
from core.training.loop import LoopOptions, LoopResult, train
from core.training.metrics import Point, read_points, read_profiles
from tests.unit.toy_generator import ToyTraining, interrupted, parameters, toy_training, whole

entries = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6)


@given(first=entries, second=entries, largest=st.floats(0.01, 50))
def test_clipping_by_norm_scales_the_whole_gradient(
    first: list[float], second: list[float], largest: float
) -> None:
    networks = {name: torch.nn.Linear(1, 1) for name in ("a", "b")}
    held = []
    for network, gradient in zip(networks.values(), (first, second), strict=True):
        network.weight = torch.nn.Parameter(torch.zeros(len(gradient)))
        network.weight.grad = torch.tensor(gradient)
        held.append(network.weight)
    clip_norm(held, largest, network_norms(networks).values())
    total = math.sqrt(sum(x * x for x in first + second))
    scale = min(1.0, largest / total) if total else 1.0
    for parameter, gradient in zip(held, (first, second), strict=True):
        np.testing.assert_allclose(parameter.grad, np.array(gradient) * scale, rtol=1e-4, atol=1e-4)


@given(gradient=entries, largest=st.floats(2**-6, 50, width=32))
def test_clipping_by_value_cuts_every_entry(gradient: list[float], largest: float) -> None:
    parameter = torch.nn.Parameter(torch.zeros(len(gradient)))
    parameter.grad = torch.tensor(gradient)
    clip_value([parameter, torch.nn.Parameter(torch.zeros(1))], largest)
    np.testing.assert_allclose(parameter.grad, np.clip(gradient, -largest, largest), rtol=1e-6)


def total_move(training: ToyTraining, step: int) -> float:
    """How far the generator's solver went in an iteration of the second phase."""
    before = parameters(training.model)
    training.iterate(training.phases[1], step, logged=True)
    after = parameters(training.model)
    moves = [(after[name] - before[name]).square().sum() for name in before if name.startswith("generator")]
    return float(torch.stack(moves).sum().sqrt())


def test_steps_are_bounded_and_norms_are_logged_before_clipping() -> None:
    """SGD at rate 1 moves by the gradient itself: by the bound where the gradient is longer."""
    options = {"optimizer": {"kind": "sgd"}, "learning_rate": 1.0}
    free, bound = toy_training(options), toy_training({**options, "gradients": {"clip_norm": 0.01}})
    length = total_move(free, 1)
    assert length > 0.02
    assert total_move(bound, 1) == pytest.approx(0.01, rel=1e-3)
    logged = bound.observe(bound.phases[1], 1)
    assert logged["gradient/generator"] == pytest.approx(length, rel=1e-3)
    assert logged == pytest.approx(free.observe(free.phases[1], 1))


def test_a_network_that_stood_still_has_no_gradient() -> None:
    """As after a resume, which knows nothing of the gradients before."""
    training = toy_training()
    warm, play = training.phases
    training.iterate(warm, 1, logged=True)
    assert training.observe(warm, 1)["gradient/critic"] > 0

    def generator_alone() -> dict[str, Tensor]:
        with training.moving("generator"):
            loss = training.generator_loss()
            training.step("generator", loss)
        return {}

    frozen = replace(play, step=generator_alone)
    training.iterate(frozen, 1, logged=True)
    logged = training.observe(frozen, 1)
    assert logged["gradient/generator"] > 0
    assert logged["gradient/critic"] == 0


def test_no_entry_moves_further_than_the_value() -> None:
    training = toy_training(
        {"optimizer": {"kind": "sgd"}, "learning_rate": 1.0, "gradients": {"clip_value": 1e-3}}
    )
    before = parameters(training.model)
    training.warm_step()
    moves = torch.cat([(training.model.get_parameter(n) - before[n]).abs().flatten() for n in before])
    assert float(moves.max().detach()) == pytest.approx(1e-3, rel=1e-3)


def exploding(**gradients: Any) -> dict[str, Any]:
    return {"gradients": {"exploding": 10.0, "patience": 3, **gradients}, "log_every": 2, "learning_rate": 1e-4}


def scaled(options: dict[str, Any], name: str, factor: float) -> ToyTraining:
    """A training whose weights were multiplied: large ones make gradients explode, 0 makes them vanish."""
    training = toy_training(options)
    with torch.no_grad():
        for parameter in training.model.network(name).parameters():
            parameter.mul_(factor)
    return training


def run(training: ToyTraining, run_dir: Path) -> tuple[LoopResult, list[Point]]:
    run_dir.mkdir(exist_ok=True)
    result = train(training, run_dir, LoopOptions(1000.0, 2))
    return result, read_points(run_dir / "metrics.jsonl")[0]


def test_an_exploding_gradient_is_told_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result, points = run(scaled(exploding(), "critic", 300), tmp_path)
    # 5 and 15 logged points: alarms at the 3rd, 6th, ..., rows go on across phases.
    assert result.alarms == {"exploding/critic": 6}
    assert [p.values.get("alarms/exploding/critic", 0) for p in points][:7] == [0, 0, 1, 1, 1, 2, 2]
    said = caplog.messages[0]
    for part in (
        "phase warm, step 6",
        "network critic",
        "exploding",
        "above 10",
        "3 logged points",
        "clip_norm",
    ):
        assert part in said


def test_a_vanishing_gradient_is_told_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The sigmoid of the generator's outputs is saturated by its bias."""
    training = toy_training(exploding(vanishing=1e-4))
    with torch.no_grad():
        training.model.generator.dense.bias.fill_(100.0)
    with caplog.at_level(logging.WARNING):
        result, _ = run(training, tmp_path)
    assert result.alarms == {"vanishing/generator": 6}
    for part in ("phase warm, step 6", "network generator", "vanishing", "below 0.0001"):
        assert part in caplog.messages[0]


@pytest.mark.parametrize(
    ("factor", "bounds", "kind"),
    [(300, {"exploding": 100.0}, "exploding"), (1, {"vanishing": 2.0, "exploding": 1e6}, "vanishing")],
)
def test_the_action_stop_ends_the_training(
    factor: float, bounds: dict[str, float], kind: str, tmp_path: Path
) -> None:
    training = scaled(exploding(action="stop", **bounds), "critic", factor)
    with pytest.raises(
        TrainingDivergedError, match=f"phase warm, step 6: the gradient of network .* is {kind}"
    ):
        run(training, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_the_action_clip_bounds_every_step_from_then_on(tmp_path: Path) -> None:
    options = {**exploding(action="clip"), "optimizer": {"kind": "sgd"}, "learning_rate": 1e-9}
    training = scaled(options, "critic", 300)
    lengths = []
    step = training.step

    def measured(solver: str, loss: Tensor) -> None:
        step(solver, loss)
        lengths.append(float(network_norms({"critic": training.model.critic})["critic"]))

    training.step = measured  # type: ignore[method-assign]
    result, points = run(training, tmp_path)
    # One step an iteration in the first phase, the alarm comes at the sixth.
    assert min(lengths[:6]) > 20
    assert max(lengths[6:]) <= 10 * 1.001
    assert all(p.values["gradient/critic"] > 20 for p in points)
    assert result.alarms["exploding/critic"] == 6


def test_the_action_lower_rate_halves_the_rate_of_that_network(tmp_path: Path) -> None:
    training = scaled(exploding(action="lower_rate"), "critic", 300)
    run(training, tmp_path)
    rates = {
        (solver, *group["networks"]): group["lr"]
        for solver, optimizer in training.solvers.items()
        for group in optimizer.param_groups
    }
    assert rates == {
        ("both", "generator"): 1e-4,
        ("both", "critic"): 1e-4 / 2**6,
        ("generator", "generator"): 1e-4,
        ("critic", "critic"): 1e-4 / 2**6,
    }


@pytest.mark.parametrize("action", ["clip", "lower_rate", "warn"])
@pytest.mark.parametrize("after", [5, 6, 21])
def test_what_was_done_about_gradients_resumes_exactly(action: str, after: int, tmp_path: Path) -> None:
    options = {**exploding(exploding=0.05, action=action), "learning_rate": 0.01}
    expected, result = whole(options, tmp_path / "whole")
    assert sum(result.alarms.values()) > 2
    resumed, again = interrupted(options, tmp_path / "resumed", after)
    assert again.alarms == result.alarms
    one, other = expected.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    files = [tmp_path / part / "gradients.jsonl" for part in ("whole", "resumed")]
    assert files[0].read_text() == files[1].read_text()


def test_gradients_by_step_are_those_of_autograd() -> None:
    """The generator's loss, differentiated with respect to the noise of each step."""
    training, reference = toy_training(), toy_training()
    training.iterate(training.phases[1], 1, logged=True, profiled=True)
    with reference.moving("generator"):
        X = reference.batches.draw().X
        Z = reference.noise()[0].requires_grad_()
        fake = reference.model.generator(Z).sigmoid()
        loss = (fake.mean(0) - X.mean(0)).square().mean() + (fake.std(0) - X.std(0)).square().mean()
        gradient = torch.autograd.grad(loss, Z)[0]
    profile = training.profile()
    assert profile.keys() == {"generator"}  # the critic is not recurrent
    np.testing.assert_allclose(profile["generator"], gradient.square().sum((0, 2)).sqrt(), rtol=1e-5)
    logged = training.observe(training.phases[1], 1)
    assert logged["gradient_first_step/generator"] == profile["generator"][0]
    assert logged["gradient_last_step/generator"] == profile["generator"][-1]
    training.iterate(training.phases[1], 2, logged=True)
    assert training.profile() == {}


def test_a_loss_of_the_last_step_alone_fades_towards_the_first() -> None:
    """With a small recurrent kernel every step back takes a factor: what vanishing over time looks like."""
    training = toy_training()
    network = training.model.generator
    with torch.no_grad():
        network.recurrent.layers[0].weight_hh *= 0.01  # type: ignore[operator]
        network.recurrent.layers[0].bias_ih[4:8] = -3.0  # type: ignore[index] # the update gate lets go of the state
    training.steps.open()
    with training.moving("generator"):
        training._moved = set()
        training.step("generator", network(training.noise()[0])[:, -1].square().sum())
    training.steps.close()
    norms = training.profile()["generator"]
    assert norms == sorted(norms)
    assert norms[0] < 1e-4 * norms[-1]


@pytest.mark.parametrize("cell", ["gru", "lstm", "lstm_ln"])
def test_looking_at_gradients_changes_no_bit(cell: str, tmp_path: Path) -> None:
    """Every iteration looked at against none but the last of a phase."""
    weights = []
    for log_every in (1, 1000):
        training, _ = whole({"log_every": log_every}, tmp_path / str(log_every), cell=cell)
        weights.append(training.model.state_dict())
    assert len(read_profiles(tmp_path / "1" / "gradients.jsonl")) == 40
    assert len(read_profiles(tmp_path / "1000" / "gradients.jsonl")) == 2
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@given(iterations=st.integers(1, 5000), log_every=st.integers(1, 300))
def test_profiles_are_few_and_always_at_logged_points(iterations: int, log_every: int) -> None:
    due = [step for step in range(1, iterations + 1) if profile_due(step, iterations, log_every)]
    assert len(due) <= PROFILES + 1
    assert due[-1] == iterations
    assert all(step % log_every == 0 for step in due[:-1])
