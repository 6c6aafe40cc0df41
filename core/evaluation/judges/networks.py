"""The neural judges among the stronger ones, their training, and what forecasters share with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from core.errors import TrainingDivergedError
from core.evaluation.judges.paper_scores import Progress, draw_batches

ITERATIONS = 600
"""Adam steps of a judge."""
BATCH = 64
"""Windows of each kind in a batch: 128 together, half of the published judge's, for half of its time."""
_JUDGED_AT_ONCE = 512


@dataclass
class Told:
    """Passes to `progress`, about a hundred times, how much of some work is done."""

    name: str
    """What it is told that this is."""
    total: int
    """Steps of all the work."""
    progress: Progress | None
    done: int = 0
    """Steps that are."""

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        every = max(1, self.total // 100)
        if self.progress is not None and (self.done % every == 0 or self.done == self.total):
            self.progress(self.name, self.done, self.total)


def seeds(seed: int, count: int) -> list[int]:
    """Of `count` judges; another seed has none of them (as `seed + 1` would)."""
    return [int(state >> 1) for state in np.random.SeedSequence(seed).generate_state(count)]


class LstmJudge(nn.Module):
    """Two LSTM layers and a linear reading of the last state.

    Twice as many units as features, but 16 to 32: the published judge has half as many as features, 3 on
    stocks, and the time grows with the square of the width.

    Args:
        features: D.
        rng: Source of the start: Glorot uniform, biases 0.
    """

    def __init__(self, features: int, rng: torch.Generator) -> None:
        super().__init__()
        width = min(max(16, 2 * features), 32)
        self.lstm = nn.LSTM(features, width, num_layers=2, batch_first=True)
        self.dense = nn.Linear(width, 1)
        start(self, rng)

    def forward(self, windows: Tensor) -> Tensor:
        """Shape (B, T, D) to logits (B,)."""
        logits: Tensor = self.dense(self.lstm(windows)[0][:, -1])[:, 0]
        return logits


class CnnJudge(nn.Module):
    """Three convolutions of 8, 5 and 3 steps, each batch normalised and rectified; mean over steps; linear.

    A quarter of the published widths of 128, 256 and 128 filters: a tenth of the time.

    Args:
        features: D.
        rng: Source of the start: Glorot uniform, biases 0.
    """

    def __init__(self, features: int, rng: torch.Generator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for kernel, width in ((8, 32), (5, 64), (3, 32)):
            padding = nn.ConstantPad1d(((kernel - 1) // 2, kernel // 2), 0.0)
            # A bias in front of a normalisation has no effect.
            convolution = nn.Conv1d(features, width, kernel, bias=False)
            layers += [padding, convolution, nn.BatchNorm1d(width), nn.ReLU()]
            features = width
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(features, 1)
        start(self, rng)

    def forward(self, windows: Tensor) -> Tensor:
        """Shape (B, T, D) to logits (B,)."""
        logits: Tensor = self.dense(self.layers(windows.transpose(1, 2)).mean(dim=2))[:, 0]
        return logits


def train_judge(
    network: nn.Module, real: Tensor, fake: Tensor, rate: float, rng: torch.Generator, told: Callable[[], None]
) -> None:
    """Train it in place on batches of as many real as synthetic windows.

    Args:
        network: From windows (B, T, D) to logits (B,), above 0 for real ones.
        real: Shape (n, T, D).
        fake: Shape (m, T, D), synthetic.
        rate: Of Adam.
        rng: Source of the batches.
        told: Called after each step.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    labels = torch.cat((torch.ones(BATCH), torch.zeros(BATCH)))
    network.train()
    for batch in zip(_batches(real, rng), _batches(fake, rng), strict=True):
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(network(torch.cat(batch)), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        told()


@torch.no_grad()
def judged(network: nn.Module, windows: Tensor) -> NDArray[np.float32]:
    """Logits of windows (N, T, D), shape (N,).

    Raises:
        TrainingDivergedError: a logit is not finite.
    """
    network.eval()
    logits = torch.cat([network(part) for part in torch.split(windows, _JUDGED_AT_ONCE)])
    if not bool(logits.isfinite().all()):
        raise TrainingDivergedError(
            "a judge's output is NaN or infinite: are the windows scaled to about [0, 1]?"
        )
    values: NDArray[np.float32] = logits.numpy()
    return values


def standardised(*sets: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], Tensor]:
    """The map to mean 0 and variance 1 of each feature of these sets together; constant features go to 0.

    Args:
        sets: Each of shape (N, T, D).
    """
    both = np.concatenate(sets)
    mean, deviation = both.mean(axis=(0, 1), dtype=np.float64), spread(both)
    return lambda windows: torch.from_numpy(((windows - mean) / deviation).astype(np.float32))


def spread(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Standard deviation of each feature, shape (D,); 1 where it is constant, which divides it harmlessly.

    Args:
        values: Shape (N, T, D).
    """
    deviation: NDArray[np.float64] = values.std(axis=(0, 1), dtype=np.float64)
    return np.where(deviation < 1e-6, 1.0, deviation)


def start(network: nn.Module, rng: torch.Generator) -> None:
    """Start it anew in place: Glorot uniform, biases 0; normalisations keep their scale of 1."""
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter, generator=rng)
        elif "bias" in name:
            nn.init.zeros_(parameter)


def _batches(windows: Tensor, rng: torch.Generator) -> Iterator[Tensor]:
    for index in draw_batches(torch.arange(len(windows))[None], ITERATIONS, BATCH, rng):
        yield windows[index[0]]
