"""Training against TimeGAN written the obvious way: what is shared and stacked changes no weight."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.generators.timegan import TimeGAN
from core.generators.timegan.training import TimeGANTraining
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows
from core.training.batches import Batch
from tests.benchmarks.reference_timegan import THRESHOLD, ReferenceTimeGAN, ReferenceTraining, torch_name

FEATURES, LENGTH, HIDDEN, LAYERS, BATCH = 3, 5, 6, 2, 16
ITERATIONS = 50


@dataclass
class Recorded:
    """Hands the reference what the project's training drew, in the same order."""

    batches: deque[Tensor] = field(default_factory=deque)
    noises: deque[Tensor] = field(default_factory=deque)

    def batch(self) -> Tensor:
        return self.batches.popleft()

    def noise(self) -> Tensor:
        return self.noises.popleft()

    def listen(self, training: TimeGANTraining, dtype: torch.dtype) -> None:
        """Every draw of `training` is kept, and is of type `dtype` for both."""
        draw, noise = training.batches.draw, training.noise

        def drawn() -> Batch:
            batch = draw()
            X = batch.X.to(dtype)
            self.batches.append(X)
            static, condition = batch.static.to(dtype), batch.condition.to(dtype)
            return Batch(X, static, condition, batch.lengths, batch.rows, batch.observed)

        def noised() -> tuple[Tensor, ...]:
            (Z,) = noise()
            self.noises.append(Z.to(dtype))
            return (self.noises[-1],)

        training.batches.draw = drawn  # type: ignore[method-assign]
        training.noise = noised  # type: ignore[method-assign]


def windows() -> Windows:
    t = np.arange(300)[:, None]
    waves = np.sin(t * np.array([0.1, 0.23, 0.37])) / 2 + 0.5
    return Windows.of(waves.astype(np.float32), np.arange(len(t) - LENGTH + 1), LENGTH)


def pair(
    dtype: torch.dtype, threshold: float, device: str = "cpu", **options: Any
) -> tuple[TimeGANTraining, ReferenceTraining]:
    """Both with the same weights; the reference gets what the project's training drew."""
    channels = Channels.continuous(FEATURES)
    model = TimeGAN(length=LENGTH, channels=channels, hidden=HIDDEN, layers=LAYERS, seed=1).to(dtype)
    ordered: dict[str, float] = {
        f"{phase}_iterations": ITERATIONS for phase in ("embedding", "supervised", "joint")
    }
    ordered |= {"batch_size": BATCH, "seed": 3, "discriminator_threshold": threshold}
    training = model.start_training(windows(), ordered | options, torch.device(device))
    assert isinstance(training, TimeGANTraining)
    recorded = Recorded()
    recorded.listen(training, dtype)
    plain = ReferenceTimeGAN(FEATURES, HIDDEN, LAYERS).to(device, dtype)
    plain.take(model.state_dict())
    return training, ReferenceTraining(plain, recorded, threshold)


def check_weights(training: TimeGANTraining, reference: ReferenceTraining, tolerance: float, when: str) -> None:
    theirs = reference.model.state_dict()
    assert len(theirs) == len(training.model.state_dict())
    for name, ours in training.model.state_dict().items():
        difference = (ours - theirs[torch_name(name)]).abs().max().item()
        assert difference <= tolerance, f"{when}, {name}"


def check_phases(training: TimeGANTraining, reference: ReferenceTraining, tolerance: float) -> None:
    """Fifty iterations of each phase; the weights are compared after each."""
    before = {name: tensor.clone() for name, tensor in reference.model.state_dict().items()}
    plain = {"embedding": reference.embedding, "supervised": reference.supervised, "joint": reference.joint}
    for phase in training.phases:
        for step in range(1, ITERATIONS + 1):
            training.iterate(phase, step)
            plain[phase.name]()
        check_weights(training, reference, tolerance, f"after phase {phase.name}")
    after = reference.model.state_dict()
    assert min((after[name] - tensor).abs().max().item() for name, tensor in before.items()) > 1e-3


# What is left is the order of sums, and in 32 bits the rounding of the recurrence that is chosen by default.
@pytest.mark.parametrize(
    ("dtype", "options", "tolerance"),
    [
        pytest.param(torch.float64, {"recurrence": "torch"}, 1e-12, id="64 bits"),
        pytest.param(torch.float32, {}, 1e-5, id="32 bits, as configured"),
    ],
)
def test_fifty_iterations_of_each_phase_end_with_the_plain_forms_weights(
    dtype: torch.dtype, options: dict[str, Any], tolerance: float
) -> None:
    check_phases(*pair(dtype, THRESHOLD, **options), tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("recurrence", ["torch", "triton"])
def test_so_they_do_on_a_gpu(recurrence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without graphs: a replayed one draws where nobody can listen."""
    for backend in (torch.backends.cudnn, torch.backends.cuda.matmul):  # 10 bits of a product would be kept
        monkeypatch.setattr(backend, "allow_tf32", False)
    check_phases(*pair(torch.float32, THRESHOLD, "cuda", recurrence=recurrence, cuda_graphs=False), 1e-4)


def test_the_discriminator_rests_in_the_same_iterations() -> None:
    training, reference = pair(torch.float64, 2.0, recurrence="torch")
    for step in range(1, ITERATIONS + 1):
        training.iterate(training.phases[2], step)
        reference.joint()
    assert 5 < reference.rested < ITERATIONS - 5
    check_weights(training, reference, 1e-12, "joint phase alone")
