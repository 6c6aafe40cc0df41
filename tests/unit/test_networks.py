"""Straight-through estimators, cells, heads and dropout, each against something else than itself."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from core.networks import straight_through
from core.networks.dropout import Dropout, VariationalDropout, give_generator
from core.networks.heads import OutputHead
from core.networks.recurrent import (
    FeedForwardNetwork,
    RecurrentNetwork,
    RecurrentOptions,
    RecurrentStack,
    binarized,
)
from core.prepare.channels.layout import Block


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_sign_hands_its_gradient_on_where_torch_gives_none() -> None:
    x = torch.tensor([-2.0, -0.1, 0.0, 3.0], requires_grad=True)
    y = straight_through.sign(x)
    assert y.tolist() == [-1, -1, 1, 1]
    y.mean().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.25] * 4
    x.grad = None
    torch.sign(x).mean().backward()
    assert x.grad.tolist() == [0.0] * 4


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.lists(st.floats(-9, 9), min_size=8, max_size=8))
def test_the_signs_gradient_is_the_incoming_one_clamped(x: list[float], incoming: list[float]) -> None:
    leaf = torch.tensor(x, requires_grad=True)
    upstream = torch.tensor(incoming[: len(x)])
    straight_through.sign(leaf).backward(upstream)
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, upstream.clamp(-1, 1))


@pytest.mark.parametrize("kind", ["identity", "soft"])
def test_a_one_hot_is_exact_forward_and_as_promised_backward(kind: straight_through.Gradient) -> None:
    logits = torch.randn(200, 5, generator=rng(), dtype=torch.float64)
    upstream = torch.randn(200, 5, generator=rng(1), dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    hard = straight_through.one_hot(leaf, kind)
    assert torch.equal(hard, nn.functional.one_hot(logits.argmax(-1), 5).double())
    hard.backward(upstream)
    # Softmax's Jacobian by hand: p_i (delta_ij - p_j).
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    expected = upstream if kind == "identity" else p * (upstream - (p * upstream).sum(-1, keepdim=True))
    torch.testing.assert_close(leaf.grad, expected)


def test_a_binary_classifier_learns_through_its_step() -> None:
    """With torch.sign the gradient is zero and nothing would move."""
    x = torch.randn(256, 2, generator=rng())
    target = (x[:, 0] - x[:, 1] > 0).float()
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-0.5, 0.1]]))
        layer.bias.zero_()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        (straight_through.binary(layer(x)[:, 0]) - target).square().mean().backward()
        optimizer.step()
    assert (straight_through.binary(layer(x)[:, 0]) == target).float().mean() > 0.95


BLOCKS = (Block("continuous"), Block("binary"), Block("one_hot", 3, optional=True))


def test_heads_give_valid_channels_whatever_comes_in() -> None:
    raw = 3 * torch.randn(500, 4, 6, generator=rng())
    hard = OutputHead(BLOCKS)(raw)
    torch.testing.assert_close(hard[..., 0], torch.sigmoid(raw[..., 0]))
    assert torch.equal(hard[..., 1], (raw[..., 1] >= 0).float())
    present = hard[..., 2]
    assert torch.equal(present, (raw[..., 2] >= 0).float())
    assert torch.equal(hard[..., 3:].sum(-1), present)  # a category where the cell is there, none elsewhere
    assert torch.equal(hard[..., 3:].argmax(-1)[present == 1], raw[..., 3:].argmax(-1)[present == 1])
    relaxed = OutputHead(BLOCKS).relaxed(raw)
    torch.testing.assert_close(relaxed[..., 3:].sum(-1), torch.ones(500, 4))
    torch.testing.assert_close(relaxed[..., :3], torch.sigmoid(raw[..., :3]))


def test_drawn_choices_come_with_their_probabilities() -> None:
    n, raw = 40_000, torch.tensor([0.3, 1.2, -0.7, 0.5, -1.0, 2.0])
    drawn = OutputHead(BLOCKS).drawn(raw.expand(n, -1), torch.rand(n, 6, generator=rng()))
    torch.testing.assert_close(drawn[:, 0], raw[0].sigmoid().expand(n))
    shares = drawn.mean(0)
    present = raw[2].sigmoid()
    expected = torch.cat([raw[1:3].sigmoid(), raw[3:].softmax(0) * present])
    torch.testing.assert_close(shares[1:], expected, atol=0.01, rtol=0)
    assert torch.equal(drawn[:, 3:].sum(-1), drawn[:, 2])
    edge = OutputHead(BLOCKS).drawn(raw.expand(2, -1), torch.tensor([[0.0] * 6, [1.0] * 6]))
    assert edge.isfinite().all()


def test_unlikelihood_is_the_negative_log_likelihood_by_hand() -> None:
    raw = torch.tensor([[0.3, 1.2, -0.7, 0.5, -1.0, 2.0]] * 2)
    X = torch.tensor([[0.9, 1.0, 1.0, 0.0, 1.0, 0.0], [0.1, 0.0, 0.0, 0.0, 0.0, 0.0]])

    def logistic(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    total = sum(math.exp(x) for x in (0.5, -1.0, 2.0))
    first = (logistic(0.3) - 0.9) ** 2 - math.log(logistic(1.2)) - math.log(logistic(-0.7))
    first -= math.log(math.exp(-1.0) / total)
    second = (logistic(0.3) - 0.1) ** 2 - math.log(1 - logistic(1.2)) - math.log(1 - logistic(-0.7))
    torch.testing.assert_close(OutputHead(BLOCKS).unlikelihood(raw, X), torch.tensor([[first], [second]]))


CELLS = [
    RecurrentOptions(),
    RecurrentOptions(reset_gate="before"),
    RecurrentOptions(cell="lstm"),
    RecurrentOptions(cell="lstm_ln"),
]


def stack(options: RecurrentOptions, inputs: int = 3, hidden: int = 4, layers: int = 2) -> RecurrentStack:
    made = RecurrentStack(inputs, hidden, layers, options)
    made.reset_parameters(rng())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng(1)))
    return made


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacks_are_torchs_where_torch_has_them(cell: str, bidirectional: bool) -> None:
    ours = stack(RecurrentOptions(cell=cell, bidirectional=bidirectional))  # type: ignore[arg-type]
    kind = nn.GRU if cell == "gru" else nn.LSTM
    theirs = kind(3, 4, 2, batch_first=True, bidirectional=bidirectional)
    with torch.no_grad():
        for index in range(2):
            for layers, suffix in ((ours.layers, ""), (ours.backward_layers, "_reverse")):
                for name, parameter in layers[index].named_parameters() if len(layers) else ():
                    getattr(theirs, f"{name}_l{index}{suffix}").copy_(parameter)
    x = torch.randn(5, 7, 3, generator=rng())
    torch.testing.assert_close(ours(x), theirs(x)[0])
    if bidirectional:  # torch packs windows of different lengths
        lengths = torch.tensor([7, 2, 5, 1, 4])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        expected = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
        inside = (torch.arange(7) < lengths[:, None])[..., None]
        torch.testing.assert_close(ours(x, lengths) * inside, expected)


@pytest.mark.parametrize("options", CELLS, ids=str)
def test_step_by_step_is_the_whole_sequence(options: RecurrentOptions) -> None:
    network = RecurrentNetwork(3, 4, 2, 2, activation=nn.Sigmoid(), options=options)
    network.reset_parameters(rng())
    x = torch.randn(5, 7, 3, generator=rng())
    states, steps = network.recurrent.start(5, x), []
    for t in range(7):
        y, states = network.step(x[:, t], states)
        steps.append(y)
    torch.testing.assert_close(torch.stack(steps, 1), network(x))


@pytest.mark.parametrize("options", CELLS, ids=str)
def test_gradients_are_those_of_the_function(options: RecurrentOptions) -> None:
    made = stack(options).double()
    x = torch.randn(2, 3, 3, generator=rng(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, (x,))
    with made.twice_differentiable():
        assert torch.autograd.gradgradcheck(made, (x,))


@pytest.mark.parametrize("options", CELLS, ids=str)
def test_weights_start_as_in_tensorflow_1(options: RecurrentOptions) -> None:
    made = RecurrentStack(6, 24, 1, options)
    made.reset_parameters(rng())
    layer = made.layers[0]
    fan_outs = [(slice(0, 48), 48), (slice(48, 72), 24)] if options.cell == "gru" else [(slice(0, 96), 96)]
    for rows, fan_out in fan_outs:
        limit = math.sqrt(6 / (6 + 24 + fan_out))
        for weight in (layer.weight_ih, layer.weight_hh):
            assert 0.9 * limit < weight[rows].abs().max().item() <= limit
    if options.cell == "gru":
        assert layer.bias_ih.tolist() == [1.0] * 48 + [0.0] * 24
    elif options.cell == "lstm":
        assert layer.bias_ih.tolist() == [0.0] * 24 + [1.0] * 24 + [0.0] * 48
    else:
        assert layer.shift[1].tolist() == [1.0] * 24
    for bias in [p for name, p in made.named_parameters() if name.endswith("bias_hh")]:
        assert bias.abs().sum() == 0


def test_dropout_keeps_the_mean_and_draws_from_its_generator() -> None:
    dropout, x = Dropout(0.3), torch.ones(200_000)
    assert torch.equal(dropout(x), x)  # nobody gave it a generator
    give_generator(dropout, rng())
    y = dropout(x)
    assert y.mean().item() == pytest.approx(1, abs=0.01)
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.7]))
    give_generator(dropout, rng())
    assert torch.equal(dropout(x), y)
    dropout.eval()
    assert torch.equal(dropout(x), x)


def test_recurrent_dropout_drops_the_same_units_at_every_step() -> None:
    made = stack(RecurrentOptions(recurrent_dropout=0.5), layers=1)
    x = torch.randn(4, 6, 3, generator=rng())
    plain = made(x)
    give_generator(made, rng(5))
    dropped = made(x)
    assert not torch.equal(plain, dropped)
    # The cell written anew, with one mask for all steps.
    layer = made.layers[0]
    assert isinstance(layer.state_dropout, VariationalDropout)
    give_generator(made, rng(5))
    mask = layer.state_dropout.mask(4, 4, x)
    assert mask is not None
    h = torch.zeros(4, 4)
    for t in range(6):
        gi = x[:, t] @ layer.weight_ih.T + layer.bias_ih
        gh = (h * mask) @ layer.weight_hh.T + layer.bias_hh
        r, z = torch.sigmoid(gi[:, :4] + gh[:, :4]), torch.sigmoid(gi[:, 4:8] + gh[:, 4:8])
        n = torch.tanh(gi[:, 8:] + r * gh[:, 8:])
        h = (1 - z) * n + z * h
        torch.testing.assert_close(h, dropped[:, t])
    give_generator(made, rng(5))
    states = made.start(4, x)
    for t in range(6):  # a step at a time it is the same mask
        h, states = made.step(x[:, t], states)
        torch.testing.assert_close(h, dropped[:, t])
    made.eval()
    torch.testing.assert_close(made(x), plain)


def test_binarised_layers_act_by_sign_and_keep_their_float_weights() -> None:
    network = RecurrentNetwork(3, 4, 2, 2, options=RecurrentOptions(binarize=True))
    network.reset_parameters(rng())
    x = torch.randn(5, 7, 3, generator=rng())
    twin = RecurrentNetwork(3, 4, 2, 2)
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
            signs = torch.where(ours >= 0, 1.0, -1.0)
            theirs.copy_(signs * ours.abs().mean(1, keepdim=True) if ours.ndim == 2 else ours)
    torch.testing.assert_close(network(x), twin(x))
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.Adam(network.parameters())
    network(x).square().mean().backward()
    optimizer.step()
    weights = [p for p in network.parameters() if p.ndim == 2]
    assert all(len(p.abs().unique()) > 2 for p in weights)
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert len(binarized(weights[0]).abs()[0].unique()) == 1


def test_feed_forward_networks_treat_every_step_alike() -> None:
    network = FeedForwardNetwork(3, 5, 2, 2)
    network.reset_parameters(rng())
    x = torch.randn(4, 6, 3, generator=rng())

    def by_hand(step: Tensor) -> Tensor:
        for layer in network.between:
            step = torch.tanh(step @ layer.weight.T + layer.bias)
        return step @ network.dense.weight.T + network.dense.bias

    torch.testing.assert_close(network(x), torch.stack([by_hand(x[:, t]) for t in range(6)], 1))
