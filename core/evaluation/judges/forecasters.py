"""A strong one-step forecaster, to train on synthetic or on real windows and test on real ones.

The published predictive score trains a small GRU to forecast the last feature. Here all features are forecast,
as the text of Yoon et al. 2019, section 5 has it (next-step vectors), by a temporal convolutional network (Bai,
Kolter & Koltun 2018, section 3) under a causal Transformer encoder (Vaswani et al. 2017, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from core.errors import ConfigError, TrainingDivergedError
from core.evaluation.checks import checked_pair
from core.evaluation.judges.networks import Told, seeds, spread, start
from core.evaluation.judges.paper_scores import Progress, draw_batches
from core.evaluation.judges.scores import Score
from core.networks.convolution import CausalConvolution
from core.networks.threads import one_thread

WIDTH = 32
"""Channels of every layer."""
BLOCKS = 2
"""Convolutional ones, and as many Transformer ones."""
HEADS = 4
_RATE = 2e-3
_WARM_UP = 50
_TESTED_AT_ONCE = 512


def forecast_error(
    train: NDArray[Any],
    test: NDArray[Any],
    *,
    repetitions: int = 2,
    iterations: int = 400,
    batch_size: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
    name: str = "forecast",
) -> Score:
    """Mean absolute error, over steps and features, of one-step forecasts of test windows.

    A forecaster sees all features at steps 0..t and predicts all of them at step t + 1. It is trained by the
    mean absolute error on batches as of `discriminative_score`. With synthetic windows as `train` this is TSTR;
    with real ones that share no row with `test` it is TRTR, what a perfect generator would reach.

    Args:
        train: Shape (N, T, D), scaled to about [0, 1], T at least 2.
        test: Shape (M, T, D), real, scaled by the same.
        repetitions: How many forecasters are trained, one after the other.
        iterations: Adam steps of each; on stock prices and energy readings more of them gain nothing on windows
            of a later time.
        batch_size: Windows in a batch.
        seed: Fixes starts and batches.
        progress: Told about the training now and then.
        name: What `progress` is told that this is.

    Raises:
        ConfigError: an argument is out of range.
        DataError: the sets do not fit each other, are too small, or hold NaN or infinity.
        TrainingDivergedError: an error is not finite.
    """
    for key, value in {"repetitions": repetitions, "iterations": iterations, "batch_size": batch_size}.items():
        if value < 1:
            raise ConfigError(f"{key} must be at least 1, got {value}")
    test, train = checked_pair(test, train)
    told = Told(name, repetitions * iterations, progress)
    errors = []
    with one_thread():
        for start_seed in seeds(seed, repetitions):
            rng = torch.Generator().manual_seed(start_seed)
            network = Forecaster(train, rng)
            _train(network, _batches(torch.from_numpy(train), iterations, batch_size, rng), iterations, told)
            errors.append(_error(network, torch.from_numpy(test)))
    return Score(tuple(errors))


class Forecaster(nn.Module):
    """What comes next at each step, from that step and those before it.

    Its answer is the last value and a change to it, in units of the training windows' own changes; at the start
    the change is 0, so it begins with the forecast that is hard to beat on many series. The convolutions know
    the order of the steps: positions are not encoded.

    Args:
        windows: Shape (N, T, D), what it is trained on: sets the scales of input and output.
        rng: Source of the start.
    """

    def __init__(self, windows: NDArray[np.float32], rng: torch.Generator) -> None:
        super().__init__()
        features = windows.shape[2]
        self.centre = torch.from_numpy(windows.mean(axis=(0, 1), dtype=np.float64)).float()
        self.scale = torch.from_numpy(spread(windows)).float()
        self.change = torch.from_numpy(spread(np.diff(windows, axis=1))).float()
        self.lift = nn.Linear(features, WIDTH)
        self.convolutions = nn.ModuleList(_Residual(2**block) for block in range(BLOCKS))
        self.attention = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, HEADS, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(BLOCKS)
        )
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, features)
        start(self, rng)
        nn.init.zeros_(self.head.weight)

    def forward(self, windows: Tensor) -> Tensor:
        """Shape (B, T, D) to the forecasts of steps 1..T, shape (B, T, D)."""
        hidden = self.lift((windows - self.centre) / self.scale).transpose(1, 2)
        for block in self.convolutions:
            hidden = block(hidden)
        hidden = hidden.transpose(1, 2)
        mask = nn.Transformer.generate_square_subsequent_mask(windows.shape[1])
        for layer in self.attention:
            hidden = layer(hidden, src_mask=mask, is_causal=True)
        forecast: Tensor = windows + self.change * self.head(self.norm(hidden))
        return forecast


class _Residual(nn.Module):
    """Two causal dilated convolutions of 3 steps beside the identity (Bai et al. 2018, figure 1b).

    Their weight normalisation and dropout are left out: the network is small and briefly trained.
    """

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.first = CausalConvolution(WIDTH, WIDTH, 3, dilation)
        self.second = CausalConvolution(WIDTH, WIDTH, 3, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (B, WIDTH, T), in and out."""
        return functional.relu(x + functional.relu(self.second(functional.relu(self.first(x)))))


def _batches(windows: Tensor, iterations: int, batch_size: int, rng: torch.Generator) -> Iterator[Tensor]:
    for index in draw_batches(torch.arange(len(windows))[None], iterations, batch_size, rng):
        yield windows[index[0]]


def _train(network: Forecaster, batches: Iterator[Tensor], iterations: int, told: Told) -> None:
    """Adam; its rate rises over the first steps (Vaswani et al. 2017, section 5.3) and falls to 0 linearly."""
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE, fused=True)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / _WARM_UP) * (1 - step / iterations)
    )
    for batch in batches:
        optimiser.zero_grad()
        functional.l1_loss(network(batch[:, :-1]), batch[:, 1:]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        rates.step()
        told.step()


@torch.no_grad()
def _error(network: Forecaster, windows: Tensor) -> float:
    # Not in its evaluation mode, whose fused attention has other last bits; there is no dropout to turn off.
    parts = torch.split(windows, _TESTED_AT_ONCE)
    total = sum(float((network(part[:, :-1]) - part[:, 1:]).abs().sum(dtype=torch.float64)) for part in parts)
    error = total / windows[:, 1:].numel()
    if not math.isfinite(error):
        raise TrainingDivergedError(
            "a forecaster's error is NaN or infinite: are the windows scaled to about [0, 1]?"
        )
    return error
