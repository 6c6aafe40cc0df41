"""A narrower sequence beside a window's own, as TimeGAN's embedder and recovery have it: one latent a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import ConfigError
from core.generators.flow_matching.scales import Scales
from core.networks.recurrent import reset_linear
from core.networks.transformer import Rotation, TransformerBlock
from core.prepare.channels.layout import Block

_OF_COLUMNS = ("completion", "fourier", "correlation", "moments")
"""Options that need a window's own channels to flow."""


class Translator(nn.Module):
    """From one sequence of a window to another: a dense layer, one transformer block, a dense layer.

    The block lets a step be told by its neighbours: on the paper's energy data a latent of half as many numbers
    as columns gave windows back with half the error of dense layers alone (docs/flow-matching.md).

    Args:
        inputs: Numbers of a step going in.
        outputs: Numbers of a step coming out.
        hidden: Width between.
        heads: See `core.networks.transformer.TransformerBlock`.
        expansion: Likewise.
    """

    def __init__(self, inputs: int, outputs: int, *, hidden: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.read = nn.Linear(inputs, hidden)
        self.told = nn.Parameter(torch.ones(1, 1, hidden))
        """What the block is told, the same at all times."""
        self.block = TransformerBlock(hidden, heads, expansion)
        self.write = nn.Linear(hidden, outputs)
        self.width = hidden // heads

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Shape (batch, steps, inputs) to (batch, steps, outputs).

        Args:
            x: A sequence.
            rows: Shape (batch, steps): True for steps inside the window; all are if None.
        """
        mask = None if rows is None else rows[:, None, None]
        rotary = Rotation.of(x.shape[1], self.width, x.device)
        y: Tensor = self.write(self.block(self.read(x), self.told, rotary, mask))
        return y

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU."""
        for layer in (self.read, self.write):
            reset_linear(layer, rng)
        self.block.reset_parameters(rng)
        nn.init.ones_(self.told)


def latent_scales(latent: int) -> Scales:
    """Centre, spread and range of so many latents: what flows is standardised, what flowed stays in range."""
    return Scales((Block("continuous"),) * latent)


def refuse_beside_latent(options: Mapping[str, Any]) -> None:
    """Refuse what looks at columns beside a latent.

    Args:
        options: Of the generator.

    Raises:
        ConfigError: with `latent`, windows shall be completed, or an auxiliary loss has a weight.
    """
    if options["latent"] is None:
        return
    if named := [name for name in _OF_COLUMNS if options[name]]:
        raise ConfigError(
            f"model.latent: in a latent space there are no columns to look at, set model.{named[0]}=0 "
            "or leave model.latent out"
        )
