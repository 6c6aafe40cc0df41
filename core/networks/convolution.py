"""Convolutions over the steps of a window: WaveNet's causal ones, WaveGAN's strided ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.recurrent import glorot, reset_linear

History = list[list[Tensor]]
"""For each layer of a causal stack, what it has read so far, step by step."""


class CausalConvolution(nn.Module):
    """y_t from x_t, x_{t-d}, ..., x_{t-(k-1)d} (van den Oord et al. 2016, section 2.1).

    Args:
        inputs: Channels going in.
        outputs: Channels coming out.
        kernel: k, steps that it reads.
        dilation: d, steps between two that it reads.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, inputs, steps) to (batch, outputs, steps)."""
        y: Tensor = self.convolution(functional.pad(x, (self.past, 0)))
        return y

    def step(self, history: Sequence[Tensor]) -> Tensor:
        """The last step of `history`, a list of (batch, inputs), to (batch, outputs)."""
        weight, dilation = self.convolution.weight, self.convolution.dilation[0]
        last = len(history) - 1
        y: Tensor = self.convolution.bias.expand(len(history[-1]), -1)  # type: ignore[union-attr]
        for tap in range(weight.shape[2]):
            at = last - (weight.shape[2] - 1 - tap) * dilation
            if at >= 0:
                y = y + functional.linear(history[at], weight[:, :, tap])
        return y

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Glorot uniform, biases 0."""
        reset_convolution(self.convolution, rng)


class GatedLayer(nn.Module):
    """tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h), then 1x1 to residual and skip (eq. 3, section 2.4)."""

    def __init__(self, width: int, context: int, skip: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.causal = CausalConvolution(width, 2 * width, kernel, dilation)
        self.context = nn.Linear(context, 2 * width, bias=False) if context else None
        self.mix = nn.Linear(width, width + skip)
        self.width = width

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes (batch, width, steps) and (batch, context) to the next x and (batch, steps, skip)."""
        gated = self._gate(self.causal(x).transpose(1, 2), context[:, None])
        residual, skip = self.mix(gated).split([self.width, self.mix.out_features - self.width], dim=-1)
        return x + residual.transpose(1, 2), skip

    def step(self, history: Sequence[Tensor], context: Tensor) -> tuple[Tensor, Tensor]:
        """The last step of `history`: the next layer's input (batch, width) and (batch, skip)."""
        gated = self._gate(self.causal.step(history), context)
        residual, skip = self.mix(gated).split([self.width, self.mix.out_features - self.width], dim=-1)
        return history[-1] + residual, skip

    def _gate(self, both: Tensor, context: Tensor) -> Tensor:
        if self.context is not None:
            both = both + self.context(context)
        signal, gate = both.chunk(2, dim=-1)
        return signal.tanh() * gate.sigmoid()

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Glorot uniform, biases 0."""
        self.causal.reset_parameters(rng)
        reset_linear(self.mix, rng)
        if self.context is not None:
            glorot(self.context.weight, self.context.in_features, self.context.out_features, rng)


class CausalStack(nn.Module):
    """WaveNet up to its output: causal convolution, gated residual layers, sum of skips (its figure 4).

    Args:
        inputs: Channels of a step going in.
        context: Width of what is said once about the window (global conditioning, section 2.5).
        width: Channels of the residual stream.
        skip: Channels coming out.
        kernel: Steps that a layer reads.
        dilations: Of each layer.
    """

    def __init__(
        self, inputs: int, context: int, width: int, skip: int, kernel: int, dilations: Sequence[int]
    ) -> None:
        super().__init__()
        self.dilations, self.kernel = tuple(dilations), kernel
        self.first = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(GatedLayer(width, context, skip, kernel, d) for d in dilations)

    @property
    def receptive_field(self) -> int:
        """Steps going in that a step coming out can see, itself among them: 1 + (k - 1) sum of dilations."""
        return 1 + (self.kernel - 1) * sum(self.dilations)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Shapes (batch, steps, inputs) and (batch, context) to (batch, steps, skip)."""
        x = self.first(x).transpose(1, 2)
        total: Tensor | None = None
        for layer in self._gated():
            x, skip = layer(x, context)
            total = skip if total is None else total + skip
        return functional.relu(total)  # type: ignore[arg-type]  # there is at least one layer

    def start(self) -> History:
        """Before the first step."""
        return [[] for _ in self.layers]

    def step(self, x: Tensor, context: Tensor, history: History) -> Tensor:
        """One step, (batch, inputs) to (batch, skip); `history` grows.

        Each layer works on this step alone (Le Paine et al. 2016), not on the window again.
        """
        x = self.first(x)
        total: Tensor | None = None
        for layer, past in zip(self._gated(), history, strict=True):
            past.append(x)
            x, skip = layer.step(past, context)
            total = skip if total is None else total + skip
        return functional.relu(total)  # type: ignore[arg-type]

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Glorot uniform, biases 0."""
        reset_linear(self.first, rng)
        for layer in self._gated():
            layer.reset_parameters(rng)

    def _gated(self) -> list[GatedLayer]:
        return [layer for layer in self.layers if isinstance(layer, GatedLayer)]


class UpsamplingStack(nn.Module):
    """WaveGAN's generator: a dense layer, then transposed convolutions (Donahue et al. 2019, table 3).

    Args:
        inputs: Width of the vector going in.
        length: Steps coming out.
        outputs: Channels coming out, no activation.
        width: Channels of the last layer but one; each layer before has twice as many.
        kernel: Steps that a layer reads, at least `stride`.
        stride: Factor of each layer.
        layers: At least 1.
    """

    def __init__(
        self, inputs: int, length: int, outputs: int, width: int, kernel: int, stride: int, layers: int
    ) -> None:
        super().__init__()
        self.length = length
        self.start = math.ceil(length / stride**layers)
        widths = [width * 2**power for power in reversed(range(layers))]
        self.dense = nn.Linear(inputs, self.start * widths[0])
        # Padding so that a layer gives exactly stride times as many steps as it reads.
        padding = math.ceil((kernel - stride) / 2)
        extra = 2 * padding - (kernel - stride)
        self.layers = nn.ModuleList(
            nn.ConvTranspose1d(a, b, kernel, stride, padding, output_padding=extra)
            for a, b in zip(widths, [*widths[1:], outputs], strict=True)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Shape (batch, inputs) to (batch, length, outputs)."""
        x = self.dense(z).unflatten(1, (-1, self.start))
        for layer in self.layers:
            x = layer(functional.relu(x))
        y: Tensor = x[:, :, : self.length].transpose(1, 2)
        return y

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Glorot uniform, biases 0, as the published code's layers start."""
        reset_linear(self.dense, rng)
        for layer in self.layers:
            if isinstance(layer, nn.ConvTranspose1d):
                reset_convolution(layer, rng)


class DownsamplingStack(nn.Module):
    """WaveGAN's discriminator: strided convolutions, then a dense layer (Donahue et al. 2019, table 4).

    Args:
        length: Steps going in.
        inputs: Channels going in.
        width: Channels of the first layer; each layer after has twice as many.
        kernel: Steps that a layer reads.
        stride: Factor of each layer.
        layers: At least 1.
    """

    def __init__(self, length: int, inputs: int, width: int, kernel: int, stride: int, layers: int) -> None:
        super().__init__()
        widths = [inputs] + [width * 2**power for power in range(layers)]
        self.layers = nn.ModuleList(nn.Conv1d(a, b, kernel, stride) for a, b in itertools.pairwise(widths))
        self.lengths = [length]
        for _ in range(layers):
            self.lengths.append(math.ceil(self.lengths[-1] / stride))
        self.dense = nn.Linear(self.lengths[-1] * widths[-1], 1)
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Scores of windows.

        Args:
            x: Shape (batch, length, inputs).
            shifts: Shape (layers - 1, batch): whole steps by which each layer's output but the last is moved
                (phase shuffle); not at all if None.

        Returns:
            Shape (batch, 1).
        """
        x = x.transpose(1, 2)
        for index, layer in enumerate(self.layers):
            if index and shifts is not None:
                x = phase_shuffle(x, shifts[index - 1])
            missing = max((self.lengths[index + 1] - 1) * self.stride + self.kernel - x.shape[2], 0)
            x = functional.leaky_relu(layer(functional.pad(x, (missing // 2, missing - missing // 2))), 0.2)
        y: Tensor = self.dense(x.flatten(1))
        return y

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Glorot uniform, biases 0."""
        for layer in self.layers:
            if isinstance(layer, nn.Conv1d):
                reset_convolution(layer, rng)
        reset_linear(self.dense, rng)


def phase_shuffle(x: Tensor, shift: Tensor) -> Tensor:
    """Move each window's steps, filling by reflection (Donahue et al. 2019, section 3.3).

    Args:
        x: Shape (batch, channels, steps).
        shift: Shape (batch,), whole, to the right if positive; at most steps - 1 either way.
    """
    last = x.shape[2] - 1
    source = (torch.arange(x.shape[2], device=x.device) - shift[:, None]).abs()
    source = torch.where(source > last, 2 * last - source, source)
    return x.gather(2, source[:, None].expand(-1, x.shape[1], -1))


@torch.no_grad()
def reset_convolution(layer: nn.Conv1d | nn.ConvTranspose1d, rng: torch.Generator) -> None:
    """Glorot uniform weights, fans times the kernel as in TF1, biases 0."""
    steps = layer.kernel_size[0]
    glorot(layer.weight, layer.in_channels * steps, layer.out_channels * steps, rng)
    if layer.bias is not None:
        layer.bias.zero_()
