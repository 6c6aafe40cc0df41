"""The spectrum of windows: a map whose noise has the windows' moments."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor

from core.generators.flow_matching.solvers import follow
from core.generators.flow_matching.spectrum import FLOOR, Spectrum
from core.prepare.channels.layout import Block

LENGTH = 16
NUMBERS = (Block("continuous"), Block("continuous"), Block("continuous"))


def walks(count: int, seed: int = 0) -> Tensor:
    """Two random walks, the second near the first, and white noise; shape (count, LENGTH, 3)."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(count, 1)) * 3 + np.cumsum(rng.normal(size=(count, LENGTH)) * 0.1, axis=1)
    second = first + 0.01 * rng.normal(size=(count, LENGTH))
    return torch.from_numpy(np.stack([first, second, rng.normal(size=first.shape)], axis=2).astype(np.float32))


def fitted(blocks: tuple[Block, ...], windows: Tensor) -> Spectrum:
    spectrum = Spectrum(LENGTH, blocks)
    spectrum.fit(windows.split(300))
    return spectrum


def gaussian(spectrum: Spectrum, x: Tensor, time: Tensor) -> Tensor:
    """What is added to slopes of 0."""
    return spectrum.velocity(torch.zeros_like(x), x, time)


def moments(x: Tensor) -> Tensor:
    """By frequency, shape (LENGTH, channels, channels), by SciPy's transform."""
    found = torch.from_numpy(dct(x.double().numpy(), axis=1, norm="ortho"))
    return torch.einsum("bkc,bkd->kcd", found, found) / len(x)


def test_what_moves_little_is_enlarged_and_what_moves_much_is_kept() -> None:
    x = walks(2000)
    before, after = (torch.linalg.eigvalsh(moments(each)) for each in (x, fitted(NUMBERS, x).white(x)))
    torch.testing.assert_close(after, before.clamp(min=1), atol=0.02, rtol=0.02)
    assert (before < 1e-3).any()
    assert (before > 100).any()


def test_errors_count_by_the_root_of_the_noises_deviation_in_their_direction() -> None:
    """Of coloured noise itself: the mean square of each direction is the fourth root of its variance, but for
    a factor that makes it 1 on average."""
    spectrum = fitted(NUMBERS, walks(2000))
    noise = torch.randn(20_000, LENGTH, 3, generator=torch.Generator().manual_seed(1))
    squares = torch.linalg.eigvalsh(moments(spectrum.weighed(spectrum.coloured(noise))))
    weights = torch.linalg.eigvalsh(moments(spectrum.coloured(noise))) ** 0.25
    torch.testing.assert_close(squares, weights / weights.mean(), atol=1e-4, rtol=0.05)
    assert abs(float(squares.mean()) - 1) < 0.02


def test_coloured_noise_moves_no_more_than_the_windows_do() -> None:
    x = walks(2000)
    noise = torch.randn(20_000, LENGTH, 3, generator=torch.Generator().manual_seed(1))
    coloured = fitted(NUMBERS, x).coloured(noise)
    ours, theirs = (torch.linalg.eigvalsh(moments(each)) for each in (coloured, x))
    torch.testing.assert_close(ours, theirs.clamp(max=1), atol=1e-5, rtol=0.08)  # of 20,000 squares
    high = [float(dct(each[..., 0].numpy(), axis=1, norm="ortho")[:, 8:].std()) for each in (coloured, x)]
    assert abs(high[0] / high[1] - 1) < 0.05
    assert float(noise[..., 0].std()) > 10 * high[1]


def test_both_ways_are_inverse_and_nothing_before_fitting() -> None:
    x = walks(500)
    spectrum = fitted(NUMBERS, x)
    torch.testing.assert_close(spectrum.coloured(spectrum.white(x)), x, atol=1e-3, rtol=0)
    torch.testing.assert_close(Spectrum(LENGTH, NUMBERS).white(x), x, atol=1e-5, rtol=1e-5)


def test_what_never_moves_stays_in_bounds() -> None:
    x = walks(500)
    x[..., 1] = x[..., 0]
    spectrum = fitted(NUMBERS, x)
    noise = torch.randn(1000, LENGTH, 3, generator=torch.Generator().manual_seed(1))
    apart = spectrum.coloured(noise)[..., 1] - spectrum.coloured(noise)[..., 0]
    assert apart.abs().max() < 10 * FLOOR
    assert spectrum.white(x).isfinite().all()


def test_discrete_columns_and_those_with_missing_cells_are_left_alone() -> None:
    blocks = (NUMBERS[0], Block("binary"), Block("continuous", optional=True), NUMBERS[0])
    parts = walks(500)
    x = torch.cat([parts[..., :1], (parts > 0).float()[..., 1:], parts[..., 1:2], parts[..., 2:]], dim=2)
    spectrum = fitted(blocks, x)
    white = spectrum.white(x)
    torch.testing.assert_close(white[..., 1:4], x[..., 1:4], atol=1e-5, rtol=0)
    assert not torch.allclose(white[..., 0], x[..., 0], atol=0.1)


def test_gaussian_velocities_carry_small_noise_to_windows_with_the_same_moments() -> None:
    """And leave what moves more than noise may, of which they know nothing, where it is."""
    x = walks(2000)
    spectrum = fitted(NUMBERS, x)
    noise = spectrum.coloured(torch.randn(5000, LENGTH, 3, generator=torch.Generator().manual_seed(1)))
    end = follow(lambda state, time: gaussian(spectrum, state, torch.tensor([time])), noise, "heun", 50)
    ours, theirs = (torch.linalg.eigvalsh(moments(each)) for each in (end, x))
    torch.testing.assert_close(ours, theirs.clamp(max=1), atol=1e-5, rtol=0.08)  # of 5000 squares


def test_gaussian_velocities_are_expectations_given_the_point_on_the_way() -> None:
    """E[x_1 - x_0 | x_t] of Gaussians is the regression on x_t, here of 200,000 draws."""
    rng = torch.Generator().manual_seed(3)
    spectrum = Spectrum(2, NUMBERS[:1])
    spectrum.fit([0.1 * torch.randn(50_000, 2, 1, generator=rng)])
    start, end = (spectrum.coloured(torch.randn(200_000, 2, 1, generator=rng)) for _ in range(2))
    for time in (0.1, 0.5, 0.8):
        x = (1 - time) * start + time * end
        slope = float(((end - start) * x).sum() / x.square().sum())
        told = gaussian(spectrum, x, torch.tensor([time]))
        torch.testing.assert_close(told, slope * x, atol=2e-3, rtol=0.02)


def test_gaussian_velocities_know_nothing_of_other_columns() -> None:
    blocks = (NUMBERS[0], Block("binary"))
    spectrum, x = fitted(blocks, walks(500)[..., :2]), walks(100)[..., :2]
    times = torch.linspace(0, 1, 100)
    assert (gaussian(spectrum, x, times)[..., 1] == 0).all()
    assert (gaussian(Spectrum(LENGTH, blocks), x, times) == 0).all()  # before it learnt anything
    one = gaussian(spectrum, x[40:41], times[40:41])
    torch.testing.assert_close(gaussian(spectrum, x, times)[40:41], one, atol=1e-4, rtol=1e-4)
