"""From a dense layer's numbers to the channels of windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.networks import straight_through
from core.networks.straight_through import Gradient
from core.prepare.layout import Block, spans


class OutputHead(nn.Module):
    """Sigmoid for continuous channels, 0 or 1 for binary and presence channels, one-hot for categories.

    Whatever comes in, valid channels come out: where the presence channel says that a cell is missing, its
    value channels are 0. It has no weights.

    Args:
        blocks: Of the channels, in order.
        gradient: How a hard one-hot hands gradients back.
    """

    def __init__(self, blocks: Sequence[Block], gradient: Gradient = "soft") -> None:
        super().__init__()
        self.gradient = gradient
        self.spans = tuple(spans(blocks))
        self.plain = all(block.kind == "continuous" and not block.optional for block in blocks)

    def forward(self, raw: Tensor) -> Tensor:
        """Shape (..., channels), kept."""
        if self.plain:
            return raw.sigmoid()
        parts = []
        for span in self.spans:
            values = self._values(span.block, raw[..., span.values])
            if span.presence is not None:
                present = straight_through.binary(raw[..., span.presence : span.presence + 1])
                parts += [present, values * present]
            else:
                parts.append(values)
        return torch.cat(parts, dim=-1)

    def relaxed(self, raw: Tensor) -> Tensor:
        """Probabilities instead of choices: sigmoid, and softmax over categories; shape kept.

        Reconstruction is learnt on these: a hard choice that is right has no error left to learn from.
        """
        if self.plain:
            return raw.sigmoid()
        parts = []
        for span in self.spans:
            if span.presence is not None:
                parts.append(raw[..., span.presence : span.presence + 1].sigmoid())
            values = raw[..., span.values]
            parts.append(values.softmax(-1) if span.block.kind == "one_hot" else values.sigmoid())
        return torch.cat(parts, dim=-1)

    def _values(self, block: Block, raw: Tensor) -> Tensor:
        if block.kind == "continuous":
            return raw.sigmoid()
        if block.kind == "binary":
            return straight_through.binary(raw)
        return straight_through.one_hot(raw, self.gradient)
