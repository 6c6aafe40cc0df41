"""Series continued by a trained network, against the process that it learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.flow_matching import FlowMatching
from core.prepare.channels.layout import Column, Layout
from core.prepare.series import Windows
from tests.unit.test_series import smooth, write
from tests.unit.test_series_completion import ar_errors, autocorrelation

PHI = 0.8
LENGTH = 16
LAYOUT = Layout((Column("x"),))


def process(steps: int) -> NDArray[np.float32]:
    """An AR(1) of variance 0.01 about 1/2, shape (steps, 1)."""
    return smooth(np.random.default_rng(0), 1, steps, 1, PHI)[0].astype(np.float32)


@pytest.fixture(scope="module")
def trained() -> GeneratorBundle:
    torch.set_num_threads(1)
    rows = process(50_000)
    windows = Windows.of(rows, np.arange(len(rows) - LENGTH + 1), LENGTH)
    sizes = {"hidden": 32, "layers": 2, "completion": 0.75, "sampling_steps": 20, "solver": "adams"}
    model = FlowMatching(length=LENGTH, channels=LAYOUT.channels, seed=0, **sizes)  # type: ignore[arg-type]
    options = {
        "joint_iterations": 3000,
        "learning_rate": 2e-3,
        "optimizer": {"kind": "adamw"},
        "schedule": {"kind": "cosine", "warmup": 100},
        "ema": 0.995,
    }
    training = model.start_training(windows, options, torch.device("cpu"))
    (phase,) = training.phases
    for step in range(1, phase.iterations + 1):
        training.iterate(phase, step, logged=False, profiled=False)
    training.finish(None)
    return GeneratorBundle(model.eval(), SeriesInfo("made-up", LAYOUT, None, "x"))


@pytest.mark.slow
def test_a_network_continues_a_process_as_the_process_does(trained: GeneratorBundle, tmp_path: Path) -> None:
    """Variance and autocorrelations of 20,000 steps, in four series, within four Monte-Carlo errors."""
    steps, lags = 20_000, (1, 5)
    made = write(trained, tmp_path, steps=steps // 4, series=4, scaled=True)
    x = np.load(tmp_path / "x.npy")[..., 0].astype(float)
    spread, errors = ar_errors(PHI, steps, lags)
    found = [x.var() / 0.01, *(autocorrelation(x, lag) for lag in lags)]
    wanted = [1.0, *(PHI**lag for lag in lags)]
    print(found, wanted, spread, errors, made.seams)  # noqa: T201 - shown where it fails
    assert np.all(np.abs(np.subtract(found, wanted)) < 4 * np.array([spread, *errors]))


@pytest.mark.slow
def test_what_is_completed_has_no_seams_where_candidates_have(trained: GeneratorBundle, tmp_path: Path) -> None:
    completed = write(trained, tmp_path, steps=3000, scaled=True).seams
    trained.generator.options["completion"] = 0.0  # type: ignore[attr-defined]
    pieced = write(trained, tmp_path, "pieced.npy", steps=3000, scaled=True).seams
    assert completed is not None
    assert pieced is not None
    print(completed, pieced)  # noqa: T201 - shown where it fails
    assert completed["judged"]
    assert not completed["visible"]
    assert pieced["visible"]
    assert completed["distance"] < pieced["distance"] / 2
