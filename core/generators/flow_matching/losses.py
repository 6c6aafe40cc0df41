"""Losses beside the velocity's: what a batch of estimated windows has in common with the real ones.

They compare the end that the network estimates, x_1_hat = x_t + (1 - t) v(x_t, t), with the true end x_1, in
the numbers that flow. An estimate is the mean of the ends that a path may have, so early ones are smoother than
any window: each window weighs by its t in every one of them. They look at continuous columns alone, and at the
cells that the velocity's loss looks at: what is missing, past a window's end or given does not count on either
side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from core.generators.losses import full
from core.prepare.channels.layout import Block, Channels, spans

NAMES = ("fourier", "correlation", "moments")
"""Options of the generator that weigh them, and their curves."""
BANDWIDTHS = (0.01, 0.05, 0.1, 0.2, 0.5, 0.7, 1.0)
"""Of the kernels exp(-d / (2 a)), PaD-TS's (Li et al. 2025, published code `eval_utils/MMD.py`)."""
_VARIANCE_FLOOR = 1e-6
"""Of what has about unit variance: below it a window stands still. Keeps gradients of roots finite."""

FourierForm = Literal["absolute", "square"]


@dataclass(frozen=True)
class Ends:
    """Where the paths of a batch end, in the numbers that flow."""

    estimated: Tensor
    """Shape (batch, ..., channels)."""
    true: Tensor
    """Shape of `estimated`."""
    counts: Tensor
    """Shape of `estimated`: 1 for a cell that counts, else 0."""
    time: Tensor
    """Shape (batch,): from 0 to 1, how far along its path each window was."""

    @classmethod
    def of(cls, estimated: Tensor, true: Tensor, sought: Tensor | None, time: Tensor) -> Ends:
        """In 32 bits at least; all cells are sought if None."""
        there = torch.ones_like(true) if sought is None else sought
        return cls(full(estimated), full(true), full(there), full(time))

    def only(self, channels: Tensor) -> Ends:
        """Some of the channels."""
        estimated, true, counts = (x[..., channels] for x in (self.estimated, self.true, self.counts))
        return Ends(estimated, true, counts, self.time)

    @property
    def weight(self) -> Tensor:
        """Shape of `estimated`: what each cell counts."""
        return self.counts * self.time.view(-1, *[1] * (self.counts.dim() - 1))


class Auxiliary:
    """The losses that a generator's options ask for.

    Args:
        channels: Of its windows.
        options: Of the generator: the weights by `NAMES`, and `fourier_form`.
        device: Where it is trained.
    """

    def __init__(self, channels: Channels, options: Mapping[str, Any], device: torch.device) -> None:
        self.weights = {name: float(options[name]) for name in NAMES if options[name]}
        self.form: FourierForm = options["fourier_form"]
        self.continuous, self.continuous_static = (
            torch.tensor(_continuous(blocks), dtype=torch.int64, device=device)
            for blocks in (channels.temporal, channels.static)
        )

    def __call__(self, steps: Ends, static: Ends) -> dict[str, Tensor]:
        """By name, unweighted, each of shape (); 0 where no column is continuous.

        Args:
            steps: Of windows, shape (batch, steps, channels).
            static: Of their static values, shape (batch, static channels): in the moments alone.
        """
        steps, static = steps.only(self.continuous), static.only(self.continuous_static)
        found: dict[str, Tensor] = {}
        if "fourier" in self.weights:
            found["fourier"] = fourier_error(steps, self.form)
        if "correlation" in self.weights:
            found["correlation"] = correlation_error(steps)
        if "moments" in self.weights:
            found["moments"] = moment_error(steps) + moment_error(static)
        return found

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The velocity's loss and the others by their weights, shape ()."""
        total = losses["velocity"]
        for name, weight in self.weights.items():
            total = total + weight * losses[name]
        return total


def fourier_error(ends: Ends, form: FourierForm = "absolute") -> Tensor:
    """Difference of the windows' Fourier transforms along the steps, by cell that counts, shape ().

    Args:
        ends: Shape (batch, steps, channels).
        form: `square` is the squared modulus, as in Diffusion-TS (Yuan and Qiao 2024), eq. 10: by Parseval's
            theorem the mean square of the difference itself, whatever the frequency, so all that it changes is
            how much each time counts. `absolute` is |real part| + |imaginary part|, as in its published code:
            small differences at many frequencies weigh more than in the square.
    """
    if not ends.true.numel():  # no continuous column, which torch cannot transform
        return ends.estimated.sum()
    wave = torch.fft.fft((ends.estimated - ends.true) * ends.counts, dim=1, norm="ortho")
    size = wave.real.square() + wave.imag.square() if form == "square" else wave.real.abs() + wave.imag.abs()
    counted = (ends.counts.sum(dim=(1, 2)) * ends.time).sum()
    return _ratio((size.sum(dim=(1, 2)) * ends.time).sum(), counted)


def correlation_error(ends: Ends) -> Tensor:
    """How far the distribution of windows' correlations is from the real one, shape ().

    After PaD-TS (Li et al. 2025, section 3.3), the maximum mean discrepancy between the batch's distributions.
    Other than there, a window's correlations are compared together, with its autocorrelations (`correlations`),
    every window has a time of its own, and the discrepancy is the unbiased one (`discrepancy`).

    Args:
        ends: Shape (batch, steps, channels).
    """
    found, true = (correlations(x, ends.counts) for x in (ends.estimated, ends.true))
    return discrepancy(found, true, ends.time)


def correlations(x: Tensor, counts: Tensor) -> Tensor:
    """Within each window: between its columns, and of each column with itself 1, 2, 4, ... steps later.

    What does not count is left out of means and sums; the correlation of what stands still is 0.

    Args:
        x: Shape (batch, steps, channels).
        counts: Shape of `x`: 1 for a cell that counts, else 0.

    Returns:
        Shape (batch, pairs of channels + channels times lags), from -1 to 1; lags up to half the window.
    """
    steps, channels = x.shape[1:]
    mean = (x * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)
    away = (x - mean) * counts
    unit = away / (away.square().sum(1, keepdim=True) + steps * _VARIANCE_FLOOR).sqrt()
    first, second = torch.triu_indices(channels, channels, offset=1, device=x.device)
    parts = [(unit.transpose(1, 2) @ unit)[:, first, second]]
    lag = 1
    while lag <= steps // 2:
        parts.append((unit[:, lag:] * unit[:, :-lag]).sum(1))
        lag *= 2
    return torch.cat(parts, dim=1)


def discrepancy(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Squared maximum mean discrepancy (Gretton et al. 2012, eq. 4) of pairs (x_i, y_i), shape ().

    The mean over i != j of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i): unbiased although x_i is an
    estimate of y_i itself, which the biased form would compare one by one. It may be below 0; it is 0 where
    both are the same. k is the mean of Gaussian kernels (`BANDWIDTHS`) of the mean square over the numbers.

    Args:
        x: Shape (batch, numbers).
        y: Shape of `x`.
        weight: Shape (batch,): of each pair, at least 0.
    """
    if not x.shape[1]:
        return x.sum()
    both = weight[:, None] * weight
    both = both - torch.diag(both.diagonal())
    kernels = _kernel(x, x) + _kernel(y, y) - 2 * _kernel(x, y)
    return _ratio((both * kernels).sum(), both.sum())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """Shape (batch of x, batch of y)."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    mean = squares.clamp(min=0) / x.shape[1]
    return torch.stack([(mean / (-2 * bandwidth)).exp() for bandwidth in BANDWIDTHS]).mean(0)


def moment_error(ends: Ends) -> Tensor:
    """How far the batch's means and standard deviations, by step and channel, are from the real ones, shape ().

    TimeGAN's `G_loss_V` (docs/timegan.md), each window by its time.

    Args:
        ends: Shape (batch, ..., channels).
    """
    weight = ends.weight
    (mean, deviation), (true_mean, true_deviation) = (_moments(x, weight) for x in (ends.estimated, ends.true))
    counted = (weight.sum(0) > 0).to(weight.dtype)
    away = (mean - true_mean).abs() + (deviation - true_deviation).abs()
    return _ratio((away * counted).sum(), counted.sum())


def _moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the batch, shape (batch, ...) to (...)."""
    mean = _ratio((x * weight).sum(0), weight.sum(0))
    variance = _ratio(((x - mean).square() * weight).sum(0), weight.sum(0))
    return mean, (variance + _VARIANCE_FLOOR).sqrt()


def _ratio(total: Tensor, count: Tensor) -> Tensor:
    """0 where nothing counts."""
    return total / count.clamp(min=torch.finfo(count.dtype).tiny)


def _continuous(blocks: tuple[Block, ...]) -> list[int]:
    return [span.values.start for span in spans(blocks) if span.block.kind == "continuous"]
