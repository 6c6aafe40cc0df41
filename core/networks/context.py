"""What is said once about a window, handed to networks that read it step by step."""

from __future__ import annotations

import torch
from torch import Tensor


def beside(x: Tensor, context: Tensor) -> Tensor:
    """Shape (batch, steps, features) and (batch, width) to (batch, steps, features + width)."""
    if not context.shape[1]:
        return x
    return torch.cat([x, context[:, None].expand(-1, x.shape[1], -1)], dim=2)


def shifted(X: Tensor) -> Tensor:
    """What is known before each step: the step before it, and a flag that is 1 where there is none.

    The flag is the initial token: times its weights it is a learnt first input.

    Args:
        X: Shape (batch, steps, channels).

    Returns:
        Shape (batch, steps, channels + 1); at step t stands X at t - 1, at the first step zeros and the flag.
    """
    before = torch.cat([torch.zeros_like(X[:, :1]), X[:, :-1]], dim=1)
    flag = torch.zeros_like(X[:, :, :1])
    flag[:, 0] = 1
    return torch.cat([before, flag], dim=2)
