from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from core.errors import ConfigError, DataError
from core.evaluation.judges import classifiers, networks
from core.evaluation.judges.classifiers import KINDS, stronger_judges
from core.evaluation.judges.networks import CnnJudge, LstmJudge, standardised
from core.evaluation.judges.scores import chance_floor
from core.evaluation.judges.splits import Split, random_splits

STEPS = 12


@pytest.fixture
def _brief(monkeypatch):
    monkeypatch.setattr(networks, "ITERATIONS", 120)
    monkeypatch.setattr(classifiers, "ITERATIONS", 120)
    monkeypatch.setattr(classifiers, "FEATURES", 2 * 84)


@pytest.fixture
def _very_brief(monkeypatch):
    for module in (networks, classifiers):
        monkeypatch.setattr(module, "ITERATIONS", 4)
    monkeypatch.setattr(classifiers, "FEATURES", 84)


def walks(windows: int, seed: int, features: int = 2, weight: float = 0.7) -> np.ndarray:
    """Stationary autoregressions of variance 0.01, whatever the weight."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((windows, features))
    steps = []
    for _ in range(STEPS):
        steps.append(x)
        x = weight * x + np.sqrt(1 - weight**2) * rng.standard_normal(x.shape)
    return 0.5 + 0.1 * np.stack(steps, axis=1)


@pytest.mark.usefixtures("_brief")
@pytest.mark.parametrize("kind", KINDS)
def test_judges_tell_what_is_different_and_not_what_is_the_same(kind):
    # The marginals are equal: only how the steps follow each other tells the sets apart.
    real = walks(700, 0)
    aucs = []
    for weight in (0.7, 0.3, -0.5):
        fake = walks(500, 1, weight=weight)
        score = stronger_judges(real, fake, random_splits(700, 500, 2, 0), kinds=[kind], seed=1)[kind]
        aucs.append(score.auc)
        if weight == 0.7:
            assert score.mean < 4 * chance_floor(140, 100)
            assert abs(score.auc - 0.5) < 0.1
    assert aucs == sorted(aucs)
    assert aucs[-1] > 0.97
    assert score.mean > 0.4


@pytest.mark.usefixtures("_brief")
@pytest.mark.parametrize("kind", KINDS)
def test_the_side_of_the_answers_is_right(kind):
    # Real windows are the higher ones in training, but the lower ones where they are tested.
    low, high = walks(100, 0) - 0.3, walks(100, 1) + 0.3
    real, fake = np.concatenate([high, low]), np.concatenate([low, high])
    first, last = np.arange(100), np.arange(100, 200)
    score = stronger_judges(real, fake, [Split(first, last, first, last)], kinds=[kind])[kind]
    assert score.aucs == (0.0,)
    assert score.values == (0.5,)


@pytest.mark.usefixtures("_very_brief")
def test_kinds_splits_and_seed():
    real, fake = walks(60, 0, features=1), walks(50, 1, features=1)
    splits = random_splits(60, 50, 3, 0)
    told = []
    first = stronger_judges(real, fake, splits, seed=5, progress=lambda *a: told.append(a))
    torch.manual_seed(77)
    assert stronger_judges(real, fake, splits, seed=5) == first
    assert stronger_judges(real, fake, splits, seed=6)["cnn"] != first["cnn"]
    assert list(first) == list(KINDS)
    assert all(len(score.values) == len(score.aucs) == 3 for score in first.values())
    assert {each for each in told if each[1] == each[2]} == {
        ("lstm", 12, 12),
        ("cnn", 12, 12),
        ("rocket", 3, 3),
    }


@pytest.mark.usefixtures("_very_brief")
def test_only_the_windows_of_a_split_train_and_test():
    real, fake = walks(60, 0), walks(50, 1)
    split = Split(np.arange(30), np.arange(30, 40), np.arange(25), np.arange(25, 35))
    before = stronger_judges(real, fake, [split])
    real[40:], fake[35:] = 0.9, 0.1
    assert stronger_judges(real, fake, [split]) == before


@pytest.mark.usefixtures("_very_brief")
def test_constant_columns_and_few_windows_of_unequal_number():
    real, fake = walks(7, 0), walks(3, 1)
    real[:, :, 1] = fake[:, :, 1] = 0.25
    for score in stronger_judges(real, fake, random_splits(7, 3, 2, 0)).values():
        assert all(0 <= value <= 0.5 for value in score.values)
        assert np.isfinite(score.aucs).all()


@pytest.mark.usefixtures("_very_brief")
def test_short_windows_have_no_rocket(caplog):
    real, fake = walks(20, 0)[:, :8], walks(20, 1)[:, :8]
    with caplog.at_level(logging.WARNING):
        assert list(stronger_judges(real, fake, random_splits(20, 20, 1, 0))) == ["lstm", "cnn"]
    assert "MiniRocket" in caplog.text
    nine = stronger_judges(
        walks(20, 0)[:, :9], walks(20, 1)[:, :9], random_splits(20, 20, 1, 0), kinds=["rocket"]
    )
    assert list(nine) == ["rocket"]


@pytest.mark.usefixtures("_very_brief")
def test_large_sets_are_cut_and_that_is_said(monkeypatch, caplog):
    monkeypatch.setattr(classifiers, "WINDOWS", 10)
    seen = []
    monkeypatch.setitem(
        classifiers._JUDGES, "cnn", lambda sets, *_: seen.append(sets) or (np.ones(2), np.zeros(2))
    )
    with caplog.at_level(logging.INFO):
        stronger_judges(walks(60, 0), walks(50, 1), random_splits(60, 50, 1, 0), kinds=["cnn"])
    assert "10 of up to 48 windows" in caplog.text
    assert [len(part) for part in vars(seen[0]).values()] == [10, 10, 10, 10]


@pytest.mark.parametrize("build", [LstmJudge, CnnJudge])
@pytest.mark.parametrize("features", [1, 6, 28])
def test_networks_read_every_step_and_start_from_their_seed(build, features):
    one, same, other = (build(features, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    windows = torch.rand(5, STEPS, features, requires_grad=True)
    logits = one.eval()(windows)
    assert logits.shape == (5,)
    logits.sum().backward()
    assert (windows.grad.abs().sum(dim=2) > 0).all()
    assert torch.equal(same.eval()(windows), logits)
    assert not torch.equal(other.eval()(windows), logits)


def test_standardised_sets_have_mean_0_and_variance_1():
    real, fake = walks(40, 0).astype(np.float32), walks(30, 1).astype(np.float32)
    real[:, :, 1] = fake[:, :, 1] = 0.7
    scale = standardised(real, fake)
    both = torch.cat([scale(real), scale(fake)])
    torch.testing.assert_close(both.mean(dim=(0, 1)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(both.std(dim=(0, 1), correction=0), torch.tensor([1.0, 0.0]), atol=1e-5, rtol=0)


def test_bad_input_is_refused():
    real, splits = walks(20, 0), random_splits(20, 20, 1, 0)
    with pytest.raises(ConfigError, match="svm"):
        stronger_judges(real, real, splits, kinds=["svm"])
    with pytest.raises(ConfigError, match="0 splits"):
        stronger_judges(real, real, [])
    nothing = np.arange(0)
    with pytest.raises(DataError, match="bring more windows"):
        stronger_judges(real, real, [Split(np.arange(9), nothing, np.arange(9), np.arange(9))])
    broken = real.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        stronger_judges(real, broken, splits)
    with pytest.raises(DataError, match="same steps and features"):
        stronger_judges(real, real[:, 1:], splits)
