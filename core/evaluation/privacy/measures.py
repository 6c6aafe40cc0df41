"""What the distances to the training windows amount to, each beside the same of real windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.evaluation.judges.scores import rank_auc
from core.evaluation.measures import Measure
from core.evaluation.privacy.neighbours import Floats, Neighbours, Pool


@dataclass(frozen=True)
class Found:
    """The nearest training windows of each kind of windows."""

    fake: Neighbours
    """Of synthetic windows."""
    own: Neighbours
    """Of training windows, among those that share no row with them; all finite."""
    unseen: Neighbours | None
    """Of the hold-out, if there is one."""

    @property
    def reference(self) -> Neighbours:
        """Of the real windows that best stand in for synthetic ones: unseen ones if there are any."""
        return self.own if self.unseen is None else self.unseen

    @property
    def real(self) -> list[Neighbours]:
        """Of all real windows."""
        return [self.own] if self.unseen is None else [self.own, self.unseen]


def ratio(value: float, real: float) -> float:
    """`value / real`; where real windows repeat themselves it has no meaning: 1, or beyond it."""
    return value / real if real > 0 else 1.0 + value


def distance_measures(found: Found) -> list[Measure]:
    """Distance to the closest record, its ratio, and the nearest neighbour distance ratio."""
    fake, real = found.fake.distance, found.reference.distance
    near, real_near = float(np.median(fake)), float(np.median(real))
    name, title = "distance_to_closest_record", "Distance to closest record"
    return [
        _as_real(
            name,
            title,
            (near, real_near),
            "Median distance of a synthetic window to the nearest training window; 1 is the range of the data.",
        ),
        _as_real(
            f"{name}_p05",
            f"{title}, 5th percentile",
            (float(np.quantile(fake, 0.05)), float(np.quantile(real, 0.05))),
            "How near the nearest twentieth of the synthetic windows comes to a training window.",
        ),
        _as_real(
            "dcr_ratio",
            f"{title}, ratio",
            (ratio(near, real_near), 1.0),
            "Distance of synthetic windows to the training data over that of real windows that are not in it.",
        ),
        _as_real(
            "nearest_neighbour_distance_ratio",
            "Nearest neighbour distance ratio",
            (_neighbour_ratio(found.fake), _neighbour_ratio(found.reference)),
            "Distance to the nearest training window over that to the second nearest: near 0 for copies.",
        ),
    ]


def authenticity(pool: Pool, found: Found) -> Measure:
    """P(d(g, r) > d(r, r')): g synthetic, r its nearest training window, r' the one nearest to that.

    A synthetic window that is nearer to a training window than any other training window is counts as made from
    it (Alaa et al. 2022, authenticity). r' shares no row with r: the neighbour in time would make nearly every
    window authentic.
    """
    return _as_real(
        "authenticity",
        "Authenticity",
        (_authentic(pool, found.fake), _authentic(pool, found.reference)),
        "Share of synthetic windows farther from the nearest training window than that one is from the next.",
        'Alaa et al. 2022, "How Faithful is your Synthetic Data?", authenticity',
    )


def membership_inference(pool: Pool, members: Floats, others: Floats, found: Found) -> Measure:
    """AUC of an attacker who takes the windows nearest to a synthetic one for training windows.

    Where the series drifts, training windows can be told from later ones without any memory of them. The
    reference shows by how much: it is the same attack with the training windows that share no row with the
    attacked one in the synthetic ones' place.

    Args:
        pool: The synthetic windows.
        members: Shape (n, T D), the training windows of `found.own`.
        others: Shape (k, T D), the windows of the hold-out of `found.unseen`.
        found: With `unseen`.
    """
    unseen = found.reference
    return Measure(
        name="membership_inference_auc",
        title="Membership inference",
        group="privacy",
        value=rank_auc(-pool.nearest(members).distance, -pool.nearest(others).distance),
        reference=rank_auc(-found.own.distance, -unseen.distance),
        ideal=0.5,
        better="closer",
        meaning="How well the synthetic windows give away whether a real one was trained on: 0.5 is a guess, "
        "1 is certainty; drift alone can lift it to the reference.",
        source='Chen et al. 2020, "GAN-Leaks", full black-box attack',
    )


def copied_share(copied: float, real: float) -> Measure:
    """Exact and near copies among the windows.

    Args:
        copied: Among the synthetic ones, from 0 to 1.
        real: Among the real ones.
    """
    return Measure(
        name="copied_share",
        title="Copied windows",
        group="privacy",
        value=copied,
        reference=real,
        ideal=0.0,
        better="lower",
        meaning="Share of synthetic windows that are a training window again, exactly or nearly.",
        source="Closer than a quarter of the first percentile of real windows' distances: own",
    )


def _as_real(
    name: str,
    title: str,
    pair: tuple[float, float],
    meaning: str,
    source: str = 'Zhao et al. 2021, "CTAB-GAN", privacy: DCR and NNDR',
) -> Measure:
    """Of a (synthetic, real) pair. Copies are on one side of the real one, noise on the other: it is ideal."""
    value, real = pair
    return Measure(name, title, "privacy", value, real, real, "closer", meaning, source)


def _neighbour_ratio(found: Neighbours) -> float:
    """Median of nearest over second nearest distance: 1 where both are 0; those without a second do not count.

    No window has a second one where the training windows are too few; that is 1 too.
    """
    known = np.isfinite(found.second)
    first, second = found.distance[known], found.second[known]
    ratios = np.divide(first, second, out=np.ones_like(first), where=second > 0)
    return float(np.median(ratios)) if len(ratios) else 1.0


def _authentic(pool: Pool, found: Neighbours) -> float:
    nearest, place = np.unique(found.index, return_inverse=True)
    return float((found.distance > pool.nearest_others(nearest).distance[place]).mean())
