"""Parts of losses that the generators share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def full(x: Tensor) -> Tensor:
    """In 32 bits at least: under mixed precision networks give 16, too few for small errors."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def weighted_mean(x: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of `x`, by `weight` (broadcast to its shape) where there is one."""
    if weight is None:
        return x.mean()
    weight = weight.expand_as(x)
    return (x * weight).sum() / weight.sum().clamp(min=1)


def adversarial_error(logits: Tensor, rows: Tensor | None = None, *, real: bool) -> Tensor:
    """Mean sigmoid cross-entropy of a discriminator's logits against one label (TimeGAN paper, eq. 8).

    Args:
        logits: Shape (batch, steps, 1), or (batch, 1) of a static discriminator.
        rows: Weight of each step, all of them 1 if None.
        real: The label that would be right.
    """
    logits = full(logits)
    return weighted_mean(functional.softplus(-logits if real else logits), rows)
