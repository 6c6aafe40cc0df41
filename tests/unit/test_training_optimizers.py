"""Optimisers over groups against steps worked out by hand, schedules against their formulas."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from core.errors import ConfigError
from core.training.loop import LoopOptions, train
from core.training.optimizers import Schedule, make_optimizer
from core.training.options import training_options
from tests.unit.toy_generator import ToyTraining, interrupted, parameters, toy_training, whole

Array = NDArray[np.float64]
RATE, SLOW, DECAY = 0.1, 0.02, 0.3


def adam(w: Array, gradients: list[Array], rate: float, decay: float, decoupled: bool) -> Array:
    """Kingma and Ba 2015, algorithm 1; decoupled: Loshchilov and Hutter 2019, algorithm 2."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, gradient in enumerate(gradients, 1):
        g = gradient if decoupled else gradient + decay * w
        w = w - rate * decay * w if decoupled else w
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        w = w - rate * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
    return w


def sgd(w: Array, gradients: list[Array], rate: float, decay: float, momentum: float) -> Array:
    velocity = np.zeros_like(w)
    for gradient in gradients:
        velocity = momentum * velocity + gradient + decay * w
        w = w - rate * velocity
    return w


def rmsprop(w: Array, gradients: list[Array], rate: float, decay: float) -> Array:
    mean = np.zeros_like(w)
    for gradient in gradients:
        g = gradient + decay * w
        mean = 0.99 * mean + 0.01 * g**2
        w = w - rate * g / (np.sqrt(mean) + 1e-8)
    return w


STEPS: dict[str, Any] = {
    "adam": lambda w, g, rate, decay: adam(w, g, rate, decay, decoupled=False),
    "adamw": lambda w, g, rate, decay: adam(w, g, rate, decay, decoupled=True),
    "sgd": lambda w, g, rate, decay: sgd(w, g, rate, decay, momentum=0.9),
    "rmsprop": rmsprop,
}


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("separate", [False, True])
def test_every_network_moves_by_its_own_settings(kind: str, separate: bool) -> None:
    rng = np.random.default_rng(0)
    start = {name: rng.normal(size=5) for name in ("a", "b", "c")}
    gradients = {name: [rng.normal(size=5) for _ in range(3)] for name in start}
    networks = {name: [torch.nn.Parameter(torch.from_numpy(w.copy()))] for name, w in start.items()}
    options = training_options(
        {
            "learning_rate": RATE,
            "optimizer": {
                "kind": kind,
                "betas": (0.8, 0.9),
                "momentum": 0.9 if kind == "sgd" else 0.0,
                "groups": {"b": {"learning_rate": SLOW}, "c": {"weight_decay": DECAY, "learning_rate": None}},
            },
        }
    )
    optimizer = make_optimizer(networks, options, separate=separate)
    for step in range(3):
        for name, held in networks.items():
            held[0].grad = torch.from_numpy(gradients[name][step].copy())
        optimizer.step()
    for name, rate, decay in (("a", RATE, 0.0), ("b", SLOW, 0.0), ("c", RATE, DECAY)):
        expected = STEPS[kind](start[name], gradients[name], rate, decay)
        np.testing.assert_allclose(networks[name][0].detach().numpy(), expected, rtol=1e-9, err_msg=name)


def test_networks_of_the_same_settings_are_stepped_in_one_go() -> None:
    networks = {name: [torch.nn.Parameter(torch.zeros(1))] for name in "abc"}
    options = training_options({"optimizer": {"groups": {"b": {"learning_rate": 0.5}}}})
    optimizer = make_optimizer(networks, options)
    assert [group["networks"] for group in optimizer.param_groups] == [("a", "c"), ("b",)]


def test_only_the_chosen_networks_move() -> None:
    training = toy_training()
    before = parameters(training.model)
    with training.moving("generator"):
        training.step("both", training.generator_loss())
    for name, value in parameters(training.model).items():
        assert torch.equal(value, before[name]) == name.startswith("critic"), name


def test_a_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no network 'critics'.*generator, critic; did you mean critic\?"):
        toy_training(optimizer={"groups": {"critics": {"learning_rate": 0.1}}})


@pytest.mark.parametrize("kind", STEPS)
def test_every_optimiser_resumes_exactly(kind: str, tmp_path: Path) -> None:
    options = {
        "optimizer": {"kind": kind, "momentum": 0.5, "groups": {"critic": {"learning_rate": 0.01}}},
        "schedule": {"kind": "cosine", "warmup": 4, "floor": 0.1},
    }
    expected, _ = whole(options, tmp_path / "whole")
    for after in (7, 23):
        resumed, _ = interrupted(options, tmp_path / str(after), after)
        assert same(expected, resumed)


def same(one: ToyTraining, other: ToyTraining) -> bool:
    a, b = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@given(
    kind=st.sampled_from(["constant", "linear", "cosine"]),
    warmup=st.integers(0, 20),
    floor=st.floats(0, 1),
    iterations=st.integers(1, 60),
)
def test_schedules_rise_then_fall_to_the_floor(kind: str, warmup: int, floor: float, iterations: int) -> None:
    schedule = Schedule({"kind": kind, "warmup": warmup, "floor": floor})
    shares = [schedule.share(step, iterations) for step in range(1, iterations + 1)]
    rising, falling = shares[:warmup], shares[warmup:]
    assert rising == [step / warmup for step in range(1, len(rising) + 1)]
    assert falling == sorted(falling, reverse=True)
    assert all(0 <= share <= 1 for share in shares)
    if kind != "constant" and falling:
        assert falling[-1] == pytest.approx(floor)
    if kind == "constant":
        assert set(falling) <= {1.0}


def test_schedules_at_known_places() -> None:
    """A phase of 100: half-way of what comes after 20 iterations of warm-up is 60."""
    line = Schedule({"kind": "linear", "warmup": 20, "floor": 0.2})
    cosine = Schedule({"kind": "cosine", "warmup": 20, "floor": 0.2})
    assert line.share(60, 100) == pytest.approx(0.6)
    assert line.share(80, 100) == pytest.approx(0.4)
    assert cosine.share(60, 100) == pytest.approx(0.6)
    assert cosine.share(80, 100) == pytest.approx(0.2 + 0.8 * (1 + math.cos(0.75 * math.pi)) / 2)


def test_the_rate_of_a_step_is_the_phase_and_steps(tmp_path: Path) -> None:
    """SGD moves by rate x gradient: the rates of a whole training, read off its steps."""
    options = {"optimizer": {"kind": "sgd"}, "schedule": {"kind": "linear", "warmup": 5}, "learning_rate": 0.5}
    training = toy_training(options, embedding_iterations=8, joint_iterations=12)
    seen: list[float] = []
    step = training.step

    def measured(solver: str, loss: Tensor) -> None:
        weight = training.model.critic.dense.weight
        before = weight.detach().clone()
        step(solver, loss)
        if solver != "generator":
            assert weight.grad is not None
            seen.append(float((before - weight.detach()).norm() / weight.grad.norm()))

    training.step = measured  # type: ignore[method-assign]
    train(training, tmp_path, LoopOptions())
    expected = [
        0.5 * s / 5 if s <= 5 else 0.5 * (1 - (s - 5) / (n - 5)) for n in (8, 12) for s in range(1, n + 1)
    ]
    np.testing.assert_allclose(seen, expected, atol=1e-4)
