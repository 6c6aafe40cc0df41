"""The network for levels: what it sees of a window, and what it says."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dct, idct
from torch import Tensor

from core.networks.levels import SLOWEST, LevelNetwork, cosines
from core.networks.transformer import VelocityTransformer

LENGTH, CHANNELS = 12, 3
SIZES = {"channels": CHANNELS, "static": 2, "context": 0, "hidden": 8, "layers": 1, "heads": 2, "expansion": 2}


def stirred(network: torch.nn.Module) -> torch.nn.Module:
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    return network


def made() -> LevelNetwork:
    network = LevelNetwork(length=LENGTH, channels=CHANNELS, static=2, width=16, told=8, word=8, completes=True)
    stirred(network)
    return network


def windows(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=rng) for shape in ((5, LENGTH, CHANNELS), (5, 2), (5, 8)))  # type: ignore[return-value]


def fast(x: Tensor) -> Tensor:
    """All but the slowest movement, by SciPy's transform."""
    waves = dct(x.detach().double().numpy(), axis=1, norm="ortho")
    waves[:, :SLOWEST] = 0
    return torch.from_numpy(idct(waves, axis=1, norm="ortho")).float()


def test_waves_are_those_of_the_cosine_transform() -> None:
    expected = dct(np.eye(LENGTH), axis=0, norm="ortho")
    np.testing.assert_allclose(cosines(LENGTH), expected, atol=1e-6)
    np.testing.assert_allclose(cosines(LENGTH, 2), expected[:2], atol=1e-6)


def test_it_sees_nothing_but_levels_and_trends_and_says_nothing_else() -> None:
    x, static, told = windows()
    network = made()
    slow, word = network(x, static, told)
    assert slow.abs().mean() > 0.05
    torch.testing.assert_close(fast(slow), torch.zeros_like(slow), atol=1e-5, rtol=0)
    other = network(x + 5 * fast(torch.flip(x, (1,))), static, told)
    torch.testing.assert_close(other, (slow, word), atol=1e-5, rtol=1e-4)
    for changed in ((x + 1, static, told), (x, static + 1, told), (x, static, told + 1)):
        assert not torch.allclose(network(*changed)[0], slow, atol=1e-3)
        assert not torch.allclose(network(*changed)[1], word, atol=1e-3)


def test_it_reads_what_is_given_and_nothing_given_is_not_to_be_asked() -> None:
    x, static, told = windows()
    network = made()
    nothing = (torch.zeros(5, LENGTH, 2 * CHANNELS), torch.zeros(5, 4))
    plain = network(x, static, told)
    torch.testing.assert_close(network(x, static, told, nothing), plain, rtol=0, atol=0)
    given = (nothing[0] + 1, nothing[1])
    assert not torch.allclose(network(x, static, told, given)[0], plain[0], atol=1e-3)


def test_what_all_are_told_alike_may_be_told_once() -> None:
    x, static, told = windows()
    network = made()
    torch.testing.assert_close(
        network(x, static, told[:1]), network(x, static, told[:1].expand(5, -1)), atol=1e-5, rtol=1e-5
    )


def test_past_a_windows_end_it_sees_nothing() -> None:
    x, static, _ = windows()
    rows = torch.arange(LENGTH) < torch.tensor([12, 7, 3, 12, 5])[:, None]
    network = VelocityTransformer(length=LENGTH, completes=False, levels=16, **SIZES)
    stirred(network)
    time, context = torch.full((5,), 0.4), torch.zeros(5, 0)
    before, _ = network(x, static, time, context, None, rows)
    after, _ = network(torch.where(rows[..., None], x, x + 9), static, time, context, None, rows)
    torch.testing.assert_close(before[rows], after[rows], atol=1e-5, rtol=1e-5)


def test_steps_know_their_place() -> None:
    """Without places a window of equal steps has equal velocities: attention over the same is the same."""
    network = VelocityTransformer(length=LENGTH, completes=False, levels=0, **(SIZES | {"static": 0}))
    stirred(network)
    arguments = (torch.ones(1, LENGTH, CHANNELS), torch.zeros(1, 0), torch.tensor([0.4]), torch.zeros(1, 0))
    found = network(*arguments)[0]
    assert (found[0, 1:] - found[0, :-1]).abs().amax(dim=1).min() > 1e-3
    torch.nn.init.zeros_(network.places)
    found = network(*arguments)[0]
    torch.testing.assert_close(found[0, 1:], found[0, :-1])
