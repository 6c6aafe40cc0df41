"""Optimisers over several networks, each network with settings of its own, and learning rates over a phase."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError

Parameters = list[torch.nn.Parameter]
RMSPROP_SMOOTHING = 0.99
"""Decay of `rmsprop`'s mean square: torch's default; the lecture that introduced it used 0.9."""
ADAM_EPSILON = 1e-8
"""Under Adam's step: torch's default and the paper's."""


def check_groups(groups: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse settings of a network that is not there.

    Raises:
        ConfigError: names the networks there are.
    """
    for name in groups:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"training.optimizer.groups: there is no network {name!r} in this generator, it has "
                f"{', '.join(known)}{hint}"
            )


def make_optimizer(
    networks: Mapping[str, Parameters],
    options: Mapping[str, Any],
    *,
    separate: bool = False,
    replicas: int = 1,
) -> torch.optim.Optimizer:
    """One optimiser over several networks.

    Networks of the same settings share a parameter group, which the optimiser walks in one go; how the
    parameters are grouped changes no bit of a step. Every group says its networks (`networks`) and the
    learning rate that schedules scale (`base`).

    On a GPU learning rates and counters of steps are tensors there, so that a step is never waited for and a
    captured one (`core.training.graphs`) follows the schedule.

    Args:
        networks: Parameters by name of the network, all on one device.
        options: Section `training` of the configuration, complete.
        separate: A group for each network, for whoever changes their rates apart later.
        replicas: The first axis of every parameter, if more than one.
    """
    groups: list[dict[str, Any]] = []
    for name, parameters in networks.items():
        rate, decay = _settings(name, options)
        same = [g for g in groups if (g["lr"], g["weight_decay"]) == (rate, decay) and not separate]
        if same:
            same[0]["params"] += parameters
            same[0]["networks"] += (name,)
        else:
            group = {"lr": rate, "base": rate, "weight_decay": decay, "networks": (name,)}
            groups.append({"params": list(parameters), **group})
    device = groups[0]["params"][0].device
    if gpu := device.type != "cpu":
        for group in groups:
            group["lr"] = torch.tensor(group["base"], device=device)
    return _optimizer(groups, options["optimizer"], gpu=gpu, replicas=replicas)


def _settings(network: str, options: Mapping[str, Any]) -> tuple[float, float]:
    """Learning rate and weight decay of a network."""
    own = options["optimizer"]["groups"].get(network, {})
    rate, decay = own.get("learning_rate"), own.get("weight_decay")
    return (
        float(options["learning_rate"] if rate is None else rate),
        float(options["optimizer"]["weight_decay"] if decay is None else decay),
    )


def _optimizer(
    groups: list[dict[str, Any]], options: Mapping[str, Any], *, gpu: bool, replicas: int
) -> torch.optim.Optimizer:
    kind, momentum = options["kind"], float(options["momentum"])
    if kind in ("adam", "adamw"):
        betas = (float(options["betas"][0]), float(options["betas"][1]))
        if replicas > 1:
            return ReplicaAdam(groups, betas=betas, decoupled=kind == "adamw", replicas=replicas)
        chosen = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        return chosen(groups, betas=betas, capturable=gpu, fused=True)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=momentum, fused=True)
    return torch.optim.RMSprop(groups, momentum=momentum, alpha=RMSPROP_SMOOTHING, foreach=True, capturable=gpu)


class ReplicaAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015, alg. 1) or AdamW of replicas that count their steps apart.

    `torch.optim`'s have one counter for a parameter; replicas of which some rest are at different ones. Nothing
    waits for the device.

    Args:
        groups: Parameters of shape (R, ...), with `lr` (a number or a tensor) and `weight_decay`.
        betas: Decay of the two moments.
        decoupled: Weight decay is taken off the weight, apart from the moments (Loshchilov and Hutter 2019).
        replicas: R.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, betas: tuple[float, float], decoupled: bool, replicas: int
    ) -> None:
        # `capturable`: torch then loads the counters of a checkpoint to the parameters' device.
        super().__init__(groups, {"betas": betas, "eps": ADAM_EPSILON, "capturable": True})
        self.decoupled, self.replicas = decoupled, replicas
        self._places: dict[tuple[tuple[int, ...], ...], Tensor] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's signature
        """Move the parameters that have a gradient."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._step(group, parameters)

    def _step(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        rate, decay, (beta, beta_of_squares) = group["lr"], group["weight_decay"], group["betas"]
        counters, moments, squares = self._moments(parameters)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_add_(counters, 1)
        if decay and self.decoupled:
            torch._foreach_mul_(parameters, 1 - rate * decay)
        elif decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=decay))
        torch._foreach_lerp_(moments, gradients, 1 - beta)
        torch._foreach_mul_(squares, beta_of_squares)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta_of_squares)
        # In 64 bits: 1 - beta^t loses half of 32 in the first steps.
        steps = torch.stack(counters).double()
        size = self._spread(-rate / (1 - beta**steps), parameters)
        root = self._spread((1 - beta_of_squares**steps).sqrt(), parameters)
        below = torch._foreach_sqrt(squares)
        torch._foreach_div_(below, root)
        torch._foreach_add_(below, group["eps"])
        torch._foreach_addcdiv_(parameters, torch._foreach_mul(moments, size), below)

    def _moments(self, parameters: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Counters, each of shape (R,), and the two moments."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] |= {
                    "step": torch.zeros(self.replicas, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        counters, moments, squares = (
            [state[key] for state in states] for key in ("step", "exp_avg", "exp_avg_sq")
        )
        return counters, moments, squares

    def _spread(self, values: Tensor, parameters: list[Tensor]) -> list[Tensor]:
        """A number for each parameter and replica, shape (P, R), at every weight it is for.

        Gathered at once and of the parameters' own shapes: so it costs one kernel, and what uses it one, too.
        """
        shapes = tuple(tuple(parameter.shape) for parameter in parameters)
        if shapes not in self._places:
            sizes = torch.tensor([parameter.numel() // self.replicas for parameter in parameters])
            each = torch.arange(values.numel()).repeat_interleave(sizes.repeat_interleave(self.replicas))
            self._places[shapes] = each.to(values.device)
        spread = values.to(parameters[0].dtype).flatten()[self._places[shapes]]
        parts = torch.split(spread, [parameter.numel() for parameter in parameters])
        return [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]


class Standstill:
    """Takes a step back where it shall not have been: bit for bit, and without asking the device.

    What it takes back are the parameters and all that the optimiser remembers, counters of steps among it, be
    they moved by the step itself or by what is done to the weights after it. An optimiser that remembers
    nothing yet begins with zeros.

    Args:
        optimizer: Before the step.
        replicas: The first axis of parameters and moments, if more than one; of counters that replicas share,
            as RMSprop's, which no step depends on, there is nothing to take back.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, replicas: int) -> None:
        self.optimizer, self.replicas = optimizer, replicas
        tensors = self._tensors()
        self.names, self.before = list(tensors), self._joined(tensors.values())

    @torch.no_grad()
    def keep(self, moves: Tensor) -> None:
        """After the step.

        Args:
            moves: Shape () or (R,); where it is False all is as before.
        """
        tensors = self._tensors()
        after = list(tensors.values())
        before = self.before
        if list(tensors) != self.names:
            parts = self._parts(before, [tensors[name] for name in self.names])
            known = dict(zip(self.names, parts, strict=True))
            before = self._joined([known.get(name, torch.zeros_like(t)) for name, t in tensors.items()])
        chosen = torch.where(moves.reshape(-1, 1), self._joined(after), before)
        torch._foreach_copy_(after, self._parts(chosen, after))

    def _tensors(self) -> dict[tuple[int, str], Tensor]:
        """Parameters and what is remembered of them, by number and name."""
        found: dict[tuple[int, str], Tensor] = {}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(parameters):
            state = self.optimizer.state.get(parameter, {})
            for name, value in {"": parameter.detach(), **state}.items():
                if isinstance(value, Tensor) and (self.replicas == 1 or value.dim()):
                    found[index, name] = value
        return found

    def _joined(self, tensors: Iterable[Tensor]) -> Tensor:
        """Shape (R, numbers of one replica)."""
        return torch.cat([tensor.reshape(self.replicas, -1) for tensor in tensors], dim=1)

    def _parts(self, joined: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
        """What `_joined` put together."""
        parts = torch.split(joined, [tensor.numel() // self.replicas for tensor in like], dim=1)
        return [part.reshape(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


class Schedule:
    """The share of the learning rate at an iteration: a function of where in its phase it is, no state.

    `warmup` iterations rise linearly from 0 (Goyal et al. 2017, section 2.2); from there to the phase's last
    iteration the share is 1, or falls to `floor` in a line or as half a cosine (Loshchilov and Hutter 2017,
    eq. 5, without restarts).

    Args:
        options: Section `training.schedule`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.kind: str = options["kind"]
        self.warmup = int(options["warmup"])
        self.floor = float(options["floor"])

    @property
    def constant(self) -> bool:
        """The share is always 1."""
        return self.kind == "constant" and self.warmup == 0

    def share(self, step: int, iterations: int) -> float:
        """Of the learning rate, in [0, 1].

        Args:
            step: Iteration of the phase, from 1.
            iterations: Of the phase.
        """
        if step <= self.warmup:
            return step / self.warmup
        if self.kind == "constant":
            return 1.0
        done = (step - self.warmup) / (iterations - self.warmup)
        left = 1 - done if self.kind == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.floor + (1 - self.floor) * left


def set_rates(
    optimizers: Sequence[torch.optim.Optimizer], share: float, lowered: Mapping[str, float] | None = None
) -> None:
    """Give every group its rate.

    Args:
        optimizers: Made by `make_optimizer`.
        share: Of every group's own rate.
        lowered: A further share by network; needs groups of one network each.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            own = lowered.get(group["networks"][0], 1.0) if lowered else 1.0
            rate = group["base"] * share * own
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # in place: a captured step reads it there
            else:
                group["lr"] = rate
