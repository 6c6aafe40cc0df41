"""Whether synthetic windows are the training windows again.

A window is laid flat; the distance of two is Euclidean over `sqrt(T D)`: the root mean square difference of
their values, 0.01 being a hundredth of the range of data scaled to [0, 1]. Windows cut at stride 1 are nearly
copies of their neighbours in time, so a training window's nearest other one is one that shares no row with it.

Small distances alone prove nothing: a calm series repeats itself, and a generator that leaves out the noise is
nearer to real windows than they are to each other. Each number therefore stands beside the same of real windows
in the synthetic ones' place, and the verdict asks for far less than that: a quarter, as the guard that watches
the training does (`core.training.distance`).
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.evaluation.checks import checked_like, checked_pair
from core.evaluation.distances.draw import some
from core.evaluation.measures import Measure
from core.evaluation.privacy.measures import (
    Found,
    authenticity,
    copied_share,
    distance_measures,
    membership_inference,
    ratio,
)
from core.evaluation.privacy.neighbours import Floats, Index, Pool
from core.training.distance import MEMORISED

EXACT = 1e-6
"""Distance up to which a window is the other one again: the rounding of single precision, scaled and back."""
TOLERATED = 0.01
"""Share of the windows that may be copies beyond what real windows show."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Privacy:
    """What was found of the training windows in the synthetic ones."""

    measures: list[Measure]
    """Of the group `privacy`; `membership_inference_auc` only with a hold-out."""
    exact_copies: int
    """Synthetic windows that are a training window, up to `EXACT`."""
    near_copies: int
    """Those that are not, but not farther from one than `near_distance`."""
    compared: int
    """Synthetic windows that were looked at, drawn at random."""
    identical: int
    """Of all synthetic windows, those that are a training window bit by bit in single precision;
    `exact_copies`, of those looked at, also counts what was rounded on its way."""
    synthetic_windows: int
    """All synthetic windows, which `identical` is of."""
    training_windows: int
    """Training windows that were searched: all that were given."""
    near_distance: float
    """A quarter of the first percentile of real windows' distances to the nearest training window, exact copies
    not counted. One real window in a hundred comes within the percentile; the quarter is the guard's. A fixed
    part of the range would take every window of smooth, plentiful data for a copy, and miss a copy with noise
    where windows of many features lie far apart."""
    nearness: float
    """Median distance of synthetic windows to the nearest training window over that of real windows: of the
    hold-out or of training windows that share no row, whichever is nearer. The same as `Look.nearness`."""
    copies: bool
    """The verdict: training windows come out, as they are or with a little noise. Either `nearness` is below a
    quarter, or copies, exact and near, exceed the share of them among real windows: by more than one window and
    by more than `TOLERATED` of those compared."""


def measure_privacy(
    train: NDArray[Any],
    synthetic: NDArray[Any],
    *,
    holdout: NDArray[Any] | None = None,
    starts: NDArray[np.int64] | None = None,
    windows: int = 2000,
    seed: int = 0,
) -> Privacy:
    """Distances to the training windows, the copies among the synthetic ones, and a verdict.

    Without `starts` only a training window itself is left out where its nearest other one is searched. Of
    windows cut at a small stride that is mostly its neighbour in time: the references are then smaller than
    those of unseen windows, and the verdict misses copies with more noise than a quarter of what a series moves
    in one stride.

    Args:
        train: Shape (N, T, D), what the generator was trained on, scaled to about [0, 1].
        synthetic: Shape (M, T, D), scaled by the same.
        holdout: Shape (K, T, D), real windows that share no row with those of `train`, scaled by the same.
        starts: Shape (N,), the first row of each training window.
        windows: Of each kind looked at, at most, drawn at random. They are compared with all windows of the
            other kind.
        seed: Fixes which windows are looked at.

    Raises:
        ConfigError: `windows` is below 1.
        DataError: the sets do not fit each other, are too small, or hold NaN or infinity, or there is not one
            start for each training window.
    """
    if windows < 1:
        raise ConfigError(f"windows must be at least 1, got {windows}")
    train, synthetic = checked_pair(train, synthetic, np.float64)
    if holdout is not None:
        holdout = checked_like(holdout, train, "hold-out", np.float64)
    rng = np.random.default_rng(seed)
    pool = _training_pool(train, _checked_starts(starts, len(train)))
    fake = _flat(synthetic)[_looked_at(len(synthetic), windows, rng, "synthetic")]
    own = _looked_at(len(train), windows, rng, "training")
    if holdout is None:
        found = Found(pool.nearest(fake), pool.nearest_others(own), None)
        return _judged(found, [*distance_measures(found), authenticity(pool, found)], train, synthetic)
    unseen = _flat(holdout)[_looked_at(len(holdout), windows, rng, "hold-out")]
    found = Found(pool.nearest(fake), pool.nearest_others(own), pool.nearest(unseen))
    measures = [*distance_measures(found), authenticity(pool, found)]
    attack = membership_inference(_pool(synthetic), pool.flat[own], unseen, found)
    return _judged(found, [*measures, attack], train, synthetic)


def _judged(found: Found, measures: list[Measure], train: Floats, synthetic: Floats) -> Privacy:
    near = _near_distance(found)
    distance, compared = found.fake.distance, len(found.fake.distance)
    exact, copied = int((distance <= EXACT).sum()), int((distance <= near).sum())
    real = max(float((part.distance <= near).mean()) for part in found.real)
    nearness = ratio(float(np.median(distance)), min(float(np.median(part.distance)) for part in found.real))
    return Privacy(
        measures=[*measures, copied_share(copied / compared, real)],
        exact_copies=exact,
        near_copies=copied - exact,
        compared=compared,
        identical=_identical(train, synthetic),
        synthetic_windows=len(synthetic),
        training_windows=len(train),
        near_distance=near,
        nearness=nearness,
        copies=nearness < MEMORISED or copied - real * compared > max(1.0, TOLERATED * compared),
    )


def _identical(train: Floats, synthetic: Floats) -> int:
    """See `Privacy.identical`."""
    known = {_digest(window) for window in train}
    return sum(_digest(window) in known for window in synthetic)


def _digest(window: Floats) -> bytes:
    same_zeros = window.astype(np.float32) + np.float32(0)  # -0 is 0
    return hashlib.blake2b(same_zeros.tobytes(), digest_size=16).digest()


def _near_distance(found: Found) -> float:
    """See `Privacy.near_distance`; of the hold-out and the training windows, the smaller one."""
    apart = [part.distance[part.distance > EXACT] for part in found.real]
    nearest = [float(np.quantile(distances, 0.01)) for distances in apart if len(distances)]
    return max(EXACT, MEMORISED * min(nearest, default=0.0))


def _checked_starts(starts: NDArray[Any] | None, windows: int) -> Index | None:
    if starts is not None and starts.shape != (windows,):
        raise DataError(
            f"expected a start for each of the {windows} training windows, got shape {starts.shape}"
        )
    return starts


def _training_pool(train: Floats, starts: Index | None) -> Pool:
    pool = _pool(train, starts)
    if pool.all_have_others():
        return pool
    _logger.warning(
        "%d training windows of %d steps: not each has another one that shares no row with it, so only the "
        "window itself is left out where its nearest other one is searched; bring a longer series",
        len(train),
        train.shape[1],
    )
    return Pool(pool.flat, np.arange(len(pool.flat)), 1)


def _pool(windows: Floats, starts: Index | None = None) -> Pool:
    """Without `starts`, each shares rows with itself alone."""
    if starts is None:
        return Pool(_flat(windows), np.arange(len(windows)), 1)
    return Pool(_flat(windows), starts.astype(np.int64), windows.shape[1])


def _flat(windows: Floats) -> Floats:
    return windows.reshape(len(windows), -1)


def _looked_at(count: int, most: int, rng: np.random.Generator, kind: str) -> Index:
    """The numbers of all windows, or of `most` that are drawn at random."""
    if count > most:
        _logger.info("privacy: %d of %d %s windows are looked at, drawn at random", most, count, kind)
    return some(count, most, rng)
