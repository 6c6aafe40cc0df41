"""From a dense layer's numbers to the channels of windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks import straight_through
from core.networks.straight_through import Gradient
from core.prepare.channels.layout import Block, spans

_TINY = 1e-6  # keeps the noise of a float32 draw finite


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
        self.discrete = any(block.kind != "continuous" or block.optional for block in blocks)

    def forward(self, raw: Tensor) -> Tensor:
        """Shape (..., channels), kept."""
        if not self.discrete:
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
        if not self.discrete:
            return raw.sigmoid()
        parts = []
        for span in self.spans:
            if span.presence is not None:
                parts.append(raw[..., span.presence : span.presence + 1].sigmoid())
            values = raw[..., span.values]
            parts.append(values.softmax(-1) if span.block.kind == "one_hot" else values.sigmoid())
        return torch.cat(parts, dim=-1)

    def drawn(self, raw: Tensor, uniform: Tensor) -> Tensor:
        """As `forward`, but a choice is drawn by its probability instead of being the likeliest.

        The largest of logits plus Gumbel noise is a category drawn by their softmax (Jang, Gu and Poole 2017,
        eq. 1), the sign of a logit plus logistic noise is 1 with its sigmoid's probability.

        Args:
            raw: Shape (..., channels).
            uniform: U[0, 1), the same shape; continuous channels take none of it.
        """
        u = uniform.clamp(_TINY, 1 - _TINY)
        noise = torch.zeros_like(raw)
        for span in self.spans:
            if span.block.kind == "one_hot":
                noise[..., span.values] = -(-u[..., span.values].log()).log()
            elif span.block.kind == "binary":
                noise[..., span.values] = u[..., span.values].logit()
            if span.presence is not None:
                noise[..., span.presence] = u[..., span.presence].logit()
        return self.forward(raw + noise)

    def unlikelihood(self, raw: Tensor, X: Tensor) -> Tensor:
        """How badly `raw` foretells `X`, summed over a step's columns, shape (..., 1).

        Cross-entropy of categories, of binary cells and of presence, squared error of continuous ones; the
        value of a missing cell does not count.
        """
        parts = []
        for span in self.spans:
            values, target = raw[..., span.values], X[..., span.values]
            if span.block.kind == "one_hot":
                part = -(target * values.log_softmax(-1)).sum(-1, keepdim=True)
            elif span.block.kind == "binary":
                part = functional.binary_cross_entropy_with_logits(values, target, reduction="none")
            else:
                part = (values.sigmoid() - target).square()
            if span.presence is not None:
                there = X[..., span.presence : span.presence + 1]
                logit = raw[..., span.presence : span.presence + 1]
                part = part * there
                parts.append(functional.binary_cross_entropy_with_logits(logit, there, reduction="none"))
            parts.append(part)
        return torch.stack(parts).sum(0)

    def _values(self, block: Block, raw: Tensor) -> Tensor:
        if block.kind == "continuous":
            return raw.sigmoid()
        if block.kind == "binary":
            return straight_through.binary(raw)
        return straight_through.one_hot(raw, self.gradient)
