"""Training WaveGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core.generators.base import Phase
from core.generators.losses import full
from core.generators.training.losses import gradient_penalty, interpolate
from core.generators.training.optimizers import set_betas
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.batches import Batch

if TYPE_CHECKING:
    from core.generators.wavegan import WaveGAN


class WaveGANTraining(NetworkTraining):
    """Wasserstein GAN with gradient penalty (Donahue et al. 2019; Gulrajani et al. 2017, algorithm 1).

    Args:
        model: See `NetworkTraining`, as for the others.
        windows: What to learn.
        options: Section `training` of the configuration; `joint_iterations` is the whole training.
        device: Where to train.
    """

    model: WaveGAN

    def __init__(
        self, model: WaveGAN, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        solvers = {"generator": model.generating, "discriminator": ("discriminator",)}
        super().__init__(model, windows, options, device, solvers)
        set_betas(self.solvers, model.options["betas"])
        iterations = int(self.options["joint_iterations"])
        self.phases = (Phase("adversarial", iterations, self.adversarial_step, model.networks),)

    def adversarial_step(self) -> dict[str, Tensor]:
        """`critic_steps` of the critic, then one of the generator."""
        for _ in range(self.model.options["critic_steps"]):
            batch, noise, share = self.batches.draw(), self.noise(), self.uniform(self.batches.size)
            with self.moving("discriminator"):
                distance, penalty = self.critic_terms(batch, noise, share)
                self.step("discriminator", penalty - distance)
        with self.moving(*self.model.generating):
            loss = self.generator_loss(self.batches.draw(), self.noise())
            self.step("generator", loss)
        return {"distance": distance.detach(), "penalty": penalty.detach(), "generator": loss.detach()}

    def critic_terms(self, batch: Batch, noise: tuple[Tensor, ...], share: Tensor) -> tuple[Tensor, Tensor]:
        """D(x) - D(G(z)), the Wasserstein estimate, and the weighted penalty at points between.

        Args:
            batch: Real windows.
            noise: For as many generated ones.
            share: Shape (batch,), in [0, 1]: how near to the real window each point is.
        """
        model, rows = self.model, batch.rows
        with torch.no_grad():
            X_hat, static_hat = model.generate(noise, batch.condition)
        real = model.criticise(batch.X, self._context(batch.static, batch), rows, self.shifts())
        fake = model.criticise(X_hat, self._context(static_hat, batch), rows, self.shifts())
        between = [interpolate(batch.X, X_hat, share)]
        if model.static_width:
            between.append(interpolate(batch.static, static_hat, share))
        shifts = self.shifts()

        def score(X: Tensor, static: Tensor = batch.static) -> Tensor:
            return model.criticise(X, self._context(static, batch), rows, shifts)

        penalty = gradient_penalty(score, *between)
        return full(real).mean() - full(fake).mean(), float(model.options["gradient_penalty"]) * penalty

    def generator_loss(self, batch: Batch, noise: tuple[Tensor, ...]) -> Tensor:
        """-D(G(z))."""
        X_hat, static_hat = self.model.generate(noise, batch.condition)
        scores = self.model.criticise(X_hat, self._context(static_hat, batch), batch.rows, self.shifts())
        return -full(scores).mean()

    def shifts(self) -> Tensor | None:
        """Whole steps for phase shuffle, drawn for each layer and window: shape (layers - 1, batch)."""
        lengths = self.model.discriminator.lengths[1:-1]
        most = int(self.model.options["phase_shuffle"])
        if not most or not lengths:
            return None
        bounds = [min(most, length - 1) for length in lengths]
        draws = [
            torch.randint(-b, b + 1, (self.batches.size,), generator=self.batches.rng, device=self.device)
            for b in bounds
        ]
        return torch.stack(draws)

    @staticmethod
    def _context(static: Tensor, batch: Batch) -> Tensor:
        return torch.cat([static, batch.condition], dim=1)
