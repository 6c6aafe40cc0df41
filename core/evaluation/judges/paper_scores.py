"""Post-hoc judges of the TimeGAN paper (Yoon et al. 2019, section 5), as its published code trains them.

The code (jsyoon0823/TimeGAN, `metrics/`) differs from the paper's text: one GRU layer of half as many units
as features, not a two-layer LSTM. A judge now and then fails to train from a bad start, so the median stands
beside the mean. Differences from the code, each harmless where its set-up holds: at least one hidden unit
(it gives a single feature none, and then a score of exactly 0), and different numbers of real and synthetic
windows weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core.errors import ConfigError, TrainingDivergedError
from core.evaluation.checks import checked_pair
from core.evaluation.judges.gru import JudgeWeights, Workspace, outputs
from core.evaluation.judges.scores import Score, rank_auc
from core.evaluation.judges.splits import Split
from core.networks.threads import one_thread
from core.prepare.holdout import TRAIN_SHARE

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the iterations done, and their total."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""From a batch's outputs and its window index, shape (J, B), to the sum of the judges' losses."""

_DRAWN_AT_ONCE = 250
_JUDGED_AT_ONCE = 512


def discriminative_score(
    real: NDArray[Any],
    synthetic: NDArray[Any],
    *,
    judges: int = 10,
    iterations: int = 2000,
    batch_size: int = 128,
    seed: int = 0,
    splits: Sequence[Split] | None = None,
    progress: Progress | None = None,
    name: str = "discriminative",
) -> Score:
    """|accuracy - 1/2| of classifiers of real and synthetic windows on windows held out from them.

    Each judge has its own random 80/20 split, start and batches of `batch_size` real and as many synthetic
    windows, drawn without replacement within a batch, or with it where there are fewer than a batch. The
    accuracy is the mean of that on real and that on synthetic windows: the plain one where they are equally
    many, and 1/2 for a coin otherwise too.

    Args:
        real: Shape (N, T, D), scaled to about [0, 1].
        synthetic: Shape (M, T, D), scaled by the same.
        judges: How many are trained side by side.
        iterations: Adam steps of each.
        batch_size: Windows of each kind in a batch.
        seed: Fixes splits, starts and batches.
        splits: What each judge is trained and tested on instead, as many as judges, all of the same sizes.
        progress: Told about the training now and then.
        name: What `progress` is told that this is.

    Raises:
        ConfigError: an argument is out of range.
        DataError: the sets do not fit each other, are too small, or hold NaN or infinity.
        TrainingDivergedError: a judge's output is not finite.
    """
    _check_arguments(judges=judges, iterations=iterations, batch_size=batch_size)
    sets = checked_pair(real, synthetic)
    data = _by_step_with_ones(np.concatenate(sets))
    generator = torch.Generator().manual_seed(seed)
    if splits is None:
        (train_real, test_real), (train_fake, test_fake) = (
            _split(len(windows), offset, judges, generator)
            for windows, offset in zip(sets, (0, len(sets[0])), strict=True)
        )
    else:
        train_real, test_real, train_fake, test_fake = _given(splits, judges, len(sets[0]))
    features = data.shape[2] - 1
    weights = JudgeWeights.initial(judges, features, max(1, features // 2), generator)
    labels = torch.cat((torch.ones(judges, batch_size), torch.zeros(judges, batch_size)), 1)

    def loss(logits: Tensor, _: Tensor) -> Tensor:
        # The code adds the mean over the real and the mean over the synthetic half.
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / batch_size

    batches = _paired(train_real, train_fake, iterations, batch_size, generator)
    with one_thread():
        train_judges(weights, data, _reported(batches, name, iterations, progress), loss, last=True)
        on_real = judge(weights, data, test_real, last=True).numpy()
        on_fake = judge(weights, data, test_fake, last=True).numpy()
    accuracy = ((on_real > 0).mean(axis=1) + (on_fake <= 0).mean(axis=1)) / 2
    aucs = tuple(rank_auc(*pair) for pair in zip(on_real, on_fake, strict=True))
    return Score(tuple(np.abs(accuracy - 0.5).tolist()), aucs)


def predictive_score(
    real: NDArray[Any],
    synthetic: NDArray[Any],
    *,
    judges: int = 10,
    iterations: int = 5000,
    batch_size: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
    name: str = "predictive",
) -> Score:
    """Mean absolute error on all real windows of one-step forecasters that saw synthetic windows only.

    A forecaster sees the first D - 1 features at steps 0..t and predicts the last feature at step t + 1; with
    one feature it sees that one (the code would give it no input). L1 loss; batches as in
    `discriminative_score`.

    Args:
        real: Shape (N, T, D), scaled to [0, 1], T at least 2.
        synthetic: Shape (M, T, D), scaled by the same.
        judges: How many are trained side by side.
        iterations: Adam steps of each.
        batch_size: Windows in a batch.
        seed: Fixes starts and batches.
        progress: Told about the training now and then.
        name: What `progress` is told that this is.

    Raises:
        ConfigError: an argument is out of range.
        DataError: the sets do not fit each other, are too small, or hold NaN or infinity.
        TrainingDivergedError: a judge's output is not finite.
    """
    _check_arguments(judges=judges, iterations=iterations, batch_size=batch_size)
    real, synthetic = checked_pair(real, synthetic)
    inputs, targets = _forecasting(synthetic)
    generator = torch.Generator().manual_seed(seed)
    hidden = max(1, real.shape[2] // 2)
    weights = JudgeWeights.initial(judges, inputs.shape[2] - 1, hidden, generator)
    steps, count = targets.shape
    everything = torch.arange(count).expand(judges, count)

    def loss(logits: Tensor, index: Tensor) -> Tensor:
        wanted = targets.index_select(1, index.reshape(-1)).view_as(logits)
        return (logits.sigmoid() - wanted).abs().sum() / (steps * batch_size)

    batches = draw_batches(everything, iterations, batch_size, generator)
    with one_thread():
        train_judges(weights, inputs, _reported(batches, name, iterations, progress), loss, last=False)
        inputs, targets = _forecasting(real)
        index = torch.arange(len(real)).expand(judges, len(real))
        error = (judge(weights, inputs, index, last=False).sigmoid() - targets.unsqueeze(1)).abs()
    return Score(tuple(error.mean(dim=(0, 2), dtype=torch.float64).tolist()))


def train_judges(
    weights: JudgeWeights, data: Tensor, batches: Iterable[Tensor], loss: Loss, *, last: bool
) -> None:
    """Train J judges in place, each on its own batches; their losses are summed, so none sees another's.

    Adam works by element: one over the stacked weights is J independent ones.

    Args:
        weights: Of J judges.
        data: Shape (steps, windows, F), last column 1.
        batches: Window indices, each of shape (J, B).
        loss: Of a batch.
        last: The judges answer once at the last step.
    """
    optimiser = torch.optim.Adam(list(weights), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, fused=True)
    workspace: Workspace | None = None
    for index in batches:
        workspace = workspace or Workspace(len(data), weights, index.shape[1])
        optimiser.zero_grad()
        loss(outputs(workspace.gather(data, index), weights, workspace, last=last), index).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@torch.no_grad()
def judge(weights: JudgeWeights, data: Tensor, index: Tensor, *, last: bool) -> Tensor:
    """Logits of the windows `index`, shape (J, n): shape (J, n) if `last`, otherwise (steps, J, n).

    Raises:
        TrainingDivergedError: a logit is not finite.
    """
    parts = []
    for part in torch.split(index, _JUDGED_AT_ONCE, dim=1):
        workspace = Workspace(len(data), weights, part.shape[1])
        parts.append(outputs(workspace.gather(data, part), weights, workspace, last=last))
    logits = torch.cat(parts, -1)
    if not bool(logits.isfinite().all()):
        raise TrainingDivergedError(
            "a judge's output is NaN or infinite: are the windows scaled to about [0, 1]?"
        )
    return logits


def draw_batches(
    pool: Tensor, iterations: int, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Batches of each judge's own windows, shape (J, batch_size), uniform over all sets of that size.

    Without replacement within a batch by Floyd's algorithm, for many batches at once (Bentley & Floyd 1987);
    with replacement where `pool` has fewer windows than a batch.

    Args:
        pool: Shape (J, n): the windows that each judge may draw.
        iterations: How many batches.
        batch_size: Windows in a batch.
        generator: Source of the draws.
    """
    judges, windows = pool.shape
    for start in range(0, iterations, _DRAWN_AT_ONCE):
        rows = min(_DRAWN_AT_ONCE, iterations - start) * judges
        if windows < batch_size:
            drawn = torch.randint(windows, (rows, batch_size), generator=generator)
        else:
            drawn = torch.full((rows, batch_size), -1)
            for column in range(batch_size):
                top = windows - batch_size + column
                pick = torch.randint(top + 1, (rows, 1), generator=generator)
                taken = (drawn[:, :column] == pick).any(1)
                drawn[:, column] = torch.where(taken, top, pick[:, 0])
        for batch in drawn.view(-1, judges, batch_size):
            yield pool.gather(1, batch)


def _check_arguments(**arguments: int) -> None:
    for name, value in arguments.items():
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")


def _by_step_with_ones(windows: NDArray[np.float32]) -> Tensor:
    """(N, T, D) to (T, N, D + 1): steps first, and the constant input that carries the bias."""
    data = torch.ones(windows.shape[1], windows.shape[0], windows.shape[2] + 1)
    data[:, :, :-1] = torch.from_numpy(windows).transpose(0, 1)
    return data


def _forecasting(windows: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Inputs, shape (T - 1, N, max(D - 1, 1) + 1), and targets, shape (T - 1, N)."""
    seen = windows[:, :-1, : max(1, windows.shape[2] - 1)]
    return _by_step_with_ones(seen), torch.from_numpy(np.ascontiguousarray(windows[:, 1:, -1].T))


def _split(count: int, offset: int, judges: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each judge's own training and test windows, shapes (J, train) and (J, test), numbered from `offset`."""
    order = torch.stack([torch.randperm(count, generator=generator) for _ in range(judges)]) + offset
    return order[:, : int(TRAIN_SHARE * count)], order[:, int(TRAIN_SHARE * count) :]


def _given(splits: Sequence[Split], judges: int, real: int) -> tuple[Tensor, ...]:
    """Training and test windows of both kinds, shapes (J, n), the synthetic ones numbered after the real."""
    if len(splits) != judges:
        raise ConfigError(f"expected as many splits as judges, {judges}, got {len(splits)}")
    parts = zip(
        *((s.train_real, s.test_real, s.train_fake + real, s.test_fake + real) for s in splits), strict=True
    )
    return tuple(torch.from_numpy(np.stack(part)) for part in parts)


def _paired(
    real: Tensor, fake: Tensor, iterations: int, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Batches of real windows followed by as many synthetic ones."""
    both = (draw_batches(pool, iterations, batch_size, generator) for pool in (real, fake))
    for pair in zip(*both, strict=True):
        yield torch.cat(pair, 1)


def _reported(batches: Iterator[Tensor], name: str, total: int, progress: Progress | None) -> Iterator[Tensor]:
    """The batches, and a word to `progress` about every hundredth of them."""
    every = max(1, total // 100)
    for done, batch in enumerate(batches, 1):
        yield batch
        if progress is not None and (done % every == 0 or done == total):
            progress(name, done, total)
