"""Parts of losses that the generators share.

Of several replicas (`core.training.replicas`) rows stand replica by replica, and whatever reduces over a batch
reduces over each replica's own: shape () for one replica, (R,) for R of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def full(x: Tensor) -> Tensor:
    """In 32 bits at least: under mixed precision networks give 16, too few for small errors."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def by_replica(x: Tensor, replicas: int) -> Tensor:
    """Shape (R * B, ...), replica by replica, to (R, B, ...)."""
    return x.reshape(replicas, len(x) // replicas, *x.shape[1:])


def mean(x: Tensor, replicas: int = 1) -> Tensor:
    """Mean of everything, or of each replica's rows: shape (R * B, ...) to () or (R,)."""
    return x.mean() if replicas == 1 else x.reshape(replicas, -1).mean(1)


def weighted_mean(x: Tensor, weight: Tensor | None, replicas: int = 1) -> Tensor:
    """Mean of `x`, by `weight` (broadcast to its shape) where there is one; see `mean`."""
    if weight is None:
        return mean(x, replicas)
    weight = weight.expand_as(x)
    return _sum(x * weight, replicas) / _sum(weight, replicas).clamp(min=1)


def _sum(x: Tensor, replicas: int) -> Tensor:
    return x.sum() if replicas == 1 else x.reshape(replicas, -1).sum(1)


def adversarial_error(logits: Tensor, rows: Tensor | None = None, *, real: bool, replicas: int = 1) -> Tensor:
    """Mean sigmoid cross-entropy of a discriminator's logits against one label (TimeGAN paper, eq. 8).

    Args:
        logits: Shape (batch, steps, 1), or (batch, 1) of a static discriminator.
        rows: Weight of each step, all of them 1 if None.
        real: The label that would be right.
        replicas: See `mean`.
    """
    logits = full(logits)
    return weighted_mean(functional.softplus(-logits if real else logits), rows, replicas)
