"""TimeGAN's three phases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from core.errors import ConfigError
from core.generators.base import Phase
from core.generators.losses import weighted_mean
from core.generators.timegan.losses import Objective, gradient_penalty, moment_error
from core.generators.timegan.model import Latents
from core.networks.context import beside
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.batches import Batch
from core.training.replicas import apart, together

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

    With replicas (`core.training.replicas`) every tensor of a step has the rows of all of them and every loss
    shape (R,).

    Args:
        model: Moved to `device`.
        windows: What to learn.
        options: Section `training` of the configuration.
        device: Where to train.
    """

    stacks: ClassVar[bool] = True
    captures: ClassVar[bool] = True
    model: TimeGAN
    trained: TimeGAN

    def __init__(
        self, model: TimeGAN, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        solvers = {
            name: tuple(network for network in networks if network in model.networks)
            for name, networks in SOLVERS.items()
        }
        super().__init__(model, windows, options, device, solvers)
        self.movers = solvers
        self.objective = Objective.resolve(model.variant, options.get("losses", {}), self.replicas)
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
        model, objective = self.trained, self.objective
        with self.moving(*self.movers["generator"]):
            latents, supervised = self._generate_and_supervise(batch, H, h_S, noise)
            fake, fake_latent = self._logits(latents, batch)
            moments = self._moments(batch, latents) if objective.moments else None
            loss = objective.generator_loss(fake, fake_latent, supervised, moments, batch.rows)
            if model.static_width:
                static_logits = model.discriminate_static(latents.static, batch.condition)
                loss = loss + objective.adversarial_error(static_logits, real=True)
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
        model, objective = self.trained, self.objective
        with self.moving(*self.movers["discriminator"]):
            with torch.no_grad():
                H, h_S = self._embed(batch)
                latents = model.generate(noise, batch.condition)
            real_context = model.context(h_S, batch.condition)
            fake_context = model.context(latents.static, batch.condition)
            kinds = [H, latents.H_hat] + ([latents.E_hat] if objective.gamma else [])
            contexts = [real_context] + [fake_context] * (len(kinds) - 1)
            logits = self._discriminate(kinds, contexts, batch.lengths)
            loss = objective.discriminator_loss(
                logits[0], logits[1], logits[2] if objective.gamma else None, batch.rows
            )
            if model.static_width:
                loss = loss + self._static_discriminator_loss(h_S, latents.static, batch.condition)
            plain = loss.detach()
            if objective.gradient_penalty:
                loss = loss + objective.gradient_penalty * self._penalty(H, real_context, batch)
            self._move_discriminator(loss, self._discriminator_moves(plain, logits, batch.rows))
        return {"discriminator": plain}

    def _move_discriminator(self, loss: Tensor, moves: Tensor | None) -> None:
        """A step, of replicas that move alone; it is saved where all rest and asking costs no wait."""
        if moves is None or self.decides_on_device("discriminator"):
            self.step("discriminator", loss, moves)
        elif bool(moves):
            self.step("discriminator", loss)

    def _discriminator_moves(self, loss: Tensor, logits: list[Tensor], rows: Tensor | None) -> Tensor | None:
        """Whether the rule lets the discriminator step: shape () or (R,), None if it always does."""
        if self.rule == "always":
            return None
        # In 64 bits, as Python would compare: a share of a batch may well be the bound itself.
        if self.rule == "threshold":
            return loss.double() > self.threshold
        right = [(part > 0) if index == 0 else (part <= 0) for index, part in enumerate(logits)]
        shares = [weighted_mean(part.to(loss.dtype), rows, self.replicas) for part in right]
        # Real ones count as much as all kinds of fakes together.
        share = (shares[0] + torch.stack(shares[1:]).mean(0)) / 2
        return share.double() < self.accuracy

    def _discriminate(
        self, latents: list[Tensor], contexts: list[Tensor], lengths: Tensor | None
    ) -> list[Tensor]:
        """Logits of latents of several kinds, in one pass."""
        kinds, R = len(latents), self.replicas
        both = None if lengths is None else together([lengths] * kinds, R)
        logits = self.trained.discriminate(together(latents, R), together(contexts, R), both)
        return apart(logits, kinds, R)

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        h_S = self.trained.embed_static(batch.static)
        return self.trained.embed(batch.X, self.trained.context(h_S, batch.condition)), h_S

    def _reconstruction(self, batch: Batch, H: Tensor, h_S: Tensor) -> Tensor:
        model = self.trained
        X_tilde = model.head.relaxed(model.recovery(H))
        error = self.objective.error(batch.X, X_tilde, batch.observed)
        if model.static_width:
            static = model.static_head.relaxed(model.static_recovery(h_S))
            error = error + self.objective.error(batch.static, static, batch.observed_static)
        return error

    def _supervised(self, batch: Batch, H: Tensor, h_S: Tensor, Z: Tensor) -> Tensor:
        target, prediction = self.trained.supervise(H, self.trained.context(h_S, batch.condition), Z)
        if self.trained.draws:
            # A mean latent is no category: probabilities are learnt, by which the next step is drawn.
            unlikelihood = self.trained.head.unlikelihood(self.trained.recovery(prediction), batch.X)
            return weighted_mean(unlikelihood, batch.rows, self.replicas)
        return self.objective.error(target, prediction, _last(batch.rows, target.shape[1]))

    def _generate_and_supervise(
        self, batch: Batch, H: Tensor, h_S: Tensor, noise: tuple[Tensor, ...]
    ) -> tuple[Latents, Tensor]:
        """What is generated, and the supervised error on real latents."""
        model = self.trained
        if model.supervised_generator:
            latents = model.generate(noise, batch.condition)
            return latents, self._supervised(batch, H, h_S, noise[0])
        static = model.generate_static(noise, batch.condition)
        fake, real = (model.context(latent, batch.condition) for latent in (static, h_S))
        E_hat = model.generator(beside(noise[0], fake))
        both = beside(together([E_hat, H], self.replicas), together([fake, real], self.replicas))
        H_hat, H_supervised = apart(model.supervisor(both), 2, self.replicas)
        supervised = self.objective.error(H[:, 1:], H_supervised[:, :-1], _last(batch.rows, H.shape[1] - 1))
        return Latents(E_hat, H_hat, static), supervised

    def _logits(self, latents: Latents, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Of `H_hat` and, where the second adversarial term counts, of `E_hat`, in one pass."""
        context = self.trained.context(latents.static, batch.condition)
        if not self.objective.gamma:
            return self.trained.discriminate(latents.H_hat, context, batch.lengths), None
        fake, fake_latent = self._discriminate(
            [latents.H_hat, latents.E_hat], [context, context], batch.lengths
        )
        return fake, fake_latent

    def _moments(self, batch: Batch, latents: Latents) -> Tensor:
        model = self.trained
        error = moment_error(batch.X, model.decoded(latents), batch.rows, self.replicas)
        if model.static_width:
            static = model.static_head(model.static_recovery(latents.static))
            error = error + moment_error(batch.static, static, replicas=self.replicas)
        return error

    def _static_discriminator_loss(self, real: Tensor, fake: Tensor, condition: Tensor) -> Tensor:
        both, conditions = (together(parts, self.replicas) for parts in ([real, fake], [condition] * 2))
        logits = self.trained.discriminate_static(both, conditions)
        y_real, y_fake = apart(logits, 2, self.replicas)
        error = self.objective.adversarial_error
        return error(y_real, real=True) + error(y_fake, real=False)

    def _penalty(self, H: Tensor, context: Tensor, batch: Batch) -> Tensor:
        H = H.detach().requires_grad_()
        with self.trained.discriminator.recurrent.twice_differentiable():
            logits = self.trained.discriminate(H, context, batch.lengths)
        rows = torch.ones_like(logits) if batch.rows is None else batch.rows
        scores = (logits * rows).sum(dim=(1, 2)) / rows.sum(dim=(1, 2))
        return gradient_penalty(scores, H, self.replicas)


def _last(rows: Tensor | None, steps: int) -> Tensor | None:
    """Weights of the last `steps` steps."""
    return None if rows is None else rows[:, -steps:]
