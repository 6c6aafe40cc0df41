"""Averaged weights: GAN iterates circle, their mean does not (Yazici et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of a model's parameters, updated after every iteration.

    average <- average + (1 - d)(weights - average), d = min(decay, (1 + t) / (10 + t)) at the t-th update: so a
    short training is not averaged with where it started (as TensorFlow's `ExponentialMovingAverage` with
    `num_updates`). What never moves is averaged to its own bits.

    Args:
        model: On its device.
        decay: In (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = list(model.parameters())
        self.averages = [parameter.detach().clone() for parameter in self.parameters]
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights in."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.averages, [p.detach() for p in self.parameters], 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The model holds the averages inside, and its own bits again afterwards."""
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._fill(self.averages)
        try:
            yield
        finally:
            self._fill(own)

    def state(self) -> dict[str, Tensor]:
        """Averages by parameter name, and the count of updates."""
        return {**dict(zip(self.names, self.averages, strict=True)), "updates": torch.tensor(self.updates)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""
        self.updates = int(state["updates"])
        for name, average in zip(self.names, self.averages, strict=True):
            average.copy_(state[name])

    @torch.no_grad()
    def _fill(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)
