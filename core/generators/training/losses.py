"""Losses of the comparison methods. What stands past a window's end has no part in any of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.generators.losses import full


def mean_decision(logits: Tensor, real: bool, rows: Tensor | None) -> Tensor:
    """Mean over windows of -log D, or of -log(1 - D); D is the mean of its steps' sigmoids.

    Mogren 2016, section 2. In logarithms, so that a discriminator that is sure has a gradient:
    1 - mean sigmoid(l) is mean sigmoid(-l).

    Args:
        logits: Shape (batch, steps, 1).
        real: Whether D should be near 1.
        rows: See `core.training.batches.Batch`.
    """
    logits = full(logits)
    answers = functional.logsigmoid(logits if real else -logits)[..., 0]
    if rows is None:
        return (math.log(answers.shape[1]) - answers.logsumexp(1)).mean()
    inside = rows[..., 0]
    answers = answers.masked_fill(inside == 0, -torch.inf)
    return (inside.sum(1).log() - answers.logsumexp(1)).mean()


def feature_distance(real: Tensor, fake: Tensor, rows: Tensor | None) -> Tensor:
    """(R(x) - R(G(z)))^2 (Mogren 2016, section 2; Salimans et al. 2016, section 3.1), summed over features.

    R is the discriminator's last layer, at each step its mean over the windows that have the step: windows of a
    batch have no partner among the generated ones, so means are matched, as Salimans et al. do.

    Args:
        real: Shape (batch, steps, features).
        fake: Likewise.
        rows: See `core.training.batches.Batch`.
    """
    real, fake = full(real), full(fake)
    if rows is None:
        return (real.mean(0).detach() - fake.mean(0)).square().sum(-1).mean()
    count = rows.sum(0)
    apart = ((real.detach() - fake) * rows).sum(0) / count.clamp(min=1)
    return (apart.square().sum(-1) * count[:, 0]).sum() / count.sum()


def squared_weights(modules: Iterable[nn.Module]) -> Tensor:
    """Sum of the squares of all weights, biases left out."""
    weights = [p for module in modules for p in module.parameters() if p.dim() > 1]
    return torch.stack([weight.square().sum() for weight in weights]).sum()


def gradient_penalty(score: Callable[..., Tensor], *points: Tensor) -> Tensor:
    """Mean over windows of (|gradient of the score at a point| - 1)^2 (Gulrajani et al. 2017, eq. 3).

    Args:
        score: Of the points, each window's score its own: shape (batch, 1).
        points: What it reads, each of shape (batch, ...); the gradient is taken over all of them together.
    """
    leaves = [point.detach().requires_grad_() for point in points]
    gradients = torch.autograd.grad(score(*leaves).sum(), leaves, create_graph=True)
    norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0)
    # The root has no finite slope at 0, where a critic that has gone flat would be.
    return ((norms + 1e-12).sqrt() - 1).square().mean()


def interpolate(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Points between, window by window: share (batch,) of the real one."""
    share = share.view(-1, *[1] * (real.dim() - 1))
    return share * real + (1 - share) * fake
