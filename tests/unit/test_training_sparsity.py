"""L1 against the lasso's closed form and against single steps worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.errors import ConfigError
from core.training.metrics import read_points
from core.training.sparsity import L1, soft_threshold_
from tests.unit.toy_generator import parameters, toy_training, whole

WEIGHT, RATE = 0.3, 0.05


def soft(x: Any, threshold: float) -> Any:
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


@given(x=st.floats(-10, 10, width=32), threshold=st.floats(0, 5, width=32))
def test_soft_thresholding(x: float, threshold: float) -> None:
    assert float(soft_threshold_(torch.tensor(x), threshold)) == pytest.approx(soft(x, threshold), abs=1e-6)


def minimise(method: str) -> tuple[Tensor, Tensor, Tensor]:
    """Plain gradient steps on 1/2 sum h (w - a)^2 + WEIGHT sum |w|."""
    curvature, target = torch.tensor([1.0, 2.0, 4.0, 1.0, 2.0]), torch.tensor([1.0, -1.0, 0.05, 0.2, 0.1])
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.full((5,), 0.5))
    l1 = L1(model, {"weight": WEIGHT, "parameters": ("*",), "method": method})
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(2000):
        optimizer.zero_grad()
        (curvature * (model.w - target).square()).sum().div(2).backward()
        l1.add_subgradient([model.w])
        optimizer.step()
        l1.shrink([model.w], RATE)
    return model.w.detach(), curvature, target


def test_proximal_steps_end_at_the_lasso() -> None:
    """The minimum is soft(a, WEIGHT / h), by setting the subdifferential to 0."""
    w, curvature, target = minimise("proximal")
    expected = soft(target.double().numpy(), WEIGHT / curvature.double().numpy())
    np.testing.assert_allclose(w, expected, atol=1e-6)
    assert (w == 0).tolist() == (expected == 0).tolist() == [False, False, True, True, True]


def test_the_subgradient_circles_the_lasso_without_zeros() -> None:
    w, curvature, target = minimise("subgradient")
    expected = soft(target.double().numpy(), WEIGHT / curvature.double().numpy())
    np.testing.assert_allclose(w, expected, atol=RATE * WEIGHT * 2)
    assert not (w == 0).any()


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_proximal_step_is_the_plain_step_then_the_threshold(kind: str) -> None:
    """By learning rate x weight for Adam, too; at the rate of the network and of the schedule."""
    options = {
        "optimizer": {"kind": kind, "groups": {"critic": {"learning_rate": 0.02}}},
        "learning_rate": RATE,
        "schedule": {"warmup": 4},
        "l1": {"weight": WEIGHT, "parameters": ["generator.*", "critic.dense.weight"]},
    }
    plain = toy_training({**options, "l1": {}})
    shrunk = toy_training(options)
    for training in (plain, shrunk):
        training.iterate(training.phases[0], 2)  # half of the warm-up
    after, sparse = parameters(plain.model), parameters(shrunk.model)
    for name, value in after.items():
        rate = (0.02 if name.startswith("critic") else RATE) / 2
        chosen = name.startswith("generator") or name == "critic.dense.weight"
        expected = soft(value.numpy(), rate * WEIGHT) if chosen else value.numpy()
        np.testing.assert_allclose(sparse[name], expected, atol=1e-7, err_msg=name)
    assert sum(int((value == 0).sum()) for value in sparse.values()) > 0


def test_the_subgradient_is_weight_times_sign() -> None:
    """Of SGD's step: rate x (gradient + weight x sign)."""
    options = {"optimizer": {"kind": "sgd"}, "learning_rate": RATE}
    plain, pulled = (
        toy_training({**options, "l1": {"weight": weight, "parameters": ["critic.*"], "method": "subgradient"}})
        for weight in (0.0, WEIGHT)
    )
    start = parameters(plain.model)
    for training in (plain, pulled):
        training.warm_step()
    after, other = parameters(plain.model), parameters(pulled.model)
    for name, value in after.items():
        pull = RATE * WEIGHT * start[name].sign() if name.startswith("critic") else 0
        np.testing.assert_allclose(other[name], value - pull, atol=1e-6, err_msg=name)


def test_networks_that_stand_still_are_not_shrunk() -> None:
    training = toy_training(l1={"weight": 1.0})
    before = parameters(training.model)
    with training.moving("generator"):
        training.step("both", training.generator_loss())
    assert all(
        torch.equal(training.model.get_parameter(n), before[n]) for n in before if n.startswith("critic")
    )


def test_edges_that_may_not_move_are_not_shrunk() -> None:
    training = toy_training(
        l1={"weight": 1.0}, update={"rule": "magnitude", "fraction": 0.5}, learning_rate=0.1
    )
    start = parameters(training.model)
    training.warm_step()
    assert training.masks is not None
    for name, mask in training.masks.masks.items():
        value = training.model.get_parameter(name).detach()
        assert torch.equal(value[~mask], start[name][~mask])


def test_the_share_of_zeros_is_logged_and_told(tmp_path: Path) -> None:
    options = {"l1": {"weight": 0.5, "parameters": ["*weight_hh", "critic.dense.*"]}, "learning_rate": 0.02}
    training, result = whole(options, tmp_path / "run")
    named = {
        name: value
        for name, value in parameters(training.model).items()
        if name.endswith("weight_hh") or name.startswith("critic.dense.")
    }
    shares = {name: float((value == 0).double().mean()) for name, value in named.items()}
    flat = torch.cat([value.flatten() for value in named.values()])
    assert result.sparsity == pytest.approx({**shares, "all": float((flat == 0).double().mean())})
    assert result.sparsity["all"] > 0.3
    last = read_points(tmp_path / "run" / "metrics.jsonl")[0][-1].values
    assert {name: last[f"sparsity/{name}"] for name in result.sparsity} == result.sparsity


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.l1\.parameters: no parameter is named like 'critc\.\*'"):
        toy_training(l1={"weight": 0.1, "parameters": ["critc.*"]})


def test_without_a_weight_there_is_no_penalty() -> None:
    assert toy_training().l1 is None
