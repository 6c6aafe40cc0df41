"""TimeGAN's losses against numbers worked out by hand from the published code's formulas."""

from __future__ import annotations

import math

import pytest
import torch

from core.generators.timegan import losses


def test_reconstruction_is_the_mean_squared_error_and_its_loss_ten_roots() -> None:
    X = torch.tensor([[[0.0], [1.0]], [[0.5], [0.5]]])
    X_tilde = torch.tensor([[[0.2], [0.8]], [[0.5], [0.1]]])
    error = losses.reconstruction_error(X, X_tilde)
    # (0.2^2 + 0.2^2 + 0 + 0.4^2) / 4 = 0.06
    assert error.item() == pytest.approx(0.06)
    assert losses.embedder_loss(error).item() == pytest.approx(10 * math.sqrt(0.06))
    assert losses.joint_embedder_loss(error, torch.tensor(0.3)).item() == pytest.approx(
        10 * math.sqrt(0.06) + 0.1 * 0.3
    )


def test_the_supervisor_is_scored_on_the_next_step() -> None:
    H = torch.tensor([[[0.1], [0.4], [0.9]]])
    predicts_next = torch.tensor([[[0.4], [0.9], [0.0]]])  # the last prediction has no target
    predicts_same = H.clone()
    assert losses.supervised_error(H, predicts_next).item() == 0
    # Off by 0.3 and by 0.5.
    assert losses.supervised_error(H, predicts_same).item() == pytest.approx((0.09 + 0.25) / 2)


def test_moments_compare_spread_and_centre_of_the_batch() -> None:
    X = torch.tensor([[[0.0]], [[2.0]]])  # mean 1, biased variance 1
    X_hat = torch.tensor([[[0.0]], [[0.0]]])  # mean 0, variance 0
    expected = abs(math.sqrt(0 + 1e-6) - math.sqrt(1 + 1e-6)) + abs(0.0 - 1.0)
    assert losses.moment_error(X, X_hat).item() == pytest.approx(expected, rel=1e-6)


def test_adversarial_error_is_sigmoid_cross_entropy() -> None:
    logits = torch.tensor([[[0.0], [2.0]]])
    sigmoid = [0.5, 1 / (1 + math.exp(-2))]
    real = -(math.log(sigmoid[0]) + math.log(sigmoid[1])) / 2
    fake = -(math.log(1 - sigmoid[0]) + math.log(1 - sigmoid[1])) / 2
    assert losses.adversarial_error(logits, real=True).item() == pytest.approx(real, rel=1e-6)
    assert losses.adversarial_error(logits, real=False).item() == pytest.approx(fake, rel=1e-6)


def test_generator_loss_weighs_its_four_terms() -> None:
    zero = torch.zeros(1, 1, 1)  # cross-entropy log 2
    loss = losses.generator_loss(zero, zero, torch.tensor(0.04), torch.tensor(0.05), gamma=0.5)
    assert loss.item() == pytest.approx(1.5 * math.log(2) + 100 * 0.2 + 100 * 0.05, rel=1e-6)


def test_discriminator_loss_counts_both_fakes() -> None:
    zero = torch.zeros(1, 1, 1)
    loss = losses.discriminator_loss(zero, zero, zero, gamma=0.5)
    assert loss.item() == pytest.approx(2.5 * math.log(2), rel=1e-6)
    sure = losses.discriminator_loss(zero + 50, zero - 50, zero - 50, gamma=1.0)
    assert sure.item() == pytest.approx(0, abs=1e-6)
