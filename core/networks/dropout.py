"""Inverted dropout whose random numbers belong to the training, so that a resumed training draws the same.

The training gives every module its generator (`give_generator`); without one, or outside training mode,
nothing is dropped: sampling never is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Each value becomes 0 with probability `share`, else it is divided by `1 - share`: the mean stays.

    Args:
        share: From 0 to less than 1.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.rng: torch.Generator | None = None

    @property
    def active(self) -> bool:
        """It drops something now."""
        return self.share > 0 and self.training and self.rng is not None

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return x * self._drawn(x.shape, x) if self.active else x

    def _drawn(self, shape: torch.Size | tuple[int, ...], like: Tensor) -> Tensor:
        kept = torch.rand(shape, generator=self.rng, device=like.device) >= self.share
        return kept.to(like.dtype) / (1 - self.share)


class VariationalDropout(Dropout):
    """One mask for all steps of a window (Gal and Ghahramani 2016, section 4), for recurrent states."""

    def mask(self, batch: int, width: int, like: Tensor) -> Tensor | None:
        """Shape (batch, width), None while nothing is dropped."""
        return self._drawn((batch, width), like) if self.active else None


def give_generator(model: nn.Module, rng: torch.Generator) -> None:
    """Let every dropout of a model draw from `rng`."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.rng = rng
