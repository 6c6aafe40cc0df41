"""Hard choices in the forward pass, useful gradients in the backward pass.

The straight-through estimator (Bengio, Léonard and Courville 2013, section 3.1): a step function has a gradient
of zero almost everywhere, so what comes from above is handed on as if the step were not there.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

Gradient = Literal["identity", "soft"]
"""What a hard one-hot hands back: the gradient as it comes, or through the softmax."""


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004 - the signature of autograd
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient.clamp(-1, 1)


def sign(x: Tensor) -> Tensor:
    """1 where x >= 0, else -1 (never 0); backward, the incoming gradient clamped to [-1, 1].

    `torch.sign` would give 0 at 0 and hand no gradient back at all.
    """
    y: Tensor = _Sign.apply(x)  # type: ignore[no-untyped-call]
    return y


def binary(logits: Tensor) -> Tensor:
    """0 or 1 by the sign of the logits; gradients by `sign`."""
    return (sign(logits) + 1) / 2


def one_hot(logits: Tensor, gradient: Gradient = "soft") -> Tensor:
    """1 at the largest logit of the last axis and 0 elsewhere, exactly.

    Args:
        logits: Shape (..., categories).
        gradient: `identity` hands the incoming gradient to the logits as it is, `soft` through the softmax
            (the straight-through form of Jang, Gu and Poole 2017, section 2.2, at temperature 1).
    """
    soft = logits.softmax(-1) if gradient == "soft" else logits
    hard = functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    hot: Tensor = _Through.apply(hard, soft)  # type: ignore[no-untyped-call]
    return hot


class _Through(torch.autograd.Function):
    """The first argument forward, the gradient to the second backward.

    The usual `hard + soft - soft.detach()` rounds: its forward values are not exactly 0 and 1.
    """

    @staticmethod
    def forward(ctx: Any, hard: Tensor, soft: Tensor) -> Tensor:  # noqa: ARG004 - the signature of autograd
        return hard

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:  # noqa: ARG004
        return None, gradient
