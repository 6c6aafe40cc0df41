"""TimeGAN written the obvious way: what the project's training is timed against, and shown to equal.

The algorithm is that of the published code (jsyoon0823/TimeGAN, `timegan.py`) as one would write it down in
torch: `torch.nn.GRU`, losses of `torch.nn.functional`, a forward pass for every input of a network in every
step, `torch.optim.Adam` as it comes, batches stacked by NumPy from a list of windows. What is not moved is
detached only where everyone does it (the discriminator's inputs); elsewhere `backward()` computes the gradients
of everything that it reaches. Nothing of the project is used here.

Windows are whole, of continuous columns in [0, 1], shape (batch, steps, features); latents have shape (batch,
steps, hidden), logits (batch, steps, 1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

GENERATOR_STEPS = 2
THRESHOLD = 0.15


class Network(nn.Module):
    """Recurrent layers, and a dense layer on each step."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int, *, logits: bool = False) -> None:
        super().__init__()
        self.recurrent = nn.GRU(inputs, hidden, layers, batch_first=True)
        self.dense = nn.Linear(hidden, outputs)
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x)
        y: Tensor = self.dense(states)
        return y if self.logits else y.sigmoid()


class ReferenceTimeGAN(nn.Module):
    """The five networks; noise is as wide as the data."""

    def __init__(self, features: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedder = Network(features, hidden, hidden, layers)
        self.recovery = Network(hidden, hidden, features, layers)
        self.generator = Network(features, hidden, hidden, layers)
        self.supervisor = Network(hidden, hidden, hidden, max(1, layers - 1))
        self.discriminator = Network(hidden, hidden, 1, layers, logits=True)

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Copy the weights of the project's model, whose recurrent layers are modules of their own."""
        self.load_state_dict({torch_name(name): tensor for name, tensor in weights.items()})

    @torch.no_grad()
    def sample(self, n: int, steps: int) -> NDArray[np.float32]:
        """`n` windows."""
        like = next(self.parameters())
        Z = torch.rand(n, steps, self.generator.recurrent.input_size, device=like.device, dtype=like.dtype)
        X_hat: NDArray[np.float32] = self.recovery(self.supervisor(self.generator(Z))).cpu().numpy()
        return X_hat


def torch_name(name: str) -> str:
    """`NETWORK.recurrent.layers.0.weight_ih` as `torch.nn.GRU` calls it; other names stay."""
    return re.sub(r"layers\.(\d+)\.(\w+)", r"\2_l\1", name)


class Draws(Protocol):
    """Where batches and noise come from."""

    def batch(self) -> Tensor:
        """Windows."""
        ...

    def noise(self) -> Tensor:
        """U[0, 1), of the shape of a batch."""
        ...


class ListDraws:
    """Stacked from a list of windows, and moved to the device, batch by batch."""

    def __init__(self, windows: Sequence[NDArray[np.float32]], size: int, seed: int, device: str) -> None:
        self.windows = windows
        self.size = size
        self.rng = np.random.default_rng(seed)
        self.device = device

    def batch(self) -> Tensor:
        chosen = self.rng.permutation(len(self.windows))[: self.size]
        return torch.from_numpy(np.stack([self.windows[index] for index in chosen])).to(self.device)

    def noise(self) -> Tensor:
        shape = (self.size, *self.windows[0].shape)
        return torch.from_numpy(self.rng.random(shape, dtype=np.float32)).to(self.device)


class ReferenceTraining:
    """The three phases, one method for an iteration of each.

    Args:
        model: Trained in place.
        draws: Batches and noise.
        threshold: The discriminator rests while its loss is no larger.
    """

    def __init__(self, model: ReferenceTimeGAN, draws: Draws, threshold: float = THRESHOLD) -> None:
        self.model = model
        self.draws = draws
        self.threshold = threshold
        autoencoder = [*model.embedder.parameters(), *model.recovery.parameters()]
        generator = [*model.generator.parameters(), *model.supervisor.parameters()]
        # Phases share no moments, as in the published code.
        self.embedding_solver = torch.optim.Adam(autoencoder)
        self.supervised_solver = torch.optim.Adam(generator)
        self.generator_solver = torch.optim.Adam(generator)
        self.embedder_solver = torch.optim.Adam(autoencoder)
        self.discriminator_solver = torch.optim.Adam(model.discriminator.parameters())
        self.rested = 0
        """Joint iterations in which the discriminator stood still."""

    def embedding(self) -> None:
        """Phase 1."""
        X = self.draws.batch()
        X_tilde = self.model.recovery(self.model.embedder(X))
        _step(self.embedding_solver, 10 * functional.mse_loss(X_tilde, X).sqrt())

    def supervised(self) -> None:
        """Phase 2; the noise is drawn and not used."""
        X, _ = self.draws.batch(), self.draws.noise()
        _step(self.supervised_solver, self._supervised_loss(self.model.embedder(X)))

    def joint(self) -> None:
        """Phase 3."""
        for _ in range(GENERATOR_STEPS):
            X, Z = self.draws.batch(), self.draws.noise()
            _step(self.generator_solver, self._generator_loss(X, Z))
            _step(self.embedder_solver, self._embedder_loss(X))
        X, Z = self.draws.batch(), self.draws.noise()
        with torch.no_grad():
            check = self._discriminator_loss(X, Z).item()
        if check > self.threshold:
            _step(self.discriminator_solver, self._discriminator_loss(X, Z))
        else:
            self.rested += 1

    def _generator_loss(self, X: Tensor, Z: Tensor) -> Tensor:
        model = self.model
        H = model.embedder(X)
        E_hat = model.generator(Z)
        H_hat = model.supervisor(E_hat)
        X_hat = model.recovery(H_hat)
        adversarial = _cross_entropy(model.discriminator(H_hat), 1.0)
        adversarial_latent = _cross_entropy(model.discriminator(E_hat), 1.0)
        return (
            adversarial + adversarial_latent + 100 * self._supervised_loss(H).sqrt() + 100 * _moments(X, X_hat)
        )

    def _embedder_loss(self, X: Tensor) -> Tensor:
        H = self.model.embedder(X)
        reconstruction = functional.mse_loss(self.model.recovery(H), X)
        return 10 * reconstruction.sqrt() + 0.1 * self._supervised_loss(H)

    def _discriminator_loss(self, X: Tensor, Z: Tensor) -> Tensor:
        model = self.model
        H = model.embedder(X).detach()
        E_hat = model.generator(Z).detach()
        H_hat = model.supervisor(E_hat).detach()
        real = _cross_entropy(model.discriminator(H), 1.0)
        fake = _cross_entropy(model.discriminator(H_hat), 0.0)
        fake_latent = _cross_entropy(model.discriminator(E_hat), 0.0)
        return real + fake + fake_latent

    def _supervised_loss(self, H: Tensor) -> Tensor:
        return functional.mse_loss(self.model.supervisor(H)[:, :-1], H[:, 1:])


def _step(solver: torch.optim.Optimizer, loss: Tensor) -> None:
    solver.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    solver.step()


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _moments(X: Tensor, X_hat: Tensor) -> Tensor:
    deviations = (_deviation(X_hat) - _deviation(X)).abs().mean()
    return deviations + (X_hat.mean(0) - X.mean(0)).abs().mean()


def _deviation(x: Tensor) -> Tensor:
    return (x.var(0, correction=0) + 1e-6).sqrt()
