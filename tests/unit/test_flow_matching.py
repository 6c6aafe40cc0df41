"""Flow matching: scales, solvers against a closed form, what masks hide, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.errors import ConfigError
from core.generators.flow_matching import FlowMatching
from core.generators.flow_matching.scales import Scales
from core.networks.transformer import Rotation
from core.prepare.channels.layout import Block, Channels
from core.prepare.series import Windows
from core.training.batches import Batch

CPU = torch.device("cpu")
MEAN, SPREAD = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0])
BLOCKS = (
    Block("continuous"),
    Block("binary"),
    Block("one_hot", 3),
    Block("continuous", optional=True),
    Block("one_hot", 2, optional=True),
)


def made(channels: Channels | None = None, length: int = 4, **options: object) -> FlowMatching:
    small = {"hidden": 8, "layers": 1, "heads": 2, "expansion": 2, "levels": 2, "completion": 0.25}
    return FlowMatching(length=length, channels=channels or Channels.continuous(2), seed=1, **(small | options))  # type: ignore[arg-type]


def stirred(model: FlowMatching, seed: int = 0) -> FlowMatching:
    """Weights that do something: fresh ones give the velocity 0."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.2)
    return model.eval()


def rows_of(blocks: tuple[Block, ...], n: int, seed: int = 0) -> Tensor:
    """Valid channels of every kind."""
    rng = np.random.default_rng(seed)
    parts = []
    for block in blocks:
        if block.kind == "one_hot":
            values = np.eye(block.width)[rng.integers(0, block.width, n)]
        elif block.kind == "binary":
            values = rng.integers(0, 2, (n, 1)).astype(float)
        else:
            values = rng.gamma(2.0, size=(n, 1))
        there = rng.integers(0, 2, (n, 1)).astype(float)
        parts += [there, values * there] if block.optional else [values]
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


def test_scales_standardise_and_come_back() -> None:
    scales, rows = Scales(BLOCKS), rows_of(BLOCKS, 500)
    scales.fit(rows.split(70))
    flowing = scales.flowing(rows)
    torch.testing.assert_close(scales.channels(flowing), rows)
    assert flowing[:, 0].mean().abs() < 1e-5
    assert abs(float(flowing[:, 0].std(correction=0)) - 1) < 1e-5
    there = rows[:, 5] > 0  # a missing cell's 0 is no value
    assert flowing[there, 6].mean().abs() < 1e-5
    assert set(flowing[:, 1].unique().tolist()) == {-1.0, 1.0}


def test_whatever_flows_in_valid_channels_come_out() -> None:
    scales, rows = Scales(BLOCKS), rows_of(BLOCKS, 200)
    scales.fit(rows.split(70))
    out = scales.channels(torch.randn(1000, rows.shape[1], generator=torch.Generator().manual_seed(3)) * 3)
    assert rows[:, 0].min() <= out[:, 0].min() < out[:, 0].max() <= rows[:, 0].max()
    assert (out[:, 2:5].sum(1) == 1).all()
    assert set(out[:, [1, 5, 7]].unique().tolist()) <= {0.0, 1.0}
    assert (out[out[:, 5] == 0, 6] == 0).all()
    assert (out[out[:, 7] == 0, 8:] == 0).all()


class Gaussian(nn.Module):
    """The velocity that carries N(0, 1) to N(m, s^2), E[x_1 - x_0 | x_t] of independent ends, in closed form.

    With x_t = (1 - t) x_0 + t x_1 of variance w = (1 - t)^2 + t^2 s^2 it is
    m + (t s^2 - (1 - t)) / w (x_t - t m).
    The path that follows it is x(t) = t m + sqrt(w) x_0.
    """

    def forward(self, x: Tensor, static: Tensor, time: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        t = time[:, None, None]
        w = (1 - t) ** 2 + t**2 * SPREAD**2
        return MEAN + (t * SPREAD**2 - (1 - t)) / w * (x - t * MEAN), static


def error_of(solver: str, steps: int) -> float:
    model = made(solver=solver, sampling_steps=steps, whitening=False)
    model.velocity = Gaussian()  # type: ignore[assignment]
    for scales in (model.scales,):
        scales.low.fill_(-100)
        scales.high.fill_(100)
        scales.center.fill_(0)
        scales.spread.fill_(1)
    noise = model.noise(50, torch.Generator().manual_seed(0))
    windows, _ = model.decode(noise, torch.zeros(50, 0), torch.full((50,), 4))
    return float((windows - (MEAN + SPREAD * noise[0])).abs().max())


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("adams", 2), ("heun", 2)])
def test_solvers_reach_the_closed_form_at_their_order(solver: str, order: int) -> None:
    coarse, fine = error_of(solver, 32), error_of(solver, 128)
    assert fine < 0.1
    assert order - 0.4 < np.log2(coarse / fine) / 2 < order + 0.8


def test_the_loss_of_the_true_velocity_is_nothing() -> None:
    """One window and one noise: the straight line between them has a constant velocity."""
    model = made(whitening=False)
    windows = Windows.of(np.random.default_rng(0).random((40, 2), dtype=np.float32), np.arange(37), 4)
    training = model.start_training(windows, {"batch_size": 6, "joint_iterations": 1}, CPU)
    batch, noise = training.batches.draw(), training.noise()  # type: ignore[attr-defined]
    line = model.scales.flowing(batch.X) - noise[0]
    model.velocity.forward = lambda _, static, *__: (line, static)  # type: ignore[method-assign, assignment]
    known = torch.ones(6, dtype=torch.bool)
    losses = training.losses(batch, noise, torch.rand(6), known)  # type: ignore[attr-defined]
    assert all(float(loss) < 1e-6 for loss in losses.values())


def test_cells_that_are_missing_teach_nothing() -> None:
    channels = Channels((Block("continuous"), Block("continuous", optional=True)))
    model = stirred(made(channels))
    rng = np.random.default_rng(0)
    windows = Windows(
        rng.random((40, 3)).astype(np.float32),
        np.arange(37),
        4,
        channels,
        np.full(37, 4),
        *[np.zeros((37, 0), np.float32)] * 2,
    )
    training = model.start_training(windows, {"batch_size": 2, "joint_iterations": 1}, CPU)
    X = torch.rand(2, 4, 3)
    X[:, :, 1] = 0  # the presence of the second column
    seen = torch.ones_like(X)
    seen[:, :, 2] = 0
    noise, t, known = training.noise(), torch.rand(2), torch.ones(2, dtype=torch.bool)  # type: ignore[attr-defined]
    none = torch.zeros(2, 0)
    losses = []
    for wrong in (0.0, 5.0):
        # The network reads the cell, so only its own error may not count: read the same, expect another.
        target = X.clone()
        target[:, :, 2] += wrong
        model.velocity.forward = lambda x, static, *_: (torch.zeros_like(x), static)  # type: ignore[method-assign, assignment]
        batch = Batch(target, none, none, None, None, seen)
        losses.append(float(training.losses(batch, noise, t, known)["velocity"]))  # type: ignore[attr-defined]
    assert losses[0] == losses[1] > 0


def test_what_stands_past_the_end_is_not_read() -> None:
    model = stirred(made(length=6))
    x, rows = torch.randn(3, 6, 2), torch.arange(6) < torch.tensor([[6], [4], [1]])
    other = torch.where(rows[..., None], x, torch.full_like(x, 50.0))
    none, time = torch.zeros(3, 0), torch.tensor([0.2, 0.5, 0.9])
    first, second = (model.velocity(each, none, time, none, None, rows)[0] for each in (x, other))
    torch.testing.assert_close(first[rows], second[rows])
    assert not torch.allclose(first[1], model.velocity(x, none, time, none)[0][1])


def test_rotary_products_depend_on_the_distance_alone() -> None:
    rotary = Rotation.of(20, 8, CPU)
    q, k = torch.randn(2, 8)
    at = rotary(torch.stack([q, k])[:, None, None].expand(2, 1, 20, 8))
    products = at[0, 0] @ at[1, 0].T
    for distance in (-5, 0, 3):
        torch.testing.assert_close(
            products.diagonal(distance), products.diagonal(distance)[:1].expand(20 - abs(distance))
        )
    assert products.diagonal(1)[0] != pytest.approx(float(products.diagonal(2)[0]))


def test_guidance_goes_from_no_condition_through_the_condition_and_beyond() -> None:
    channels = Channels((Block("continuous"),), condition=(Block("one_hot", 2),))
    state, lengths = torch.randn(5, 4), torch.full((5,), 4)
    condition = torch.eye(2)[[0, 1, 0, 1, 1]]
    slopes = [
        stirred(made(channels, guidance=weight)).field(condition, lengths)(state, 0.4)
        for weight in (0.0, 1.0, 3.0)
    ]
    torch.testing.assert_close(slopes[2], slopes[0] + 3 * (slopes[1] - slopes[0]))
    assert not torch.allclose(slopes[0], slopes[1])
    torch.testing.assert_close(
        slopes[0][:1],
        stirred(made(channels, guidance=0.0)).field(1 - condition[:1], lengths[:1])(state[:1], 0.4),
    )


def test_it_learns_how_two_columns_go_together() -> None:
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.standard_normal((2000, 1)), axis=0)
    values = np.concatenate([np.sin(x / 5), np.cos(x / 5)], axis=1).astype(np.float32) / 2 + 0.5
    windows = Windows.of(values, np.arange(1997), 4)
    model = made(hidden=32, heads=4, expansion=4, sampling_steps=10)
    options = {
        "batch_size": 128,
        "joint_iterations": 200,
        "learning_rate": 5e-3,
        "schedule": {"kind": "cosine"},
    }
    training = model.start_training(windows, options, CPU)
    for step in range(1, 201):
        training.iterate(training.phases[0], step, logged=False, profiled=False)
    training.finish(None)
    radius = np.linalg.norm(model.sample(1000, 0).values - 0.5, axis=2)  # on a circle of radius 1/2
    assert np.median(np.abs(radius - 0.5)) < 0.06
    untrained = np.linalg.norm(made().sample(1000, 0).values - 0.5, axis=2)
    assert np.median(np.abs(untrained - 0.5)) > 0.09


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of twice heads"):
        made(hidden=10, heads=2)
