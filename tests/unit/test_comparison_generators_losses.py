"""The losses of each comparison method against closed forms and hand computations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from core.generators.crnngan import CRNNGAN
from core.generators.forcing import PForcing, TForcing
from core.generators.losses import adversarial_error
from core.generators.module import TorchGenerator
from core.generators.rcgan import RCGAN
from core.generators.training.crnngan import CRNNGANTraining
from core.generators.training.likelihood import LikelihoodTraining
from core.generators.training.losses import (
    feature_distance,
    gradient_penalty,
    interpolate,
    mean_decision,
    squared_weights,
)
from core.generators.training.professor import ProfessorTraining
from core.generators.training.rcgan import RCGANTraining
from core.generators.training.wavegan import WaveGANTraining
from core.generators.wavegan import WaveGAN
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows
from core.training.base import NetworkTraining

CPU = torch.device("cpu")
OPTIONS = {"batch_size": 6, "joint_iterations": 4, "seed": 1}
TWO = Channels.continuous(2)


@pytest.fixture
def windows() -> Windows:
    values = np.random.default_rng(0).random((80, 2)).astype(np.float32)
    whole = Windows.of(values, np.arange(70), 5)
    return replace(whole, lengths=np.random.default_rng(1).integers(2, 6, 70))


def rows_of(lengths: list[int], steps: int) -> torch.Tensor:
    return (torch.arange(steps) < torch.tensor(lengths)[:, None]).double()[..., None]


# RCGAN ----------------------------------------------------------------------------------------------------


def test_rcgans_losses_are_the_mean_cross_entropies_of_the_steps() -> None:
    logits = torch.randn((3, 4, 1), dtype=torch.float64)
    lengths = [4, 2, 1]
    p = logits.sigmoid()[..., 0].numpy()
    for real, each in ((True, -np.log(p)), (False, -np.log(1 - p))):
        cells = [each[i, t] for i, n in enumerate(lengths) for t in range(n)]
        got = float(adversarial_error(logits, rows_of(lengths, 4), real=real))
        assert got == pytest.approx(np.mean(cells), abs=1e-12)
        assert float(adversarial_error(logits, real=real)) == pytest.approx(each.mean(), abs=1e-12)


def test_rcgans_training_equals_the_losses_written_down(windows: Windows) -> None:
    model = RCGAN(length=5, channels=TWO, hidden=4, layers=1)
    training = RCGANTraining(model, windows, OPTIONS, CPU)
    batch, noise = training.batches.draw(), training.noise()
    assert batch.lengths is not None
    fake = model.decode(noise, batch.condition, batch.lengths)[0]
    real_cells, fake_cells = [], []
    for i, n in enumerate(batch.lengths.tolist()):  # every window alone, cut to its length
        real_cells += model.discriminator(batch.X[i : i + 1, :n])[0, :, 0].tolist()
        fake_cells += model.discriminator(fake[i : i + 1, :n])[0, :, 0].tolist()
    real, made = (1 / (1 + np.exp(-np.array(cells))) for cells in (real_cells, fake_cells))
    expected = -np.log(real).mean() - np.log(1 - made).mean()
    assert training.discriminator_loss(batch, noise).item() == pytest.approx(expected, abs=1e-5)
    assert training.generator_loss(batch, noise).item() == pytest.approx(-np.log(made).mean(), abs=1e-5)


# C-RNN-GAN ------------------------------------------------------------------------------------------------


def test_crnngans_decision_is_the_mean_of_the_steps_sigmoids() -> None:
    logits = 3 * torch.randn((3, 4, 1), dtype=torch.float64)
    lengths = [4, 2, 1]
    p = logits.sigmoid()[..., 0].numpy()
    decisions = np.array([p[i, :n].mean() for i, n in enumerate(lengths)])
    rows = rows_of(lengths, 4)
    assert float(mean_decision(logits, True, rows)) == pytest.approx(-np.log(decisions).mean(), abs=1e-10)
    assert float(mean_decision(logits, False, rows)) == pytest.approx(-np.log(1 - decisions).mean(), abs=1e-10)
    whole = -np.log(p.mean(1)).mean()
    assert float(mean_decision(logits, True, None)) == pytest.approx(whole, abs=1e-6)
    sure = torch.full((1, 3, 1), 200.0, requires_grad=True)
    mean_decision(sure, False, None).backward()
    assert sure.grad is not None
    assert float(sure.grad.sum()) == pytest.approx(1, abs=1e-4)


def test_feature_matching_is_the_squared_distance_of_means() -> None:
    real, fake = torch.randn((3, 4, 5), dtype=torch.float64), torch.randn((3, 4, 5), dtype=torch.float64)
    lengths = [3, 2, 1]  # nobody has the last step
    total, count = 0.0, 0
    for t in range(3):
        there = [i for i, n in enumerate(lengths) if t < n]
        apart = real[there, t].numpy().mean(0) - fake[there, t].numpy().mean(0)
        total, count = total + len(there) * (apart**2).sum(), count + len(there)
    got = feature_distance(real, fake, rows_of(lengths, 4))
    assert float(got) == pytest.approx(total / count, abs=1e-12)
    whole = feature_distance(real, fake, None)
    assert float(whole) == pytest.approx(float(feature_distance(real, fake, rows_of([4, 4, 4], 4))), abs=1e-12)
    assert float(feature_distance(real, real, None)) == 0


def test_the_generator_reads_its_own_last_step() -> None:
    """Step by step equals teacher forcing on its own output, and noise at a step moves no step before it."""
    model = CRNNGAN(length=6, channels=TWO, hidden=5, layers=2, seed=1).double()
    noise = torch.rand((3, 6, 2), dtype=torch.float64)
    none = noise[:, 0, :0]
    X = model.windows(noise, none)
    torch.testing.assert_close(model.predict(noise, X, none), X)
    other = noise.clone()
    other[:, 3] = 1 - other[:, 3]
    moved = (model.windows(other, none) - X).abs().sum((0, 2)) > 1e-9
    assert moved.tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize(
    ("discriminator", "generator", "moving"),
    [
        (1.0, 1.0, {"generator", "discriminator"}),
        (0.69, 1.0, {"generator"}),
        (1.0, 0.69, {"discriminator"}),
        (0.71, 1.0, {"generator", "discriminator"}),
    ],
)
def test_freezing_holds_whoever_leads(
    windows: Windows, discriminator: float, generator: float, moving: set[str]
) -> None:
    """Losses as given, whatever the networks say: below 0.7 of the other's a network rests."""
    model = CRNNGAN(length=5, channels=TWO, hidden=4, layers=1, pretraining=0)
    training = CRNNGANTraining(model, windows, OPTIONS, CPU)

    def constant(network: str, value: float) -> torch.Tensor:
        some = next(iter(model.network(network).parameters()))
        return value + 0 * some.sum()

    training.discriminator_loss = lambda *_: (  # type: ignore[method-assign]
        constant("discriminator", discriminator),
        torch.tensor(generator),
    )
    training.generator_loss = lambda *_: (  # type: ignore[method-assign]
        torch.tensor(generator),
        constant("generator", generator),
    )
    before = {name: p.clone() for name, p in model.named_parameters()}
    training.adversarial_step()  # the penalty moves what does not rest
    assert {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])} == moving


def test_the_l2_penalty_leaves_biases_out() -> None:
    model = CRNNGAN(length=5, channels=TWO, hidden=3, layers=1)
    weights = [p for name, p in model.generator.named_parameters() if "weight" in name]
    expected = sum((p**2).sum().item() for p in weights)
    assert squared_weights([model.generator]).item() == pytest.approx(expected, rel=1e-6)


def test_pretraining_takes_its_share_of_the_iterations(windows: Windows) -> None:
    for share, expected in ((0.25, [("pretraining", 1), ("adversarial", 3)]), (0.0, [("adversarial", 4)])):
        model = CRNNGAN(length=5, channels=TWO, hidden=3, layers=1, pretraining=share)
        training = CRNNGANTraining(model, windows, OPTIONS, CPU)
        assert [(phase.name, phase.iterations) for phase in training.phases] == expected


# T-Forcing and P-Forcing ----------------------------------------------------------------------------------


def test_the_likelihood_of_a_window_is_the_product_of_its_steps_by_hand(windows: Windows) -> None:
    """Steps one at a time, each given the real ones before; the density of a logistic by NumPy."""
    model = TForcing(length=5, channels=TWO, hidden=4, layers=2, components=1, seed=3)
    training = LikelihoodTraining(model, windows, OPTIONS, CPU)
    with torch.no_grad():  # only what is below the diagonal acts
        model.predictor.head.innovation.copy_(torch.tensor([[9.0, 9.0], [0.6, 9.0]]))
    state = training.batches.rng.get_state()
    batch = training.batches.draw()
    training.batches.rng.set_state(state)
    assert batch.lengths is not None
    total, none = 0.0, torch.zeros(1, 0)
    for i, n in enumerate(batch.lengths.tolist()):
        state = model.predictor.start(none)
        before = torch.tensor([[0.0, 0.0, 1.0]])
        for t in range(n):
            features, state = model.predictor.step(before, none, state)
            _, m1, m2, s1, s2 = model.predictor.dense(features)[0].tolist()
            x1, x2 = batch.X[i, t].tolist()
            means = [0.5 + m1, 0.5 + m2 + 0.6 * (x1 - 0.5 - m1)]
            for x, mean, raw in ((x1, means[0], s1), (x2, means[1], s2)):
                scale = 1e-4 + np.log1p(np.exp(raw - 2.25))
                z = (x - mean) / scale
                total += -z - np.log(scale) - 2 * np.log1p(np.exp(-z))
            before = torch.tensor([[x1, x2, 0.0]])
    loss = float(training.likelihood_step()["likelihood"])
    assert loss == pytest.approx(-total / int(batch.lengths.sum()), abs=1e-4)


def test_both_modes_of_professor_forcing_are_one_network() -> None:
    """A free run, fed to the taught mode, has the same features: the modes share all weights."""
    model = PForcing(length=5, channels=TWO, hidden=4, layers=2, components=2, seed=3)
    uniform = model.noise(4, torch.Generator().manual_seed(0))[0]
    X, features = model.free_run(uniform, torch.zeros(4, 0))
    torch.testing.assert_close(model.features(X, torch.zeros(4, 0)), features)
    named = dict(model.named_parameters())
    assert {name.split(".")[0] for name in named} == {"predictor", "discriminator"}


def test_the_discriminator_of_runs_reads_whole_windows_alone() -> None:
    """Its logit is the mean over the window's steps, whatever stands past the end."""
    model = PForcing(length=5, channels=TWO, hidden=3, layers=1)
    behaviour = torch.randn(2, 5, 5)
    rows = rows_of([5, 3], 5).float()
    logits = model.judge(behaviour, torch.tensor([5, 3]), rows)
    whole = model.discriminator(behaviour[:1])[0].mean()
    cut = model.discriminator(behaviour[1:, :3])[0].mean()
    torch.testing.assert_close(logits, torch.stack([whole, cut]))


def test_professor_forcing_without_its_discriminators_gradient_is_teacher_forcing(windows: Windows) -> None:
    """While the discriminator is not right often enough, the predictor moves by its likelihood alone."""
    taught = TForcing(length=5, channels=TWO, hidden=4, layers=2, seed=3)
    model = PForcing(length=5, channels=TWO, hidden=4, layers=2, generator_accuracy=1.0, seed=3)
    one, two = (
        LikelihoodTraining(taught, windows, OPTIONS, CPU),
        ProfessorTraining(model, windows, OPTIONS, CPU),
    )
    one.likelihood_step()
    two.professor_step()
    for name, parameter in taught.named_parameters():
        torch.testing.assert_close(parameter, dict(model.named_parameters())[name], atol=1e-6, rtol=0)


def test_imitation_is_the_papers_cf_and_ct(windows: Windows) -> None:
    model = PForcing(length=5, channels=TWO, hidden=4, layers=1, teacher_term=True)
    training = ProfessorTraining(model, windows, OPTIONS, CPU)
    taught, free = torch.randn(7), torch.randn(7)
    expected = -np.log(free.sigmoid().numpy()).mean() - np.log(1 - taught.sigmoid().numpy()).mean()
    assert float(training.imitation(taught, free)) == pytest.approx(expected, abs=1e-5)


def test_the_discriminator_of_runs_rests_while_it_is_right(windows: Windows) -> None:
    model = PForcing(length=5, channels=TWO, hidden=4, layers=1, discriminator_accuracy=1e-9)
    training = ProfessorTraining(model, windows, OPTIONS, CPU)
    before = {name: p.clone() for name, p in model.discriminator.named_parameters()}
    training.professor_step()
    assert all(torch.equal(p, before[name]) for name, p in model.discriminator.named_parameters())


# WaveGAN --------------------------------------------------------------------------------------------------


def test_the_gradient_penalty_of_a_linear_critic_in_closed_form() -> None:
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)

    def critic(X: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return (X @ w).sum(1, keepdim=True) + s @ v[:, None]

    X, s = torch.randn((4, 5, 3), dtype=torch.float64), torch.randn((4, 1), dtype=torch.float64)
    norm = (5 * (w**2).sum() + (v**2).sum()).sqrt()  # every one of the five steps has the gradient w
    penalty = gradient_penalty(critic, X, s)
    assert penalty.item() == pytest.approx((norm - 1).item() ** 2, abs=1e-9)
    penalty.backward()
    assert w.grad is not None
    torch.testing.assert_close(w.grad, (2 * (norm - 1) * 5 * w / norm).detach())


def test_points_between_are_on_the_lines() -> None:
    real, fake, share = torch.ones(3, 2, 2), torch.zeros(3, 2, 2), torch.tensor([0.0, 0.25, 1.0])
    assert interpolate(real, fake, share)[:, 0, 0].tolist() == [0.0, 0.25, 1.0]


def test_wavegans_losses_are_wasserstein_with_penalty(windows: Windows) -> None:
    """Without phase shuffle: means of scores, and the penalty by finite differences of the critic."""
    model = WaveGAN(length=5, channels=TWO, width=3, kernel=3, stride=2, noise=4, phase_shuffle=0).double()
    training = WaveGANTraining(model, windows, OPTIONS, CPU)
    batch = training.batches.draw()
    batch = replace(
        batch,
        X=batch.X.double(),
        static=batch.static.double(),
        condition=batch.condition.double(),
        rows=None if batch.rows is None else batch.rows.double(),
    )
    noise = tuple(part.double() for part in training.noise())
    share = torch.rand(6, dtype=torch.float64)
    distance, penalty = training.critic_terms(batch, noise, share)
    fake = model.generate(noise, batch.condition)[0]
    scores = [model.criticise(X, batch.condition, batch.rows).mean() for X in (batch.X, fake)]
    assert distance.item() == pytest.approx((scores[0] - scores[1]).item(), abs=1e-12)
    assert training.generator_loss(batch, noise).item() == pytest.approx(-scores[1].item(), abs=1e-12)
    points = share[:, None, None] * batch.X + (1 - share[:, None, None]) * fake
    norms = torch.zeros(6, dtype=torch.float64)
    for t in range(5):
        for c in range(2):
            up, down = points.clone(), points.clone()
            up[:, t, c] += 1e-5
            down[:, t, c] -= 1e-5
            slope = model.criticise(up, batch.condition, batch.rows) - model.criticise(
                down, batch.condition, batch.rows
            )
            norms += (slope[:, 0] / 2e-5) ** 2
    assert penalty.item() == pytest.approx(10 * ((norms.sqrt() - 1) ** 2).mean().item(), rel=1e-4)


def test_phase_shifts_stay_in_bounds(windows: Windows) -> None:
    model = WaveGAN(length=5, channels=TWO, width=3, kernel=3, stride=2, layers=3, phase_shuffle=2)
    training = WaveGANTraining(model, windows, OPTIONS, CPU)
    drawn = torch.stack([shifts for _ in range(200) if (shifts := training.shifts()) is not None])
    assert model.discriminator.lengths == [5, 3, 2, 1]
    assert drawn.shape == (200, 2, 6)
    assert set(drawn[:, 0].unique().tolist()) == {-2, -1, 0, 1, 2}
    assert set(drawn[:, 1].unique().tolist()) == {-1, 0, 1}  # two steps can only be turned round


@pytest.mark.parametrize("kind", [RCGAN, CRNNGAN, WaveGAN])
def test_adversarial_networks_have_betas_of_their_own(kind: type[TorchGenerator], windows: Windows) -> None:
    for betas, expected in (((0.5, 0.9), (0.5, 0.9)), (None, (0.9, 0.999))):
        model = kind(length=5, channels=TWO, betas=betas)  # type: ignore[call-arg]
        training = model.start_training(windows, OPTIONS, CPU)
        assert isinstance(training, NetworkTraining)
        groups = [group for solver in training.solvers.values() for group in solver.param_groups]
        assert {tuple(group["betas"]) for group in groups} == {expected}
        descent = model.start_training(windows, OPTIONS | {"optimizer": {"kind": "sgd"}}, CPU)
        assert all(np.isfinite(float(loss)) for loss in descent.phases[-1].step().values())


def test_a_cross_entropy_of_zero_logits_is_log_two() -> None:
    zeros = torch.zeros(2, 3, 1)
    for loss in (adversarial_error(zeros, real=True), mean_decision(zeros, True, None)):
        assert float(loss) == pytest.approx(np.log(2), abs=1e-6)
    assert float(functional.softplus(torch.tensor(0.0))) == pytest.approx(np.log(2), abs=1e-6)
