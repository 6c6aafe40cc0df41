"""TimeGAN's losses, as the published code (jsyoon0823/TimeGAN, `timegan.py`) and as the paper has them.

Symbols: `X` real windows, `H` their embedding, `E_hat` the generator's latents, `H_hat` the supervisor's
next-step correction of them, `X_hat` what recovery makes of `H_hat`. Latents have shape (batch, steps,
hidden), windows (batch, steps, channels), logits (batch, steps, 1). A weight of 0 takes a cell or a step out:
what stands past a window's end counts in no loss, and the value of a missing cell in no error. Each loss is a
scalar, or has shape (R,) for R replicas (`core.generators.losses.mean`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from core.generators.losses import adversarial_error, by_replica, full, mean, weighted_mean

VARIANCE_FLOOR = 1e-6
_NORM_FLOOR = 1e-12  # under the root of a norm, whose gradient at 0 is not finite

Form = Literal["root_mean_square", "norm"]

VARIANTS: dict[str, dict[str, Any]] = {
    "code": {
        "form": "root_mean_square",
        "reconstruction": 10.0,
        "supervised_embedder": 0.1,
        "supervised_generator": 100.0,
        "moments": 100.0,
        "gamma": 1.0,
    },
    "paper": {
        "form": "norm",
        "reconstruction": 1.0,
        "supervised_embedder": 1.0,
        "supervised_generator": 10.0,
        "moments": 0.0,
        "gamma": 0.0,
    },
}


@dataclass(frozen=True)
class Objective:
    """The weights of the losses (section `training.losses` of the configuration)."""

    form: Form
    reconstruction: float
    supervised_embedder: float
    """Lambda of eq. 10."""
    supervised_generator: float
    """Eta of eq. 11."""
    moments: float
    gamma: float
    gradient_penalty: float
    replicas: int = 1
    """Whose rows stand one after the other in every batch."""

    @classmethod
    def resolve(cls, variant: str, given: Mapping[str, Any], replicas: int = 1) -> Objective:
        """What is given, else what the variant says."""
        chosen = {name: value for name, value in given.items() if value is not None}
        return cls(**({"gradient_penalty": 0.0} | VARIANTS[variant] | chosen), replicas=replicas)

    def error(self, target: Tensor, prediction: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean square over cells, or mean over steps of the Euclidean norm; `weight` broadcasts to cells."""
        square = (full(prediction) - full(target)).square()
        if self.form == "root_mean_square":
            return weighted_mean(square, weight, self.replicas)
        if weight is None:
            return mean((square.sum(-1) + _NORM_FLOOR).sqrt(), self.replicas)
        weight = weight.expand_as(square)
        norms = ((square * weight).sum(-1) + _NORM_FLOOR).sqrt()
        return weighted_mean(norms, weight.amax(-1), self.replicas)

    def adversarial_error(self, logits: Tensor, rows: Tensor | None = None, *, real: bool) -> Tensor:
        """See `core.generators.losses.adversarial_error`."""
        return adversarial_error(logits, rows, real=real, replicas=self.replicas)

    def embedder_loss(self, reconstruction: Tensor) -> Tensor:
        """Phase 1: `E_loss0 = 10 sqrt(E_loss_T0)` in the code, eq. 7 in the paper."""
        return self.reconstruction * self._root(reconstruction)

    def joint_embedder_loss(self, reconstruction: Tensor, supervised: Tensor) -> Tensor:
        """`E_loss = E_loss0 + 0.1 G_loss_S` in the code, eq. 10 in the paper (L_R + lambda L_S)."""
        return self.embedder_loss(reconstruction) + self.supervised_embedder * supervised

    def generator_loss(
        self,
        fake: Tensor,
        fake_latent: Tensor | None,
        supervised: Tensor,
        moments: Tensor | None,
        rows: Tensor | None,
    ) -> Tensor:
        """`G_loss_U + gamma G_loss_U_e + 100 sqrt(G_loss_S) + 100 G_loss_V`; the paper's eq. 11: L_U + eta L_S.

        Args:
            fake: Logits of `H_hat`.
            fake_latent: Logits of `E_hat`, None without the second adversarial term.
            supervised: `error` on real latents.
            moments: `moment_error`, None without it.
            rows: Weight of each step.
        """
        loss = self.adversarial_error(fake, rows, real=True)
        loss = loss + self.supervised_generator * self._root(supervised)
        if fake_latent is not None:
            loss = loss + self.gamma * self.adversarial_error(fake_latent, rows, real=True)
        if moments is not None:
            loss = loss + self.moments * moments
        return loss

    def discriminator_loss(
        self, real: Tensor, fake: Tensor, fake_latent: Tensor | None, rows: Tensor | None
    ) -> Tensor:
        """`D_loss`: real latents against `H_hat` and, weighted by gamma, against `E_hat` (eq. 8)."""
        loss = self.adversarial_error(real, rows, real=True)
        loss = loss + self.adversarial_error(fake, rows, real=False)
        if fake_latent is not None:
            loss = loss + self.gamma * self.adversarial_error(fake_latent, rows, real=False)
        return loss

    def _root(self, error: Tensor) -> Tensor:
        return error.sqrt() if self.form == "root_mean_square" else error


def moment_error(X: Tensor, X_hat: Tensor, rows: Tensor | None = None, replicas: int = 1) -> Tensor:
    """`G_loss_V`: how far the batch's standard deviation and mean, by step and channel, are from the real ones.

    Not in the paper. Variances are the biased ones, floored by 1e-6 under the root, as in `tf.nn.moments`. A
    missing cell counts as the 0 that it is on both sides.
    """
    if rows is not None:
        rows = by_replica(rows, replicas)
    real, made = (_moments(by_replica(full(x), replicas), rows) for x in (X, X_hat))
    return mean((made[1] - real[1]).abs(), replicas) + mean((made[0] - real[0]).abs(), replicas)


def _moments(x: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over a replica's batch: shape (R, B, ...) to (R, ...)."""
    if rows is None:
        return x.mean(1), (x.var(1, correction=0) + VARIANCE_FLOOR).sqrt()
    count = rows.sum(1, keepdim=True).clamp(min=1)
    centre = (x * rows).sum(1, keepdim=True) / count
    variance = ((x - centre).square() * rows).sum(1, keepdim=True) / count
    return centre[:, 0], (variance[:, 0] + VARIANCE_FLOOR).sqrt()


def gradient_penalty(score: Tensor, latents: Tensor, replicas: int = 1) -> Tensor:
    """R1 (Mescheder, Geiger and Nowozin 2018, eq. 9) without its factor gamma: E ||grad D||^2 / 2.

    Args:
        score: Shape (batch,): the discriminator's output for each window.
        latents: Real ones, shape (batch, steps, hidden), that `score` was computed from.
        replicas: See `core.generators.losses.mean`.
    """
    (gradient,) = torch.autograd.grad(score.sum(), latents, create_graph=True)
    return mean(gradient.square().sum(dim=(1, 2)), replicas) / 2
