"""What a window does as a whole: its slowest movement as one vector, and a dense network on it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.modulation import gated, modulated
from core.networks.recurrent import glorot, reset_linear

BLOCKS = 3
SLOWEST = 2
"""Frequencies: the level and its trend."""


def cosines(length: int, count: int | None = None) -> Tensor:
    """The slowest waves of the orthonormal DCT-II, shape (count, length); all of them if `count` is None."""
    steps = torch.arange(length, dtype=torch.float64)
    waves = torch.cos(math.pi / length * steps[:count, None] * (steps + 0.5)) * math.sqrt(2 / length)
    waves[0] = 1 / math.sqrt(length)
    return waves.float()


class LevelNetwork(nn.Module):
    """Velocities of a window's slowest movement, and a word on it for every step.

    Where columns stand to one another is mostly a matter of their levels, often on a thin curve through as
    many dimensions as there are columns. To a transformer that is the same small task again at each step; one
    wide network on the level alone learns it sooner, at the price of a few steps.

    Args:
        length: Steps of a window.
        channels: Of a step.
        static: Channels of the window.
        width: Of the stream.
        told: Width of what modulates it.
        word: Width of what steps are told.
        completes: Cells of the window may be given, too.
    """

    waves: Tensor

    def __init__(
        self, *, length: int, channels: int, static: int, width: int, told: int, word: int, completes: bool
    ) -> None:
        super().__init__()
        waves = cosines(length, SLOWEST)
        self.register_buffer("waves", waves, persistent=False)
        numbers = len(waves) * channels
        self.read = nn.Linear(numbers + static, width)
        # Without bias: to be given nothing is the same as not to be asked.
        self.read_given = nn.Linear(2 * (numbers + static), width, bias=False) if completes else None
        self.blocks = nn.ModuleList(DenseBlock(width, told) for _ in range(BLOCKS))
        self.last = nn.Linear(told, 2 * width)
        self.write = nn.Linear(width, numbers)
        self.tell = nn.Linear(width, word)

    def forward(
        self, x: Tensor, static: Tensor, told: Tensor, given: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Velocities, shape of `x`, and words, shape (batch, 1, word).

        Args:
            x: Shape (batch, steps, channels), 0 past a window's end.
            static: Shape (batch, static channels).
            told: Shape (batch, told), or (1, told) where all are told the same.
            given: What is known, shapes (batch, steps, 2 channels) and (batch, 2 static channels).
        """
        stream = self.read(self._slow(x, static))
        if given is not None and self.read_given is not None:
            stream = stream + self.read_given(self._slow(*given))
        for block in self.blocks:
            stream = block(stream, told)
        shift, scale = self.last(told).chunk(2, dim=-1)
        stream = modulated(stream, shift, scale)
        velocity = self.write(stream).view(len(x), len(self.waves), -1)
        return self.waves.T @ velocity, self.tell(stream)[:, None]

    def _slow(self, x: Tensor, static: Tensor) -> Tensor:
        """Means and trends in the size of a step's numbers, and static values, side by side."""
        slow = (self.waves @ x).flatten(1) / math.sqrt(self.waves.shape[1])
        return torch.cat([slow, static], dim=1)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU; velocities and words start as 0."""
        reset_linear(self.read, rng)
        if self.read_given is not None:
            glorot(self.read_given.weight, self.read_given.in_features, self.read_given.out_features, rng)
        for block in self.blocks:
            assert isinstance(block, DenseBlock)  # noqa: S101 - for the type checker
            block.reset_parameters(rng)
        for layer in (self.last, self.write, self.tell):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class DenseBlock(nn.Module):
    """A dense layer, scaled, shifted and gated by what is told, as in `core.networks.transformer`."""

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.modulation = nn.Linear(told, 3 * width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Shape (batch, width), kept; `told` as in `LevelNetwork.forward`."""
        shift, scale, gate = self.modulation(told).chunk(3, dim=-1)
        return x + gated(self.down, functional.gelu(self.up(modulated(x, shift, scale))), gate)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU; the block starts as the identity."""
        reset_linear(self.up, rng)
        reset_linear(self.down, rng)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
