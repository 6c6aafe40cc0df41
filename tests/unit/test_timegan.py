"""The five networks and the three phases, against independent computations."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import ConfigError, StorageError
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.timegan import TimeGAN, losses
from core.generators.timegan.training import TimeGANTraining
from core.networks.recurrent import FeedForwardNetwork, RecurrentNetwork
from core.prepare.channels.layout import Block, Channels, Column, Layout
from core.prepare.series import PreparedSeries, Windows
from core.training.batches import Batch

GAMMA = 0.7
OPTIONS: dict[str, Any] = {
    "batch_size": 8,
    "seed": 3,
    "losses": {"gamma": GAMMA},
    "discriminator_threshold": 0.15,
    "learning_rate": 1e-3,
    "embedding_iterations": 2,
    "supervised_iterations": 2,
    "joint_iterations": 2,
}
LENGTH = 6
THREE = Channels.continuous(3)


@pytest.fixture
def training(prepared: PreparedSeries) -> TimeGANTraining:
    model = TimeGAN(length=LENGTH, channels=THREE, hidden=4, layers=2, seed=1)
    return TimeGANTraining(model, prepared.windows(LENGTH), OPTIONS, torch.device("cpu"))


def test_the_supervisor_has_a_layer_less() -> None:
    channels = Channels.continuous(2)
    layers = {
        n: len(TimeGAN(length=4, channels=channels, layers=n).supervisor.recurrent.layers) for n in (1, 2, 3)
    }
    assert layers == {1: 1, 2: 1, 3: 2}


def bce(logits: torch.Tensor, label: float) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def plain_generator_loss(m: TimeGAN, X: torch.Tensor, Z: torch.Tensor) -> torch.Tensor:
    """One forward per loss, as the published code writes it down."""
    H = m.embedder(X).detach()
    E_hat = m.generator(Z)
    H_hat = m.supervisor(E_hat)
    X_hat = m.recovery(H_hat).sigmoid()
    supervised = ((H[:, 1:] - m.supervisor(H)[:, :-1]) ** 2).mean()
    v1 = (
        (X_hat.var(0, unbiased=False).add(1e-6).sqrt() - X.var(0, unbiased=False).add(1e-6).sqrt()).abs().mean()
    )
    v2 = (X_hat.mean(0) - X.mean(0)).abs().mean()
    adversarial = bce(m.discriminator(H_hat), 1.0) + GAMMA * bce(m.discriminator(E_hat), 1.0)
    return adversarial + 100 * supervised.sqrt() + 100 * (v1 + v2)


def plain_embedder_loss(m: TimeGAN, X: torch.Tensor) -> torch.Tensor:
    H = m.embedder(X)
    supervised = ((H[:, 1:] - m.supervisor(H)[:, :-1]) ** 2).mean()
    return 10 * ((X - m.recovery(H).sigmoid()) ** 2).mean().sqrt() + 0.1 * supervised


def plain_discriminator_loss(m: TimeGAN, X: torch.Tensor, Z: torch.Tensor) -> torch.Tensor:
    E_hat = m.generator(Z).detach()
    real, fake = m.discriminator(m.embedder(X).detach()), m.discriminator(m.supervisor(E_hat).detach())
    return bce(real, 1.0) + bce(fake, 0.0) + GAMMA * bce(m.discriminator(E_hat), 0.0)


def test_a_joint_iteration_equals_the_plain_one(training: TimeGANTraining) -> None:
    """Two generator and embedder steps and one discriminator step, written anew with one forward per loss."""
    plain = copy.deepcopy(training.model).requires_grad_(True)
    twin = copy.deepcopy(training.batches.rng)
    logged = training.joint_step()

    def parameters(*names: str) -> list[torch.nn.Parameter]:
        return [p for name in names for p in plain.network(name).parameters()]

    source = training.batches
    source.rng.set_state(twin.get_state())
    G = torch.optim.Adam(parameters("generator", "supervisor"), lr=1e-3)
    E = torch.optim.Adam(parameters("embedder", "recovery"), lr=1e-3)
    D = torch.optim.Adam(parameters("discriminator"), lr=1e-3)
    for _ in range(2):
        X, Z = source.draw().X, torch.rand((8, LENGTH, 3), generator=source.rng)
        G.zero_grad()
        generator_loss = plain_generator_loss(plain, X, Z)
        generator_loss.backward()
        G.step()
        E.zero_grad()
        plain_embedder_loss(plain, X).backward()
        E.step()
    X, Z = source.draw().X, torch.rand((8, LENGTH, 3), generator=source.rng)
    D.zero_grad()
    loss = plain_discriminator_loss(plain, X, Z)
    loss.backward()
    D.step()
    assert logged["generator"].item() == pytest.approx(generator_loss.item(), rel=1e-5)
    assert logged["discriminator"].item() == pytest.approx(loss.item(), rel=1e-5)
    for (name, ours), theirs in zip(training.model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("phase", "moving"),
    [
        (0, {"embedder", "recovery"}),
        (1, {"supervisor"}),
        (2, {"embedder", "recovery", "generator", "supervisor", "discriminator"}),
    ],
)
def test_each_phase_moves_its_networks_alone(training: TimeGANTraining, phase: int, moving: set[str]) -> None:
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    training.phases[phase].step()
    after = training.model.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == moving


def test_the_discriminator_stands_still_below_the_threshold(prepared: PreparedSeries) -> None:
    model = TimeGAN(length=LENGTH, channels=THREE, hidden=4, layers=2, seed=1)
    lazy = {**OPTIONS, "discriminator_threshold": 100.0}
    training = TimeGANTraining(model, prepared.windows(LENGTH), lazy, torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in model.discriminator.state_dict().items()}
    training.joint_step()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.discriminator.state_dict().items())


def test_state_continues_exactly(training: TimeGANTraining, prepared: PreparedSeries) -> None:
    for phase in training.phases:
        phase.step()
    state = {name: tensor.clone() for name, tensor in training.state().items()}
    expected = training.joint_step()
    other = TimeGANTraining(
        TimeGAN(length=LENGTH, channels=THREE, hidden=4, layers=2, seed=99),
        prepared.windows(LENGTH),
        {**OPTIONS, "seed": 77},
        torch.device("cpu"),
    )
    other.load_state(state)
    got = other.joint_step()
    assert {name: value.item() for name, value in got.items()} == {n: v.item() for n, v in expected.items()}
    for ours, theirs in zip(training.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_samples_are_fixed_by_their_seed_and_lie_inside_the_unit_interval() -> None:
    model = TimeGAN(length=5, channels=THREE, hidden=4, layers=1)
    windows = model.sample(1500, seed=7).values
    assert windows.shape == (1500, 5, 3)
    assert windows.dtype == np.float32
    assert windows.min() > 0
    assert windows.max() < 1
    np.testing.assert_array_equal(windows, model.sample(1500, seed=7).values)
    np.testing.assert_allclose(windows[:10], model.sample(10, seed=7).values, atol=1e-6)
    assert not np.array_equal(windows[:10], model.sample(10, seed=8).values)
    assert len(np.unique(windows.reshape(1500, -1), axis=0)) == 1500


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_impossible_samples_are_refused(n: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="n >= 1, seed >= 0"):
        TimeGAN(length=5, channels=THREE).sample(n, seed)


SERIES = SeriesInfo(
    dataset="made-up",
    layout=Layout(
        (Column("price", minimum=-5.0, maximum=15.0), Column("count", minimum=100, maximum=900, integer=True))
    ),
    time=None,
    digest="x",
)


def test_a_bundle_comes_back_with_its_units(tmp_path: Path) -> None:
    model = TimeGAN(length=4, channels=Channels.continuous(2), hidden=3, layers=1, seed=5)
    bundle = GeneratorBundle(model, SERIES)
    bundle.save(tmp_path)
    again = GeneratorBundle.load(tmp_path)
    scaled, frame = again.sample_scaled(6, 1), again.sample_frame(6, 1)
    np.testing.assert_array_equal(scaled, bundle.sample_scaled(6, 1))
    assert again.series == SERIES
    assert list(frame.columns) == ["window", "step", "price", "count"]
    assert frame["window"].tolist() == [w for w in range(6) for _ in range(4)]
    assert frame["step"].tolist() == [0, 1, 2, 3] * 6
    np.testing.assert_allclose(frame["price"], scaled[..., 0].ravel().astype(np.float64) * 20 - 5)
    np.testing.assert_array_equal(
        frame["count"], np.rint(scaled[..., 1].ravel().astype(np.float64) * 800 + 100)
    )


@pytest.mark.parametrize("file", ["weights.safetensors", "generator.json", "series.json"])
def test_a_damaged_bundle_is_refused(tmp_path: Path, file: str) -> None:
    model = TimeGAN(length=4, channels=Channels.continuous(2), hidden=3, layers=1)
    GeneratorBundle(model, SERIES).save(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError, match=str(tmp_path.name)):
        GeneratorBundle.load(tmp_path)


def mixed_windows(n: int = 400, length: int = 8, seed: int = 0) -> Windows:
    """Every kind of column: continuous, binary, categorical, with missing cells, static, condition, lengths."""
    rng = np.random.default_rng(seed)
    channels = Channels(
        (Block("continuous"), Block("binary"), Block("one_hot", 3), Block("continuous", 1, optional=True)),
        static=(Block("one_hot", 3), Block("continuous")),
        condition=(Block("one_hot", 2),),
    )
    rows = n + length
    present = rng.random(rows) < 0.8
    types = np.eye(3)[rng.integers(0, 3, rows)]
    values = np.column_stack(
        [rng.random(rows), rng.integers(0, 2, rows), types, present, present * rng.random(rows)]
    )
    static = np.column_stack([np.eye(3)[rng.integers(0, 3, n)], rng.random(n)])
    return Windows(
        values.astype(np.float32),
        np.arange(n),
        length,
        channels,
        rng.integers(3, length + 1, n),
        static.astype(np.float32),
        np.eye(2, dtype=np.float32)[rng.integers(0, 2, n)],
    )


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_generated_cells_are_always_valid(variant: str, tmp_path: Path) -> None:
    windows = mixed_windows()
    model = TimeGAN(length=8, channels=windows.channels, hidden=5, layers=2, variant=variant)
    training = TimeGANTraining(model, windows, OPTIONS | {"losses": {}}, torch.device("cpu"))
    for phase in training.phases:
        for _ in range(3):
            phase.step()
    model.save(tmp_path)
    made = TimeGAN.load(tmp_path).sample(3000, seed=1)
    inside = np.arange(8) < made.lengths[:, None]
    cells = made.values[inside]
    assert set(np.unique(cells[:, 1])) <= {0, 1}
    assert (np.sort(cells[:, 2:5], axis=1) == [0, 0, 1]).all()
    assert set(np.unique(cells[:, 5])) <= {0, 1}
    assert (cells[cells[:, 5] == 0, 6] == 0).all()
    assert (cells[:, 0] > 0).all()
    assert (made.values[~inside] == 0).all()
    assert (np.sort(made.static[:, :3], axis=1) == [0, 0, 1]).all()
    # Lengths and conditions come as they are in the training windows.
    for got, trained in ((made.lengths, windows.lengths), (made.condition[:, 0], windows.condition[:, 0])):
        for value in np.unique(trained):
            assert abs((got == value).mean() - (trained == value).mean()) < 0.05


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_no_loss_sees_past_a_windows_end(variant: str) -> None:
    """Changing what stands past a window's end changes no loss and no weight."""
    windows = mixed_windows()
    models = []
    for noise in (0.0, 0.9):
        model = TimeGAN(length=8, channels=windows.channels, hidden=5, layers=2, variant=variant, seed=2)
        training = TimeGANTraining(model, windows, OPTIONS | {"losses": {}}, torch.device("cpu"))
        draw = training.batches.draw

        def disturbed(draw: Any = draw, noise: float = noise) -> Batch:
            batch = draw()
            assert batch.rows is not None
            return replace(batch, X=batch.X + noise * (1 - batch.rows))

        training.batches.draw = disturbed  # type: ignore[method-assign]
        models.append([{n: v.item() for n, v in phase.step().items()} for phase in training.phases])
        models[-1].append({n: p.detach() for n, p in model.named_parameters()})  # type: ignore[misc]
    for plain, with_noise in zip(*(m[:3] for m in models), strict=True):
        assert plain == pytest.approx(with_noise, abs=1e-6)
    for name, parameter in models[0][3].items():
        torch.testing.assert_close(parameter, models[1][3][name], atol=1e-6, rtol=0)


def test_a_condition_is_given_and_not_drawn() -> None:
    windows = mixed_windows()
    model = TimeGAN(length=8, channels=windows.channels, hidden=5, layers=1)
    TimeGANTraining(model, windows, OPTIONS, torch.device("cpu"))
    first, second = (model.sample(50, 0, np.array(c, np.float32)) for c in ([1, 0], [0, 1]))
    assert (first.condition == [1, 0]).all()
    assert not np.array_equal(first.values, second.values)
    each = np.eye(2, dtype=np.float32)[np.arange(50) % 2]
    np.testing.assert_array_equal(model.sample(50, 0, each).condition, each)
    with pytest.raises(ConfigError, match=r"shape \(2,\) or \(50, 2\)"):
        model.sample(50, 0, np.ones(3, np.float32))


def test_a_condition_is_learnt() -> None:
    """Windows of one condition lie low, those of the other high: what is asked for comes out."""
    n = 400
    high = (np.arange(n) % 2 == 1).astype(np.float32)
    rng = np.random.default_rng(0)
    values = np.repeat(0.15 + 0.7 * high, 4) + 0.1 * rng.random(4 * n)
    none = np.empty((n, 0), np.float32)
    channels = Channels((Block("continuous"),), condition=(Block("binary"),))
    windows = Windows(
        values[:, None].astype(np.float32),
        np.arange(n) * 4,
        4,
        channels,
        np.full(n, 4),
        none,
        high[:, None],
    )
    model = TimeGAN(length=4, channels=channels, hidden=8, layers=1)
    options = OPTIONS | {"batch_size": 32, "learning_rate": 5e-3}
    training = TimeGANTraining(model, windows, options, torch.device("cpu"))
    for phase, steps in zip(training.phases, (150, 50, 250), strict=True):
        for _ in range(steps):
            phase.step()
    low, up = (model.sample(200, 0, np.array([c], np.float32)).values.mean() for c in (0, 1))
    assert low < 0.4
    assert up > 0.6


def test_the_accuracy_rule_holds_a_discriminator_that_leads(prepared: PreparedSeries) -> None:
    model = TimeGAN(length=LENGTH, channels=THREE, hidden=4, layers=2, seed=1)
    options = OPTIONS | {"discriminator_rule": "accuracy", "learning_rate": 1e-2}
    training = TimeGANTraining(model, prepared.windows(LENGTH), options, torch.device("cpu"))

    def moves() -> bool:
        before = model.discriminator.dense.weight.clone()
        training.discriminator_step(training.batches.draw(), training.noise())
        return not torch.equal(before, model.discriminator.dense.weight)

    assert moves()
    training.rule = "always"
    for _ in range(150):
        assert moves()
    training.rule = "accuracy"  # by now it tells nearly everything apart
    assert not moves()


def test_the_gradient_penalty_is_r1_in_closed_form() -> None:
    """Of a linear critic w.h averaged over steps the squared gradient is |w|^2 / steps."""
    w, H = torch.tensor([3.0, 4.0]), torch.rand(5, 10, 2, requires_grad=True)
    assert losses.gradient_penalty((H @ w).mean(1), H).item() == pytest.approx(25 / 10 / 2)


def test_the_gradient_penalty_holds_the_discriminator_back(prepared: PreparedSeries) -> None:
    slopes = []
    for penalty in (0.0, 50.0):
        model = TimeGAN(length=LENGTH, channels=THREE, hidden=4, layers=1, seed=1)
        options = OPTIONS | {"losses": {"gradient_penalty": penalty}, "learning_rate": 1e-2}
        options["discriminator_rule"] = "always"
        training = TimeGANTraining(model, prepared.windows(LENGTH), options, torch.device("cpu"))
        for _ in range(60):
            training.discriminator_step(training.batches.draw(), training.noise())
        batch = training.batches.draw()
        H = model.embed(batch.X, batch.condition).detach().requires_grad_()
        with model.discriminator.recurrent.twice_differentiable():
            score = model.discriminate(H, batch.condition, None).mean((1, 2))
        slopes.append(losses.gradient_penalty(score, H).item())
    assert slopes[1] < slopes[0] / 3


def test_the_two_variants_differ_where_the_paper_and_its_code_do() -> None:
    code, paper = (TimeGAN(length=16, channels=THREE, variant=v) for v in ("code", "paper"))
    assert "supervisor" in code.networks
    assert "supervisor" not in paper.networks
    assert not code.discriminator.recurrent.backward_layers
    assert len(paper.discriminator.recurrent.backward_layers) == 3
    assert isinstance(code.recovery, RecurrentNetwork)
    assert isinstance(paper.recovery, FeedForwardNetwork)
    mixed = TimeGAN(length=16, channels=THREE, variant="paper", bidirectional=False, noise_kind="uniform")
    assert not mixed.discriminator.recurrent.backward_layers
    assert mixed.noise_kind == "uniform"
    rng = torch.Generator().manual_seed(0)
    (uniform,), (wiener,) = code.noise(20_000, rng), paper.noise(20_000, rng)
    assert uniform.min() >= 0
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    # A Wiener process on [0, 1]: variance t, independent increments.
    time = torch.arange(1, 17) / 16
    torch.testing.assert_close(wiener.var(dim=(0, 2)), time, atol=0.02, rtol=0)
    increments = wiener.diff(dim=1)
    assert (increments[:, 0] * increments[:, 1]).mean().abs() < 1e-3


def test_drawn_categories_follow_the_chain_that_was_learnt() -> None:
    """A Markov chain of three states: what is generated has its transition matrix."""
    chain = np.array([[0.7, 0.25, 0.05], [0.05, 0.15, 0.8], [0.5, 0.1, 0.4]])
    rng, n, length = np.random.default_rng(0), 800, 10
    states = np.zeros((n, length), dtype=np.int64)
    states[:, 0] = rng.integers(0, 3, n)
    for t in range(1, length):
        states[:, t] = (rng.random((n, 1)) > chain[states[:, t - 1]].cumsum(1)).sum(1)
    values = np.eye(3, dtype=np.float32)[states.reshape(-1)]
    none = np.empty((n, 0), np.float32)
    channels = Channels((Block("one_hot", 3),))
    windows = Windows(values, np.arange(n) * length, length, channels, np.full(n, length), none, none)
    model = TimeGAN(length=length, channels=channels, variant="paper", hidden=8, layers=1)
    options = OPTIONS | {"batch_size": 64, "learning_rate": 5e-3, "losses": {}}
    training = TimeGANTraining(model, windows, options, torch.device("cpu"))
    for phase, steps in zip(training.phases, (200, 300, 60), strict=True):
        for _ in range(steps):
            phase.step()
    made = model.sample(2000, 0).values
    assert (np.sort(made, axis=2) == [0, 0, 1]).all()
    got = made.argmax(2)
    counts = np.zeros((3, 3))
    np.add.at(counts, (got[:, :-1].reshape(-1), got[:, 1:].reshape(-1)), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), chain, atol=0.1)
    assert np.abs(counts / counts.sum(1, keepdims=True) - chain).mean() < 0.05


def test_what_has_no_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match="this TimeGAN has no supervisor"):
        TimeGAN(length=4, channels=THREE, variant="paper", binarize=["supervisor"])
    windows = Windows.of(np.zeros((20, 3), np.float32), np.arange(10), 4)
    model = TimeGAN(length=4, channels=THREE, variant="paper")
    with pytest.raises(ConfigError, match=r"training.losses.gamma"):
        TimeGANTraining(model, windows, OPTIONS, torch.device("cpu"))


def test_a_free_running_generator_is_dropped_out_too() -> None:
    model = TimeGAN(length=4, channels=THREE, variant="paper", layers=2, dropout=0.5)
    windows = Windows.of(np.random.default_rng(0).random((20, 3), np.float32), np.arange(10), 4)
    training = TimeGANTraining(model, windows, OPTIONS | {"losses": {}}, torch.device("cpu"))
    noise, condition = training.noise(), torch.empty(8, 0)
    first, second = (model.generate(noise, condition).H_hat for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    first, second = (model.generate(noise, condition).H_hat for _ in range(2))
    assert torch.equal(first, second)


def test_drawing_needs_a_generator_that_is_decoded_step_by_step() -> None:
    channels = Channels((Block("one_hot", 3),))
    with pytest.raises(ConfigError, match=r"model.supervision=generator"):
        TimeGAN(length=4, channels=channels, discrete="drawn")
    TimeGAN(length=4, channels=THREE, discrete="drawn")  # nothing to draw


def test_constant_noise_is_drawn_once_a_window_and_beside_the_other():
    plain = TimeGAN(length=5, channels=THREE, hidden=4, layers=1)
    wider = TimeGAN(length=5, channels=THREE, hidden=4, layers=1, noise_constant=2)
    Z = plain.noise(7, torch.Generator().manual_seed(3))[0]
    both = wider.noise(7, torch.Generator().manual_seed(3))[0]
    assert torch.equal(both[..., :3], Z)
    constant = both[..., 3:]
    assert constant.shape == (7, 5, 2)
    assert torch.equal(constant, constant[:, :1].expand_as(constant))
    assert len({tuple(row.tolist()) for row in constant[:, 0]}) == 7
    moved = both.clone()
    moved[:, :, 3:] += 0.5
    condition = torch.zeros(7, 0)
    first, second = (wider.generate((noise,), condition).E_hat for noise in (both, moved))
    assert (first[:, 0] != second[:, 0]).any()
    assert wider.options["noise_constant"] == 2
