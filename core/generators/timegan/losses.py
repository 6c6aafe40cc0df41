"""TimeGAN's losses, as the published code has them (jsyoon0823/TimeGAN, `timegan.py`).

Symbols: `X` real windows, `H` their embedding, `E_hat` the generator's latents, `H_hat` the supervisor's
next-step correction of them, `X_hat` what recovery makes of `H_hat`. Latents have shape (batch, steps,
hidden), windows (batch, steps, features), logits (batch, steps, 1). Where the paper differs from its code,
the code is followed; the equation of the paper is named all the same.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

RECONSTRUCTION_WEIGHT = 10.0
SUPERVISED_WEIGHT_EMBEDDER = 0.1
SUPERVISED_WEIGHT_GENERATOR = 100.0
MOMENT_WEIGHT = 100.0
VARIANCE_FLOOR = 1e-6


def reconstruction_error(X: Tensor, X_tilde: Tensor) -> Tensor:
    """`E_loss_T0`: mean squared error of the autoencoder (paper, eq. 7)."""
    return functional.mse_loss(X_tilde, X)


def supervised_error(H: Tensor, H_supervised: Tensor) -> Tensor:
    """`G_loss_S`: mean squared error of the supervisor's prediction one step ahead (paper, eq. 9)."""
    return functional.mse_loss(H_supervised[:, :-1], H[:, 1:])


def embedder_loss(reconstruction: Tensor) -> Tensor:
    """`E_loss0 = 10 sqrt(E_loss_T0)`, minimised in phase 1."""
    return RECONSTRUCTION_WEIGHT * reconstruction.sqrt()


def joint_embedder_loss(reconstruction: Tensor, supervised: Tensor) -> Tensor:
    """`E_loss = E_loss0 + 0.1 G_loss_S`, minimised in phase 3 (paper, eq. 10 with lambda 0.1)."""
    return embedder_loss(reconstruction) + SUPERVISED_WEIGHT_EMBEDDER * supervised


def moment_error(X: Tensor, X_hat: Tensor) -> Tensor:
    """`G_loss_V`: how far the batch's standard deviation and mean, by step and feature, are from the real ones.

    Not in the paper. Variances are the biased ones, floored by 1e-6 under the root, as in `tf.nn.moments`.
    """
    spread = (X_hat.var(0, correction=0) + VARIANCE_FLOOR).sqrt() - (
        X.var(0, correction=0) + VARIANCE_FLOOR
    ).sqrt()
    centre = X_hat.mean(0) - X.mean(0)
    return spread.abs().mean() + centre.abs().mean()


def adversarial_error(logits: Tensor, *, real: bool) -> Tensor:
    """Mean sigmoid cross-entropy of the discriminator's logits against one label (paper, eq. 8)."""
    return functional.softplus(-logits if real else logits).mean()


def generator_loss(
    fake: Tensor, fake_latent: Tensor, supervised: Tensor, moments: Tensor, gamma: float
) -> Tensor:
    """`G_loss = G_loss_U + gamma G_loss_U_e + 100 sqrt(G_loss_S) + 100 G_loss_V` (paper, eq. 11 with eta 100).

    Args:
        fake: Logits of `H_hat`.
        fake_latent: Logits of `E_hat`.
        supervised: `supervised_error` on real latents.
        moments: `moment_error`.
        gamma: Weight of the second adversarial term.
    """
    return (
        adversarial_error(fake, real=True)
        + gamma * adversarial_error(fake_latent, real=True)
        + SUPERVISED_WEIGHT_GENERATOR * supervised.sqrt()
        + MOMENT_WEIGHT * moments
    )


def discriminator_loss(real: Tensor, fake: Tensor, fake_latent: Tensor, gamma: float) -> Tensor:
    """`D_loss`: real latents against `H_hat` and, weighted by gamma, against `E_hat`."""
    return (
        adversarial_error(real, real=True)
        + adversarial_error(fake, real=False)
        + gamma * adversarial_error(fake_latent, real=False)
    )
