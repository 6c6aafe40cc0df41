"""TS2Vec (Yue et al. 2022): an encoder of windows that learns from real windows what their context tells.

Two crops of a window that overlap are encoded; where they overlap, a step's two representations shall be
nearer to each other than to those of other windows (instances) and of other steps (times), at every
scale of max-pooling. Sizes and training are those of its published code (zhihanyue/ts2vec), which
Diffusion-TS and others use for the Context-FID with batches of 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from core.networks.threads import one_thread

HIDDEN, BLOCKS, CODE = 64, 10, 320
"""Channels of a residual block, blocks of that width, and numbers of a representation."""
BATCH, RATE = 8, 1e-3
KEPT_STEPS, KEPT_CODES = 0.5, 0.9
"""Share of steps that the binomial mask keeps and of numbers that dropout keeps, while training."""
_ENCODED_AT_ONCE = 64

Encode = Callable[[NDArray[Any]], NDArray[np.float64]]
"""From windows (N, T, D) to their representations (N, 320)."""


def train_ts2vec(windows: NDArray[Any], *, seed: int, iterations: int | None = None) -> Encode:
    """An encoder of whole windows: the maximum over steps, by weights averaged over training.

    Args:
        windows: Shape (N, T, D), scaled to about [0, 1], T at least 2.
        seed: Fixes the start, batches, crops and masks.
        iterations: AdamW steps; if None, 200, or 600 of more than 100,000 numbers, as the published code has
            it.
    """
    steps = iterations or (200 if windows.size <= 100_000 else 600)
    data = torch.from_numpy(np.ascontiguousarray(windows, np.float32))
    rng = torch.Generator().manual_seed(seed)
    with one_thread():
        encoder = _Encoder(data.shape[2], data.shape[1], rng)
        averaged = AveragedModel(encoder)
        averaged.update_parameters(encoder)  # the start is averaged too
        optimiser = torch.optim.AdamW(encoder.parameters(), lr=RATE, fused=True)
        for _ in range(steps):
            optimiser.zero_grad()
            _step_loss(encoder, _batch(data, rng), rng).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            averaged.update_parameters(encoder)
    return lambda chosen: _encode(averaged, chosen)


def hierarchical_loss(first: Tensor, second: Tensor) -> Tensor:
    """Mean over scales of the instance-wise and the temporal contrast, half each (Yue et al., algorithm 1).

    The last scale, a single step, has no temporal contrast.

    Args:
        first: Representations of the overlap in one crop, shape (B, L, C).
        second: Those in the other crop.
    """
    total, scales = torch.zeros(()), 0
    while True:
        total = total + contrast(torch.cat((first, second)).transpose(0, 1)) / 2
        scales += 1
        if first.shape[1] == 1:
            return total / scales
        total = total + contrast(torch.cat((first, second), dim=1)) / 2
        first, second = (
            functional.max_pool1d(codes.transpose(1, 2), 2).transpose(1, 2) for codes in (first, second)
        )


def contrast(codes: Tensor) -> Tensor:
    """Mean of `-log softmax` of each code's product with its other view (Yue et al., equations 1 and 2).

    Args:
        codes: Shape (groups, 2n, C): n codes, then the same n in the other view; only codes of a group are
            contrasted.
    """
    count = codes.shape[1]
    products = codes @ codes.transpose(1, 2)
    products = products.masked_fill(torch.eye(count, dtype=torch.bool), -math.inf)
    own = torch.arange(count)
    logs: Tensor = products.log_softmax(2)[:, own, (own + count // 2) % count]
    return -logs.mean()


@dataclass(frozen=True)
class _Crops:
    """Two overlapping crops of each window of a batch."""

    first: Tensor
    second: Tensor
    overlap: int
    """Steps at the end of the first and at the start of the second."""


class _Convolution(nn.Module):
    """Over time, with as many steps out as in; torch's default start.

    Taps that only ever meet the padding, because the dilation is as long as the window, are not there.
    """

    def __init__(
        self, inputs: int, outputs: int, taps: int, dilation: int, length: int, rng: torch.Generator
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs * taps)
        self.dilation = dilation
        taps = taps if dilation < length else 1
        self.weight = nn.Parameter(torch.empty(outputs, taps * inputs).uniform_(-bound, bound, generator=rng))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound, generator=rng))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes (B, T, inputs) and (B, T, outputs)."""
        if self.weight.shape[1] > x.shape[2]:
            steps, reach = x.shape[1], self.dilation
            padded = functional.pad(x, (0, 0, reach, reach))
            x = torch.cat((padded[:, :steps], x, padded[:, 2 * reach :]), 2)
        return functional.linear(x, self.weight, self.bias)


class _Block(nn.Module):
    """Two dilated convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, dilation: int, length: int, rng: torch.Generator) -> None:
        super().__init__()
        self.first = _Convolution(inputs, outputs, 3, dilation, length, rng)
        self.second = _Convolution(outputs, outputs, 3, dilation, length, rng)
        self.shortcut = _Convolution(inputs, outputs, 1, 1, length, rng) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes (B, T, inputs) and (B, T, outputs)."""
        residual = self.second(functional.gelu(self.first(functional.gelu(x))))
        total: Tensor = residual + self.shortcut(x)
        return total


class _Encoder(nn.Module):
    """Windows, shape (B, T, D), to a representation of each step, shape (B, T, 320)."""

    def __init__(self, features: int, length: int, rng: torch.Generator) -> None:
        super().__init__()
        self.entry = _Convolution(features, HIDDEN, 1, 1, length, rng)
        widths = [HIDDEN] * (BLOCKS + 1) + [CODE]
        self.blocks = nn.Sequential(
            *(_Block(widths[i], widths[i + 1], 2**i, length, rng) for i in range(BLOCKS + 1))
        )

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """With a generator, steps are masked and representations dropped out: training."""
        x = self.entry(x)
        if rng is not None:
            x = x * torch.empty(*x.shape[:2], 1).bernoulli_(KEPT_STEPS, generator=rng)
        codes: Tensor = self.blocks(x)
        if rng is not None:
            codes = codes * torch.empty_like(codes).bernoulli_(KEPT_CODES, generator=rng) / KEPT_CODES
        return codes


def _batch(data: Tensor, rng: torch.Generator) -> _Crops:
    """At most 8 windows at random, cropped to the same lengths, each pair of crops somewhere in its window."""
    chosen = torch.randperm(len(data), generator=rng)[:BATCH, None]
    length = data.shape[1]

    def between(low: int, high: int, count: tuple[int, ...] = ()) -> Tensor:
        return torch.randint(low, high + 1, count, generator=rng)

    overlap = int(between(2, length))
    left = int(between(0, length - overlap))
    start, stop = int(between(0, left)), int(between(left + overlap, length))
    shift = between(-start, length - stop, chosen.shape)
    first, second = torch.arange(start, left + overlap), torch.arange(left, stop)
    return _Crops(data[chosen, shift + first], data[chosen, shift + second], overlap)


def _step_loss(encoder: _Encoder, crops: _Crops, rng: torch.Generator) -> Tensor:
    first = encoder(crops.first, rng)[:, -crops.overlap :]
    second = encoder(crops.second, rng)[:, : crops.overlap]
    return hierarchical_loss(first, second)


@torch.no_grad()
def _encode(encoder: nn.Module, windows: NDArray[Any]) -> NDArray[np.float64]:
    data = torch.from_numpy(np.ascontiguousarray(windows, np.float32))
    with one_thread():
        codes = torch.cat([encoder(part).amax(dim=1) for part in torch.split(data, _ENCODED_AT_ONCE)])
    return codes.double().numpy()
