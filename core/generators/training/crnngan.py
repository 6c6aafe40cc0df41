"""Training C-RNN-GAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core.generators.base import Phase
from core.generators.losses import weighted_mean
from core.generators.training.losses import feature_distance, mean_decision, squared_weights
from core.generators.training.optimizers import set_betas
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.batches import Batch

if TYPE_CHECKING:
    from core.generators.crnngan import CRNNGAN


class CRNNGANTraining(NetworkTraining):
    """Pretraining of the generator, then discriminator and generator in turns (Mogren 2016, section 3).

    Args:
        model: See `NetworkTraining`, as for the others.
        windows: What to learn.
        options: Section `training` of the configuration; `joint_iterations` is the whole training.
        device: Where to train.
    """

    model: CRNNGAN

    def __init__(
        self, model: CRNNGAN, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        solvers = {
            "pretraining": ("generator",),
            "generator": model.generating,
            "discriminator": ("discriminator",),
        }
        super().__init__(model, windows, options, device, solvers)
        set_betas(self.solvers, model.options["betas"])
        iterations = int(self.options["joint_iterations"])
        before = min(iterations - 1, round(float(model.options["pretraining"]) * iterations))
        pretraining = Phase("pretraining", before, self.pretraining_step, ("generator",), generates=False)
        adversarial = Phase("adversarial", iterations - before, self.adversarial_step, model.networks)
        self.phases = (pretraining, adversarial) if before else (adversarial,)

    def pretraining_step(self) -> dict[str, Tensor]:
        """Squared error of the next step, cells that are there alone."""
        batch, noise = self.batches.draw(), self.noise()
        with self.moving("generator"):
            predicted = self.model.predict(noise[0], batch.X, torch.cat([batch.static, batch.condition], dim=1))
            loss = weighted_mean((predicted - batch.X).square(), batch.observed)
            self.step("pretraining", loss)
        return {"pretraining": loss.detach()}

    def adversarial_step(self) -> dict[str, Tensor]:
        """A step of each, but not of one whose loss is far below the other's (freezing)."""
        share = float(self.model.options["freezing"])
        with self.moving("discriminator"):
            loss, rival = self.discriminator_loss(self.batches.draw(), self.noise())
            weakness = loss.detach()
            if float(weakness) >= share * float(rival):
                self.step("discriminator", loss + self.penalty("discriminator"))
        with self.moving(*self.model.generating):
            decision, loss = self.generator_loss(self.batches.draw(), self.noise())
            if float(decision) >= share * float(weakness):
                self.step("generator", loss + self.penalty(*self.model.generating))
        return {"discriminator": weakness, "generator": decision}

    def penalty(self, *networks: str) -> Tensor:
        """The L2 penalty of some networks."""
        weight = float(self.model.options["l2"])
        return weight * squared_weights(self.model.network(name) for name in networks)

    def discriminator_loss(self, batch: Batch, noise: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """-log D(x) - log(1 - D(G(z))), and what the generator's loss -log D(G(z)) is now."""
        with torch.no_grad():
            X_hat, static_hat = self.model.generate(noise, batch.condition)
        X, static = torch.cat([batch.X, X_hat]), torch.cat([batch.static, static_hat])
        context = torch.cat([static, torch.cat([batch.condition] * 2)], dim=1)
        lengths = None if batch.lengths is None else torch.cat([batch.lengths] * 2)
        real, fake = self.model.discriminate(X, context, lengths)[0].chunk(2)
        loss = mean_decision(real, True, batch.rows) + mean_decision(fake, False, batch.rows)
        return loss, mean_decision(fake.detach(), True, batch.rows)

    def generator_loss(self, batch: Batch, noise: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """-log D(G(z)), detached, and what the generator minimises: it, or the distance of features."""
        X_hat, static_hat = self.model.generate(noise, batch.condition)
        context = torch.cat([static_hat, batch.condition], dim=1)
        logits, features = self.model.discriminate(X_hat, context, batch.lengths)
        decision = mean_decision(logits, True, batch.rows)
        if not self.model.options["feature_matching"]:
            return decision.detach(), decision
        with torch.no_grad():
            context = torch.cat([batch.static, batch.condition], dim=1)
            real = self.model.discriminate(batch.X, context, batch.lengths)[1]
        return decision.detach(), feature_distance(real, features, batch.rows)
