"""Training by maximum likelihood: T-Forcing and WaveNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.generators.autoregressive import AutoregressiveGenerator
from core.generators.base import Phase
from core.generators.losses import weighted_mean
from core.prepare.series import Windows
from core.training.base import NetworkTraining


class LikelihoodTraining(NetworkTraining):
    """Minimises -log p of real windows, each step given the real steps before it.

    Args:
        model: See `NetworkTraining`, as for the others.
        windows: What to learn.
        options: Section `training` of the configuration; `joint_iterations` is the whole training.
        device: Where to train.
    """

    model: AutoregressiveGenerator

    def __init__(
        self,
        model: AutoregressiveGenerator,
        windows: Windows,
        options: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        super().__init__(model, windows, options, device, {"predictor": model.predicting})
        iterations = int(self.options["joint_iterations"])
        self.phases = (Phase("likelihood", iterations, self.likelihood_step, model.predicting),)

    def likelihood_step(self) -> dict[str, Tensor]:
        """One step on a batch; -log p for a step of a window (and for its static values), in nats."""
        batch = self.batches.draw()
        with self.moving(*self.model.predicting):
            steps, static = self.model.log_likelihood(batch.X, batch.static, batch.condition)
            rows = None if batch.rows is None else batch.rows[..., 0]
            temporal, static = -weighted_mean(steps, rows), -static.mean()
            self.step("predictor", temporal + static)
        named = {"likelihood": temporal.detach()}
        return named | ({"static": static.detach()} if self.model.channels.static else {})
