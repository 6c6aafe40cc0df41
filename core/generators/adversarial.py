"""What the generators share that turn noise into whole windows against a discriminator."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from core.generators.module import TorchGenerator
from core.networks.heads import OutputHead
from core.networks.recurrent import FeedForwardNetwork
from core.networks.straight_through import Gradient
from core.prepare.channels.layout import Channels, width

NoiseKind = Literal["uniform", "gaussian"]


class AdversarialGenerator(TorchGenerator):
    """A `generator`, a `discriminator` and, with static columns, a `static_generator`.

    Static values come from noise of their own and the condition, through one dense layer; generator and
    discriminator read them, and the condition, at each step. None of the compared papers has static columns.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        options: See `TorchGenerator`.
        static_hidden: Width of the static generator's layer.
        gradient: How a hard one-hot hands gradients back.
    """

    generating: tuple[str, ...]
    """The networks that make windows."""

    def __init__(
        self,
        length: int,
        channels: Channels,
        options: dict[str, Any],
        static_hidden: int,
        gradient: Gradient,
    ) -> None:
        super().__init__(length, channels, options)
        self.head = OutputHead(channels.temporal, gradient)
        self.static_head = OutputHead(channels.static, gradient)
        self.static_width = width(channels.static)
        self.generating = ("generator",)
        if self.static_width:
            given = self.static_width + width(channels.condition)
            self.static_generator = FeedForwardNetwork(given, static_hidden, self.static_width, 1)
            self.generating = ("generator", "static_generator")
        self.networks = (*self.generating, "discriminator")

    def reset_parameters(self, seed: int) -> None:
        """Draw the weights of all networks."""
        rng = torch.Generator().manual_seed(seed)
        for name in self.networks:
            self.network(name).reset_parameters(rng)  # type: ignore[operator]  # every network has one

    @abstractmethod
    def raw_windows(self, noise: Tensor, context: Tensor) -> Tensor:
        """The generator's numbers, shape (batch, length, channels), for `head`.

        Args:
            noise: The first part of `noise`.
            context: Shape (batch, static channels + condition channels).
        """

    def generate(self, noise: tuple[Tensor, ...], condition: Tensor) -> tuple[Tensor, Tensor]:
        """Windows (batch, length, channels) and static values (batch, static channels)."""
        static = condition[:, :0]
        if self.static_width:
            static = self.static_head(self.static_generator(torch.cat([noise[1], condition], dim=1)))
        return self.windows(noise[0], torch.cat([static, condition], dim=1)), static

    def windows(self, noise: Tensor, context: Tensor) -> Tensor:
        """Valid windows, shape (batch, length, channels)."""
        X: Tensor = self.head(self.raw_windows(noise, context))
        return X

    def decode(self, noise: tuple[Tensor, ...], condition: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - windows are made whole and cut
        """See `core.generators.module.TorchGenerator`."""
        return self.generate(noise, condition)

    def draw_noise(self, kind: NoiseKind, shape: tuple[int, ...], rng: torch.Generator) -> tuple[Tensor, ...]:
        """Noise of `shape` and, with static columns, (n, static channels): U[0, 1) or N(0, 1)."""
        draw = torch.rand if kind == "uniform" else torch.randn
        noise = draw(shape, generator=rng, device=rng.device)
        if not self.static_width:
            return (noise,)
        return noise, draw((shape[0], self.static_width), generator=rng, device=rng.device)
