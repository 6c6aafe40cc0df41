"""TimeGAN's losses against numbers worked out by hand from the published code's formulas."""

from __future__ import annotations

import math

import pytest
import torch

from core.generators.timegan import losses
from core.generators.timegan.losses import Objective

CODE, PAPER = (Objective.resolve(variant, {}) for variant in ("code", "paper"))


def test_reconstruction_is_the_mean_squared_error_and_its_loss_ten_roots() -> None:
    X = torch.tensor([[[0.0], [1.0]], [[0.5], [0.5]]])
    X_tilde = torch.tensor([[[0.2], [0.8]], [[0.5], [0.1]]])
    error = CODE.error(X, X_tilde)
    # (0.2^2 + 0.2^2 + 0 + 0.4^2) / 4 = 0.06
    assert error.item() == pytest.approx(0.06)
    assert CODE.embedder_loss(error).item() == pytest.approx(10 * math.sqrt(0.06))
    assert CODE.joint_embedder_loss(error, torch.tensor(0.3)).item() == pytest.approx(
        10 * math.sqrt(0.06) + 0.1 * 0.3
    )


def test_the_paper_measures_the_euclidean_norm_of_a_step() -> None:
    X, X_tilde = torch.zeros(1, 2, 2), torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    assert PAPER.error(X, X_tilde).item() == pytest.approx((5 + 1) / 2)
    assert PAPER.embedder_loss(torch.tensor(0.3)).item() == pytest.approx(0.3)
    assert PAPER.joint_embedder_loss(torch.tensor(0.3), torch.tensor(0.2)).item() == pytest.approx(0.5)
    one_step = torch.tensor([[[1.0], [0.0]]])
    assert PAPER.error(X, X_tilde, one_step).item() == pytest.approx(5)


def test_a_weight_takes_cells_out() -> None:
    X, X_tilde = torch.zeros(1, 2, 2), torch.tensor([[[1.0, 9.0], [2.0, 9.0]]])
    there = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert CODE.error(X, X_tilde, there).item() == pytest.approx((1 + 4) / 2)
    assert PAPER.error(X, X_tilde, there).item() == pytest.approx((1 + 2) / 2)


def test_what_is_given_wins_over_the_variant() -> None:
    chosen = Objective.resolve("paper", {"gamma": 0.5, "moments": None})
    assert (chosen.gamma, chosen.moments, chosen.supervised_generator) == (0.5, 0.0, 10.0)


def test_moments_compare_spread_and_centre_of_the_batch() -> None:
    X = torch.tensor([[[0.0]], [[2.0]]])  # mean 1, biased variance 1
    X_hat = torch.tensor([[[0.0]], [[0.0]]])  # mean 0, variance 0
    expected = abs(math.sqrt(0 + 1e-6) - math.sqrt(1 + 1e-6)) + abs(0.0 - 1.0)
    assert losses.moment_error(X, X_hat).item() == pytest.approx(expected, rel=1e-6)
    longer = torch.cat([X, torch.full((1, 1, 1), 77.0)]), torch.cat([X_hat, torch.full((1, 1, 1), 5.0)])
    rows = torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    assert losses.moment_error(*longer, rows).item() == pytest.approx(expected, rel=1e-6)


def test_adversarial_error_is_sigmoid_cross_entropy() -> None:
    logits = torch.tensor([[[0.0], [2.0]]])
    sigmoid = [0.5, 1 / (1 + math.exp(-2))]
    real = -(math.log(sigmoid[0]) + math.log(sigmoid[1])) / 2
    fake = -(math.log(1 - sigmoid[0]) + math.log(1 - sigmoid[1])) / 2
    assert losses.adversarial_error(logits, real=True).item() == pytest.approx(real, rel=1e-6)
    assert losses.adversarial_error(logits, real=False).item() == pytest.approx(fake, rel=1e-6)


def test_generator_loss_weighs_its_four_terms() -> None:
    zero = torch.zeros(1, 1, 1)  # cross-entropy log 2
    half = Objective.resolve("code", {"gamma": 0.5})
    loss = half.generator_loss(zero, zero, torch.tensor(0.04), torch.tensor(0.05), None)
    assert loss.item() == pytest.approx(1.5 * math.log(2) + 100 * 0.2 + 100 * 0.05, rel=1e-6)
    loss = PAPER.generator_loss(zero, None, torch.tensor(0.04), None, None)
    assert loss.item() == pytest.approx(math.log(2) + 10 * 0.04, rel=1e-6)


def test_discriminator_loss_counts_both_fakes() -> None:
    zero = torch.zeros(1, 1, 1)
    loss = Objective.resolve("code", {"gamma": 0.5}).discriminator_loss(zero, zero, zero, None)
    assert loss.item() == pytest.approx(2.5 * math.log(2), rel=1e-6)
    sure = CODE.discriminator_loss(zero + 50, zero - 50, zero - 50, None)
    assert sure.item() == pytest.approx(0, abs=1e-6)
