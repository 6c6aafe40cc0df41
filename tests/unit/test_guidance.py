"""Guidance by a function: exact for Gaussian windows and a linear observation, honest about what it reached."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.errors import ConfigError
from core.generators.flow_matching import FlowMatching
from core.generators.flow_matching.columns import Columns, Original
from core.generators.flow_matching.guidance import Guidance
from core.generators.flow_matching.guided import Guided, guided
from core.prepare.channels.layout import Column, Layout, WindowArrays
from core.prepare.channels.transforms import decode_windows
from tests.unit.test_flow_matching import made, stirred

LENGTH = 3
SIZE = 2 * LENGTH
PLAIN = Layout((Column("x"), Column("y", minimum=-2.0, maximum=3.0)))


class GaussianWindows(nn.Module):
    """The velocity from N(0, 1) to N(m, S) in closed form, S of any shape.

    With W = (1 - t)^2 I + t^2 S it is m + (t S - (1 - t) I) W^-1 (x - t m).
    """

    def __init__(self, mean: Tensor, covariance: Tensor) -> None:
        super().__init__()
        self.mean, self.covariance = mean, covariance
        self.register_parameter("nothing", nn.Parameter(torch.zeros(1)))

    def forward(self, x: Tensor, static: Tensor, time: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        return self.velocity(x.flatten(1), float(time[0])).view(x.shape), static

    def velocity(self, x: Tensor, t: float) -> Tensor:
        eye = torch.eye(len(self.mean), dtype=x.dtype)
        w = (1 - t) ** 2 * eye + t**2 * self.covariance.to(x)
        matrix = torch.linalg.solve(w, t * self.covariance.to(x) - (1 - t) * eye)  # both are functions of S
        return self.mean.to(x) + (x - t * self.mean.to(x)) @ matrix

    def observed(self, a: Tensor, y: float, precision: float) -> GaussianWindows:
        """Given that a . x is y, but for noise of this precision."""
        gain = self.covariance @ a / (a @ self.covariance @ a + 1 / precision)
        return GaussianWindows(
            self.mean + gain * (y - a @ self.mean), self.covariance - torch.outer(gain, a @ self.covariance)
        )


def gaussian() -> GaussianWindows:
    rng = torch.Generator().manual_seed(0)
    half = torch.randn(SIZE, SIZE, generator=rng, dtype=torch.float64) / 2
    return GaussianWindows(torch.randn(SIZE, generator=rng, dtype=torch.float64), half @ half.T)


A = torch.tensor([0.0, 1.0, -0.5, 0.0, 0.0, 0.7], dtype=torch.float64)


def wide(model: FlowMatching) -> FlowMatching:
    """What flows are the channels themselves, of any size."""
    model.scales.low.fill_(-100)
    model.scales.high.fill_(100)
    model.scales.center.fill_(0)
    model.scales.spread.fill_(1)
    return model


@pytest.mark.parametrize("strength", [0.0, 3.0, 1e4, inf])
@pytest.mark.parametrize("time", [0.02, 0.5, 0.97])
def test_the_bent_velocity_is_that_of_the_observed_gaussian(strength: float, time: float) -> None:
    flow = gaussian()
    guidance = Guidance(lambda _: torch.zeros(0), strength)
    x = torch.randn(50, SIZE, dtype=torch.float64)
    slope, pull = guidance.slopes(
        flow.velocity, x, time, 1e-4, lambda end: (end @ A - 1.5).square()[:, None] / 2
    )
    expected = flow.observed(A, 1.5, strength) if strength else flow
    torch.testing.assert_close(slope + pull, expected.velocity(x, time), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("strength", [3.0, inf])
@pytest.mark.parametrize("time", [0.02, 0.5, 0.97])
def test_several_observations_are_exact_together(strength: float, time: float) -> None:
    flow, b = gaussian(), torch.tensor([1.0, 0.9, -0.5, 0.3, 0.0, 0.7], dtype=torch.float64)
    x = torch.randn(50, SIZE, dtype=torch.float64)
    guidance = Guidance(lambda _: torch.zeros(0), strength)

    def losses(end: Tensor) -> Tensor:
        return torch.stack([(end @ A - 1.5).square() / 2, (end @ b + 0.5).square() / 2], dim=1)

    slope, pull = guidance.slopes(flow.velocity, x, time, 1e-4, losses)
    expected = flow.observed(A, 1.5, strength).observed(b, -0.5, strength)
    torch.testing.assert_close(slope + pull, expected.velocity(x, time), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strength", [20.0, inf])
def test_windows_follow_the_observed_gaussian(strength: float) -> None:
    flow = gaussian()
    model = wide(made(length=LENGTH, whitening=False))
    model.velocity = flow  # type: ignore[assignment]

    def guide(columns: Columns) -> Tensor:  # the numbers of a window lie step by step: x, y, x, y
        value = (
            columns["x"][:, 1] * A[2]
            + (columns["y"][:, 0] + 2) / 5 * A[1]
            + (columns["y"][:, 2] + 2) / 5 * A[5]
        )
        return (value - 1.5).square() / 2

    n = 1000
    found = guided(model, PLAIN, Guidance(guide, strength), n, 0)
    sample = torch.from_numpy(found.windows.values).flatten(1).double()
    expected = flow.observed(A, 1.5, strength)
    error = (expected.covariance.diagonal().clamp(min=0) / n).sqrt()
    assert ((sample.mean(0) - expected.mean).abs() < 4 * error + 0.02).all()
    assert (torch.cov(sample.T) - expected.covariance).abs().max() < 0.06 * flow.covariance.max()
    # Far from what windows are without guidance, or it would show nothing.
    assert (expected.mean - flow.mean).abs().max() > 0.3
    assert found.after.mean() < 0.1 * found.before.mean()


def test_no_strength_is_plain_sampling() -> None:
    model = stirred(made(length=LENGTH, solver="adams", sampling_steps=200))
    found = guided(model, PLAIN, Guidance(lambda c: c["x"].square().sum(1), 0.0, 200), 5, 3)
    plain = model.sample(5, 3)
    np.testing.assert_allclose(found.windows.values, plain.values, atol=0.02)
    np.testing.assert_array_equal(found.before, np.square(plain.values[..., 0].astype(np.float64)).sum(1))


def drawn(
    guide: object, known: WindowArrays | None = None, n: int = 6, seed: int = 1, **options: object
) -> Guided:
    model = stirred(made(length=LENGTH))
    return guided(model, PLAIN, Guidance(guide, steps=12, **options), n, seed, known=known)  # type: ignore[arg-type]


def near(columns: Columns) -> Tensor:
    return (columns["x"][:, 1] - 0.9).square()


def test_what_was_reached_is_told_of_the_windows_as_they_are() -> None:
    found = drawn(near)
    x = decode_windows(PLAIN, found.windows).temporal[:, 1, 0]
    np.testing.assert_allclose(found.after, np.square(x - 0.9))
    assert found.after.max() < found.before.max()
    again = drawn(near)
    np.testing.assert_array_equal(found.windows.values, again.windows.values)
    assert not np.array_equal(found.windows.values, drawn(near, seed=2).windows.values)


def test_windows_stay_in_the_range_of_training_whatever_is_asked() -> None:
    found = drawn(lambda c: (c["x"][:, 1] - 50).square())
    assert found.windows.values.max() <= 1
    assert found.after.min() > 49**2 - 1  # and what was not reached is told


def test_known_cells_stay_while_others_are_guided() -> None:
    values = np.full((6, LENGTH, 2), np.nan, dtype=np.float32)
    values[:, 0] = [0.123, 0.456]
    none = np.zeros((6, 0), dtype=np.float32)
    known = WindowArrays(values, none, none, np.full(6, LENGTH))
    found = drawn(near, known)
    np.testing.assert_array_equal(found.windows.values[:, 0], values[:, 0])
    assert found.after.mean() < found.before.mean()
    plain = stirred(made(length=LENGTH)).complete(known, 1)
    x = decode_windows(PLAIN, plain).temporal[:, 1, 0]
    np.testing.assert_allclose(found.before, np.square(x - 0.9))


def test_a_known_cell_that_the_function_reads_moves_the_others() -> None:
    """Given the first step, the Gaussian windows observed on a sum of the first and another step."""
    flow = gaussian()
    free = torch.tensor([False, False, True, True, True, True])
    x = torch.randn(20, SIZE, dtype=torch.float64)
    zero = torch.zeros_like(x)
    _, pull = Guidance(lambda _: torch.zeros(0)).slopes(
        lambda state, t: torch.where(free, flow.velocity(state, t), zero),
        x,
        0.5,
        1e-4,
        lambda end: (end @ A - 1.5).square()[:, None],
        lambda directions: directions * free,
    )
    assert (pull[:, ~free] == 0).all()
    assert pull[:, free].abs().max() > 0.1


EVERY = Layout(
    (
        Column("none", minimum=-3.0, maximum=9.0),
        Column("robust", minimum=-1.0, maximum=1.0, scaler="robust"),
        Column("log", minimum=0.5, maximum=2.0, transform="log", scaler="standard"),
        Column("difference", minimum=-0.2, maximum=0.3, transform="difference"),
        Column("return", minimum=-0.1, maximum=0.1, transform="log_difference"),
        Column("rank", scaler="quantile", quantiles=(0.0, 0.1, 1.0)),
        Column("kind", "categorical", categories=("a", "b", "c")),
        Column("hole", optional=True),
    ),
    (
        Column("age", minimum=20.0, maximum=60.0),
        Column("difference before", minimum=5.0, maximum=8.0, level_of="difference"),
    ),
    (Column("return before", minimum=1.0, maximum=2.0, transform="log", level_of="return"),),
)


def test_columns_are_those_that_are_written() -> None:
    model = made(EVERY.channels, length=LENGTH)
    rng = np.random.default_rng(0)
    values = rng.random((4, LENGTH, model.channels.features)).astype(np.float32)
    static, condition = rng.random((4, 2)).astype(np.float32), rng.random((4, 1)).astype(np.float32)
    windows = WindowArrays(values, static, condition, np.full(4, LENGTH))
    original = Original(model, EVERY)
    flowing = (
        model.scales.flowing(torch.from_numpy(values)),
        model.static_scales.flowing(torch.from_numpy(static)),
    )
    soft, hard = original.estimated(*flowing, torch.from_numpy(condition)), original.measured(windows)
    assert set(soft) == set(hard) == {"none", "robust", "log", "difference", "return", "age"}
    for name, column in hard.items():
        torch.testing.assert_close(soft[name], column, rtol=1e-5, atol=1e-5)
    decoded = decode_windows(EVERY, windows)
    np.testing.assert_array_equal(hard["return"].numpy(), decoded.temporal[..., 4])
    np.testing.assert_array_equal(hard["age"].numpy()[:, 0], decoded.static[:, 0])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rank", "scaler=quantile"),
        ("kind", "categorical"),
        ("hole", "may be missing"),
        ("return before", "condition"),
        ("nothing", "no such column"),
    ],
)
def test_columns_without_a_gradient_are_refused(name: str, why: str) -> None:
    windows = made(EVERY.channels, length=LENGTH).sample(2, 0)
    with pytest.raises(ConfigError, match=f"cannot read '{name}': .*{why}"):
        Original(made(EVERY.channels, length=LENGTH), EVERY).measured(windows)[name]


@pytest.mark.parametrize(
    ("guide", "says"),
    [
        (lambda c: c["x"][None], "one loss for each window"),
        (lambda c: c["x"][:, 0] - 5, "at least 0"),
        (lambda c: c["x"][:, 0] * torch.nan, "at least 0"),
        (lambda c: torch.ones(len(c["x"])), "do not depend"),
        (lambda c: (c["x"][:, 0] * 0).sqrt(), "not finite"),
        (lambda _: 3.0, "one loss for each window"),
    ],
)
def test_functions_that_are_no_losses_are_refused(guide: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        drawn(guide)


def test_what_cannot_be_guided_is_refused() -> None:
    with pytest.raises(ConfigError, match="strength >= 0"):
        Guidance(near, -1.0)
    short = made(length=LENGTH)
    short.margins = replace(short.margins, lengths=torch.tensor([0, 1, 0, 4]))
    with pytest.raises(ConfigError, match="differ in length"):
        guided(short, PLAIN, Guidance(near), 2, 0)


def test_the_path_ends_on_the_plane_at_infinite_strength() -> None:
    flow = gaussian()
    guidance = Guidance(lambda _: torch.zeros(0), inf, 100)
    start = torch.randn(200, SIZE, dtype=torch.float64)
    with torch.no_grad():
        end = guidance.follow(flow.velocity, start, lambda end: (end @ A - 1.5).square()[:, None])
    assert (end @ A - 1.5).abs().max() < 1e-9
