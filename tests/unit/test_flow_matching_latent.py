"""Flow matching in a latent space: the autoencoder comes first and then stays, its latents are standardised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config import JobConfig, build_job
from core.errors import ConfigError, TrainingInterruptedError
from core.generators.flow_matching import FlowMatching
from core.generators.flow_matching.latent import Translator
from core.generators.flow_matching.training import FlowMatchingTraining
from core.prepare.channels.layout import Block, Channels
from core.prepare.series import Windows
from core.training.loop import LoopOptions, train
from tests.unit.test_config import SP500

CPU = torch.device("cpu")
LENGTH = 8


def planes(rows: int = 400) -> Windows:
    """Five columns that two numbers tell."""
    rng = np.random.default_rng(0)
    hidden = np.cumsum(rng.normal(size=(rows, 2)), axis=0)
    values = (hidden @ rng.normal(size=(2, 5))).astype(np.float32)
    return Windows.of(values, np.arange(rows - LENGTH), LENGTH)


def started(windows: Windows, latent: int | None = 2, **options: object) -> FlowMatchingTraining:
    model = FlowMatching(
        length=LENGTH,
        channels=windows.channels,
        hidden=16,
        layers=1,
        heads=2,
        completion=0.0,
        latent=latent,
        sampling_steps=5,
        seed=1,
    )
    given = {
        "batch_size": 32,
        "embedding_iterations": 6,
        "joint_iterations": 4,
        "learning_rate": 1e-2,
        **options,
    }
    training = model.start_training(windows, given, CPU)
    assert isinstance(training, FlowMatchingTraining)
    return training


def run(training: FlowMatchingTraining, name: str) -> list[dict[str, float]]:
    phase = next(phase for phase in training.phases if phase.name == name)
    losses = [training.iterate(phase, step) for step in range(1, phase.iterations + 1)]
    return [{key: float(value) for key, value in step.items()} for step in losses]


def weights_of(training: FlowMatchingTraining, *networks: str) -> dict[str, torch.Tensor]:
    return {
        name: parameter.detach().clone()
        for name, parameter in training.model.named_parameters()
        if name.startswith(networks)
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_autoencoder_learns_first_and_stays() -> None:
    training = started(planes())
    assert [(phase.name, phase.iterations, phase.generates) for phase in training.phases] == [
        ("embedding", 6, False),
        ("velocity", 4, True),
    ]
    velocity, before = weights_of(training, "velocity"), weights_of(training, "embedder", "recovery")
    run(training, "embedding")
    embedded = weights_of(training, "embedder", "recovery")
    assert same(velocity, weights_of(training, "velocity"))
    assert not any(torch.equal(before[name], embedded[name]) for name in embedded if "weight" in name)
    run(training, "velocity")
    assert same(embedded, weights_of(training, "embedder", "recovery"))
    assert not same(velocity, weights_of(training, "velocity"))


def test_columns_that_two_numbers_tell_come_back_from_two() -> None:
    losses = run(started(planes(), embedding_iterations=150), "embedding")
    assert losses[0]["reconstruction"] > 0.5
    assert losses[-1]["reconstruction"] < 0.02
    narrow = run(started(planes(), latent=1, embedding_iterations=150), "embedding")
    assert narrow[-1]["reconstruction"] > 5 * losses[-1]["reconstruction"]


def test_what_flows_is_standardised_over_the_training_windows() -> None:
    windows = planes()
    training = started(windows)
    run(training, "embedding")
    training.velocity_step()
    model = training.model
    everything = torch.from_numpy(windows.gather(np.arange(len(windows))).values)
    with torch.no_grad():
        latents = model.embedder(model.scales.flowing(everything)).flatten(0, 1)
    torch.testing.assert_close(model.latents.center, latents.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.latents.spread, latents.std(0, correction=0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.latents.high, latents.amax(0))
    first = model.latents.center.clone()
    training.velocity_step()
    assert torch.equal(first, model.latents.center)


def test_windows_are_what_recovery_makes_of_latents() -> None:
    """A flow that stands still at a window's latents gives that window back, as far as the autoencoder does."""
    windows = planes()
    training = started(windows, embedding_iterations=150)
    run(training, "embedding")
    training.velocity_step()
    model = training.model.eval()
    x = torch.from_numpy(windows.gather(np.arange(50)).values)
    with torch.no_grad():
        latents = model.latents.flowing(model.embedder(model.scales.flowing(x)))
        model.velocity.forward = lambda x, static, *_: (torch.zeros_like(x), static)  # type: ignore[method-assign, assignment]
        again, _ = model.decode((latents, torch.zeros(50, 0)), torch.zeros(50, 0), torch.full((50,), LENGTH))
    spread = x.std(dim=(0, 1))
    assert float(((again - x) / spread).square().mean()) < 0.05


def test_latents_are_made_by_the_averaged_weights() -> None:
    training = started(planes(), ema=0.9)
    run(training, "embedding")
    assert training.average is not None
    averages = dict(zip(training.average.names, [a.clone() for a in training.average.averages], strict=True))
    own = weights_of(training, "embedder", "recovery")
    run(training, "velocity")
    kept = weights_of(training, "embedder", "recovery")
    for name, value in kept.items():
        assert torch.equal(value, averages[name])
        assert torch.equal(value, training.weights()[name])
    assert not same(own, kept)
    assert training.average.updates == 4


def test_a_step_past_the_end_is_not_read_and_teaches_nothing() -> None:
    translator = Translator(3, 2, hidden=8, heads=2, expansion=2)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in translator.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.5)
    x, rows = torch.randn(3, LENGTH, 3, generator=rng), torch.arange(LENGTH) < torch.tensor([[8], [5], [1]])
    other = torch.where(rows[..., None], x, torch.full_like(x, 50.0))
    torch.testing.assert_close(translator(x, rows)[rows], translator(other, rows)[rows])
    assert not torch.allclose(translator(x)[1, :5], translator(x, rows)[1, :5])


def test_the_value_of_a_missing_cell_is_not_learnt_but_that_it_is_missing() -> None:
    channels = Channels((Block("continuous"), Block("continuous", optional=True)))
    values = np.random.default_rng(0).random((400, 3)).astype(np.float32)
    values[:, 1] = np.arange(400) % 3 > 0
    values[:, 2] *= values[:, 1]
    training = started(replace(planes(), channels=channels, values=values))
    batch = training.batches.draw()
    training.batches.draw = lambda: batch  # type: ignore[method-assign]
    true, missing = training.model.scales.flowing(batch.X), 1 - batch.X[..., 1]
    found = []
    for channel in (None, 1, 2):
        wrong = torch.zeros_like(true) + 0.5
        if channel is not None:
            wrong[..., channel] += missing
        training.model.recovery.forward = lambda h, _, y=true + wrong: y + 0 * h.sum()  # type: ignore[method-assign, assignment, misc]
        found.append(float(training.autoencoder.step()["reconstruction"]))  # type: ignore[union-attr]
    assert found[0] == pytest.approx(0.25)
    assert found[2] == found[0] < found[1]


@pytest.mark.parametrize("stop", [4, 8])
def test_a_training_cut_off_in_either_phase_ends_with_the_same_bits(stop: int, tmp_path: Path) -> None:
    windows, options = planes(), {"ema": 0.9, "schedule": {"kind": "cosine", "warmup": 2}}
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    whole = started(windows, **options)
    train(whole, tmp_path / "whole", LoopOptions())
    count = 0

    def enough() -> bool:
        nonlocal count
        count += 1
        return count == stop

    cut = started(windows, **options)
    with pytest.raises(TrainingInterruptedError):
        train(cut, tmp_path / "cut", LoopOptions(), enough)
    again = started(windows, **options)
    result = train(again, tmp_path / "cut", LoopOptions())
    assert result.resumed
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


@pytest.mark.parametrize("name", ["completion", "fourier", "correlation", "moments"])
def test_what_looks_at_columns_is_refused_beside_a_latent(name: str) -> None:
    given = {"completion": 0.0, name: 0.1}
    with pytest.raises(ConfigError, match=rf"model\.latent: .* set model\.{name}=0"):
        FlowMatching(length=4, channels=Channels.continuous(2), latent=2, **given)  # type: ignore[arg-type]
    words = [
        "model.kind=flow_matching",
        "model.latent=2",
        *(f"model.{key}={value}" for key, value in given.items()),
    ]
    with pytest.raises(ConfigError, match=rf"set model\.{name}=0"):
        build_job(SP500, overrides=words)


def test_a_latent_alone_is_fine() -> None:
    job = build_job(SP500, overrides=["model.kind=flow_matching", "model.latent=2", "model.completion=0"])
    assert JobConfig.model_validate_json(job.model_dump_json()) == job
