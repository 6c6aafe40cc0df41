from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch.nn import functional

from core.evaluation.distances.context_fid import ContextFid, frechet_distance, gaussian
from core.evaluation.distances.ts2vec import (
    _batch,
    _Convolution,
    _Encoder,
    _step_loss,
    contrast,
    hierarchical_loss,
    train_ts2vec,
)


def walks(windows: int = 120, seed: int = 0, steps: int = 16) -> np.ndarray:
    moves = np.random.default_rng(seed).normal(size=(windows, steps, 2))
    return (moves.cumsum(axis=1) + 15) / 30


def covariance(dimension: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(dimension, dimension))
    return root @ root.T


def codes(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_distance_of_gaussians_with_commuting_covariances():
    # |m1 - m2|^2 + sum (s1 - s2)^2 of the standard deviations along the common axes.
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    one, other = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.5])
    left = (np.array([0.0, 1.0, 2.0]), axes * one**2 @ axes.T)
    right = (np.array([1.0, 1.0, 4.0]), axes * other**2 @ axes.T)
    assert frechet_distance(left, right) == pytest.approx(5 + ((one - other) ** 2).sum())


def test_the_distance_of_any_gaussians_is_that_by_the_matrix_root():
    one, other = (np.zeros(6), covariance(6, 0)), (np.ones(6), covariance(6, 1))
    root = sqrtm(one[1] @ other[1]).real
    assert frechet_distance(one, other) == pytest.approx(6 + np.trace(one[1] + other[1] - 2 * root))
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))


def test_singular_covariances_are_no_trouble():
    few = np.random.default_rng(0).normal(size=(10, 40))
    assert frechet_distance(gaussian(few), gaussian(few)) == pytest.approx(0, abs=1e-9)
    point = (few[0], np.zeros((40, 40)))
    mean, spread = gaussian(few)
    expected = ((mean - few[0]) ** 2).sum() + np.trace(spread)
    assert frechet_distance(gaussian(few), point) == pytest.approx(expected)


def test_it_comes_from_samples_too():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (50_000, 2)), rng.normal(3, 2, (50_000, 2))
    assert frechet_distance(gaussian(one), gaussian(other)) == pytest.approx(2 * (9 + 1), rel=0.02)


def test_context_fid_is_0_of_the_same_windows_and_grows_with_noise():
    real, fresh = walks(), walks(seed=1)
    distance = ContextFid(real, seed=0, iterations=40)
    assert distance(real.copy()) == pytest.approx(0, abs=1e-9)
    noise = np.random.default_rng(2).normal(size=fresh.shape)
    found = [distance(fresh + scale * noise) for scale in (0, 0.05, 0.15, 0.5)]
    assert 0 < found[0] < found[1] < found[2] < found[3]


def test_context_fid_sees_the_order_of_steps():
    real = walks()
    distance = ContextFid(real, seed=0, iterations=40)
    shuffled = np.random.default_rng(0).permuted(walks(seed=1), axis=1)
    assert distance(shuffled) > 3 * distance(walks(seed=1))


def test_the_encoder_hangs_on_the_seed_alone():
    real = walks(40)
    threads = torch.get_num_threads()
    first = train_ts2vec(real, seed=5, iterations=5)(real)
    torch.manual_seed(99)
    torch.set_num_threads(2)
    try:
        state = torch.get_rng_state()
        np.testing.assert_array_equal(train_ts2vec(real, seed=5, iterations=5)(real), first)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert np.abs(train_ts2vec(real, seed=6, iterations=5)(real) - first).max() > 0.01
    assert first.shape == (40, 320)


def test_training_brings_two_crops_of_a_window_together():
    data = torch.from_numpy(walks(64).astype(np.float32))
    rng = torch.Generator().manual_seed(0)
    encoder = _Encoder(2, 16, rng)
    batches = [_batch(data, rng) for _ in range(10)]

    def loss(network: torch.nn.Module) -> float:
        with torch.no_grad():
            return float(np.mean([_step_loss(network, crops, rng).item() for crops in batches]))

    before = loss(encoder)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-3)
    for _ in range(40):
        optimiser.zero_grad()
        _step_loss(encoder, _batch(data, rng), rng).backward()
        optimiser.step()
    assert loss(encoder) < 0.9 * before


def test_crops_overlap_in_the_same_steps_of_the_same_window():
    # A window holds its own number and the step's.
    data = torch.stack(torch.meshgrid(torch.arange(20), torch.arange(16), indexing="ij"), dim=2).float()
    rng = torch.Generator().manual_seed(0)
    starts, overlaps = set(), set()
    for _ in range(200):
        crops = _batch(data, rng)
        first, second = crops.first[:, -crops.overlap :], crops.second[:, : crops.overlap]
        assert torch.equal(first, second)
        assert len(first) == 8
        assert len(set(first[:, 0, 0].tolist())) == 8
        starts |= set(first[:, 0, 1].tolist())
        overlaps.add(crops.overlap)
    assert overlaps == set(range(2, 17))
    assert starts == set(range(15))


def test_contrast_by_hand():
    # Two codes in two views on a line: 1, 2 and 3, 4.
    found = contrast(torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]))
    values, expected = [1, 2, 3, 4], 0.0
    for own, value in enumerate(values):
        products = [value * other for place, other in enumerate(values) if place != own]
        expected += math.log(sum(map(math.exp, products))) - value * values[(own + 2) % 4]
    assert found.item() == pytest.approx(expected / 4, rel=1e-6)


def test_the_loss_is_that_of_the_published_algorithm():
    first, second = codes(3, 5, 4), codes(3, 5, 4, seed=1)

    def published(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        count, scales = one.shape[0], 0
        while True:
            for t in range(one.shape[1]):  # instances at a time
                both = torch.cat([one[:, t], other[:, t]])
                total = total + 0.5 * pairs(both, count) / one.shape[1]
            scales += 1
            if one.shape[1] == 1:
                return total / scales
            for i in range(count):  # times of an instance
                both = torch.cat([one[i], other[i]])
                total = total + 0.5 * pairs(both, one.shape[1]) / count
            one, other = (halved(part) for part in (one, other))

    def pairs(both: torch.Tensor, count: int) -> torch.Tensor:
        losses = []
        for i in range(2 * count):
            rest = [j for j in range(2 * count) if j != i]
            scores = both[rest] @ both[i]
            losses.append(
                functional.cross_entropy(scores[None], torch.tensor([rest.index((i + count) % (2 * count))]))
            )
        return torch.stack(losses).mean()

    def halved(part: torch.Tensor) -> torch.Tensor:
        steps = part.shape[1] // 2
        return part[:, : 2 * steps].unflatten(1, (steps, 2)).amax(2)

    torch.testing.assert_close(hierarchical_loss(first, second), published(first, second))


@pytest.mark.parametrize("dilation", [1, 3, 8, 64])
def test_a_convolution_is_that_of_torch(dilation):
    own = _Convolution(3, 5, 3, dilation, 8, torch.Generator().manual_seed(0))
    x = torch.randn(4, 8, 3, generator=torch.Generator().manual_seed(1))
    weight = torch.zeros(5, 3, 3)
    taps = own.weight.shape[1] // 3
    if taps == 1:
        weight[:, :, 1] = own.weight.detach()
        weight[:, :, 0] = weight[:, :, 2] = 7.0  # what only ever meets the padding
    else:
        weight = own.weight.detach().view(5, 3, 3).transpose(1, 2)
    expected = functional.conv1d(x.transpose(1, 2), weight, own.bias, padding=dilation, dilation=dilation)
    torch.testing.assert_close(own(x), expected.transpose(1, 2))
