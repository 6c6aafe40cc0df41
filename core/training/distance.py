"""How far synthetic windows are from held-out ones: cheap enough to look at during training.

The distance is the sliced Wasserstein-1 distance (Bonneel et al. 2015) between two sets of windows, each laid
flat with its static values and conditions, in two views whose distances are averaged: the windows' levels and
their increments from step to step. Without increments, windows whose steps are shuffled or too rough are hardly
told from real ones: they are a small part of the variance. Half of the directions are dense, half have two
entries: random sums of very many coordinates tend to look normal whatever their parts are (Diaconis and
Freedman 1984), pairs see the marginals and the dependence of two cells. In each view the distance is divided by
the mean spread of the held-out windows along the directions, so 1 is about one standard deviation.

Two sets drawn from the same distribution are not at 0 either: what a distance is worth shows beside the same
distance of training windows (`Look.reference`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.networks.threads import one_thread
from core.prepare.channels.layout import WindowArrays
from core.prepare.series import Windows

DIRECTIONS = 64
"""Of each kind, dense and with two entries, in each view."""
NEIGHBOURS = 10
"""Training windows searched for nearest neighbours, as a multiple of the windows of a look."""
CELLS = 20_000_000
"""Most numbers of a set of windows: bounds memory and time where windows are long."""
COLLAPSED, MEMORISED = 0.25, 0.25
"""Ratios below which the guards trip, see `Look`."""


@dataclass(frozen=True)
class Look:
    """What a look at the synthetic windows found."""

    distance: float
    """Of synthetic to held-out windows, from 0, see the module."""
    reference: float
    """The same of training windows."""
    spread: float
    """Root of the total variance of synthetic windows over that of training windows."""
    nearness: float
    """Median distance of synthetic windows to their nearest training window, over that of real windows: of
    held-out windows or of training windows that do not overlap, whichever is nearer."""

    @property
    def collapsed(self) -> bool:
        """The synthetic windows are nearly all the same."""
        return self.spread < COLLAPSED

    @property
    def memorised(self) -> bool:
        """The synthetic windows are copies of training windows, or nearly."""
        return self.nearness < MEMORISED


class HeldOutDistance:
    """Compares synthetic windows with held-out ones.

    Args:
        training: Windows that are trained on.
        held_out: Windows that are not.
        count: Synthetic windows of a look, at most; never more than there are held out or to train on.
        seed: Fixes the directions and which windows are compared.
    """

    def __init__(self, training: Windows, held_out: Windows, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        cells = training.length * training.features
        most = max(10, CELLS // cells)
        self.count = min(count, most, len(held_out), len(training))
        chosen = held_out.only(np.sort(rng.choice(len(held_out), self.count, replace=False)))
        self.condition = chosen.condition if chosen.condition.shape[1] else None
        """What synthetic windows of a look are given: the held-out windows' conditions."""
        self.length = training.length
        with one_thread():
            self._prepare(training, chosen, most, rng)

    def _prepare(self, training: Windows, held_out: Windows, most: int, rng: np.random.Generator) -> None:
        views = _views(held_out.gather(np.arange(self.count)))
        directions = torch.Generator().manual_seed(int(rng.integers(2**63)))
        self.directions = [_directions(view.shape[1], directions) for view in views]
        self.held_out = [_sorted(view @ d) for view, d in zip(views, self.directions, strict=True)]
        self.spreads = [float(p.std(dim=0, correction=0).mean()) for p in self.held_out]

        some = rng.choice(len(training), self.count, replace=False)
        pool = np.sort(
            rng.choice(len(training), min(len(training), NEIGHBOURS * self.count, most), replace=False)
        )
        compared = _views(training.gather(some))
        self.reference = self._distance(compared)
        self.training_spread = _spread(compared[0])
        self.pool = _views(training.gather(pool))[0]
        apart = np.abs(training.starts[some, None] - training.starts[pool]) >= training.length
        self.real_nearness = min(
            float(_nearest(views[0], self.pool).median()),
            float(_nearest(compared[0], self.pool, torch.from_numpy(apart)).median()),
        )

    def look(self, synthetic: WindowArrays) -> Look:
        """Compare `count` synthetic windows."""
        with one_thread():
            views = _views(synthetic)
            return Look(
                distance=self._distance(views),
                reference=self.reference,
                spread=_ratio(_spread(views[0]), self.training_spread),
                nearness=_ratio(float(_nearest(views[0], self.pool).median()), self.real_nearness),
            )

    def _distance(self, views: Sequence[Tensor]) -> float:
        parts = [
            _ratio(float((_sorted(view @ directions) - real).abs().mean()), spread, at_rest=0.0)
            for view, directions, real, spread in zip(
                views, self.directions, self.held_out, self.spreads, strict=True
            )
        ]
        return sum(parts) / len(parts)


def _ratio(value: float, real: float, at_rest: float = 1.0) -> float:
    """`value / real`; where the real one is 0 there is nothing to compare with: `at_rest`, or beyond it."""
    if real > 0:
        return value / real
    return at_rest + value


def _views(windows: WindowArrays) -> list[Tensor]:
    """Levels and increments, each of shape (N, numbers)."""
    values = torch.from_numpy(windows.values)
    given = [torch.from_numpy(part) for part in (windows.static, windows.condition)]
    levels = torch.cat([values.flatten(1), *given], dim=1)
    inside = torch.from_numpy(np.arange(1, values.shape[1]) < windows.lengths[:, None])
    increments = (values.diff(dim=1) * inside[..., None]).flatten(1)
    return [levels, increments] if increments.shape[1] else [levels]


def _directions(width: int, rng: torch.Generator) -> Tensor:
    """Unit vectors, shape (width, 2 * DIRECTIONS): dense ones, then ones with two entries, or one."""
    dense = torch.randn(width, DIRECTIONS, generator=rng)
    pairs = torch.zeros(width, DIRECTIONS)
    for _ in range(2):
        places = torch.randint(width, (1, DIRECTIONS), generator=rng)
        pairs.scatter_(0, places, torch.randn(1, DIRECTIONS, generator=rng))
    both = torch.cat([dense, pairs], dim=1)
    unit: Tensor = both / torch.linalg.vector_norm(both, dim=0)
    return unit


def _sorted(projected: Tensor) -> Tensor:
    return projected.sort(dim=0).values


def _spread(windows: Tensor) -> float:
    """Root of the total variance."""
    return float(windows.double().var(dim=0, correction=0).sum().sqrt())


def _nearest(windows: Tensor, pool: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Euclidean distance of each window to the nearest of the pool, shape (N,); infinity if none is allowed."""
    centre = pool.mean(dim=0)  # the nearer to 0, the less is lost to rounding
    distances = torch.cdist(windows - centre, pool - centre)
    if allowed is not None:
        distances.masked_fill_(~allowed, float("inf"))
    return distances.min(dim=1).values
