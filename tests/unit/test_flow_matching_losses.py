"""Flow matching's auxiliary losses: independent formulas, what does not count, and that 0 leaves bits alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from core.generators.flow_matching import FlowMatching
from core.generators.flow_matching.losses import (
    BANDWIDTHS,
    Auxiliary,
    Ends,
    correlation_error,
    correlations,
    discrepancy,
    fourier_error,
    moment_error,
)
from core.generators.flow_matching.training import FlowMatchingTraining
from core.generators.timegan.losses import moment_error as moment_error_of_timegan
from core.prepare.channels.layout import Block, Channels
from core.prepare.series import Windows

CPU = torch.device("cpu")
ERRORS = {
    "fourier": fourier_error,
    "fourier, square": lambda ends: fourier_error(ends, "square"),
    "correlation": correlation_error,
    "moments": moment_error,
}
each = pytest.mark.parametrize("name", ERRORS)


def ends_of(batch: int = 7, steps: int = 9, channels: int = 3, *, seed: int = 0, whole: bool = False) -> Ends:
    """Ends with holes in them, unless they are whole."""
    rng = torch.Generator().manual_seed(seed)
    true = torch.randn(batch, steps, channels, generator=rng).cumsum(1)
    estimated = true + 0.3 * torch.randn(true.shape, generator=rng)
    counts = (torch.rand(true.shape, generator=rng) < 0.7).float()
    return Ends(estimated, true, torch.ones_like(true) if whole else counts, torch.rand(batch, generator=rng))


@each
def test_the_truth_has_no_error(name: str) -> None:
    ends = ends_of()
    assert abs(float(ERRORS[name](replace(ends, estimated=ends.true)))) < 1e-6
    assert float(ERRORS[name](replace(ends, estimated=ends.estimated + 2 * ends.true.roll(1, 2)))) > 1e-2


@each
def test_what_does_not_count_is_not_seen(name: str) -> None:
    ends = ends_of()
    noise = 50 * (1 - ends.counts)
    disturbed = replace(ends, estimated=ends.estimated + noise, true=ends.true - noise)
    torch.testing.assert_close(ERRORS[name](disturbed), ERRORS[name](ends))
    late = replace(ends, time=torch.tensor([0.0] + [1.0] * 6))  # a window at time 0 is not seen either
    without = Ends(late.estimated[1:], late.true[1:], late.counts[1:], late.time[1:])
    torch.testing.assert_close(ERRORS[name](late), ERRORS[name](without))


@each
def test_gradients_reach_each_estimate_that_counts_and_no_other(name: str) -> None:
    ends = ends_of()
    estimated = ends.estimated.requires_grad_()
    ERRORS[name](replace(ends, estimated=estimated)).backward()
    assert estimated.grad is not None
    assert estimated.grad.isfinite().all()
    assert (estimated.grad[ends.counts == 0] == 0).all()
    assert (estimated.grad[ends.counts == 1] != 0).all()


@each
def test_going_down_the_gradient_finds_something_nearer(name: str) -> None:
    ends = ends_of(20)
    estimated, errors = ends.estimated + 2 * ends.true.roll(1, 2), []
    for _ in range(30):
        estimated.requires_grad_()
        error = ERRORS[name](replace(ends, estimated=estimated))
        (gradient,) = torch.autograd.grad(error, estimated)
        estimated = (estimated - 0.2 * gradient / gradient.norm()).detach()
        errors.append(float(error.detach()))
    assert errors[-1] < errors[0] - 0.02


@each
def test_gradients_stay_finite_where_nothing_moves_or_counts(name: str) -> None:
    flat = torch.ones(4, 6, 2)
    for counts in (torch.ones_like(flat), torch.zeros_like(flat)):
        estimated = flat.clone().requires_grad_()
        ERRORS[name](Ends(estimated, 2 * flat, counts, torch.full((4,), 0.5))).backward()
        assert estimated.grad is not None
        assert estimated.grad.isfinite().all()


def test_the_square_of_the_spectrum_is_the_square_of_the_error() -> None:
    """Parseval: with equal times it is the plain mean square over the cells that count."""
    ends = replace(ends_of(), time=torch.full((7,), 0.4))
    plain = ((ends.estimated - ends.true).square() * ends.counts).sum() / ends.counts.sum()
    torch.testing.assert_close(fourier_error(ends, "square"), plain)
    timed = ends_of(whole=True)
    by_window = (timed.estimated - timed.true).square().mean(dim=(1, 2))
    expected = (by_window * timed.time).sum() / timed.time.sum()
    torch.testing.assert_close(fourier_error(timed, "square"), expected)


def test_the_absolute_spectrum_is_that_of_the_sum_of_waves() -> None:
    ends = ends_of(2, 5, 1, whole=True)
    error = (ends.estimated - ends.true).numpy()[..., 0]
    steps = np.arange(5)
    total = 0.0
    for window, weight in zip(error, ends.time.tolist(), strict=True):
        for frequency in range(5):
            angle = 2 * np.pi * frequency * steps / 5
            parts = np.abs(window @ np.cos(angle)) + np.abs(window @ np.sin(angle))
            total += weight * parts / np.sqrt(5)
    assert float(fourier_error(ends)) == pytest.approx(total / (5 * float(ends.time.sum())), rel=1e-5)


def test_correlations_are_numpys() -> None:
    x = ends_of(steps=8, whole=True).true
    found = correlations(x, torch.ones_like(x))
    assert found.shape == (7, 3 + 3 * 3)  # lags 1, 2, 4
    for window, row in zip(x.double().numpy(), found.numpy(), strict=True):
        table = np.corrcoef(window.T)
        np.testing.assert_allclose(row[:3], table[[0, 0, 1], [1, 2, 2]], atol=1e-4)
        away = window - window.mean(0)
        for place, lag in enumerate((1, 2, 4)):
            expected = (away[lag:] * away[:-lag]).sum(0) / (away**2).sum(0)
            np.testing.assert_allclose(row[3 + 3 * place : 6 + 3 * place], expected, atol=1e-4)


def test_correlations_of_a_part_are_those_of_the_part_alone() -> None:
    x = ends_of(whole=True).true
    counts = torch.ones_like(x)
    counts[:, 5:] = 0
    found = correlations(torch.where(counts > 0, x, torch.tensor(9.0)), counts)
    alone = correlations(x[:, :5], torch.ones_like(x[:, :5]))
    torch.testing.assert_close(found[:, :6], alone[:, :6], atol=1e-5, rtol=0)
    assert (correlations(torch.ones_like(x), counts) == 0).all()


def test_the_discrepancy_is_the_naive_one() -> None:
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(9, 4)), rng.normal(0.5, size=(9, 4)), rng.random(9)
    kernels = {
        name: np.mean([rbf_kernel(a, b, gamma=1 / (2 * bandwidth * 4)) for bandwidth in BANDWIDTHS], axis=0)
        for name, (a, b) in {"xx": (x, x), "yy": (y, y), "xy": (x, y)}.items()
    }
    total = count = 0.0
    for i in range(9):
        for j in range(9):
            if i != j:
                both = weight[i] * weight[j]
                count += both
                total += both * (kernels["xx"][i, j] + kernels["yy"][i, j])
                total -= both * (kernels["xy"][i, j] + kernels["xy"][j, i])
    found = discrepancy(*(torch.from_numpy(part) for part in (x, y, weight)))
    assert float(found) == pytest.approx(total / count, rel=1e-9)


def test_the_discrepancy_is_of_distributions_not_of_pairs() -> None:
    """Unbiased: around 0 for two samples of one distribution, however its pairs are drawn."""
    rng = torch.Generator().manual_seed(0)
    same, shifted = [], []
    for _ in range(200):
        x, y = torch.randn(2, 20, 3, generator=rng)
        same.append(float(discrepancy(x, y, torch.ones(20))))
        shifted.append(float(discrepancy(x, y + 0.5, torch.ones(20))))
    error = np.std(same) / np.sqrt(len(same))
    assert abs(np.mean(same)) < 4 * error < np.mean(shifted) / 5


def test_moments_are_numpys_and_timegans() -> None:
    ends = ends_of(whole=True)
    plain = replace(ends, time=torch.full((7,), 0.3))
    x, y = (part.double().numpy() for part in (plain.estimated, plain.true))
    expected = np.abs(x.mean(0) - y.mean(0)).mean() + np.abs(x.std(0) - y.std(0)).mean()
    assert float(moment_error(plain)) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(moment_error(plain), moment_error_of_timegan(plain.true, plain.estimated))
    # A window with twice the weight is as good as two of them.
    weighted = replace(ends, time=torch.tensor([0.8] + [0.4] * 6))
    twice = Ends(*(torch.cat([part[:1], part]) for part in vars(plain).values()))
    torch.testing.assert_close(moment_error(weighted), moment_error(twice))


MIXED = Channels(
    (Block("continuous"), Block("one_hot", 3), Block("binary"), Block("continuous", optional=True)),
    static=(Block("one_hot", 2), Block("continuous")),
)


def test_discrete_columns_are_left_to_the_velocity() -> None:
    names = {"fourier": 1.0, "fourier_form": "absolute", "correlation": 1.0, "moments": 1.0}
    auxiliary = Auxiliary(MIXED, names, CPU)
    steps, static = ends_of(channels=7), ends_of(channels=3)
    static = Ends(*(part[:, 0] if part.dim() == 3 else part for part in vars(static).values()))
    found = auxiliary(steps, static)
    discrete = torch.ones(7)
    discrete[[0, 6]] = 0
    other = auxiliary(
        replace(steps, estimated=steps.estimated + discrete),
        replace(static, estimated=static.estimated + torch.tensor([1.0, 1.0, 0.0])),
    )
    assert found == other
    assert set(found) == {"fourier", "correlation", "moments"}
    alone = Auxiliary(Channels((Block("one_hot", 3),)), names, CPU)(ends_of(), static)
    assert [float(loss) for loss in alone.values()] == [0, 0, 0]


def trained(windows: Windows, iterations: int = 3, **options: float) -> tuple[FlowMatchingTraining, list[dict]]:
    model = FlowMatching(
        length=windows.length,
        channels=windows.channels,
        hidden=16,
        layers=1,
        heads=2,
        seed=1,
        **options,  # type: ignore[arg-type]
    )
    training = model.start_training(
        windows, {"batch_size": 16, "joint_iterations": iterations, "learning_rate": 5e-3}, CPU
    )
    assert isinstance(training, FlowMatchingTraining)
    losses = [training.iterate(training.phases[0], step) for step in range(1, iterations + 1)]
    return training, losses


def walks(rows: int = 200) -> Windows:
    values = np.cumsum(np.random.default_rng(0).normal(size=(rows, 3)), axis=0).astype(np.float32)
    return Windows.of(values, np.arange(rows - 7), 8)


def test_weights_of_nothing_leave_the_bits_as_they_are() -> None:
    """What stands in the class of before the options: the velocity's loss alone, no curve beside it."""
    windows = walks()
    (plain, losses), (zero, _) = trained(windows), trained(windows, fourier=0.0, correlation=0.0, moments=0.0)
    assert all(set(step) == {"velocity"} for step in losses)
    for one, other in zip(plain.model.parameters(), zero.model.parameters(), strict=True):
        assert torch.equal(one, other)
    more, curves = trained(windows, fourier=0.1, correlation=0.1, moments=0.1)
    assert all(set(step) == {"velocity", "fourier", "correlation", "moments"} for step in curves)
    # The same batches and noise: before the first step the velocity's error is the same.
    assert torch.equal(curves[0]["velocity"], losses[0]["velocity"])
    assert not torch.equal(more.model.velocity.read.weight, plain.model.velocity.read.weight)


def test_each_loss_counts_by_its_weight() -> None:
    names = {"fourier": 0.5, "fourier_form": "square", "correlation": 0.0, "moments": 3.0}
    auxiliary, ends = Auxiliary(Channels.continuous(3), names, CPU), ends_of()
    none = Ends(*(torch.zeros(7, 0),) * 3, ends.time)
    losses = {"velocity": torch.tensor(2.0)} | auxiliary(ends, none)
    expected = 2 + 0.5 * fourier_error(ends, "square") + 3 * moment_error(ends)
    torch.testing.assert_close(auxiliary.total(losses), expected)


def test_the_estimated_end_is_where_the_line_ends() -> None:
    """With the true velocity it is the window itself, whatever the time: nothing is left of any loss."""
    training, _ = trained(walks(), whitening=False, fourier=1.0, correlation=1.0, moments=1.0)
    batch, noise = training.batches.draw(), training.noise()
    model = training.model
    line = model.scales.flowing(batch.X) - noise[0]
    training.model.velocity.forward = lambda _, static, *__: (line, static)  # type: ignore[method-assign, assignment]
    losses = training.losses(batch, noise, torch.rand(16), torch.ones(16, dtype=torch.bool))
    assert all(abs(float(loss)) < 1e-5 for loss in losses.values())
