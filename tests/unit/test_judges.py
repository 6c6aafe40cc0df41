from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from core.errors import ConfigError, DataError, TrainingDivergedError
from core.evaluation.checks import checked_pair
from core.evaluation.judges.gru import JudgeWeights, Workspace, gru, outputs
from core.evaluation.judges.paper_scores import (
    discriminative_score,
    draw_batches,
    judge,
    predictive_score,
    train_judges,
)
from core.evaluation.judges.scores import Score, chance_floor, held_out, rank_auc

STEPS, JUDGES, BATCH, INPUTS, HIDDEN = 4, 3, 5, 2, 3


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def judge_weights(judges: int = JUDGES, seed: int = 0, dtype: torch.dtype = torch.float64) -> JudgeWeights:
    weights = JudgeWeights.initial(judges, INPUTS, HIDDEN, generator(seed))
    return JudgeWeights(*(tensor.detach().to(dtype).requires_grad_() for tensor in weights))


def window_data(windows: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    data = torch.rand(STEPS, windows, INPUTS + 1, generator=generator(seed), dtype=dtype)
    data[:, :, -1] = 1
    return data


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def cell_of_tensorflow_1(x: np.ndarray, h: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """One judge, one window: kernels over the concatenation [x, h], reset before the recurrent product."""
    gate_kernel, gate_bias, candidate_kernel, candidate_bias = weights
    r, u = np.split(sigmoid(np.concatenate([x, h]) @ gate_kernel + gate_bias), 2)
    c = np.tanh(np.concatenate([x, r * h]) @ candidate_kernel + candidate_bias)
    return u * h + (1 - u) * c


def test_the_cell_is_that_of_tensorflow_1():
    weights, data = judge_weights(), window_data(JUDGES * BATCH)
    with torch.no_grad():
        weights.kernel[..., -1] += torch.randn(JUDGES, 3 * HIDDEN, generator=generator(5), dtype=torch.float64)
    index = torch.arange(JUDGES * BATCH).view(JUDGES, BATCH)
    workspace = Workspace(STEPS, weights, BATCH)
    states = gru(workspace.gather(data, index), weights, workspace, last=False).detach().numpy()
    for j in range(JUDGES):
        kernel, gates, candidate = (tensor[j].detach().numpy() for tensor in list(weights)[:3])
        split = 2 * HIDDEN
        own = [
            np.concatenate([kernel[:split, :-1].T, gates.T]),
            kernel[:split, -1],
            np.concatenate([kernel[split:, :-1].T, candidate.T]),
            kernel[split:, -1],
        ]
        for b in range(BATCH):
            h = np.zeros(HIDDEN)
            for t in range(STEPS):
                h = cell_of_tensorflow_1(data[t, index[j, b], :-1].numpy(), h, own)
                np.testing.assert_allclose(states[t, j, :, b], h, rtol=1e-12)


@pytest.mark.parametrize("last", [True, False])
def test_the_gradient_is_that_of_finite_differences(last):
    weights, data = judge_weights(2), window_data(6)
    index = torch.tensor([[0, 1, 2], [3, 4, 5]])

    def logits(*tensors: torch.Tensor) -> torch.Tensor:
        own = JudgeWeights(*tensors)
        workspace = Workspace(STEPS, own, 3)
        return outputs(workspace.gather(data, index), own, workspace, last=last)

    assert torch.autograd.gradcheck(logits, tuple(weights))


def test_a_workspace_that_was_used_again_is_not_trusted():
    weights, data = judge_weights(), window_data(BATCH)
    index = torch.arange(BATCH).expand(JUDGES, BATCH)
    workspace = Workspace(STEPS, weights, BATCH)
    first = outputs(workspace.gather(data, index), weights, workspace, last=True)
    outputs(workspace.gather(data, index), weights, workspace, last=True)
    with pytest.raises(RuntimeError, match="workspace was used again"):
        first.sum().backward()


def test_weights_start_as_in_tensorflow_1():
    inputs, hidden, judges = 5, 40, 6
    weights = JudgeWeights.initial(judges, inputs, hidden, generator())
    bias = weights.kernel[..., -1]
    assert bias[:, : 2 * hidden].eq(1).all()
    assert bias[:, 2 * hidden :].eq(0).all()
    assert weights.dense_bias.eq(0).all()
    limits = {
        "gates": (weights.recurrent_gates, inputs + 3 * hidden),
        "gates' inputs": (weights.kernel[:, : 2 * hidden, :-1], inputs + 3 * hidden),
        "candidate": (weights.recurrent_candidate, inputs + 2 * hidden),
        "candidate's inputs": (weights.kernel[:, 2 * hidden :, :-1], inputs + 2 * hidden),
        "dense": (weights.dense, hidden + 1),
    }
    for name, (tensor, fan) in limits.items():
        limit = math.sqrt(6 / fan)
        values = tensor.detach().flatten().numpy()
        assert stats.kstest(values, stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-3, name
    assert len(torch.unique(weights.recurrent_gates)) > judges * hidden * hidden


def test_judges_side_by_side_are_judges_alone():
    data, iterations = window_data(40, dtype=torch.float32), 25
    labels = torch.rand(40, generator=generator(2)).round()
    everything = torch.arange(40).expand(JUDGES, 40)
    batches = list(draw_batches(everything, iterations, 8, generator(3)))

    def loss(logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(logits, labels[index], reduction="sum") / 8

    together = judge_weights(dtype=torch.float32)
    start = [tensor.detach().clone() for tensor in together]
    train_judges(together, data, batches, loss, last=True)
    for j in range(JUDGES):
        alone = JudgeWeights(*(tensor[j : j + 1].clone().requires_grad_() for tensor in start))
        train_judges(alone, data, [batch[j : j + 1] for batch in batches], loss, last=True)
        for own, shared, before in zip(alone, together, start, strict=True):
            assert not torch.equal(own[0], before[j])
            torch.testing.assert_close(own[0], shared[j], rtol=1e-4, atol=1e-5)


def test_one_training_step_is_adam_on_autograds_gradient():
    data, index = window_data(6), torch.arange(6).expand(JUDGES, 6)
    target = torch.rand(JUDGES, 6, generator=generator(4), dtype=torch.float64)
    ours, theirs = judge_weights(), judge_weights()

    def loss(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return (logits.sigmoid() - target).abs().sum()

    train_judges(ours, data, [index], loss, last=True)
    h = torch.zeros(JUDGES, HIDDEN, 6, dtype=torch.float64)
    for x in data:
        sums = theirs.kernel @ x.T
        r, u = (sums[:, : 2 * HIDDEN] + theirs.recurrent_gates @ h).sigmoid().chunk(2, 1)
        c = (sums[:, 2 * HIDDEN :] + theirs.recurrent_candidate @ (r * h)).tanh()
        h = u * h + (1 - u) * c
    loss((theirs.dense @ h + theirs.dense_bias)[:, 0], index).backward()
    for own, reference in zip(ours, theirs, strict=True):
        # Adam's first step is the step size against the gradient's sign, whatever its size.
        moved = reference.detach() - 1e-3 * reference.grad / (reference.grad.abs() + 1e-8)
        torch.testing.assert_close(own.detach(), moved, rtol=1e-9, atol=1e-12)


def test_windows_are_judged_alike_in_parts_and_at_once():
    weights, data = judge_weights(), window_data(700)
    index = torch.randint(700, (JUDGES, 1100), generator=generator(6))
    at_once = judge(weights, data, index, last=False)
    assert at_once.shape == (STEPS, JUDGES, 1100)
    torch.testing.assert_close(at_once[:, :, 600:650], judge(weights, data, index[:, 600:650], last=False))
    torch.testing.assert_close(at_once[-1], judge(weights, data, index, last=True))


def test_a_judge_that_broke_is_no_judge():
    weights = judge_weights()
    with torch.no_grad():
        weights.dense.fill_(math.nan)
    with pytest.raises(TrainingDivergedError):
        judge(weights, window_data(3), torch.zeros(JUDGES, 2, dtype=torch.int64), last=True)


def test_batches_are_uniform_and_without_repeats():
    pool = torch.tensor([[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]])
    drawn = list(draw_batches(pool, 6000, 2, generator()))
    assert len(drawn) == 6000
    for j in range(2):
        sets = [tuple(sorted(batch[j].tolist())) for batch in drawn]
        wanted = list(combinations(pool[j].tolist(), 2))
        counts = [sets.count(pair) for pair in wanted]
        assert sum(counts) == 6000
        assert stats.chisquare(counts).pvalue > 1e-3


def test_fewer_windows_than_a_batch_are_drawn_with_repeats():
    (batch,) = draw_batches(torch.tensor([[7, 8, 9]]), 1, 1000, generator())
    assert batch.shape == (1, 1000)
    assert set(batch[0].tolist()) == {7, 8, 9}


@given(
    st.integers(1, 30).flatmap(lambda n: arrays(np.int64, n, elements=st.integers(0, 8))),
    st.integers(1, 30).flatmap(lambda n: arrays(np.int64, n, elements=st.integers(0, 8))),
)
@settings(max_examples=60, deadline=None)
def test_auc_is_that_of_scikit_learn(real, synthetic):
    labels = np.r_[np.ones(len(real)), np.zeros(len(synthetic))]
    assert rank_auc(real, synthetic) == pytest.approx(roc_auc_score(labels, np.r_[real, synthetic]))


@pytest.mark.parametrize(("real", "synthetic"), [(733, 733), (300, 80)])
def test_the_floor_is_what_a_coin_scores(real, synthetic):
    rng = np.random.default_rng(0)
    accuracy = (rng.binomial(real, 0.5, 200_000) / real + rng.binomial(synthetic, 0.5, 200_000) / synthetic) / 2
    assert chance_floor(real, synthetic) == pytest.approx(np.abs(accuracy - 0.5).mean(), rel=0.02)
    assert chance_floor(real, real) == pytest.approx(math.sqrt(1 / (2 * math.pi * 2 * real)))


def test_a_score_sums_up_its_judges():
    values = (0.1, 0.2, 0.4, 0.05)
    score = Score(values, (0.6, 0.8, 0.7, 0.5))
    assert (score.mean, score.median, score.auc) == pytest.approx((0.1875, 0.15, 0.65))
    assert score.std == pytest.approx(stats.tstd(values))
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert score.interval() == pytest.approx(expected)
    assert Score((0.3,)).interval() is None
    assert Score((0.3,)).std == 0
    assert Score((0.3,)).auc is None


def random_walks(count: int, seed: int, features: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    walks = rng.normal(size=(count, 8, features)).cumsum(axis=1)
    return walks / 20 + 0.5


QUICK = {"judges": 4, "iterations": 300, "batch_size": 64}


def test_noise_is_told_from_data_and_a_second_sample_is_not():
    real = random_walks(600, seed=0, features=6)
    noise = np.random.default_rng(1).uniform(size=real.shape)
    options = QUICK | {"iterations": 600}
    told = discriminative_score(real, noise, **options)
    assert told.median > 0.4
    assert told.auc > 0.95
    again = discriminative_score(real, random_walks(600, seed=2, features=6), **options)
    floor = chance_floor(held_out(600), held_out(600))
    assert again.median < 3 * floor
    assert again.auc == pytest.approx(0.5, abs=0.08)


def test_more_windows_of_one_kind_give_no_head_start():
    score = discriminative_score(random_walks(1500, seed=3), random_walks(200, seed=4), **QUICK)
    assert score.median < 3 * chance_floor(held_out(1500), held_out(200))


def test_judges_are_tested_on_windows_they_have_not_seen():
    # Few enough windows to learn by heart; they are noise, so that nothing carries over to others.
    real, synthetic = np.random.default_rng(0).uniform(size=(2, 40, 4, 24))
    score = discriminative_score(real, synthetic, judges=8, iterations=600, batch_size=32)
    assert score.auc == pytest.approx(0.5, abs=0.2)


def follow(count: int, seed: int) -> np.ndarray:
    """The last feature repeats the first, a step later."""
    first = np.random.default_rng(seed).uniform(size=(count, 9, 1))
    return np.concatenate([first[:, 1:], first[:, :-1]], axis=2)


def test_forecasters_learn_what_can_be_learnt():
    options = QUICK | {"iterations": 1500}
    real, synthetic = follow(300, seed=0), follow(400, seed=1)
    constant = np.abs(real[:, 1:, -1] - np.median(real[:, 1:, -1])).mean()
    assert predictive_score(real, synthetic, **options).median < 0.5 * constant
    broken = synthetic.copy()
    broken[..., 1] = np.random.default_rng(2).uniform(size=broken[..., 1].shape)
    assert predictive_score(real, broken, **options).median > 0.9 * constant
    assert predictive_score(real, real, **options).median < 0.5 * constant


def test_a_single_feature_is_forecast_from_itself():
    start = np.random.default_rng(0).uniform(size=(300, 1, 1)) < 0.5
    steps = np.arange(8).reshape(1, 8, 1) % 2 == 1
    flips = np.where(start ^ steps, 0.8, 0.2)
    options = QUICK | {"iterations": 1200}
    assert predictive_score(flips, flips, **options).median < 0.1 < 0.3
    assert discriminative_score(flips, 1 - flips, **QUICK).median < 0.1


@pytest.mark.parametrize("score", [discriminative_score, predictive_score])
def test_the_seed_decides_everything(score):
    real, synthetic = random_walks(60, seed=5), random_walks(50, seed=6)
    options = {"judges": 2, "iterations": 20, "batch_size": 16}
    first = score(real, synthetic, seed=1, **options)
    torch.rand(3)
    assert score(real, synthetic, seed=1, **options) == first
    assert score(real, synthetic, seed=2, **options) != first
    assert len(set(first.values)) == 2


@pytest.mark.parametrize("score", [discriminative_score, predictive_score])
def test_progress_is_told_to_the_end(score):
    told: list[tuple[str, int, int]] = []
    windows = random_walks(20, seed=7)
    score(windows, windows, judges=1, iterations=250, batch_size=4, progress=lambda *word: told.append(word))
    assert told[-1][1:] == (250, 250)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})
    assert 50 <= len(told) <= 150


def test_the_number_of_threads_is_left_as_it_was():
    torch.set_num_threads(2)
    windows = random_walks(20, seed=7)
    discriminative_score(windows, windows, judges=1, iterations=1, batch_size=4)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("real", "synthetic", "words"),
    [
        (np.zeros((5, 4, 3)), np.zeros((5, 4, 2)), r"\(5, 4, 3\) and \(5, 4, 2\)"),
        (np.zeros((5, 4, 3)), np.zeros((5, 6, 3)), r"\(5, 4, 3\) and \(5, 6, 3\)"),
        (np.zeros((5, 4)), np.zeros((5, 4)), r"\(5, 4\)"),
        (np.zeros((1, 4, 3)), np.zeros((5, 4, 3)), "at least 2 windows"),
        (np.zeros((5, 1, 3)), np.zeros((5, 1, 3)), "2 steps"),
        (np.zeros((5, 4, 0)), np.zeros((5, 4, 0)), "1 feature"),
        (np.full((5, 4, 3), "a"), np.zeros((5, 4, 3)), "real windows must be numbers"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(real, synthetic, words):
    with pytest.raises(DataError, match=words):
        checked_pair(real, synthetic)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308])
def test_values_that_are_no_number_are_refused_with_their_place(value):
    good, bad = np.zeros((5, 4, 3)), np.zeros((5, 4, 3))
    bad[2, 1, 0] = value
    with pytest.raises(
        DataError, match=r"synthetic windows must be finite, got 1 .* window 2, step 1, feature 0"
    ):
        discriminative_score(good, bad, judges=1, iterations=1)
    with pytest.raises(DataError, match="real windows must be finite"):
        predictive_score(bad, good, judges=1, iterations=1)


@pytest.mark.parametrize("argument", ["judges", "iterations", "batch_size"])
def test_arguments_below_one_are_refused_by_name(argument):
    windows = random_walks(10, seed=0)
    for score in (discriminative_score, predictive_score):
        with pytest.raises(ConfigError, match=argument):
            score(windows, windows, **{argument: 0})
