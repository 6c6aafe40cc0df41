"""What every generator can do, and how it presents its training to the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.prepare.layout import Channels, WindowArrays
from core.prepare.series import Windows


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own step."""

    name: str
    iterations: int
    step: Callable[[], dict[str, Tensor]]
    """One iteration; the losses by name, detached scalars left on the device."""
    networks: tuple[str, ...]
    """Those that move in this phase: their gradient norms are logged."""
    generates: bool = True
    """What the networks sample is worth judging in this phase."""


class Training(Protocol):
    """A generator in training: its phases and everything a checkpoint must hold."""

    phases: tuple[Phase, ...]

    def state(self) -> dict[str, Tensor]:
        """Weights, optimiser moments and random state, by unique names."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue exactly where `state` was taken."""
        ...

    def gradient_norms(self, networks: tuple[str, ...]) -> dict[str, float]:
        """Euclidean norm of each network's last gradient."""
        ...


class Generator(Protocol):
    """A model of encoded windows, see `core.prepare.layout`."""

    kind: ClassVar[str]
    length: int
    channels: Channels

    def __init__(self, *, length: int, channels: Channels, seed: int, **options: Any) -> None: ...

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """Start training on `windows` with the options of the configuration's section `training`."""
        ...

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None = None) -> WindowArrays:
        """Draw `n` windows; the same seed gives the same windows.

        Args:
            n: At least 1.
            seed: From 0.
            condition: Shape (condition channels,) or (n, condition channels): what is given; drawn like the
                training windows' if None.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write `generator.json` and `weights.safetensors`."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote, on the CPU."""
        ...
