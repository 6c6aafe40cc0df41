"""A stack of recurrent layers with a dense layer on every step: the shape of all five TimeGAN networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class RecurrentNetwork(nn.Module):
    """GRU layers, then a dense layer per step, then a sigmoid unless `logits`.

    The GRU is torch's (cuDNN's), which applies the reset gate after the recurrent product; TF1's cell, which
    the published TimeGAN code uses, applies it before. Weights start as there: Glorot uniform over the
    concatenated input and state, gate biases 1, candidate and dense biases 0.

    Args:
        inputs: Features of a step going in.
        hidden: Width of every layer.
        outputs: Features of a step coming out.
        layers: Recurrent layers, at least 1.
        logits: Leave the dense layer's output as it is.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int, *, logits: bool = False) -> None:
        super().__init__()
        self.logits = logits
        self.recurrent = nn.GRU(inputs, hidden, layers, batch_first=True)
        self.dense = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, steps, inputs) to (batch, steps, outputs)."""
        states, _ = self.recurrent(x)
        y: Tensor = self.dense(states)
        return y if self.logits else torch.sigmoid(y)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU."""
        for layer in range(self.recurrent.num_layers):
            self._reset_layer(layer, rng)
        fan = self.dense.in_features + self.dense.out_features
        _uniform(self.dense.weight, math.sqrt(6 / fan), rng)
        self.dense.bias.zero_()

    def _reset_layer(self, layer: int, rng: torch.Generator) -> None:
        hidden = self.recurrent.hidden_size
        kernel = getattr(self.recurrent, f"weight_ih_l{layer}")
        recurrent = getattr(self.recurrent, f"weight_hh_l{layer}")
        fan_in = kernel.shape[1] + hidden
        # TF1 keeps the two gates in one kernel of 2 x hidden outputs and the candidate in another.
        gates, candidate = math.sqrt(6 / (fan_in + 2 * hidden)), math.sqrt(6 / (fan_in + hidden))
        for weight in (kernel, recurrent):
            _uniform(weight[: 2 * hidden], gates, rng)
            _uniform(weight[2 * hidden :], candidate, rng)
        bias = getattr(self.recurrent, f"bias_ih_l{layer}")
        bias[: 2 * hidden] = 1
        bias[2 * hidden :] = 0
        getattr(self.recurrent, f"bias_hh_l{layer}").zero_()


def _uniform(weight: Tensor, limit: float, rng: torch.Generator) -> None:
    weight.copy_(torch.empty(weight.shape).uniform_(-limit, limit, generator=rng))
