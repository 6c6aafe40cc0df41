"""What the training of every generator shares: batches, optimisers, noise, and the state they carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from core.generators.base import Phase
from core.generators.module import Margins, TorchGenerator
from core.networks.dropout import give_generator
from core.prepare.series import Windows
from core.training.batches import BatchSource

Solvers = Mapping[str, tuple[str, ...]]
"""Optimisers by name, and the networks that each one moves."""


class NetworkTraining:
    """Trains a `TorchGenerator` in place. A subclass sets `phases`, whose steps call `moving` and `step`.

    Args:
        model: Moved to `device`; learns how long windows are and what is given from `windows`.
        windows: What to learn.
        options: Section `training` of the configuration.
        device: Where to train.
        solvers: One optimiser each; moments are not shared between them.
    """

    phases: tuple[Phase, ...]

    def __init__(
        self,
        model: TorchGenerator,
        windows: Windows,
        options: Mapping[str, Any],
        device: torch.device,
        solvers: Solvers,
    ) -> None:
        self.model = model.to(device).train()
        self.model.margins = Margins.of(windows)
        self.device = device
        self.options = options
        self.batches = BatchSource(windows, int(options["batch_size"]), int(options["seed"]), device)
        give_generator(model, self.batches.rng)
        self.solvers = {
            name: torch.optim.Adam(self._parameters(networks), lr=float(options["learning_rate"]), foreach=True)
            for name, networks in solvers.items()
        }

    @contextmanager
    def moving(self, *networks: str) -> Iterator[None]:
        """Gradients for these networks alone: the others' weights cost nothing in the backward pass.

        Every forward pass of a step belongs inside: torch rounds a GRU differently when its weights want no
        gradient, and a resumed training must not depend on what the step before wanted.
        """
        for name in self.model.networks:
            self.model.network(name).requires_grad_(name in networks)
        yield

    def step(self, solver: str, loss: Tensor) -> None:
        """Zero the gradients of the solver's networks, go backward from `loss`, and move them."""
        self.solvers[solver].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.solvers[solver].step()

    def uniform(self, *shape: int) -> Tensor:
        """U[0, 1) on the device."""
        return torch.rand(shape, generator=self.batches.rng, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1) on the device."""
        return torch.randn(shape, generator=self.batches.rng, device=self.device)

    def noise(self) -> tuple[Tensor, ...]:
        """The model's noise for a batch, on the device."""
        return self.model.noise(self.batches.size, self.batches.rng)

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

    def _parameters(self, networks: tuple[str, ...]) -> list[torch.nn.Parameter]:
        return [parameter for name in networks for parameter in self.model.network(name).parameters()]
