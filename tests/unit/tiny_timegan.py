"""TimeGAN as small as it gets, in training: what several test files look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from core.generators.timegan import TimeGAN
from core.generators.timegan.training import TimeGANTraining
from core.prepare.series import Windows

LENGTH, BATCH, SEED = 6, 8, 3
CPU = torch.device("cpu")
OPTIONS: dict[str, Any] = {
    "recurrence": "torch",
    "batch_size": BATCH,
    "seed": SEED,
    "learning_rate": 0.01,
    "embedding_iterations": 20,
    "supervised_iterations": 20,
    "joint_iterations": 30,
}
OFTEN = {"discriminator_threshold": 2.0}
"""By this rule the discriminator of so small a training rests about every other time."""


def sine_windows(rows: int = 200, length: int = LENGTH) -> Windows:
    """Of three sine waves."""
    t = np.arange(rows)[:, None]
    values = (np.sin(t * np.array([0.1, 0.2, 0.3])) / 2 + 0.5).astype(np.float32)
    return Windows.of(values, np.arange(rows - length + 1), length)


def tiny_training(
    options: Mapping[str, Any] | None = None,
    windows: Windows | None = None,
    device: torch.device = CPU,
    **model: Any,
) -> TimeGANTraining:
    """A new training of a new model, whose seed is that of the training."""
    windows = windows or sine_windows()
    chosen = {**OPTIONS, **(options or {})}
    sizes = {"hidden": 4, "layers": 2, "seed": chosen["seed"], **model}
    generator = TimeGAN(length=windows.length, channels=windows.channels, **sizes)
    return TimeGANTraining(generator, windows, chosen, device)
