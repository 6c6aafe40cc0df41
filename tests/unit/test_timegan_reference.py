"""Step-by-step agreement with an independent computation: outputs, losses, Adam steps, in float64."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from core.generators.timegan import TimeGAN
from core.generators.timegan.training import TimeGANTraining
from core.prepare.channels.layout import Block, Channels, width
from core.prepare.series import Windows
from core.training.batches import Batch
from tests.unit.timegan_reference import Adam, Data, Reference, sigmoid

BATCH, STEPS, HIDDEN = 4, 5, 3
TOLERANCE = 1e-5
OPTIONS: dict[str, Any] = {
    "batch_size": BATCH,
    "seed": 3,
    "learning_rate": 1e-3,
    "embedding_iterations": 1,
    "supervised_iterations": 1,
    "joint_iterations": 1,
    "discriminator_rule": "always",
}
PLAIN = Channels.continuous(2)
RICH = Channels(
    (Block("continuous"), Block("continuous", 1, optional=True)),
    static=(Block("continuous"), Block("continuous", 1, optional=True)),
    condition=(Block("one_hot", 2),),
)
STATIC = Channels(PLAIN.temporal, (Block("continuous"), Block("continuous")), RICH.condition)


@dataclass
class Case:
    channels: Channels
    options: dict[str, Any] = field(default_factory=dict)
    variable: bool = False


CASES = {
    "code, cuDNN's GRU": Case(PLAIN),
    "code, TF1's GRU": Case(PLAIN, {"reset_gate": "before"}),
    "code, LSTM": Case(PLAIN, {"cell": "lstm"}),
    "code, layer-normalised LSTM": Case(PLAIN, {"cell": "lstm_ln"}),
    "code, static, condition, lengths": Case(STATIC, {}, variable=True),
    "paper, static, condition, lengths, missing": Case(
        RICH, {"variant": "paper", "discrete": "likeliest"}, variable=True
    ),
}


@dataclass
class Pair:
    """The project's training and the reference, with the same weights."""

    training: TimeGANTraining
    reference: Reference
    rng: np.random.Generator
    case: Case

    def batch(self) -> tuple[Batch, Data]:
        rng, channels = self.rng, self.case.channels
        X = rng.random((BATCH, STEPS, channels.features))
        lengths = rng.permutation([2, 3, STEPS, STEPS]) if self.case.variable else None
        observed = None
        if channels.features == 3:  # the last column has a presence channel before it
            X[..., 1] = rng.random((BATCH, STEPS)) < 0.7
            X[..., 2] *= X[..., 1]
        static = rng.random((BATCH, width(channels.static)))
        observed_static = None
        if width(channels.static) == 3:  # and so has the last static one
            static[:, 1] = rng.permutation([0, 1, 1, 0])
            static[:, 2] *= static[:, 1]
            observed_static = np.column_stack([np.ones((BATCH, 2)), static[:, 1]])
        condition = np.eye(2)[rng.integers(0, 2, BATCH)] if channels.condition else np.empty((BATCH, 0))
        data = Data(X, static, condition, lengths, None, observed_static)
        if data.rows is not None:
            X *= data.rows
            observed = np.broadcast_to(data.rows, X.shape).copy()
        if channels.features == 3 and observed is not None:
            observed[..., 2] *= X[..., 1]
        data.observed = observed
        tensors = [
            None if part is None else torch.from_numpy(part)
            for part in (X, static, condition, lengths, data.rows, observed, observed_static)
        ]
        return Batch(*tensors), data  # type: ignore[arg-type]

    def noise(self) -> tuple[np.ndarray[Any, Any], ...]:
        Z = self.rng.random((BATCH, STEPS, self.training.model.noise_width))
        if not self.case.channels.static:
            return (Z,)
        return Z, self.rng.random((BATCH, self.training.model.static_width))

    def draw(self) -> tuple[Batch, Data, tuple[Any, ...], tuple[Any, ...]]:
        """A batch and noise, for both; the training will draw just these."""
        batch, data = self.batch()
        noise = self.noise()
        tensors = tuple(torch.from_numpy(part) for part in noise)
        self.training.batches.draw = lambda: batch  # type: ignore[method-assign]
        self.training.noise = lambda: tensors  # type: ignore[method-assign]
        return batch, data, noise, tensors


@pytest.fixture(params=CASES, ids=list(CASES))
def pair(request: pytest.FixtureRequest) -> Pair:
    case = CASES[request.param]
    n = 6
    none = np.zeros((n, 0), np.float32)
    windows = Windows(
        np.zeros((20, case.channels.features), np.float32),
        np.arange(n),
        STEPS,
        case.channels,
        np.full(n, STEPS),
        np.zeros((n, width(case.channels.static)), np.float32),
        np.zeros((n, 2), np.float32) if case.channels.condition else none,
    )
    model = TimeGAN(
        length=STEPS, channels=case.channels, hidden=HIDDEN, layers=2, latent_static=2, seed=1, **case.options
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():  # biases that are 0 would hide where they act
            rng = torch.Generator().manual_seed(parameter.numel())
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    training = TimeGANTraining(model, windows, OPTIONS, torch.device("cpu"))
    reference = Reference(
        {name: p.detach().numpy().copy() for name, p in model.named_parameters()},
        cell=case.options.get("cell", "gru"),
        reset_gate=case.options.get("reset_gate", "after"),
        variant=case.options.get("variant", "code"),
        static_kinds=bool(case.channels.static),
    )
    return Pair(training, reference, np.random.default_rng(0), case)


def agree(ours: torch.Tensor, theirs: Any, rows: Any = None) -> None:
    ours_array = ours.detach().numpy()
    if rows is not None:  # what stands past a window's end has no meaning
        ours_array, theirs = ours_array * rows, theirs * rows
    np.testing.assert_allclose(ours_array, theirs, atol=TOLERANCE, rtol=0)


def test_every_network_gives_the_outputs_of_its_equations(pair: Pair) -> None:
    batch, data, noise, tensors = pair.draw()
    model, reference = pair.training.model, pair.reference
    h_S = model.embed_static(batch.static)
    context = model.context(h_S, batch.condition)
    H = model.embed(batch.X, context)
    reference_H, reference_S = reference.embed(data)
    agree(H, reference_H, data.rows)
    agree(h_S, reference_S)
    agree(model.recovery(H).sigmoid(), sigmoid(reference.network("recovery", reference_H)), data.rows)
    latents = model.generate(tensors, batch.condition)
    for ours, theirs in zip(
        (latents.E_hat, latents.H_hat, latents.static), reference.generate(noise, data.condition), strict=True
    ):
        agree(ours, theirs)
    agree(
        model.discriminate(H, context, batch.lengths),
        reference.judged(reference_H, reference_S, data),
        data.rows,
    )
    if pair.case.channels.static:
        agree(model.discriminate_static(h_S, batch.condition), reference.judged_static(reference_S, data))


def weights_of(pair: Pair, networks: tuple[str, ...]) -> list[str]:
    return [name for name in pair.reference.W if name.split(".")[0] in networks]


def check_weights(pair: Pair) -> None:
    for name, parameter in pair.training.model.named_parameters():
        np.testing.assert_allclose(
            parameter.detach().numpy(), pair.reference.W[name], atol=TOLERANCE * 1e-3, rtol=0, err_msg=name
        )


@pytest.mark.parametrize("solver", ["embedding", "supervised", "generator", "embedder", "discriminator"])
def test_every_loss_and_two_adam_steps_of_every_optimiser_agree(pair: Pair, solver: str) -> None:
    """One step alone shows little more than the sign of a gradient: Adam divides its size out."""
    training, reference, adam = pair.training, pair.reference, Adam()
    networks = training.movers[solver]
    if solver == "supervised":
        networks = ("generator",) if reference.variant == "paper" else ("supervisor",)
    before = dict(reference.W)
    for _ in range(2):
        batch, data, noise, tensors = pair.draw()
        if solver in ("generator", "embedder"):
            with training.moving("embedder", "static_embedder"):
                h_S = training.model.embed_static(batch.static)
                H = training.model.embed(batch.X, training.model.context(h_S, batch.condition))

        def loss(data: Data = data, noise: tuple[Any, ...] = noise) -> Any:
            if solver == "supervised":
                return reference.supervised(data, noise)
            return getattr(reference, f"{solver}_loss")(data, noise)

        if solver == "embedding":
            ours = training.embedding_step()["reconstruction"]
            theirs = reference.reconstruction(data)
        elif solver == "supervised":
            ours, theirs = training.supervised_step()["supervised"], loss()
        elif solver == "generator":
            ours = training.generator_step(batch, H.detach(), h_S.detach(), tensors)["generator"]
            theirs = loss()
        elif solver == "embedder":
            ours = training.embedder_step(batch, H, h_S, tensors[0])["reconstruction"]
            theirs = reference.reconstruction(data)
        else:
            ours, theirs = training.discriminator_step(batch, tensors)["discriminator"], loss()
        assert ours.item() == pytest.approx(theirs, abs=TOLERANCE)
        adam.step(reference.W, reference.gradient(loss, weights_of(pair, networks)))
        check_weights(pair)
    moved = {name.split(".")[0] for name in before if not np.array_equal(before[name], reference.W[name])}
    assert moved == set(networks)
