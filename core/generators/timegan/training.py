"""TimeGAN's three phases and the state they carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core.generators.base import Phase
from core.generators.timegan import losses
from core.prepare.series import Windows
from core.training.batches import BatchSource

if TYPE_CHECKING:
    from core.generators.timegan.model import TimeGAN

JOINT_GENERATOR_STEPS = 2  # generator and embedder steps for each discriminator step, as in the code

# Five separate Adams, as in the code: a phase does not inherit the moments of another.
SOLVERS = {
    "embedding": ("embedder", "recovery"),
    "supervised": ("generator", "supervisor"),
    "generator": ("generator", "supervisor"),
    "embedder": ("embedder", "recovery"),
    "discriminator": ("discriminator",),
}


class TimeGANTraining:
    """Trains a `TimeGAN` in place: embedding, supervised, joint (paper, section 4.3).

    Work is shared where the result is the same: in a joint iteration the embedding of a batch serves the
    generator step and the embedder step, and what goes through one network goes through it in one batch.

    Args:
        model: Moved to `device`.
        windows: What to learn.
        options: Section `training` of the configuration.
        device: Where to train.
    """

    def __init__(
        self, model: TimeGAN, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        self.model = model.to(device)
        self.device = device
        self.gamma = float(options["gamma"])
        self.threshold = float(options["discriminator_threshold"])
        self.batches = BatchSource(windows, int(options["batch_size"]), int(options["seed"]), device)
        self.solvers = {
            name: torch.optim.Adam(self._parameters(networks), lr=float(options["learning_rate"]), foreach=True)
            for name, networks in SOLVERS.items()
        }
        self.phases: tuple[Phase, ...] = (
            Phase("embedding", options["embedding_iterations"], self.embedding_step, SOLVERS["embedding"]),
            Phase("supervised", options["supervised_iterations"], self.supervised_step, ("supervisor",)),
            Phase("joint", options["joint_iterations"], self.joint_step, tuple(model.networks)),
        )

    def embedding_step(self) -> dict[str, Tensor]:
        """Phase 1: embedder and recovery learn to reconstruct."""
        X = self.batches.draw()
        with self._moving("embedder", "recovery"):
            reconstruction = losses.reconstruction_error(X, self.model.recovery(self.model.embedder(X)))
            self._step("embedding", losses.embedder_loss(reconstruction))
        return {"reconstruction": reconstruction.detach()}

    def supervised_step(self) -> dict[str, Tensor]:
        """Phase 2: the supervisor learns the next step of real latents."""
        X = self.batches.draw()
        with self._moving("supervisor"):
            with torch.no_grad():
                H = self.model.embedder(X)
            supervised = losses.supervised_error(H, self.model.supervisor(H))
            self._step("supervised", supervised)
        return {"supervised": supervised.detach()}

    def joint_step(self) -> dict[str, Tensor]:
        """Phase 3: twice a generator and an embedder step, then a discriminator step if it is weak enough."""
        named: dict[str, Tensor] = {}
        for _ in range(JOINT_GENERATOR_STEPS):
            X, Z = self.batches.draw(), self._noise()
            with self._moving("embedder"):
                H = self.model.embedder(X)
            named |= self.generator_step(X, H.detach(), Z)
            named |= self.embedder_step(X, H)
        return named | self.discriminator_step(self.batches.draw(), self._noise())

    def generator_step(self, X: Tensor, H: Tensor, Z: Tensor) -> dict[str, Tensor]:
        """Generator and supervisor against a fixed discriminator; `H` is the embedding of `X`, detached."""
        model, batch = self.model, len(X)
        with self._moving("generator", "supervisor"):
            E_hat = model.generator(Z)
            H_hat, H_supervised = model.supervisor(torch.cat([E_hat, H])).split(batch)
            fake, fake_latent = model.discriminator(torch.cat([H_hat, E_hat])).split(batch)
            supervised = losses.supervised_error(H, H_supervised)
            moments = losses.moment_error(X, model.recovery(H_hat))
            loss = losses.generator_loss(fake, fake_latent, supervised, moments, self.gamma)
            self._step("generator", loss)
        return {"generator": loss.detach(), "supervised": supervised.detach(), "moments": moments.detach()}

    def embedder_step(self, X: Tensor, H: Tensor) -> dict[str, Tensor]:
        """Embedder and recovery; `H` is the embedding of `X`, attached to the embedder's graph."""
        with self._moving("embedder", "recovery"):
            reconstruction = losses.reconstruction_error(X, self.model.recovery(H))
            supervised = losses.supervised_error(H, self.model.supervisor(H))
            self._step("embedder", losses.joint_embedder_loss(reconstruction, supervised))
        return {"reconstruction": reconstruction.detach()}

    def discriminator_step(self, X: Tensor, Z: Tensor) -> dict[str, Tensor]:
        """Discriminator; it stands still while its loss is at most the threshold."""
        model, batch = self.model, len(X)
        with self._moving("discriminator"):
            with torch.no_grad():
                E_hat = model.generator(Z)
                latents = torch.cat([model.embedder(X), model.supervisor(E_hat), E_hat])
            real, fake, fake_latent = model.discriminator(latents).split(batch)
            loss = losses.discriminator_loss(real, fake, fake_latent, self.gamma)
            if loss.item() > self.threshold:
                self._step("discriminator", loss)
        return {"discriminator": loss.detach()}

    def gradient_norms(self, networks: tuple[str, ...]) -> dict[str, float]:
        """Euclidean norm of each network's last gradient; 0 for one that has none yet."""
        norms = {}
        for name in networks:
            gradients = [p.grad for p in self.model.network(name).parameters() if p.grad is not None]
            norms[name] = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        return norms

    def state(self) -> dict[str, Tensor]:
        """See `core.generators.base.Training`."""
        tensors = {f"network.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for solver, optimizer in self.solvers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                for key, value in moments.items():
                    tensors[f"solver.{solver}.{index}.{key}"] = value
        tensors["batches"] = self.batches.rng.get_state()
        return tensors

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See `core.generators.base.Training`."""
        prefix = "network."
        self.model.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
        moments: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in self.solvers}
        for name, tensor in state.items():
            if name.startswith("solver."):
                _, solver, index, key = name.split(".")
                moments[solver].setdefault(int(index), {})[key] = tensor
        for solver, optimizer in self.solvers.items():
            optimizer.load_state_dict(
                {"state": moments[solver], "param_groups": optimizer.state_dict()["param_groups"]}
            )
        self.batches.rng.set_state(state["batches"])

    def _noise(self) -> Tensor:
        shape = (self.batches.size, self.model.length, self.model.noise)
        return torch.rand(shape, generator=self.batches.rng, device=self.device)

    def _parameters(self, networks: tuple[str, ...]) -> list[torch.nn.Parameter]:
        return [parameter for name in networks for parameter in self.model.network(name).parameters()]

    def _step(self, solver: str, loss: Tensor) -> None:
        self.solvers[solver].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.solvers[solver].step()

    @contextmanager
    def _moving(self, *networks: str) -> Iterator[None]:
        """Gradients for these networks alone: the others' weights cost nothing in the backward pass.

        Every forward pass of a step belongs inside: torch rounds a GRU differently when its weights want no
        gradient, and a resumed training must not depend on what the step before wanted.
        """
        for name in self.model.networks:
            self.model.network(name).requires_grad_(name in networks)
        yield
