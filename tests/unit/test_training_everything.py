"""Every technique at once on every generator: it runs, resumes bit for bit, and keeps what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.errors import TrainingInterruptedError
from core.generators.base import Training
from core.generators.module import TorchGenerator
from core.generators.registry import GENERATORS, new_generator
from core.prepare.series import Windows
from core.training.loop import LoopOptions, LoopResult, train

EVERYTHING: dict[str, Any] = {
    "embedding_iterations": 6,
    "supervised_iterations": 6,
    "joint_iterations": 14,
    "batch_size": 8,
    "log_every": 2,
    "optimizer": {"kind": "adamw", "weight_decay": 0.1},
    "schedule": {"kind": "cosine", "warmup": 2, "floor": 0.1},
    "gradients": {
        "clip_norm": 1.0,
        "clip_value": 0.5,
        "exploding": 1e-3,
        "patience": 2,
        "action": "lower_rate",
    },
    "l1": {"weight": 0.01, "parameters": ["*weight*"]},
    "update": {"rule": "gradient", "fraction": 0.5},
    "ema": 0.9,
    "selection": {"validation": 0.25, "every": 4, "windows": 50},
}
ROWS, LENGTH = 200, 8
MODELS: dict[str, dict[str, Any]] = {
    # A generator that rests gets too few gradients in so few iterations for the rule to decide.
    "crnngan": {"freezing": 0.0},
    # At each look a solver is fitted to the weights: as quick as it can be.
    "flow_matching": {"hidden": 16, "layers": 1, "sampling_steps": 2},
}


@pytest.fixture
def windows(sines: NDArray[np.float32]) -> Windows:
    return Windows.of(sines, np.arange(ROWS - LENGTH + 1), LENGTH)


def new(kind: str, windows: Windows) -> tuple[TorchGenerator, Training]:
    model = {"kind": kind, **MODELS.get(kind, {})}
    generator = new_generator(model, length=LENGTH, channels=windows.channels, seed=5)
    assert isinstance(generator, TorchGenerator)
    return generator, generator.start_training(windows, EVERYTHING, torch.device("cpu"))


def run(kind: str, windows: Windows, run_dir: Path, stop_after: int) -> tuple[dict[str, Any], LoopResult]:
    run_dir.mkdir()
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == stop_after

    while True:
        generator, training = new(kind, windows)
        try:
            result = train(training, run_dir, LoopOptions(1000.0, 2), stop)
        except TrainingInterruptedError:
            continue
        return generator.state_dict(), result


@pytest.mark.parametrize("kind", GENERATORS)
def test_everything_at_once_resumes_exactly(kind: str, windows: Windows, tmp_path: Path) -> None:
    total = sum(phase.iterations for phase in new(kind, windows)[1].phases)
    expected, result = run(kind, windows, tmp_path / "whole", 0)
    resumed, again = run(kind, windows, tmp_path / "resumed", total - 5)
    assert again.resumed
    assert not result.resumed
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    for name in ("iterations", "best", "kept", "looks", "alarms", "edges", "sparsity"):
        assert getattr(again, name) == getattr(result, name), name
    assert result.looks["looks"] >= 3
    for moving, size in result.edges.values():
        assert 0 < moving < 0.7 * size
    assert all(0 <= share <= 1 for share in result.sparsity.values())
