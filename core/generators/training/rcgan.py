"""Training RCGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core.generators.base import Phase
from core.generators.losses import adversarial_error
from core.generators.training.optimizers import set_betas
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.batches import Batch

if TYPE_CHECKING:
    from core.generators.rcgan import RCGAN


class RCGANTraining(NetworkTraining):
    """Discriminator and generator in turns (Esteban et al. 2017, section 3).

    Args:
        model: See `NetworkTraining`, as for the others.
        windows: What to learn.
        options: Section `training` of the configuration; `joint_iterations` is the whole training.
        device: Where to train.
    """

    model: RCGAN

    def __init__(
        self, model: RCGAN, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        solvers = {"generator": model.generating, "discriminator": ("discriminator",)}
        super().__init__(model, windows, options, device, solvers)
        set_betas(self.solvers, model.options["betas"])
        iterations = int(self.options["joint_iterations"])
        self.phases = (Phase("adversarial", iterations, self.adversarial_step, model.networks),)

    def adversarial_step(self) -> dict[str, Tensor]:
        """`discriminator_steps` and then `generator_steps`, each with a batch and noise of its own."""
        named: dict[str, Tensor] = {}
        for _ in range(self.model.options["discriminator_steps"]):
            with self.moving("discriminator"):
                loss = self.discriminator_loss(self.batches.draw(), self.noise())
                self.step("discriminator", loss)
            named["discriminator"] = loss.detach()
        for _ in range(self.model.options["generator_steps"]):
            with self.moving(*self.model.generating):
                loss = self.generator_loss(self.batches.draw(), self.noise())
                self.step("generator", loss)
            named["generator"] = loss.detach()
        return named

    def discriminator_loss(self, batch: Batch, noise: tuple[Tensor, ...]) -> Tensor:
        """CE(D(x, c), 1) + CE(D(G(z, c), c), 0), with the batch's conditions and lengths for both."""
        with torch.no_grad():
            X_hat, static_hat = self.model.generate(noise, batch.condition)
        X, static = torch.cat([batch.X, X_hat]), torch.cat([batch.static, static_hat])
        context = torch.cat([static, torch.cat([batch.condition] * 2)], dim=1)
        lengths = None if batch.lengths is None else torch.cat([batch.lengths] * 2)
        real, fake = self.model.discriminate(X, context, lengths).chunk(2)
        return adversarial_error(real, batch.rows, real=True) + adversarial_error(fake, batch.rows, real=False)

    def generator_loss(self, batch: Batch, noise: tuple[Tensor, ...]) -> Tensor:
        """CE(D(G(z, c), c), 1)."""
        X_hat, static_hat = self.model.generate(noise, batch.condition)
        context = torch.cat([static_hat, batch.condition], dim=1)
        return adversarial_error(self.model.discriminate(X_hat, context, batch.lengths), batch.rows, real=True)
