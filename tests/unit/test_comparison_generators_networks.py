"""Mixture heads against SciPy and counting; convolutions against plain loops and by perturbation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.nn import functional

from core.generators.wavegan import depth_for
from core.generators.wavenet import WaveNet, doubling
from core.networks.context import beside, shifted
from core.networks.convolution import CausalStack, DownsamplingStack, UpsamplingStack, phase_shuffle
from core.networks.mixtures import MIN_SCALE, MixtureHead
from core.prepare.channels.layout import Block, Channels

MIXED = (
    Block("continuous", 1, optional=True),
    Block("binary"),
    Block("one_hot", 3, optional=True),
    Block("continuous"),
)


def random_head(blocks: tuple[Block, ...], components: int, seed: int = 0) -> tuple[MixtureHead, torch.Tensor]:
    """A head with dependent columns and the numbers of one step, both at random."""
    rng = torch.Generator().manual_seed(seed)
    head = MixtureHead(blocks, components).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=rng))
        head.location.add_(0.5)
    return head, 0.7 * torch.randn(head.inputs, generator=rng)


def valid_discrete() -> list[tuple[float, ...]]:
    """Every value that presence, binary and optional one-hot of MIXED can take: (p, b, q, k1, k2, k3)."""
    categories = [(0.0, 0.0, 0.0, 0.0), *((1.0, *row) for row in np.eye(3).tolist())]
    return [(p, b, *c) for p, b, c in itertools.product((0.0, 1.0), (0.0, 1.0), categories)]


def test_one_continuous_column_is_scipys_logistic_with_its_tails_on_the_edges() -> None:
    head = MixtureHead((Block("continuous"),), 2)
    raw = torch.tensor([0.3, 0.1, -1.0, -0.5, -0.4, 0.7])  # (weight, mean, scale) of each component
    weights = np.exp([0.3, -0.5]) / np.exp([0.3, -0.5]).sum()
    means = np.array([0.1 + 0.25, -0.4 + 0.75])
    scales = MIN_SCALE + np.log1p(np.exp(np.array([-1.0, 0.7]) - 2.25))
    components = stats.logistic(means, scales)
    for x in (0.02, 0.4, 0.99):
        expected = np.log((weights * components.pdf(x)).sum())
        assert head.log_likelihood(raw, torch.tensor([x])).item() == pytest.approx(expected, abs=1e-5)
    for x, mass in ((0.0, components.cdf(0)), (1.0, components.sf(1))):
        expected = np.log((weights * mass).sum())
        assert head.log_likelihood(raw, torch.tensor([x])).item() == pytest.approx(expected, abs=1e-5)


def test_probabilities_of_all_that_a_step_can_be_add_up_to_one() -> None:
    """Continuous columns that depend on each other and on discrete ones: density inside, mass on the edges."""
    head, raw = random_head(MIXED, components=3)

    def density(discrete: tuple[float, ...], first: float, second: float) -> float:
        p, b, *category = discrete
        x = torch.tensor([[p, first, b, *category, second]], dtype=torch.float64)
        return float(head.log_likelihood(raw[None].double(), x).exp().detach())

    nodes, weights = np.polynomial.legendre.leggauss(40)
    grid = [(float(x + 1) / 2, float(w) / 2) for x, w in zip(nodes, weights, strict=True)]
    cells = [*grid, (0.0, 1.0), (1.0, 1.0)]
    total = 0.0
    for discrete in valid_discrete():
        firsts = cells if discrete[0] else [(0.0, 1.0)]
        rows = [(first, second, u * v) for first, u in firsts for second, v in cells]
        p, b, *category = discrete
        x = torch.tensor([[p, first, b, *category, second] for first, second, _ in rows], dtype=torch.float64)
        likelihood = head.log_likelihood(raw.double().expand(len(rows), -1), x).exp().detach()
        total += float((likelihood * torch.tensor([w for *_, w in rows])).sum())
    assert total == pytest.approx(1, abs=2e-4)
    assert density(valid_discrete()[0], 0.0, 0.5) > 0


def test_the_density_of_one_column_integrates_by_scipy() -> None:
    head, raw = random_head((Block("continuous"),), components=4, seed=2)

    def likelihood(x: float) -> float:
        return float(head.log_likelihood(raw, torch.tensor([x])).exp().detach())

    inside = integrate.quad(likelihood, 1e-9, 1 - 1e-9, limit=200)[0]
    assert inside + likelihood(0.0) + likelihood(1.0) == pytest.approx(1, abs=1e-5)


def test_drawing_follows_the_likelihood() -> None:
    """Shares of every discrete outcome, and of ranges of the columns that hang on it."""
    head, raw = random_head(MIXED, components=3, seed=4)
    n = 200_000
    uniform = torch.rand((n, head.noise), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn = head.draw(raw.double().expand(n, -1), uniform)
    discrete = drawn[:, [0, 2, 3, 4, 5, 6]]
    cells = torch.linspace(0, 1, 401, dtype=torch.float64)
    middle = (cells[1:] + cells[:-1]) / 2
    axis = [*middle.tolist(), 0.0, 1.0]
    size = torch.tensor([*[1 / 400] * 400, 1.0, 1.0], dtype=torch.float64)
    for values in valid_discrete():
        p, b, *category = values
        mine = (discrete == torch.tensor(values)).all(1)
        firsts, weights = (axis, size) if p else ([0.0], torch.ones(1, dtype=torch.float64))
        x = torch.tensor([[p, f, b, *category, s] for f in firsts for s in axis], dtype=torch.float64)
        with torch.no_grad():
            mass = head.log_likelihood(raw.double().expand(len(x), -1), x).exp()
        table = mass.view(len(firsts), len(axis)) * weights[:, None] * size
        share = float(table.sum())
        assert float(mine.double().mean()) == pytest.approx(share, abs=5 * np.sqrt(share / n) + 1e-4)
        # Both columns at once: how often both are below a half, which only their dependence gets right.
        below = torch.tensor([value < 0.5 for value in axis])
        low = torch.tensor([value < 0.5 for value in firsts])
        both = float(table[low][:, below].sum())
        counted = float((mine & (drawn[:, 1] < 0.5) & (drawn[:, 7] < 0.5)).double().mean())
        assert counted == pytest.approx(both, abs=5 * np.sqrt(both / n) + 1e-3)


def test_a_missing_cell_adds_only_its_absence() -> None:
    head = MixtureHead((Block("continuous", 1, optional=True), Block("one_hot", 3, optional=True)), 1)
    raw = torch.tensor([0.0, 0.2, 0.3, -0.4, 1.1, 0.5, -0.2, 0.9])  # weight, mean, scale, p, q, three logits
    missing = head.log_likelihood(raw, torch.zeros(6))
    expected = functional.logsigmoid(torch.tensor(0.4)) + functional.logsigmoid(torch.tensor(-1.1))
    torch.testing.assert_close(missing, expected)


def test_a_repeated_value_has_a_bounded_likelihood() -> None:
    head = MixtureHead((Block("continuous"),), 1)
    most = head.log_likelihood(torch.tensor([0.0, 0.0, -100.0]), torch.tensor([0.5])).item()
    assert most == pytest.approx(-np.log(4 * MIN_SCALE), abs=1e-4)


def test_drawing_hands_gradients_to_every_number_and_is_valid() -> None:
    head, raw = random_head(MIXED, components=3)
    raw = raw.double().expand(500, -1).clone().requires_grad_()
    uniform = torch.rand((500, head.noise), generator=torch.Generator().manual_seed(0))
    drawn = head.draw(raw, uniform)
    drawn.square().sum().backward()
    assert raw.grad is not None
    assert (raw.grad.abs().sum(0) > 0).all()
    extreme = head.draw(raw.detach(), torch.cat([uniform[:250] * 0, uniform[:250] * 0 + 1]))
    assert extreme.isfinite().all()


# WaveNet --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "dilations"), [(2, (1, 2, 4)), (3, (1, 2)), (2, (1,)), (2, (1, 2, 1, 2))])
def test_a_causal_stack_sees_its_receptive_field_and_nothing_ahead(
    kernel: int, dilations: tuple[int, ...]
) -> None:
    stack = CausalStack(2, 3, 8, 20, kernel, dilations).double()
    stack.reset_parameters(torch.Generator().manual_seed(0))
    steps = 24
    x = torch.randn((1, steps, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    context = torch.ones(1, 3, dtype=torch.float64)
    before = stack(x, context)
    for moved in range(steps):
        other = x.clone()
        other[:, moved] += 1
        changed = ((stack(other, context) - before).abs().sum(-1) > 1e-12)[0].nonzero()[:, 0].tolist()
        seen_by = range(moved, min(steps, moved + stack.receptive_field))
        assert changed[0] == moved
        assert changed[-1] == seen_by[-1]
    assert not torch.equal(stack(x, context + 1), before)


def test_a_step_at_a_time_is_the_same_stack() -> None:
    stack = CausalStack(2, 3, 4, 5, 3, (1, 2, 4)).double()
    stack.reset_parameters(torch.Generator().manual_seed(0))
    x, context = torch.randn((6, 20, 2), dtype=torch.float64), torch.randn((6, 3), dtype=torch.float64)
    history = stack.start()
    steps = [stack.step(step, context, history) for step in x.unbind(1)]
    torch.testing.assert_close(torch.stack(steps, dim=1), stack(x, context))


def test_a_causal_layer_is_the_papers_equation() -> None:
    """z_t = tanh(sum_i W_f,i x_{t-i d}) sigmoid(sum_i W_g,i x_{t-i d}), written as loops."""
    stack = CausalStack(2, 0, 3, 4, 2, (2,)).double()
    stack.reset_parameters(torch.Generator().manual_seed(0))
    x = torch.randn((1, 7, 2), dtype=torch.float64)
    hidden = stack.first(x)[0]
    layer = stack._gated()[0]
    weight, bias = layer.causal.convolution.weight, layer.causal.convolution.bias
    assert bias is not None
    for t in range(7):
        both = bias + weight[:, :, 1] @ hidden[t] + (weight[:, :, 0] @ hidden[t - 2] if t >= 2 else 0)
        gated = both[:3].tanh() * both[3:].sigmoid()
        skip = layer.mix(gated)[3:]
        torch.testing.assert_close(stack(x, x[:, 0, :0])[0, t], skip.relu())


def test_dilations_double_until_they_see_the_window() -> None:
    assert doubling(24, 2) == [1, 2, 4, 8, 16]
    assert doubling(16, 2) == [1, 2, 4, 8]
    assert doubling(2, 2) == [1]
    assert doubling(24, 3) == [1, 2, 4, 8]


def test_wavenet_predicts_from_the_past_alone() -> None:
    model = WaveNet(length=10, channels=Channels.continuous(2), residual=4, skip=4).double()
    X = torch.rand((1, 10, 2), dtype=torch.float64)
    none = X[:, 0, :0]
    before = model.features(X, none)
    for moved in range(10):
        other = X.clone()
        other[:, moved] = 1 - other[:, moved]
        same = (model.features(other, none) - before).abs().sum(-1)[0] < 1e-12
        assert same[: moved + 1].all()
        assert not same[moved + 1 :].any()


def test_shifted_and_beside() -> None:
    X = torch.arange(6.0).view(1, 3, 2)
    assert shifted(X).tolist() == [[[0, 0, 1], [0, 1, 0], [2, 3, 0]]]
    assert beside(X, torch.tensor([[9.0]])).tolist() == [[[0, 1, 9], [2, 3, 9], [4, 5, 9]]]
    assert beside(X, X[:, 0, :0]) is X


# WaveGAN --------------------------------------------------------------------------------------------------


def test_phase_shuffle_reflects_like_numpy() -> None:
    x = torch.randn((5, 3, 7))
    shift = torch.tensor([-2, -1, 0, 1, 2])
    moved = phase_shuffle(x, shift)
    for window, k in enumerate(shift.tolist()):
        padded = np.pad(x[window].numpy(), ((0, 0), (max(k, 0), max(-k, 0))), mode="reflect")
        start = max(-k, 0)
        np.testing.assert_array_equal(moved[window].numpy(), padded[:, start : start + 7])


@pytest.mark.parametrize(
    ("length", "kernel", "stride"), [(24, 25, 4), (7, 5, 2), (100, 8, 4), (5, 2, 2), (3, 9, 3)]
)
def test_the_strided_stacks_fit_any_window(length: int, kernel: int, stride: int) -> None:
    layers = depth_for(length, stride)
    up = UpsamplingStack(4, length, 3, 2, kernel, stride, layers)
    down = DownsamplingStack(length, 3, 2, kernel, stride, layers)
    X = up(torch.randn(2, 4))
    assert X.shape == (2, length, 3)
    assert down(X).shape == (2, 1)
    assert down.lengths[-1] == -(-length // stride**layers)
    assert down.lengths[-1] <= 4


def test_the_published_size_has_the_published_layers() -> None:
    """16,384 steps by five layers of stride 4 from 16 steps of 1024 channels (tables 3 and 4 of the paper)."""
    up = UpsamplingStack(100, 16384, 1, 64, 25, 4, 5)
    assert up.start == 16
    assert [layer.in_channels for layer in up.layers] == [1024, 512, 256, 128, 64]
    down = DownsamplingStack(16384, 1, 64, 25, 4, 5)
    assert down.lengths == [16384, 4096, 1024, 256, 64, 16]
    assert [layer.out_channels for layer in down.layers] == [64, 128, 256, 512, 1024]


def test_a_downsampling_layer_pads_like_same() -> None:
    down = DownsamplingStack(10, 2, 3, 5, 2, 1).double()
    x = torch.randn((4, 10, 2), dtype=torch.float64)
    layer = down.layers[0]
    padded = functional.pad(x.transpose(1, 2), (1, 2))  # TF's SAME: 3 to pad, the odd one at the end
    expected = functional.leaky_relu(layer(padded), 0.2).flatten(1)
    torch.testing.assert_close(down(x), down.dense(expected))
