"""Training by professor forcing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from core.generators.base import Phase
from core.generators.losses import full, weighted_mean
from core.prepare.series import Windows
from core.training.base import NetworkTraining

if TYPE_CHECKING:
    from core.generators.forcing import PForcing


class ProfessorTraining(NetworkTraining):
    """Likelihood, and free runs that a discriminator takes for taught ones (Lamb et al. 2016, section 2.2).

    Args:
        model: See `NetworkTraining`, as for the others.
        windows: What to learn.
        options: Section `training` of the configuration; `joint_iterations` is the whole training.
        device: Where to train.
    """

    model: PForcing

    def __init__(
        self, model: PForcing, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        solvers = {"predictor": model.predicting, "discriminator": ("discriminator",)}
        super().__init__(model, windows, options, device, solvers)
        iterations = int(self.options["joint_iterations"])
        self.phases = (Phase("adversarial", iterations, self.professor_step, model.networks),)

    def professor_step(self) -> dict[str, Tensor]:
        """The predictor by NLL + C_f (+ C_t), then the discriminator by C_d, on the same two runs.

        C_f = -log D(B(free)), C_t = -log(1 - D(B(taught))), C_d = -log D(B(taught)) - log(1 - D(B(free)))
        (eq. 2 to 4). Free runs have the static values, condition and length of the taught ones.
        """
        batch, noise, model = self.batches.draw(), self.noise(), self.model
        context = torch.cat([batch.static, batch.condition], dim=1)
        rows = None if batch.rows is None else batch.rows[..., 0]
        lengths = None if batch.lengths is None else torch.cat([batch.lengths] * 2)
        both = None if batch.rows is None else torch.cat([batch.rows] * 2)
        with self.moving(*model.predicting):
            features = model.features(batch.X, context)
            loss = -weighted_mean(model.predictor.log_likelihood(features, batch.X), rows)
            named = {"likelihood": loss.detach()}
            if model.channels.static:
                loss = loss - model.static_predictor.log_likelihood(batch.condition, batch.static).mean()
            X_hat, free_features = model.free_run(noise[0], context)
            taught_run = model.behaviour(features, batch.X, context)
            runs = torch.cat([taught_run, model.behaviour(free_features, X_hat, context)])
            taught, free = full(model.judge(runs, lengths, both)).chunk(2)
            accuracy = ((taught > 0).float().mean() + (free <= 0).float().mean()) / 2
            if float(accuracy) > model.options["generator_accuracy"]:
                loss = loss + model.options["adversarial"] * self.imitation(taught, free)
            self.step("predictor", loss)
        with self.moving("discriminator"):
            taught, free = full(model.judge(runs.detach(), lengths, both)).chunk(2)
            loss = functional.softplus(-taught).mean() + functional.softplus(free).mean()
            if float(accuracy) < model.options["discriminator_accuracy"]:
                self.step("discriminator", loss)
        return named | {"discriminator": loss.detach(), "accuracy": accuracy.detach()}

    def imitation(self, taught: Tensor, free: Tensor) -> Tensor:
        """C_f, and C_t if wanted; logits of shape (batch,)."""
        loss = functional.softplus(-free).mean()
        if self.model.options["teacher_term"]:
            loss = loss + functional.softplus(taught).mean()
        return loss
