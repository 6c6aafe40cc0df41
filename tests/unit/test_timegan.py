"""The five networks and the three phases, against independent computations."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.errors import ConfigError, StorageError
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.timegan import TimeGAN
from core.generators.timegan.training import TimeGANTraining
from core.networks.recurrent import RecurrentNetwork
from core.prepare.series import PreparedSeries

OPTIONS: dict[str, Any] = {
    "batch_size": 8,
    "seed": 3,
    "gamma": 0.7,
    "discriminator_threshold": 0.15,
    "learning_rate": 1e-3,
    "embedding_iterations": 2,
    "supervised_iterations": 2,
    "joint_iterations": 2,
}
LENGTH = 6


@pytest.fixture
def training(prepared: PreparedSeries) -> TimeGANTraining:
    model = TimeGAN(length=LENGTH, features=3, hidden=4, layers=2, seed=1)
    return TimeGANTraining(model, prepared.windows(LENGTH), OPTIONS, torch.device("cpu"))


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def numpy_network(network: RecurrentNetwork, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The network's equations in float64: h = (1 - z) n + z h, the reset gate after the product."""
    p = {name: value.detach().double().numpy() for name, value in network.named_parameters()}
    width = network.recurrent.hidden_size
    for layer in range(network.recurrent.num_layers):
        h = np.zeros((len(x), width))
        states = []
        for t in range(x.shape[1]):
            given = x[:, t] @ p[f"recurrent.weight_ih_l{layer}"].T + p[f"recurrent.bias_ih_l{layer}"]
            kept = h @ p[f"recurrent.weight_hh_l{layer}"].T + p[f"recurrent.bias_hh_l{layer}"]
            r = sigmoid(given[:, :width] + kept[:, :width])
            z = sigmoid(given[:, width : 2 * width] + kept[:, width : 2 * width])
            n = np.tanh(given[:, 2 * width :] + r * kept[:, 2 * width :])
            h = (1 - z) * n + z * h
            states.append(h)
        x = np.stack(states, axis=1)
    y = x @ p["dense.weight"].T + p["dense.bias"]
    return y if network.logits else sigmoid(y)


@pytest.mark.parametrize("name", ["embedder", "recovery", "generator", "supervisor", "discriminator"])
def test_networks_compute_their_equations(training: TimeGANTraining, name: str) -> None:
    network = training.model.network(name)
    x = np.random.default_rng(0).normal(size=(5, LENGTH, network.recurrent.input_size))
    y = network(torch.from_numpy(x.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(y, numpy_network(network, x), atol=1e-5)


def test_the_supervisor_has_a_layer_less() -> None:
    layers = {n: TimeGAN(length=4, features=2, layers=n).supervisor.recurrent.num_layers for n in (1, 2, 3)}
    assert layers == {1: 1, 2: 1, 3: 2}


def test_weights_start_as_in_the_published_code() -> None:
    network = RecurrentNetwork(6, 24, 24, 2)
    network.reset_parameters(torch.Generator().manual_seed(0))
    gates = network.recurrent.weight_ih_l0[:48].abs().max().item()
    candidate = network.recurrent.weight_ih_l0[48:].abs().max().item()
    # Glorot: sqrt(6 / (fan in + fan out)) with fan in 6 + 24, fan out 48 for the gates, 24 for the candidate.
    assert 0.9 * math.sqrt(6 / 78) < gates <= math.sqrt(6 / 78)
    assert 0.9 * math.sqrt(6 / 54) < candidate <= math.sqrt(6 / 54)
    assert network.recurrent.bias_ih_l1.tolist() == [1.0] * 48 + [0.0] * 24
    assert network.recurrent.bias_hh_l1.abs().sum().item() == 0


def bce(logits: torch.Tensor, label: float) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def plain_generator_loss(m: TimeGAN, X: torch.Tensor, Z: torch.Tensor) -> torch.Tensor:
    """One forward per loss, as the published code writes it down."""
    H = m.embedder(X).detach()
    E_hat = m.generator(Z)
    H_hat = m.supervisor(E_hat)
    X_hat = m.recovery(H_hat)
    supervised = ((H[:, 1:] - m.supervisor(H)[:, :-1]) ** 2).mean()
    v1 = (
        (X_hat.var(0, unbiased=False).add(1e-6).sqrt() - X.var(0, unbiased=False).add(1e-6).sqrt()).abs().mean()
    )
    v2 = (X_hat.mean(0) - X.mean(0)).abs().mean()
    adversarial = bce(m.discriminator(H_hat), 1.0) + OPTIONS["gamma"] * bce(m.discriminator(E_hat), 1.0)
    return adversarial + 100 * supervised.sqrt() + 100 * (v1 + v2)


def plain_embedder_loss(m: TimeGAN, X: torch.Tensor) -> torch.Tensor:
    H = m.embedder(X)
    supervised = ((H[:, 1:] - m.supervisor(H)[:, :-1]) ** 2).mean()
    return 10 * ((X - m.recovery(H)) ** 2).mean().sqrt() + 0.1 * supervised


def plain_discriminator_loss(m: TimeGAN, X: torch.Tensor, Z: torch.Tensor) -> torch.Tensor:
    E_hat = m.generator(Z).detach()
    real, fake = m.discriminator(m.embedder(X).detach()), m.discriminator(m.supervisor(E_hat).detach())
    return bce(real, 1.0) + bce(fake, 0.0) + OPTIONS["gamma"] * bce(m.discriminator(E_hat), 0.0)


def test_a_joint_iteration_equals_the_plain_one(training: TimeGANTraining) -> None:
    """Two generator and embedder steps and one discriminator step, written anew with one forward per loss."""
    plain = copy.deepcopy(training.model).requires_grad_(True)
    twin = copy.deepcopy(training.batches.rng)
    losses = training.joint_step()

    def parameters(*names: str) -> list[torch.nn.Parameter]:
        return [p for name in names for p in plain.network(name).parameters()]

    source = training.batches
    source.rng.set_state(twin.get_state())
    G = torch.optim.Adam(parameters("generator", "supervisor"), lr=1e-3)
    E = torch.optim.Adam(parameters("embedder", "recovery"), lr=1e-3)
    D = torch.optim.Adam(parameters("discriminator"), lr=1e-3)
    for _ in range(2):
        X, Z = source.draw(), torch.rand((8, LENGTH, 3), generator=source.rng)
        G.zero_grad()
        generator_loss = plain_generator_loss(plain, X, Z)
        generator_loss.backward()
        G.step()
        E.zero_grad()
        plain_embedder_loss(plain, X).backward()
        E.step()
    X, Z = source.draw(), torch.rand((8, LENGTH, 3), generator=source.rng)
    D.zero_grad()
    loss = plain_discriminator_loss(plain, X, Z)
    loss.backward()
    D.step()
    assert losses["generator"].item() == pytest.approx(generator_loss.item(), rel=1e-5)
    assert losses["discriminator"].item() == pytest.approx(loss.item(), rel=1e-5)
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
    model = TimeGAN(length=LENGTH, features=3, hidden=4, layers=2, seed=1)
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
        TimeGAN(length=LENGTH, features=3, hidden=4, layers=2, seed=99),
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
    model = TimeGAN(length=5, features=3, hidden=4, layers=1)
    windows = model.sample(1500, seed=7)
    assert windows.shape == (1500, 5, 3)
    assert windows.dtype == np.float32
    assert windows.min() > 0
    assert windows.max() < 1
    np.testing.assert_array_equal(windows, model.sample(1500, seed=7))
    np.testing.assert_allclose(windows[:10], model.sample(10, seed=7), atol=1e-6)
    assert not np.array_equal(windows[:10], model.sample(10, seed=8))
    assert len(np.unique(windows.reshape(1500, -1), axis=0)) == 1500


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_impossible_samples_are_refused(n: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="n >= 1 and seed >= 0"):
        TimeGAN(length=5, features=3).sample(n, seed)


def test_a_bundle_comes_back_with_its_units(tmp_path: Path) -> None:
    series = SeriesInfo(
        dataset="made-up",
        features=("price", "count"),
        integer=(False, True),
        scaler={"minimum": [-5.0, 100.0], "maximum": [15.0, 900.0]},
        time=None,
        digest="x",
    )
    bundle = GeneratorBundle(TimeGAN(length=4, features=2, hidden=3, layers=1, seed=5), series)
    bundle.save(tmp_path)
    again = GeneratorBundle.load(tmp_path)
    scaled, frame = again.sample_scaled(6, 1), again.sample_frame(6, 1)
    np.testing.assert_array_equal(scaled, bundle.sample_scaled(6, 1))
    assert again.series == series
    assert list(frame.columns) == ["window", "step", "price", "count"]
    assert frame["window"].tolist() == [w for w in range(6) for _ in range(4)]
    assert frame["step"].tolist() == [0, 1, 2, 3] * 6
    np.testing.assert_allclose(frame["price"], scaled[..., 0].ravel().astype(np.float64) * 20 - 5)
    np.testing.assert_array_equal(
        frame["count"], np.rint(scaled[..., 1].ravel().astype(np.float64) * 800 + 100)
    )


@pytest.mark.parametrize("file", ["weights.safetensors", "generator.json", "series.json"])
def test_a_damaged_bundle_is_refused(tmp_path: Path, file: str) -> None:
    series = SeriesInfo("d", ("a",), (False,), {"minimum": [0.0], "maximum": [1.0]}, None, "x")
    GeneratorBundle(TimeGAN(length=4, features=1, hidden=3, layers=1), series).save(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError, match=str(tmp_path.name)):
        GeneratorBundle.load(tmp_path)
