"""Random batches of windows, gathered on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.prepare.series import Windows


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
        self.steps = torch.arange(windows.length, device=device)
        self.rng = torch.Generator(device).manual_seed(seed)

    def draw(self) -> Tensor:
        """Shape (size, length, features)."""
        chosen = torch.randint(len(self.starts), (self.size,), generator=self.rng, device=self.values.device)
        return self.values[self.starts[chosen, None] + self.steps]
