"""Training that never waits for its device: the same bits, and nothing asked of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.generators.timegan.training import TimeGANTraining
from core.prepare.series import Windows
from core.training.gradients import clip_norm, network_norms
from core.training.optimizers import ReplicaAdam, Standstill, make_optimizer, set_rates
from core.training.options import training_options
from core.training.sparsity import soft_threshold_
from tests.unit.test_timegan import mixed_windows
from tests.unit.tiny_timegan import OFTEN, sine_windows, tiny_training

KINDS = ("adam", "adamw", "sgd", "rmsprop")
SHAPED: dict[str, Any] = {
    "gradients": {"clip_norm": 1.5, "clip_value": 0.7},
    "l1": {"weight": 0.001, "parameters": ["discriminator.*", "generator.*"]},
    "update": {"rule": "magnitude", "fraction": 0.9},
    "schedule": {"kind": "cosine", "warmup": 2, "floor": 0.1},
    "ema": 0.9,
}


def optimized_by(kind: str) -> dict[str, Any]:
    return {
        "optimizer": {"kind": kind, "momentum": 0.5, "weight_decay": 0.01},
        "learning_rate": {"sgd": 0.02, "rmsprop": 0.0007}.get(kind, 0.01),
    }


def discriminator(model: torch.nn.Module) -> list[Tensor]:
    return [p.detach().clone() for name, p in model.named_parameters() if name.startswith("discriminator")]


def joint_iteration(training: TimeGANTraining, step: int, logged: bool) -> dict[str, Any]:
    """What there is to see of it."""
    joint = training.phases[2]
    seen: dict[str, Any] = {**training.iterate(joint, step, logged=logged, profiled=logged)}
    return {**seen, **training.observe(joint, step), **training.profile()} if logged else seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [{}, SHAPED], ids=["plain", "shaped"])
def test_resting_on_the_device_is_not_stepping(kind: str, more: dict[str, Any]) -> None:
    """Weights, averages, moments and what is logged: all bits, whichever way is taken."""
    options = {**optimized_by(kind), **OFTEN, **more}
    asked, told = (tiny_training(options) for _ in range(2))
    told.on_device = True
    rested = []
    for step in range(1, asked.phases[2].iterations + 1):
        before = discriminator(asked.model)
        logged = step % 5 == 0
        seen = [joint_iteration(training, step, logged) for training in (asked, told)]
        assert seen[0] == seen[1]
        after = discriminator(asked.model)
        rested.append(all(torch.equal(one, other) for one, other in zip(before, after, strict=True)))
    assert 3 < sum(rested) < 27
    states = [training.state() for training in (asked, told)]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def stepped(optimizer: torch.optim.Optimizer, loss: Tensor, moves: Tensor, replicas: int = 1) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    before = Standstill(optimizer, replicas)
    optimizer.step()
    before.keep(moves)


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimiser_that_rests_first_begins_at_its_first_step(kind: str) -> None:
    """Momentum is that of the first gradient, counters are at one: as if the steps before had not been."""
    rested, fresh = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    one, other = (make_optimizer({"a": [p]}, training_options(optimized_by(kind))) for p in (rested, fresh))
    for factor in (5.0, 3.0):
        stepped(one, (rested * factor).sum(), torch.tensor(False))
        assert torch.equal(rested, torch.ones(3))
    for factor in (1.0, 2.0):
        stepped(one, (rested * factor).sum(), torch.tensor(True))
        other.zero_grad()
        (fresh * factor).sum().backward()  # type: ignore[no-untyped-call]
        other.step()
    assert torch.equal(fresh, rested)
    assert not torch.equal(fresh, torch.ones(3))


class Asked(TorchDispatchMode):
    """Collects what an accelerator would have to be waited for, or given numbers by the host for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        name = func.name()
        self.calls += 1
        if (
            any(tensor.device.type == "cpu" for tensor in tensors)
            or "nonzero" in name
            or "local_scalar" in name
        ):
            self.waits.append(name)
        return result


class _NoNumbers:
    """Stands for the generator of a device without numbers, of which torch has none."""

    device = torch.device("meta")

    def manual_seed(self, _seed: int) -> _NoNumbers:
        return self


@pytest.fixture
def without_numbers(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The device `meta`, whose tensors have shapes alone: reading one of them raises.

    Torch's fused optimisers and its checks of devices do not know it; they are left out, everything else is
    what a GPU is told to do.
    """
    real = torch.Generator

    def generator(device: Any = "cpu") -> Any:
        return _NoNumbers() if torch.device(device).type == "meta" else real(device)

    def drawing(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def drawn(*args: Any, generator: Any = None, **more: Any) -> Tensor:
            return draw(*args, generator=None if isinstance(generator, _NoNumbers) else generator, **more)

        return drawn

    monkeypatch.setattr(torch, "Generator", generator)
    for name in ("rand", "randn", "randint"):
        monkeypatch.setattr(torch, name, drawing(getattr(torch, name)))
    for name in ("_fused_adam_", "_fused_adamw_", "_fused_sgd_"):
        monkeypatch.setattr(torch, name, lambda *_args, **_more: None)
    for optimizer in ("adam", "sgd"):
        module = sys.modules[f"torch.optim.{optimizer}"]
        monkeypatch.setattr(module, "_device_dtype_check_for_fused", lambda *_args, **_more: None)
    rmsprop = sys.modules["torch.optim.rmsprop"]
    monkeypatch.setattr(rmsprop, "_get_capturable_supported_devices", lambda: ["meta"])
    monkeypatch.setattr(torch.nn.utils.clip_grad, "_device_has_foreach_support", lambda _device: True)
    return torch.device("meta")


FREE = {**SHAPED, "update": {"parameters": ["*weight*"]}}
HELD = {"replicas": 3, "selection": {"validation": 0.3}}
MANY = {name: value for name, value in {**SHAPED, **HELD}.items() if name != "update"}
CASES: dict[str, tuple[Callable[[], Windows], dict[str, Any], dict[str, Any]]] = {
    "plain": (sine_windows, {}, {}),
    "mixed": (mixed_windows, {}, {}),
    "paper": (mixed_windows, {}, {"variant": "paper"}),
    "shaped": (sine_windows, {**FREE, **OFTEN}, {"dropout": 0.1, "recurrent_dropout": 0.1}),
    "penalty": (sine_windows, {"losses": {"gradient_penalty": 1.0}}, {}),
    "sgd": (sine_windows, {**optimized_by("sgd"), "l1": {"weight": 0.1, "method": "subgradient"}}, {}),
    "rmsprop": (sine_windows, optimized_by("rmsprop"), {"binarize": ["generator"]}),
    "replicas": (mixed_windows, {**MANY, **OFTEN}, {}),
    "replicas of the paper": (mixed_windows, HELD, {"variant": "paper"}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_iteration_asks_nothing_of_the_device(case: str, without_numbers: torch.device) -> None:
    make, options, model = CASES[case]
    training = tiny_training({**options, "cuda_graphs": False}, make(), without_numbers, layers=1, **model)
    if training.masks:
        for name in training.masks.moving:
            weights = training.masks.parameters[name].detach()
            training.masks.masks[name], training.masks.start[name] = weights > 0, weights.clone()
    for phase in training.phases:
        training.iterate(phase, 1)
        with Asked() as asked:
            training.iterate(phase, 2)
        assert asked.calls > 100
        assert not asked.waits, phase.name


def test_asking_is_noticed(without_numbers: torch.device) -> None:
    with Asked() as asked, pytest.raises((RuntimeError, NotImplementedError)):
        torch.zeros(3, device=without_numbers).sum().item()
    with Asked() as asked:
        torch.zeros(3).to(without_numbers)
    assert asked.waits


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_replicas_of_adam_count_their_own_steps(decoupled: bool, as_tensor: bool) -> None:
    """Each against torch's, which gets the gradients of the steps that this replica took."""
    rng = torch.Generator().manual_seed(0)
    shapes, replicas, rate, decay = ((3, 2), (4,)), 3, 0.05, 0.1
    together = [torch.nn.Parameter(torch.randn((replicas, *shape), generator=rng)) for shape in shapes]
    apart = [[torch.nn.Parameter(p[r].detach().clone()) for p in together] for r in range(replicas)]
    lr = torch.tensor(rate) if as_tensor else rate
    groups = [{"params": together, "lr": lr, "weight_decay": decay}]
    ours = ReplicaAdam(groups, betas=(0.8, 0.95), decoupled=decoupled, replicas=replicas)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    theirs = [kind(ps, lr=rate, betas=(0.8, 0.95), weight_decay=decay) for ps in apart]
    for _ in range(12):
        gradients = [torch.randn(p.shape, generator=rng) for p in together]
        moves = torch.rand(replicas, generator=rng) < 0.6
        loss = torch.stack([(p * g).sum() for p, g in zip(together, gradients, strict=True)]).sum()
        stepped(ours, loss, moves, replicas)
        for r in (r for r in range(replicas) if moves[r]):
            for parameter, gradient in zip(apart[r], gradients, strict=True):
                parameter.grad = gradient[r].clone()
            theirs[r].step()
    assert len({int(ours.state[together[0]]["step"][r]) for r in range(replicas)}) > 1
    for r in range(replicas):
        for joined, alone in zip(together, apart[r], strict=True):
            torch.testing.assert_close(joined[r], alone, atol=1e-6, rtol=1e-5)


def test_replicas_are_clipped_apart() -> None:
    network = torch.nn.Module()
    rng = torch.Generator().manual_seed(0)
    network.a, network.b = (torch.nn.Parameter(torch.zeros(3, *shape)) for shape in ((2, 2), (5,)))
    held = [network.a, network.b]
    scale = torch.tensor([0.01, 1.0, 100.0])
    for p in held:
        p.grad = torch.randn(p.shape, generator=rng) * scale.view(-1, *[1] * (p.dim() - 1))
    joined = torch.cat([p.grad.flatten(1) for p in held if p.grad is not None], dim=1).numpy()
    norms = network_norms({"n": network}, 3)["n"]
    np.testing.assert_allclose(norms, np.linalg.norm(joined, axis=1), rtol=1e-5)
    clip_norm(held, 0.5, [norms])
    clipped = torch.cat([p.grad.flatten(1) for p in held if p.grad is not None], dim=1).numpy()
    factor = np.minimum(1, 0.5 / np.linalg.norm(joined, axis=1))[:, None]
    np.testing.assert_allclose(clipped, joined * factor, rtol=1e-4)


def test_a_rate_on_the_device_is_filled_in_place() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer({"a": [parameter]}, training_options({"optimizer": {"kind": "rmsprop"}}))
    (group,) = optimizer.param_groups
    rate = group["lr"] = torch.tensor(0.5)
    set_rates([optimizer], 0.25, {"a": 0.5})
    assert group["lr"] is rate
    assert float(rate) == pytest.approx(1e-3 * 0.25 * 0.5)


def test_a_threshold_on_the_device_is_the_same() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    number = np.float32(0.3)
    one, other = soft_threshold_(x.clone(), float(number)), soft_threshold_(x.clone(), torch.tensor(number))
    assert torch.equal(one, other)
    assert torch.equal(one, torch.nn.functional.softshrink(x, float(number)))
