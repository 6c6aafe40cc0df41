"""Distances of synthetic windows from real ones, each beside the same distance of other real windows."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from core.errors import DataError
from core.evaluation.checks import checked_like, checked_pair
from core.evaluation.distances.catalogue import DESCRIPTIONS
from core.evaluation.distances.draw import Drawn, Index, Sets, draw, halves
from core.evaluation.distances.recipes import MARKET, RECIPES, Recipe, Values
from core.evaluation.judges.paper_scores import Progress
from core.evaluation.measures import Measure

__all__ = ["Prices", "measure_distances"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prices:
    """The windows in their own units, for the stylised facts of markets: the same windows in the same order."""

    real: NDArray[Any]
    """Shape (N, T, D)."""
    synthetic: NDArray[Any]
    """Shape (M, T, D)."""
    reference: NDArray[Any] | None = None
    """Shape (K, T, D), if there is a reference."""


def measure_distances(
    real: NDArray[Any],
    synthetic: NDArray[Any],
    features: Sequence[str],
    *,
    reference: NDArray[Any] | None = None,
    starts: NDArray[np.int64] | None = None,
    windows: int = 2000,
    seed: int = 0,
    prices: Prices | None = None,
    progress: Progress | None = None,
) -> list[Measure]:
    """Every distance that these windows allow; what is left out is told in the log.

    Each is of `windows` synthetic windows from as many real ones, and its reference is of as many other real
    windows from the same: equal sizes, for most distances shrink as sets grow. Without `reference` these are
    two halves of `real` that share no row, made of alternating blocks of rows: about as far apart as two series
    of one law are. Halves drawn at random from overlapping windows would be nearly the same windows.

    Args:
        real: Shape (N, T, D), scaled to about [0, 1] by the real windows' minimum and maximum, T at least 2.
        synthetic: Shape (M, T, D), scaled by the same.
        features: D names.
        reference: Shape (K, T, D), scaled by the same: real windows to stand in the synthetic ones' place; if
            None, a half of `real` stands there and is compared with the other one.
        starts: Shape (N,), the first row of each real window, ascending; what shares a row is kept out of the
            other half. If None, nobody knows what does: halves are drawn at random, and so they are, with a
            warning, where there are too few rows. Not used with a `reference`.
        windows: Most windows of each kind that are compared, at least 2.
        seed: Fixes which windows are drawn, the random directions and the encoder of the Context-FID.
        prices: The windows in their own units; adds the stylised facts of markets, of features above 0.
        progress: Told ("distances", done, total) after each.

    Raises:
        ConfigError: an argument is out of range.
        DataError: the sets or the names do not fit each other, are too small, or hold NaN or infinity.
    """
    drawn, sets = _drawn(real, synthetic, reference, starts, windows, seed)
    if len(features) != real.shape[2]:
        raise DataError(f"expected {real.shape[2]} names of features, one for each, got {len(features)}")
    work = [(recipe, sets, features) for recipe in RECIPES]
    if prices is not None:
        others = real if reference is None else reference
        work.append((MARKET, *_positive(_drawn_prices(prices, drawn, (real, synthetic, others)), features)))
    measures: list[Measure] = []
    with threadpool_limits(1):  # sums would depend on the number of threads
        for done, (recipe, sets, names) in enumerate(work, 1):
            measures += _measure(recipe, sets, names, seed)
            if progress is not None:
                progress("distances", done, len(work))
    return measures


def _measure(recipe: Recipe, sets: Sets, features: Sequence[str], seed: int) -> list[Measure]:
    """The recipe's measures that are defined."""
    mask = recipe.features(sets.real)
    names = [name for name, chosen in zip(features, mask, strict=True) if chosen]
    if len(names) < len(features):
        left_out = ", ".join(repr(name) for name in features if name not in names)
        logger.info("%s: constant in the real windows, left out: %s", ", ".join(recipe.names), left_out)
    if not names:
        logger.warning("%s left out: no feature is fit", ", ".join(recipe.names))
        return []
    sets = sets.only(mask)
    try:
        compare = recipe.prepare(sets.real, seed)
        values, references = compare(sets.synthetic), compare(sets.reference)
    except DataError as reason:
        logger.warning("%s left out: %s", ", ".join(recipe.names), reason)
        return []
    return _described(values, references, names)


def _described(
    values: Mapping[str, Values], references: Mapping[str, Values], features: Sequence[str]
) -> list[Measure]:
    measures = []
    for name, value in values.items():
        mean, reference = float(np.mean(value)), float(np.mean(references[name]))
        if not math.isfinite(mean):
            logger.warning("%s left out: it is not finite", name)
            continue
        by_feature = None
        if isinstance(value, np.ndarray):
            by_feature = dict(zip(features, value.tolist(), strict=True))
        measures.append(
            Measure(
                name=name,
                value=mean,
                reference=reference if math.isfinite(reference) else None,
                by_feature=by_feature,
                **vars(DESCRIPTIONS[name]),
            )
        )
    return measures


def _drawn(
    real: NDArray[Any],
    synthetic: NDArray[Any],
    reference: NDArray[Any] | None,
    starts: Index | None,
    windows: int,
    seed: int,
) -> tuple[Drawn, Sets]:
    """The windows that are compared, after a look at all of them; the copies of the rest are let go."""
    real, synthetic = checked_pair(real, synthetic)
    if reference is None:
        others, parts = real, halves(len(real), starts, real.shape[1], seed)
    else:
        others = checked_like(reference, real, "reference")
        parts = np.arange(len(real)), np.arange(len(others))
    drawn = draw(parts[0], len(synthetic), parts[1], windows, seed)
    if len(drawn.real) < max(len(real), len(synthetic)):
        logger.info(
            "distances compare %d of %d real and of %d synthetic windows",
            len(drawn.real),
            len(real),
            len(synthetic),
        )
    return drawn, _chosen(drawn, real, synthetic, others)


def _chosen(drawn: Drawn, real: NDArray[Any], synthetic: NDArray[Any], others: NDArray[Any]) -> Sets:
    return Sets(real[drawn.real], synthetic[drawn.synthetic], others[drawn.reference])


def _drawn_prices(prices: Prices, drawn: Drawn, scaled: Sequence[NDArray[Any]]) -> Sets:
    """The prices of the windows that are compared.

    Raises:
        DataError: they are not of these windows.
    """
    others = prices.real if prices.reference is None else prices.reference
    found = (prices.real, prices.synthetic, others)
    expected, shapes = [windows.shape for windows in scaled], [windows.shape for windows in found]
    if shapes != expected:
        raise DataError(
            "prices must be those of the real, synthetic and reference windows, shapes "
            f"{', '.join(map(str, expected))}; got {', '.join(map(str, shapes))}"
        )
    return _chosen(drawn, *found)


def _positive(prices: Sets, features: Sequence[str]) -> tuple[Sets, list[str]]:
    """The features that are prices: finite and above 0 in every window that is compared."""
    sets = (prices.real, prices.synthetic, prices.reference)
    fit = np.all([((windows > 0) & np.isfinite(windows)).all(axis=(0, 1)) for windows in sets], axis=0)
    if not fit.all():
        left_out = ", ".join(repr(name) for name, good in zip(features, fit, strict=True) if not good)
        logger.warning("stylised facts leave out what is not above 0 everywhere: %s", left_out)
    return prices.only(fit), [name for name, good in zip(features, fit, strict=True) if good]
