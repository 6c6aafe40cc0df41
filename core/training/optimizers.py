"""Optimisers over several networks, each network with settings of its own, and learning rates over a phase."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from core.errors import ConfigError

Parameters = list[torch.nn.Parameter]
RMSPROP_SMOOTHING = 0.99
"""Decay of `rmsprop`'s mean square: torch's default; the lecture that introduced it used 0.9."""


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
    networks: Mapping[str, Parameters], options: Mapping[str, Any], *, separate: bool = False
) -> torch.optim.Optimizer:
    """One optimiser over several networks.

    Networks of the same settings share a parameter group, which the optimiser walks in one go; how the
    parameters are grouped changes no bit of a step. Every group says its networks (`networks`) and the
    learning rate that schedules scale (`base`).

    Args:
        networks: Parameters by name of the network.
        options: Section `training` of the configuration, complete.
        separate: A group for each network, for whoever changes their rates apart later.
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
    return _optimizer(groups, options["optimizer"])


def _settings(network: str, options: Mapping[str, Any]) -> tuple[float, float]:
    """Learning rate and weight decay of a network."""
    own = options["optimizer"]["groups"].get(network, {})
    rate, decay = own.get("learning_rate"), own.get("weight_decay")
    return (
        float(options["learning_rate"] if rate is None else rate),
        float(options["optimizer"]["weight_decay"] if decay is None else decay),
    )


def _optimizer(groups: list[dict[str, Any]], options: Mapping[str, Any]) -> torch.optim.Optimizer:
    kind, momentum = options["kind"], float(options["momentum"])
    if kind in ("adam", "adamw"):
        betas = (float(options["betas"][0]), float(options["betas"][1]))
        chosen = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        return chosen(groups, betas=betas, foreach=True)
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=momentum, foreach=True)
    return torch.optim.RMSprop(groups, momentum=momentum, alpha=RMSPROP_SMOOTHING, foreach=True)


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
            group["lr"] = group["base"] * share * own
