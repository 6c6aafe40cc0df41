"""Judges stronger than the published GRU of a few units: an LSTM, a convolutional network and MiniRocket.

A generator that fools one small recurrent judge may still be told from real data by its shapes or its
roughness. These three look in different ways: step by step with memory (a two-layer LSTM, as the text of Yoon
et al. 2019, section 5 has it), through learnt filters over all steps (the FCN of Wang, Yan & Oates 2017), and
by fixed filters of many dilations under a linear classifier (MiniRocket, Dempster, Schmidt & Webb 2021), which
cannot fail to train from a bad start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from core.errors import ConfigError, DataError
from core.evaluation.checks import checked_pair
from core.evaluation.judges.networks import (
    ITERATIONS,
    CnnJudge,
    LstmJudge,
    Told,
    judged,
    seeds,
    standardised,
    train_judge,
)
from core.evaluation.judges.paper_scores import Progress
from core.evaluation.judges.scores import Score, rank_auc
from core.evaluation.judges.splits import Index, Split
from core.networks.threads import one_thread

KINDS = ("lstm", "cnn", "rocket")
LEARNING_RATES = {"lstm": 5e-3, "cnn": 1e-3}
"""The LSTM's is five times Adam's usual one: with that one it has not learnt in so few steps."""
WINDOWS = 4000
"""Of each kind, real and synthetic, that train a judge, at most, and as many that test it."""
KERNEL_STEPS = 9
"""MiniRocket's filters are that long; shorter windows have no such judge."""
FEATURES = 12 * 84
"""Of MiniRocket: 12 for each of its 84 filters. A tenth of the published number, as the linear classifier's
time grows with the square."""
_ALPHAS = np.logspace(-3, 3, 10)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Sets:
    """Of one split, each of shape (n, T, D)."""

    train_real: NDArray[np.float32]
    test_real: NDArray[np.float32]
    train_fake: NDArray[np.float32]
    test_fake: NDArray[np.float32]


Values = tuple[NDArray[Any], NDArray[Any]]
"""Decision values of the real and of the synthetic test windows, above 0 for "real"."""


def stronger_judges(
    real: NDArray[Any],
    synthetic: NDArray[Any],
    splits: Sequence[Split],
    *,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Score]:
    """|accuracy - 1/2| and AUC of each kind of judge on the splits' test windows, one judge a split.

    The accuracy is the mean of that on real and that on synthetic windows, as of `discriminative_score`.
    MiniRocket's code is compiled at its first use on a machine, which takes most of a minute.

    Args:
        real: Shape (N, T, D), scaled to about [0, 1].
        synthetic: Shape (M, T, D), scaled by the same.
        splits: Which windows train and which test; no part is empty.
        kinds: Some of `KINDS`. `rocket` is left out where windows are shorter than its filters.
        seed: Fixes starts, batches, filters, and which windows are left out of larger sets than `WINDOWS`.
        progress: Told about the training now and then.

    Returns:
        By kind, in the order of `kinds`.

    Raises:
        ConfigError: a kind is unknown, or there is no split.
        DataError: the sets do not fit each other, are too small, or hold NaN or infinity, or a part of a split
            is empty.
        TrainingDivergedError: a judge's output is not finite.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not splits:
        raise ConfigError(
            f"expected judges of the kinds {', '.join(KINDS)} and at least one split, "
            f"got {', '.join(kinds)} and {len(splits)} splits"
        )
    real, synthetic = checked_pair(real, synthetic)
    smaller = _at_most(splits, np.random.default_rng(seed))
    scores = {}
    for kind in _possible(kinds, real.shape[1]):
        told = Told(kind, len(splits) * _steps(kind), progress)
        answers = [
            _JUDGES[kind](_sets(real, synthetic, split), start, told)
            for split, start in zip(smaller, seeds(seed, len(smaller)), strict=True)
        ]
        scores[kind] = _score(answers)
    return scores


def _score(answers: Sequence[Values]) -> Score:
    values = [((real > 0).mean() + (fake <= 0).mean()) / 2 for real, fake in answers]
    return Score(
        tuple(abs(float(accuracy) - 0.5) for accuracy in values),
        tuple(rank_auc(real, fake) for real, fake in answers),
    )


def _possible(kinds: Sequence[str], steps: int) -> list[str]:
    if "rocket" in kinds and steps < KERNEL_STEPS:
        _logger.warning("no MiniRocket judge: its filters read %d steps, windows have %d", KERNEL_STEPS, steps)
        return [kind for kind in kinds if kind != "rocket"]
    return list(kinds)


def _at_most(splits: Sequence[Split], rng: np.random.Generator) -> list[Split]:
    """The splits with at most `WINDOWS` windows in each part."""
    smaller = []
    for split in splits:
        parts = (split.train_real, split.test_real, split.train_fake, split.test_fake)
        if not all(len(part) for part in parts):
            raise DataError(
                "every part of a split needs a window (real and synthetic, to train and to test on), "
                f"got {[len(part) for part in parts]}: bring more windows"
            )
        smaller.append(Split(*(_drawn(part, rng) for part in parts)))
    longest = max(max(len(split.train_real), len(split.train_fake)) for split in splits)
    if longest > WINDOWS:
        _logger.info("stronger judges: %d of up to %d windows, drawn at random", WINDOWS, longest)
    return smaller


def _drawn(part: Index, rng: np.random.Generator) -> Index:
    return part if len(part) <= WINDOWS else np.sort(rng.choice(part, WINDOWS, replace=False))


def _sets(real: NDArray[np.float32], fake: NDArray[np.float32], split: Split) -> _Sets:
    return _Sets(real[split.train_real], real[split.test_real], fake[split.train_fake], fake[split.test_fake])


_Judge = Callable[[_Sets, int, Told], Values]
"""Trains on a split and answers for its test windows, started from a seed."""


def _steps(kind: str) -> int:
    return 1 if kind == "rocket" else ITERATIONS


def _network_judge(build: Callable[[int, torch.Generator], nn.Module], rate: float) -> _Judge:
    def judge(sets: _Sets, seed: int, told: Told) -> Values:
        rng = torch.Generator().manual_seed(seed)
        with one_thread():
            network = build(sets.train_real.shape[2], rng)
            scale = standardised(sets.train_real, sets.train_fake)
            train_judge(network, scale(sets.train_real), scale(sets.train_fake), rate, rng, told.step)
            return judged(network, scale(sets.test_real)), judged(network, scale(sets.test_fake))

    return judge


def _rocket_judge(sets: _Sets, seed: int, told: Told) -> Values:
    """MiniRocket's filters, their biases from training windows only, under a ridge classifier.

    The penalty is chosen by leave-one-out (Dempster et al. 2021, section 3).
    """
    from sktime.transformations.rocket import MiniRocketMultivariate

    train = np.concatenate([sets.train_real, sets.train_fake])
    counts = [len(sets.train_real), len(sets.train_fake)]
    labels, weights = (np.repeat(value, counts) for value in ((1.0, -1.0), (1 / counts[0], 1 / counts[1])))
    rocket = MiniRocketMultivariate(num_kernels=FEATURES, random_state=seed).fit(train.transpose(0, 2, 1))
    # What RidgeClassifierCV does, which cannot be told the mode: its own takes three times the time.
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=_ALPHAS, gcv_mode="svd"))
    with one_thread():
        ridge.fit(_features(rocket, train), labels, ridgecv__sample_weight=weights * len(train) / 2)
        real, fake = (ridge.predict(_features(rocket, part)) for part in (sets.test_real, sets.test_fake))
    told.step()
    return real, fake


def _features(rocket: Any, windows: NDArray[np.float32]) -> NDArray[Any]:
    features: NDArray[Any] = rocket.transform(windows.transpose(0, 2, 1)).to_numpy()
    return features


_JUDGES: dict[str, _Judge] = {
    "lstm": _network_judge(LstmJudge, LEARNING_RATES["lstm"]),
    "cnn": _network_judge(CnnJudge, LEARNING_RATES["cnn"]),
    "rocket": _rocket_judge,
}
