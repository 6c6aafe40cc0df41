"""What every generator can do, and how it presents its training to the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.prepare.channels.layout import Channels, WindowArrays
from core.prepare.series import Windows

if TYPE_CHECKING:  # a registered model carries this module but not the training
    from core.training.selection import Selection


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own step."""

    name: str
    iterations: int
    step: Callable[[], dict[str, Tensor]]
    """One iteration; the losses by name, detached scalars left on the device."""
    networks: tuple[str, ...]
    """Those that move in this phase: their gradient norms are logged, 0 where one stood still."""
    generates: bool = True
    """What the networks sample is worth judging in this phase."""


class Training(Protocol):
    """A generator in training: its phases and everything a checkpoint must hold.

    `core.training.base.NetworkTraining` is all of this but the phases.
    """

    phases: tuple[Phase, ...]
    device: torch.device
    batch_size: int
    """Windows in a batch."""
    averages: bool
    """The weights to sample from are averaged."""
    selection: Selection | None
    """Chooses weights by held-out windows, None if none are held out."""

    def iterate(self, phase: Phase, step: int, *, logged: bool, profiled: bool) -> dict[str, Tensor]:
        """One iteration of a phase, `phase.step()` and what goes with it.

        Args:
            phase: One of `phases`.
            step: Iteration of the phase, from 1.
            logged: `observe` will be called after it.
            profiled: Gradients shall be seen step by step, too: `profile` will be called after it.

        Returns:
            The losses by name, see `Phase.step`.
        """
        ...

    def observe(self, phase: Phase, step: int) -> dict[str, float]:
        """What to log of the iteration just done beside its losses.

        Raises:
            TrainingDivergedError: gradients are not what the configuration allows.
        """
        ...

    def profile(self) -> dict[str, list[float]]:
        """By network: norm of the loss's gradient with respect to what it reads at each step of the window."""
        ...

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None) -> WindowArrays:
        """Draw windows from the weights to sample from, as `Generator.sample`; the training does not notice."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """The weights to sample from (averaged ones if they are averaged)."""
        ...

    def finish(self, weights: Mapping[str, Tensor] | None) -> None:
        """Leave these weights in the generator, those to sample from if None."""
        ...

    def summary(self) -> dict[str, Any]:
        """Counts for the result: fields of `core.training.loop.LoopResult`."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Weights, optimiser moments, random state and the rest, by unique names."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue exactly where `state` was taken."""
        ...


class Generator(Protocol):
    """A model of encoded windows, see `core.prepare.channels.layout`."""

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

    def stream(
        self, n: int, seed: int, condition: NDArray[np.float32] | None = None, start: int = 0
    ) -> Iterator[WindowArrays]:
        """The windows of `sample` in chunks of `core.generators.module.SAMPLE_CHUNK`, from chunk `start` on.

        Arguments and windows are those of `sample`, bit for bit.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write `generator.json` and `weights.safetensors`."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote, on the CPU."""
        ...
