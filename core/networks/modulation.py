"""A network told something: its streams scaled and shifted, what is added to them gated.

That is adaLN-Zero (Peebles and Xie 2023, section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised over the last dimension, scaled by 1 + `scale`, shifted.

    Args:
        x: Shape (batch, ..., width).
        shift: Shape (batch, ..., width), or (1, ..., width), each ... 1: for all windows, which is cheaper.
        scale: As `shift`.
    """
    width = x.shape[-1:]
    if len(scale) == 1:  # one call
        return functional.layer_norm(x, width, 1 + scale.flatten(), shift.flatten())
    return torch.addcmul(shift, functional.layer_norm(x, width), 1 + scale)


def gated(layer: nn.Linear, x: Tensor, gate: Tensor) -> Tensor:
    """The layer's output times the gate, of a shape as in `modulated`."""
    if len(gate) == 1:  # for all windows: in the weights
        return functional.linear(x, layer.weight * gate.view(-1, 1), layer.bias * gate.flatten())
    gated: Tensor = gate * layer(x)
    return gated
