"""What generators share that make a window one step after the other, each step drawn from its distribution.

p(s | c) p(x_1 | s, c) prod_t p(x_t | x_1..x_{t-1}, s, c) for a window x, its static values s (a token before
the first step) and its condition c. Every factor is a `MixtureHead`; networks say its parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from core.generators.module import TorchGenerator
from core.networks.context import shifted
from core.networks.mixtures import MixtureHead
from core.networks.recurrent import FeedForwardNetwork, reset_linear
from core.prepare.channels.layout import Block, Channels, width


class Predictor(nn.Module, ABC):
    """The distribution of each step from the steps before it.

    Args:
        features: Width of what `forward` and `step` give.
        blocks: Of a step.
        components: Of the mixture.
    """

    def __init__(self, features: int, blocks: tuple[Block, ...], components: int) -> None:
        super().__init__()
        self.features = features
        self.head = MixtureHead(blocks, components)
        self.dense = nn.Linear(features, self.head.inputs)

    @abstractmethod
    def forward(self, before: Tensor, context: Tensor) -> Tensor:
        """All steps at once, teacher forced.

        Args:
            before: Shape (batch, steps, channels + 1): see `core.networks.context.shifted`.
            context: Shape (batch, width): static values and condition.

        Returns:
            Shape (batch, steps, features).
        """

    @abstractmethod
    def start(self, context: Tensor) -> Any:
        """The state before the first step."""

    @abstractmethod
    def step(self, before: Tensor, context: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step: (batch, channels + 1) and a state to (batch, features) and the next state."""

    def log_likelihood(self, features: Tensor, x: Tensor) -> Tensor:
        """The log p(x_t | ...), shape (batch, steps), of what `forward` gave."""
        return self.head.log_likelihood(self.dense(features), x)

    def draw(self, features: Tensor, uniform: Tensor) -> Tensor:
        """x_t, shape (batch, channels), of what `step` gave."""
        return self.head.draw(self.dense(features), uniform)

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU."""
        reset_linear(self.dense, rng)
        self.head.reset_parameters()


class StaticPredictor(nn.Module):
    """p(s | c): a dense network from the condition (and a constant) to a mixture."""

    def __init__(self, given: int, hidden: int, blocks: tuple[Block, ...], components: int) -> None:
        super().__init__()
        self.head = MixtureHead(blocks, components)
        self.network = FeedForwardNetwork(1 + given, hidden, self.head.inputs, 1)

    def forward(self, condition: Tensor) -> Tensor:
        """Parameters of the mixture, shape (batch, inputs of the head)."""
        raw: Tensor = self.network(torch.cat([torch.ones_like(condition[:, :1]), condition], dim=1))
        return raw

    def log_likelihood(self, condition: Tensor, static: Tensor) -> Tensor:
        """The log p(s | c), shape (batch,)."""
        return self.head.log_likelihood(self(condition), static)

    def draw(self, condition: Tensor, uniform: Tensor) -> Tensor:
        """s, shape (batch, static channels)."""
        return self.head.draw(self(condition), uniform)

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU."""
        self.network.reset_parameters(rng)
        self.head.reset_parameters()


class AutoregressiveGenerator(TorchGenerator):
    """A `predictor` and, with static columns, a `static_predictor`; a subclass makes the former.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        options: See `TorchGenerator`; `components` of them is read here.
        hidden: Width of the layer of the static predictor.
        predictor: Of the steps.
    """

    predicting: tuple[str, ...]
    """The networks that the likelihood moves."""

    def __init__(
        self, length: int, channels: Channels, options: dict[str, Any], hidden: int, predictor: Predictor
    ) -> None:
        super().__init__(length, channels, options)
        self.predictor = predictor
        self.networks = self.predicting = ("predictor",)
        if channels.static:
            given = width(channels.condition)
            self.static_predictor = StaticPredictor(given, hidden, channels.static, options["components"])
            self.networks = self.predicting = ("predictor", "static_predictor")

    def reset_parameters(self, seed: int) -> None:
        """Draw the weights of all networks."""
        rng = torch.Generator().manual_seed(seed)
        for name in self.networks:
            self.network(name).reset_parameters(rng)  # type: ignore[operator]  # every network has one

    def features(self, X: Tensor, context: Tensor) -> Tensor:
        """What the predictor makes of windows, teacher forced: shape (batch, steps, features)."""
        features: Tensor = self.predictor(shifted(X), context)
        return features

    def log_likelihood(self, X: Tensor, static: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihood of each step, (batch, steps), and of the static values, (batch,), 0 without any."""
        features = self.features(X, torch.cat([static, condition], dim=1))
        steps = self.predictor.log_likelihood(features, X)
        if not self.channels.static:
            return steps, torch.zeros_like(steps[:, 0])
        return steps, self.static_predictor.log_likelihood(condition, static)

    def free_run(self, uniform: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Windows and features of steps that each follow the one drawn before.

        Args:
            uniform: Shape (batch, steps, noise of the head).
            context: Shape (batch, width): static values and condition.

        Returns:
            Shapes (batch, steps, channels) and (batch, steps, features).
        """
        state = self.predictor.start(context)
        channels = self.channels.features
        before = uniform.new_zeros(len(uniform), channels + 1)
        before[:, -1] = 1
        after_first = before.new_zeros(len(uniform), 1)
        values, features = [], []
        for step in uniform.unbind(1):
            seen, state = self.predictor.step(before, context, state)
            values.append(self.predictor.draw(seen, step))
            features.append(seen)
            before = torch.cat([values[-1], after_first], dim=1)
        return torch.stack(values, dim=1), torch.stack(features, dim=1)

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """U[0, 1) of shape (n, length, noise) and, with static columns, (n, static noise)."""
        shapes = [(n, self.length, self.predictor.head.noise)]
        steps = torch.rand(shapes[0], generator=rng, device=rng.device)
        if not self.channels.static:
            return (steps,)
        return steps, torch.rand((n, self.static_predictor.head.noise), generator=rng, device=rng.device)

    def decode(self, noise: tuple[Tensor, ...], condition: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - a step does not depend on those after it
        """See `core.generators.module.TorchGenerator`."""
        static = condition[:, :0]
        if self.channels.static:
            static = self.static_predictor.draw(condition, noise[1])
        return self.free_run(noise[0], torch.cat([static, condition], dim=1))[0], static
