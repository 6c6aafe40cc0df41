"""Random batches of windows, gathered on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.prepare.channels.layout import Span, spans
from core.prepare.series import Windows


@dataclass(frozen=True)
class Batch:
    """Encoded windows on the device; B of them, T steps, C channels."""

    X: Tensor
    """Shape (B, T, C); 0 past a window's end."""
    static: Tensor
    """Shape (B, static channels)."""
    condition: Tensor
    """Shape (B, condition channels)."""
    lengths: Tensor | None
    """Shape (B,): steps of each window; None if all are whole."""
    rows: Tensor | None
    """Shape (B, T, 1): 1 for a step of the window, 0 past its end; None if all are whole."""
    observed: Tensor | None
    """Shape (B, T, C): 1 for a cell that is there, 0 past the end and where it is missing; None if all are."""

    observed_static: Tensor | None = None
    """Shape (B, static channels): 0 for the value of a missing static cell, else 1; None if all are there."""

    def __len__(self) -> int:
        return len(self.X)


class BatchSource:
    """Draws windows with replacement; the series is on the device once, windows are gathered from it.

    Args:
        windows: What to draw from.
        size: Windows in a batch.
        seed: Fixes every draw.
        device: Where batches are made.
    """

    def __init__(self, windows: Windows, size: int, seed: int, device: torch.device) -> None:
        self.size = size
        self.values = torch.from_numpy(np.array(windows.values)).to(device)
        self.starts = torch.from_numpy(windows.starts).to(device)
        self.static = torch.from_numpy(windows.static).to(device)
        self.condition = torch.from_numpy(windows.condition).to(device)
        self.lengths = torch.from_numpy(windows.lengths).to(device) if windows.variable else None
        channels = windows.channels
        self.optional, self.optional_static = (
            [span for span in spans(blocks) if span.presence is not None]
            for blocks in (channels.temporal, channels.static)
        )
        self.steps = torch.arange(windows.length, device=device)
        self.rng = torch.Generator(device).manual_seed(seed)

    def draw(self) -> Batch:
        """`size` windows."""
        chosen = torch.randint(len(self.starts), (self.size,), generator=self.rng, device=self.values.device)
        starts, static, condition = self.starts[chosen, None], self.static[chosen], self.condition[chosen]
        if self.lengths is None:
            X = self.values[starts + self.steps]
            return Batch(
                X, static, condition, None, None, self._observed(X, None), self._observed_static(static)
            )
        lengths = self.lengths[chosen]
        rows = (self.steps < lengths[:, None])[..., None].to(self.values.dtype)
        # Clamped: the window past its end would run over the end of the series.
        X = self.values[starts + torch.minimum(self.steps, lengths[:, None] - 1)] * rows
        observed = self._observed(X, rows)
        return Batch(X, static, condition, lengths, rows, observed, self._observed_static(static))

    def _observed(self, X: Tensor, rows: Tensor | None) -> Tensor | None:
        if not self.optional:
            return None if rows is None else rows.expand_as(X)
        observed = torch.ones_like(X) if rows is None else rows.expand_as(X).clone()
        return _without_missing(observed, X, self.optional)

    def _observed_static(self, static: Tensor) -> Tensor | None:
        if not self.optional_static:
            return None
        return _without_missing(torch.ones_like(static), static, self.optional_static)


def _without_missing(observed: Tensor, values: Tensor, optional: list[Span]) -> Tensor:
    """`observed`, its value channels 0 where the presence channels of `values` are."""
    for span in optional:
        observed[..., span.values] *= values[..., slice(span.presence, span.values.start)]
    return observed
