"""Averaged weights against their recursion, and that sampling from them leaves the training alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.toy_generator import interrupted, parameters, toy_training, whole

DECAY = 0.6


def test_the_average_is_its_recursion() -> None:
    """In float64 over the weights of each iteration: the first decays are 2/11, 3/12, ..., then DECAY."""
    training = toy_training(ema=DECAY, learning_rate=0.05)
    expected = {name: value.double().numpy() for name, value in parameters(training.model).items()}
    for step in range(1, 16):
        training.iterate(training.phases[0], step)
        decay = min(DECAY, (1 + step) / (10 + step))
        for name, value in parameters(training.model).items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double().numpy()
    averaged = training.weights()
    for name, value in expected.items():
        np.testing.assert_allclose(averaged[name], value, atol=1e-6, err_msg=name)
    own = parameters(training.model)
    assert any(not torch.equal(own[name], averaged[name]) for name in own)


def test_sampling_uses_the_average_and_leaves_the_weights() -> None:
    training = toy_training(ema=DECAY, learning_rate=0.05, recurrence="torch")  # as the model alone samples
    for step in range(1, 6):
        training.iterate(training.phases[1], step)
    before, random = parameters(training.model), training.batches.rng.get_state()
    drawn = training.sample(20, 0)
    assert all(torch.equal(value, before[name]) for name, value in parameters(training.model).items())
    assert torch.equal(training.batches.rng.get_state(), random)
    assert training.model.training
    assert not np.array_equal(drawn.values, training.model.sample(20, 0).values)
    training.finish(None)
    assert np.array_equal(drawn.values, training.model.sample(20, 0).values)


def test_sampling_does_not_change_what_is_learnt() -> None:
    silent, watched = toy_training(), toy_training()
    for step in range(1, 9):
        silent.iterate(silent.phases[1], step)
        watched.iterate(watched.phases[1], step)
        watched.sample(5, step)
    assert all(
        torch.equal(value, watched.model.get_parameter(name))
        for name, value in parameters(silent.model).items()
    )


def test_a_training_ends_with_the_average(tmp_path: Path) -> None:
    plain, result = whole({}, tmp_path / "plain")
    assert result.kept == "last"
    averaged, result = whole({"ema": DECAY}, tmp_path / "averaged")
    assert result.kept == "average"
    last, mean = parameters(plain.model), parameters(averaged.model)
    assert any(not torch.equal(last[name], mean[name]) for name in last)


@pytest.mark.parametrize("after", [4, 27])
def test_the_average_resumes_exactly(after: int, tmp_path: Path) -> None:
    expected, _ = whole({"ema": 0.95}, tmp_path / "whole")
    resumed, _ = interrupted({"ema": 0.95}, tmp_path / "resumed", after)
    one, other = parameters(expected.model), parameters(resumed.model)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_sample_does_not_depend_on_who_moved_last() -> None:
    """Torch rounds a GRU of this size by whether its weights want a gradient."""
    training = toy_training(hidden=8)
    drawn = []
    for network in training.model.networks:
        with training.moving(network):
            drawn.append(training.sample(20, 0).values)
        assert [p.requires_grad for p in training.model.critic.parameters()] == [network == "critic"] * 4
    assert np.array_equal(drawn[0], drawn[1])
