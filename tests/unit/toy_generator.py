"""The smallest generator with networks, and its training: milliseconds a run, every technique applies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import TrainingInterruptedError
from core.generators.base import Phase
from core.generators.module import TorchGenerator
from core.networks.recurrent import FeedForwardNetwork, RecurrentNetwork, RecurrentOptions
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.loop import LoopOptions, LoopResult, train

CPU = torch.device("cpu")
LENGTH = 6


class Toy(TorchGenerator):
    """A GRU from noise to windows, and a critic that reads them step by step."""

    kind = "toy"
    networks = ("generator", "critic")

    def __init__(
        self, *, length: int = LENGTH, channels: Channels, hidden: int = 4, cell: str = "gru", seed: int = 0
    ) -> None:
        super().__init__(length, channels, {"hidden": hidden, "cell": cell})
        options = RecurrentOptions(cell=cell)  # type: ignore[arg-type]
        self.generator = RecurrentNetwork(2, hidden, channels.features, 1, options=options)
        self.critic = FeedForwardNetwork(channels.features, hidden, 1, 1)
        rng = torch.Generator().manual_seed(seed)
        for name in self.networks:
            self.network(name).reset_parameters(rng)  # type: ignore[operator]

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.rand((n, self.length, 2), generator=rng, device=rng.device),)

    def decode(self, noise: tuple[Tensor, ...], condition: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        return self.generator(noise[0]).sigmoid(), condition[:, :0]

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> ToyTraining:
        return ToyTraining(self, windows, options, device)


class ToyTraining(NetworkTraining):
    """Phase `warm` moves both networks with one optimiser, `play` each with its own."""

    model: Toy

    def __init__(
        self, model: Toy, windows: Windows, options: Mapping[str, Any], device: torch.device = CPU
    ) -> None:
        solvers = {"both": model.networks, "generator": ("generator",), "critic": ("critic",)}
        super().__init__(model, windows, options, device, solvers)
        warm, play = (int(self.options[f"{name}_iterations"]) for name in ("embedding", "joint"))
        self.phases = (
            Phase("warm", warm, self.warm_step, model.networks, generates=False),
            Phase("play", play, self.play_step, model.networks),
        )

    def warm_step(self) -> dict[str, Tensor]:
        with self.moving("generator", "critic"):
            loss = self.generator_loss() + self.critic_loss()
            self.step("both", loss)
        return {"both": loss.detach()}

    def play_step(self) -> dict[str, Tensor]:
        with self.moving("generator"):
            fake = self.generator_loss()
            self.step("generator", fake)
        with self.moving("critic"):
            real = self.critic_loss()
            self.step("critic", real)
        return {"generator": fake.detach(), "critic": real.detach()}

    def generator_loss(self) -> Tensor:
        """Mean and spread of every cell as in the batch."""
        X, fake = self.batches.draw().X, self.model.generator(self.noise()[0]).sigmoid()
        return (fake.mean(0) - X.mean(0)).square().mean() + (fake.std(0) - X.std(0)).square().mean()

    def critic_loss(self) -> Tensor:
        X = self.batches.draw().X
        return (self.model.critic(X)[..., 0] - X.mean(dim=2)).square().mean()


def toy_windows(rows: int = 200, length: int = LENGTH) -> Windows:
    """Of three sine waves."""
    t = np.arange(rows)[:, None]
    values = (np.sin(t * np.array([0.1, 0.2, 0.3])) / 2 + 0.5).astype(np.float32)
    return Windows.of(values, np.arange(rows - length + 1), length)


def toy_training(
    options: Mapping[str, Any] | None = None, *, cell: str = "gru", hidden: int = 4, **more: Any
) -> ToyTraining:
    """A new training of a new toy, eight windows a batch."""
    base = {"batch_size": 8, "seed": 3, "embedding_iterations": 10, "joint_iterations": 30}
    windows = toy_windows()
    model = Toy(channels=windows.channels, cell=cell, hidden=hidden, seed=1)
    return ToyTraining(model, windows, {**base, **(options or {}), **more})


def interrupted(
    options: Mapping[str, Any], run_dir: Path, after: int, **how: Any
) -> tuple[ToyTraining, LoopResult]:
    """Stop after so many iterations, then go on with a new training from the files."""
    run_dir.mkdir()
    loop = LoopOptions(1000.0, int(options.get("log_every", 10)))
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == after

    try:
        train(toy_training(options, **how), run_dir, loop, stop)
    except TrainingInterruptedError:
        pass
    else:
        raise AssertionError("the training was over before it could be interrupted")
    training = toy_training(options, **how)
    result = train(training, run_dir, loop)
    assert result.resumed
    return training, result


def whole(options: Mapping[str, Any], run_dir: Path, **how: Any) -> tuple[ToyTraining, LoopResult]:
    """The same without a stop."""
    run_dir.mkdir()
    training = toy_training(options, **how)
    return training, train(training, run_dir, LoopOptions(1000.0, int(options.get("log_every", 10))))


def parameters(model: torch.nn.Module) -> dict[str, Tensor]:
    """Copies, by name."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
