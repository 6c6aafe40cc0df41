"""TimeGAN's three phases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.generators.base import Phase
from core.generators.losses import adversarial_error, weighted_mean
from core.generators.timegan.losses import Objective, gradient_penalty, moment_error
from core.generators.timegan.model import Latents
from core.networks.context import beside
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.batches import Batch

if TYPE_CHECKING:
    from core.generators.timegan.model import TimeGAN

JOINT_GENERATOR_STEPS = 2  # generator and embedder steps for each discriminator step, as in the code

RULES = {"code": "threshold", "paper": "always"}

# Five separate optimisers, as in the code: a phase does not inherit the moments of another. Networks that a
# model does not have (no static columns, no supervisor) are left out.
SOLVERS = {
    "embedding": ("embedder", "recovery", "static_embedder", "static_recovery"),
    "supervised": ("generator", "supervisor"),
    "generator": ("generator", "supervisor", "static_generator"),
    "embedder": ("embedder", "recovery", "static_embedder", "static_recovery"),
    "discriminator": ("discriminator", "static_discriminator"),
}


class TimeGANTraining(NetworkTraining):
    """Trains a `TimeGAN` in place: embedding, supervised, joint (paper, section 4.3).

    Work is shared where the result is the same: in a joint iteration the embedding of a batch serves the
    generator step and the embedder step, and what goes through one network goes through it in one batch.

    Args:
        model: Moved to `device`.
        windows: What to learn.
        options: Section `training` of the configuration.
        device: Where to train.
    """

    model: TimeGAN

    def __init__(
        self, model: TimeGAN, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        solvers = {
            name: tuple(network for network in networks if network in model.networks)
            for name, networks in SOLVERS.items()
        }
        super().__init__(model, windows, options, device, solvers)
        self.movers = solvers
        self.objective = Objective.resolve(model.variant, options.get("losses", {}))
        if self.objective.gamma and model.supervised_generator and not model.draws:
            raise ConfigError(
                "training.losses.gamma weighs the generator's latents beside the supervisor's, but with "
                "model.supervision=generator they are the same: leave it out"
            )
        self.rule: str = options.get("discriminator_rule") or RULES[model.variant]
        self.threshold = float(options.get("discriminator_threshold", 0.15))
        self.accuracy = float(options.get("discriminator_accuracy", 0.8))
        # In the code the generator gets no gradient from the supervised loss; the paper's is trained by it.
        supervised = ("generator",) if model.supervised_generator else ("supervisor",)
        self.phases = (
            Phase(
                "embedding", options["embedding_iterations"], self.embedding_step, solvers["embedding"], False
            ),
            Phase("supervised", options["supervised_iterations"], self.supervised_step, supervised, False),
            Phase("joint", options["joint_iterations"], self.joint_step, model.networks),
        )
        self.supervised_networks = supervised

    def embedding_step(self) -> dict[str, Tensor]:
        """Phase 1: embedder and recovery learn to reconstruct."""
        batch = self.batches.draw()
        with self.moving(*self.movers["embedding"]):
            H, h_S = self._embed(batch)
            reconstruction = self._reconstruction(batch, H, h_S)
            self.step("embedding", self.objective.embedder_loss(reconstruction))
        return {"reconstruction": reconstruction.detach()}

    def supervised_step(self) -> dict[str, Tensor]:
        """Phase 2: the supervisor (or autoregressive generator) learns the next step of real latents."""
        batch = self.batches.draw()
        Z = self.noise()[0]
        with self.moving(*self.supervised_networks):
            with torch.no_grad():
                H, h_S = self._embed(batch)
            supervised = self._supervised(batch, H, h_S, Z)
            self.step("supervised", supervised)
        return {"supervised": supervised.detach()}

    def joint_step(self) -> dict[str, Tensor]:
        """Phase 3: twice a generator and an embedder step, then a discriminator step if the rule lets it."""
        named: dict[str, Tensor] = {}
        for _ in range(JOINT_GENERATOR_STEPS):
            batch, noise = self.batches.draw(), self.noise()
            with self.moving("embedder", "static_embedder"):
                H, h_S = self._embed(batch)
            named |= self.generator_step(batch, H.detach(), h_S.detach(), noise)
            named |= self.embedder_step(batch, H, h_S, noise[0])
        return named | self.discriminator_step(self.batches.draw(), self.noise())

    def generator_step(
        self, batch: Batch, H: Tensor, h_S: Tensor, noise: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Generator and supervisor against a fixed discriminator; `H`, `h_S`: of the batch, detached."""
        model, objective = self.model, self.objective
        with self.moving(*self.movers["generator"]):
            latents, supervised = self._generate_and_supervise(batch, H, h_S, noise)
            fake, fake_latent = self._logits(latents, batch)
            moments = self._moments(batch, latents) if objective.moments else None
            loss = objective.generator_loss(fake, fake_latent, supervised, moments, batch.rows)
            if model.static_width:
                static_logits = model.discriminate_static(latents.static, batch.condition)
                loss = loss + adversarial_error(static_logits, real=True)
            self.step("generator", loss)
        named = {"generator": loss.detach(), "supervised": supervised.detach()}
        return named if moments is None else named | {"moments": moments.detach()}

    def embedder_step(self, batch: Batch, H: Tensor, h_S: Tensor, Z: Tensor) -> dict[str, Tensor]:
        """Embedder and recovery; `H`, `h_S`: of the batch, attached to the embedder's graph."""
        with self.moving(*self.movers["embedder"]):
            reconstruction = self._reconstruction(batch, H, h_S)
            supervised = self._supervised(batch, H, h_S, Z)
            self.step("embedder", self.objective.joint_embedder_loss(reconstruction, supervised))
        return {"reconstruction": reconstruction.detach()}

    def discriminator_step(self, batch: Batch, noise: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Discriminator; it stands still when the rule says so."""
        model, objective = self.model, self.objective
        with self.moving(*self.movers["discriminator"]):
            with torch.no_grad():
                H, h_S = self._embed(batch)
                latents = model.generate(noise, batch.condition)
            real_context = model.context(h_S, batch.condition)
            fake_context = model.context(latents.static, batch.condition)
            kinds = [H, latents.H_hat] + ([latents.E_hat] if objective.gamma else [])
            contexts = [real_context] + [fake_context] * (len(kinds) - 1)
            logits = model.discriminate(
                torch.cat(kinds), torch.cat(contexts), _repeated(batch.lengths, len(kinds))
            ).chunk(len(kinds))
            loss = objective.discriminator_loss(
                logits[0], logits[1], logits[2] if objective.gamma else None, batch.rows
            )
            if model.static_width:
                loss = loss + self._static_discriminator_loss(h_S, latents.static, batch.condition)
            plain = loss.detach()
            if objective.gradient_penalty:
                loss = loss + objective.gradient_penalty * self._penalty(H, real_context, batch)
            if self._discriminator_moves(plain, logits, batch.rows):
                self.step("discriminator", loss)
        return {"discriminator": plain}

    def _discriminator_moves(self, loss: Tensor, logits: tuple[Tensor, ...], rows: Tensor | None) -> bool:
        if self.rule == "always":
            return True
        if self.rule == "threshold":
            return loss.item() > self.threshold
        right = [(part > 0) if index == 0 else (part <= 0) for index, part in enumerate(logits)]
        shares = [weighted_mean(part.to(loss.dtype), rows) for part in right]
        # Real ones count as much as all kinds of fakes together.
        return ((shares[0] + torch.stack(shares[1:]).mean()) / 2).item() < self.accuracy

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        h_S = self.model.embed_static(batch.static)
        return self.model.embed(batch.X, self.model.context(h_S, batch.condition)), h_S

    def _reconstruction(self, batch: Batch, H: Tensor, h_S: Tensor) -> Tensor:
        model = self.model
        X_tilde = model.head.relaxed(model.recovery(H))
        error = self.objective.error(batch.X, X_tilde, batch.observed)
        if model.static_width:
            static = model.static_head.relaxed(model.static_recovery(h_S))
            error = error + self.objective.error(batch.static, static, batch.observed_static)
        return error

    def _supervised(self, batch: Batch, H: Tensor, h_S: Tensor, Z: Tensor) -> Tensor:
        target, prediction = self.model.supervise(H, self.model.context(h_S, batch.condition), Z)
        if self.model.draws:
            # A mean latent is no category: probabilities are learnt, by which the next step is drawn.
            unlikelihood = self.model.head.unlikelihood(self.model.recovery(prediction), batch.X)
            return weighted_mean(unlikelihood, batch.rows)
        return self.objective.error(target, prediction, _last(batch.rows, target.shape[1]))

    def _generate_and_supervise(
        self, batch: Batch, H: Tensor, h_S: Tensor, noise: tuple[Tensor, ...]
    ) -> tuple[Latents, Tensor]:
        """What is generated, and the supervised error on real latents."""
        model = self.model
        if model.supervised_generator:
            latents = model.generate(noise, batch.condition)
            return latents, self._supervised(batch, H, h_S, noise[0])
        static = model.generate_static(noise, batch.condition)
        fake, real = (model.context(latent, batch.condition) for latent in (static, h_S))
        E_hat = model.generator(beside(noise[0], fake))
        both = beside(torch.cat([E_hat, H]), torch.cat([fake, real]))
        H_hat, H_supervised = model.supervisor(both).chunk(2)
        supervised = self.objective.error(H[:, 1:], H_supervised[:, :-1], _last(batch.rows, H.shape[1] - 1))
        return Latents(E_hat, H_hat, static), supervised

    def _logits(self, latents: Latents, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Of `H_hat` and, where the second adversarial term counts, of `E_hat`, in one pass."""
        context = self.model.context(latents.static, batch.condition)
        if not self.objective.gamma:
            return self.model.discriminate(latents.H_hat, context, batch.lengths), None
        both, lengths = torch.cat([latents.H_hat, latents.E_hat]), _repeated(batch.lengths, 2)
        fake, fake_latent = self.model.discriminate(both, context.repeat(2, 1), lengths).chunk(2)
        return fake, fake_latent

    def _moments(self, batch: Batch, latents: Latents) -> Tensor:
        model = self.model
        error = moment_error(batch.X, model.decoded(latents), batch.rows)
        if model.static_width:
            static = model.static_head(model.static_recovery(latents.static))
            error = error + moment_error(batch.static, static)
        return error

    def _static_discriminator_loss(self, real: Tensor, fake: Tensor, condition: Tensor) -> Tensor:
        logits = self.model.discriminate_static(torch.cat([real, fake]), condition.repeat(2, 1))
        y_real, y_fake = logits.chunk(2)
        return adversarial_error(y_real, real=True) + adversarial_error(y_fake, real=False)

    def _penalty(self, H: Tensor, context: Tensor, batch: Batch) -> Tensor:
        H = H.detach().requires_grad_()
        with self.model.discriminator.recurrent.twice_differentiable():
            logits = self.model.discriminate(H, context, batch.lengths)
        rows = torch.ones_like(logits) if batch.rows is None else batch.rows
        return gradient_penalty((logits * rows).sum(dim=(1, 2)) / rows.sum(dim=(1, 2)), H)


def _last(rows: Tensor | None, steps: int) -> Tensor | None:
    """Weights of the last `steps` steps."""
    return None if rows is None else rows[:, -steps:]


def _repeated(lengths: Tensor | None, times: int) -> Tensor | None:
    return None if lengths is None else lengths.repeat(times)
