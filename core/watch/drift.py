"""How far new windows are from the training windows: column by column, and all columns together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from core.errors import DataError
from core.evaluation.distances.dependence import correlation_difference
from core.evaluation.distances.features import varying
from core.evaluation.distances.marginal import kolmogorov_smirnov, wasserstein
from core.evaluation.distances.sample import maximum_mean_discrepancy, median_distance, sliced_wasserstein
from core.evaluation.distances.temporal import autocorrelation_difference
from core.watch.stretches import Index, Test, Values, benjamini_hochberg, evenly, held_against, stretches

logger = logging.getLogger(__name__)

Windows = NDArray[np.float32]
Take = Callable[[Index], Windows]
Told = Callable[[str, int, int], None]

FAMILIES = 3
"""Columns, columns together, scores: each has a third of the level, so that all together keep it."""

_BANDWIDTH_WINDOWS = 500

TITLES = {
    "wasserstein": "Wasserstein-1 distance",
    "kolmogorov_smirnov": "Kolmogorov-Smirnov distance",
    "mmd": "maximum mean discrepancy",
    "sliced_wasserstein": "sliced Wasserstein distance",
    "autocorrelation_difference": "autocorrelation difference, mean of the columns",
    "correlation_difference": "correlation difference, mean of the columns",
}
_BY_CHANNEL = {"wasserstein": wasserstein, "kolmogorov_smirnov": kolmogorov_smirnov}


@dataclass(frozen=True)
class ColumnDrift:
    """One column of the data."""

    column: str
    p: float
    """Of its channels' and measures' smallest p-value, times how many there are."""
    adjusted: float
    """Benjamini and Hochberg's, over the columns."""
    drifted: bool
    """`adjusted` is below the level, and no stretch of the training windows is as far."""
    channel: str
    test: Test
    """The channel and the measure of the smallest p-value."""
    tests: tuple[tuple[str, Test], ...]
    """All, with the channel's name."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and words."""
        return asdict(self)


@dataclass(frozen=True)
class DriftTests:
    """What was measured."""

    size: int
    """Windows of a stretch: of the new ones the latest."""
    disjoint: float
    """Stretches that lie side by side in the training windows."""
    columns: tuple[ColumnDrift, ...]
    together: tuple[Test, ...]
    level: float
    """Of each family."""

    @property
    def drifted(self) -> list[ColumnDrift]:
        """Columns that differ."""
        return [column for column in self.columns if column.drifted]

    @property
    def share(self) -> float:
        """Of the columns that differ."""
        return len(self.drifted) / len(self.columns) if self.columns else 0.0

    @property
    def found_together(self) -> list[Test]:
        """Measures of all columns together that differ."""
        return [one for one in self.together if one.beyond and one.p * len(self.together) <= self.level]


def measure_drift(
    take: Take,
    new: Windows,
    channels: Sequence[str],
    columns: Sequence[str],
    *,
    span: tuple[Index, Index],
    level: float,
    most: int = 1000,
    seed: int = 0,
    told: Told | None = None,
) -> DriftTests:
    """Hold the new windows against stretches of the training windows, see `core.watch.stretches`.

    Channels that are constant in the training windows are left out; so is, which is logged, the maximum mean
    discrepancy where half of these windows are equal.

    Args:
        take: Training windows by their numbers in the order of time, shape (n, T, D), scaled to about [0, 1].
        new: Shape (M, T, D), scaled by the same, M at most N / 12.
        channels: D names.
        columns: D names: the column that each channel encodes.
        span: Stamps, or numbers, of the first and the last row of each of the N training windows.
        level: Chance of calling a drift where there is none, of columns, together and scores in sum.
        most: Training windows that a stretch is compared with, at most.
        seed: Fixes the directions of the sliced Wasserstein distance.
        told: Called with what is being done.
    """
    everything = evenly(np.arange(len(span[0])), most)
    some = take(everything)
    mask = varying(some)
    channels = [name for name, there in zip(channels, mask, strict=True) if there]
    columns = [name for name, there in zip(columns, mask, strict=True) if there]
    own, disjoint = level / FAMILIES, len(span[0]) / len(new)
    if not channels:
        logger.warning("no channel of the training windows varies: nothing is measured")
        return DriftTests(len(new), disjoint, (), (), own)
    parts = stretches(*span, len(new), most)
    bandwidth = _bandwidth(some[evenly(np.arange(len(some)), _BANDWIDTH_WINDOWS)][..., mask])

    def measured(real: Windows, other: Windows) -> dict[str, Values]:
        return _measured(real[..., mask], other[..., mask], bandwidth, seed)

    with threadpool_limits(1):  # sums would depend on the number of threads
        value = measured(some, new)
        references = []
        for done, part in enumerate(parts, 1):
            references.append(measured(take(part.rest), take(part.own)))
            if told is not None:
                told("drift", done, len(parts))
    tests = {
        name: [
            held_against(name, float(one), np.array([found[name][place] for found in references]), disjoint)
            for place, one in enumerate(values)
        ]
        for name, values in value.items()
    }
    by_channel = {name: tests.pop(name) for name in _BY_CHANNEL}
    return DriftTests(
        size=len(new),
        disjoint=disjoint,
        columns=_columns(by_channel, channels, columns, own),
        together=tuple(one for (one,) in tests.values()),
        level=own,
    )


def _bandwidth(windows: Windows) -> float | None:
    try:
        return median_distance(windows)
    except DataError as reason:  # events that are rare, a category that hardly ever changes
        logger.warning("the maximum mean discrepancy is left out: %s", reason)
        return None


def _measured(real: Windows, other: Windows, bandwidth: float | None, seed: int) -> dict[str, Values]:
    """By measure: one number a channel, or one of all together."""
    found = {name: np.asarray(by_channel(real, other)) for name, by_channel in _BY_CHANNEL.items()}
    if bandwidth is not None:
        found["mmd"] = np.array([maximum_mean_discrepancy(real, other, bandwidth)])
    found["sliced_wasserstein"] = np.array([sliced_wasserstein(real, other, seed)])
    found["autocorrelation_difference"] = np.array([autocorrelation_difference(real, other).mean()])
    if real.shape[2] > 1:
        found["correlation_difference"] = np.array([correlation_difference(real, other).mean()])
    return found


def _columns(
    tests: dict[str, list[Test]], channels: Sequence[str], columns: Sequence[str], level: float
) -> tuple[ColumnDrift, ...]:
    by_column: dict[str, list[tuple[str, Test]]] = {name: [] for name in columns}
    for found in tests.values():
        for column, channel, test in zip(columns, channels, found, strict=True):
            by_column[column].append((channel, test))
    worst = {name: min(found, key=lambda one: one[1].p) for name, found in by_column.items()}
    p = np.array([min(1.0, worst[name][1].p * len(found)) for name, found in by_column.items()])
    adjusted = benjamini_hochberg(p)
    return tuple(
        ColumnDrift(
            column=name,
            p=float(p[place]),
            adjusted=float(adjusted[place]),
            drifted=bool(adjusted[place] <= level) and worst[name][1].beyond,
            channel=worst[name][0],
            test=worst[name][1],
            tests=tuple(found),
        )
        for place, (name, found) in enumerate(by_column.items())
    )
