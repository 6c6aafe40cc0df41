"""Training flow matching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core.generators.base import Phase
from core.generators.flow_matching.completion import Patterns
from core.networks.transformer import Given
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.batches import Batch

if TYPE_CHECKING:
    from core.generators.flow_matching.model import FlowMatching


class FlowMatchingTraining(NetworkTraining):
    """Regression of the velocity of straight lines from noise to windows (Liu, Gong and Liu 2023, eq. 1).

    Times are logit-normal, more of them in the middle (Esser et al. 2024, section 3.1).

    Args:
        model: See `NetworkTraining`, as for the others; learns its scales from the windows.
        windows: What to learn.
        options: Section `training` of the configuration; `joint_iterations` is the whole training.
        device: Where to train.
    """

    model: FlowMatching

    def __init__(
        self, model: FlowMatching, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        super().__init__(model, windows, options, device, {"velocity": ("velocity",)})
        model.fit_scales(self.windows)
        share = float(model.options["completion"])
        self.patterns = Patterns(model.channels, model.length, share, device) if share else None
        iterations = int(self.options["joint_iterations"])
        self.phases = (Phase("velocity", iterations, self.velocity_step, model.networks),)

    def velocity_step(self) -> dict[str, Tensor]:
        """One batch of windows, noise and times."""
        batch = self.batches.draw()
        noise = self.noise()
        time = self.normal(len(batch)).sigmoid()
        known = self.uniform(len(batch)) >= float(self.model.options["condition_dropout"])
        ends = (self.model.scales.flowing(batch.X), self.model.static_scales.flowing(batch.static))
        given = self.patterns.draw(*ends, batch, self.uniform) if self.patterns else None
        with self.moving("velocity"):
            loss = self.loss(batch, noise, time, known, given)
            self.step("velocity", loss)
        return {"velocity": loss.detach()}

    def loss(
        self,
        batch: Batch,
        noise: tuple[Tensor, ...],
        time: Tensor,
        known: Tensor,
        given: Given | None = None,
    ) -> Tensor:
        """Mean square of v(x_t, t) - (x_1 - x_0) over the cells to be found, static values included.

        Cells that are missing, and those that are given, do not count.
        """
        model = self.model
        ends = (model.scales.flowing(batch.X), model.static_scales.flowing(batch.static))
        t = time[:, None]
        x = (1 - t[..., None]) * noise[0] + t[..., None] * ends[0]
        static = (1 - t) * noise[1] + t * ends[1]
        rows = None if batch.rows is None else batch.rows[..., 0] > 0
        found = model.velocity(x, static, time, batch.condition, known, rows, given)
        sought = _sought(batch, given)
        errors = [
            ((v - (end - start)).square() if seen is None else (v - (end - start)).square() * seen)
            for v, end, start, seen in zip(found, ends, noise, sought, strict=True)
        ]
        counts = [e.numel() if seen is None else seen.sum() for e, seen in zip(errors, sought, strict=True)]
        return torch.stack([error.sum() for error in errors]).sum() / sum(counts)


def _sought(batch: Batch, given: Given | None) -> tuple[Tensor | None, Tensor | None]:
    """1 for a cell that is there and not given, 0 for others; None if all are sought."""
    observed = (batch.observed, batch.observed_static)
    if given is None:
        return observed
    free = (1 - given.there, 1 - given.there_static)
    steps, static = (new if seen is None else seen * new for seen, new in zip(observed, free, strict=True))
    return steps, static
