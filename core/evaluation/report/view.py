"""What the pictures of an evaluation show, computed once for the PNG files and the interactive figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from core.errors import ConfigError
from core.evaluation.distances.dependence import correlation
from core.evaluation.distances.draw import some
from core.evaluation.distances.features import moving, varying
from core.evaluation.distances.temporal import autocorrelation, spectrum

logger = logging.getLogger(__name__)

OVERLAYS = ("pca", "tsne", "umap")
"""Embeddings of windows in a plane."""

Values = NDArray[np.floating]
Training = Mapping[str, Sequence[tuple[int, float]]]
"""By what was measured during training: the steps done and the value. Names like `loss/generator` are grouped
by what stands before the stroke, as their scales differ."""

_PATHS = 5
_BINS = 40
_SMALLEST_UMAP = 4


@dataclass(frozen=True)
class Embedding:
    """Windows as points of a plane, the real ones first."""

    name: str
    axis: str
    """What its axes are called."""
    points: NDArray[np.float64]
    """Shape (n + m, 2)."""


@dataclass(frozen=True)
class Histogram:
    """Shares of the values of one feature over the same bins."""

    edges: NDArray[np.float64]
    """Shape (bins + 1,)."""
    real: NDArray[np.float64]
    """Shape (bins,), of sum 1."""
    synthetic: NDArray[np.float64]

    @property
    def misfit(self) -> float:
        """Share of the values that would have to change bins: total variation, from 0 to 1."""
        return float(np.abs(self.real - self.synthetic).sum() / 2)


@dataclass(frozen=True)
class View:
    """Everything that is drawn; pairs are of the real and of the synthetic windows."""

    features: tuple[str, ...]
    drawn: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Numbers of the windows in the embeddings."""
    embeddings: tuple[Embedding, ...]
    histograms: tuple[Histogram, ...]
    """By feature."""
    autocorrelations: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Each of shape (T, D), for lags from 0: `core.evaluation.distances.temporal.autocorrelation`; NaN for a
    feature that is constant in the real windows."""
    frequencies: NDArray[np.float64]
    """Shape (T // 2,), in cycles per step, from 1/T to 1/2."""
    spectra: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Each of shape (T // 2, D), in shares of the real windows' power:
    `core.evaluation.distances.temporal.spectrum`; NaN for a feature that never changes inside a real window."""
    correlations: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Each of shape (D, D): `core.evaluation.distances.dependence.correlation`; NaN for a feature that is
    constant in the real windows."""
    paths: tuple[Values, Values]
    """A few windows of each, shape (P, T, D), in the units given."""
    training: Training = field(default_factory=dict)

    def training_panels(self) -> dict[str, dict[str, Sequence[tuple[int, float]]]]:
        """Curves of the training by group and name; `score` where a name has no group."""
        panels: dict[str, dict[str, Sequence[tuple[int, float]]]] = {}
        for full_name, points in self.training.items():
            group, _, name = full_name.rpartition("/")
            panels.setdefault(group or "score", {})[name.replace("_", " ")] = points
        return panels

    def lowest_autocorrelation(self, feature: int) -> float:
        """Of both kinds of windows; 0 where none is below it."""
        curves = np.concatenate([curves[:, feature] for curves in self.autocorrelations])
        return float(np.nanmin(np.append(curves, 0.0)))

    def worst(self, most: int) -> list[int]:
        """At most `most` features in their order: those whose histograms differ most."""
        misfits = np.array([histogram.misfit for histogram in self.histograms])
        return sorted(np.argsort(-misfits, kind="stable")[:most].tolist())


def view_windows(
    real: Values,
    synthetic: Values,
    scaled: tuple[Values, Values],
    features: Sequence[str],
    *,
    windows: int = 1000,
    seed: int = 0,
    overlays: Sequence[str] = OVERLAYS,
    training: Training | None = None,
) -> View:
    """Compute what is drawn of real and synthetic windows.

    Args:
        real: Shape (N, T, D), any units.
        synthetic: Shape (M, T, D), the same units.
        scaled: The same two, scaled to about [0, 1] by the real ones.
        features: D names, any text.
        windows: At most so many of each kind are embedded.
        seed: Fixes which, the embeddings and the sample paths.
        overlays: Which embeddings, some of `OVERLAYS`.
        training: Scores during the training, where they are known.

    Raises:
        ConfigError: `windows` is less than 2.
    """
    if windows < 2:
        raise ConfigError(f"windows in an embedding must be at least 2, got {windows}")
    rng = np.random.default_rng(seed)
    drawn = some(len(real), windows, rng), some(len(synthetic), windows, rng)
    if max(len(real), len(synthetic)) > windows:
        logger.info("embedding %d real and %d synthetic windows drawn at random", *map(len, drawn))
    steps, varies = real.shape[1], varying(scaled[0])
    return View(
        features=tuple(features),
        drawn=drawn,
        embeddings=embed(scaled[0][drawn[0]], scaled[1][drawn[1]], seed, overlays),
        histograms=tuple(
            histogram(real[..., number], synthetic[..., number]) for number in range(real.shape[2])
        ),
        autocorrelations=_shown(lambda values: autocorrelation(values, steps), scaled, varies),
        frequencies=np.arange(1, steps // 2 + 1) / steps,
        spectra=_spectra(scaled),
        correlations=_shown(correlation, scaled, np.logical_and.outer(varies, varies)),
        paths=(real[some(len(real), _PATHS, rng)], synthetic[some(len(synthetic), _PATHS, rng)]),
        training=training or {},
    )


def embed(
    real: Values, synthetic: Values, seed: int, overlays: Sequence[str] = OVERLAYS
) -> tuple[Embedding, ...]:
    """PCA, t-SNE and UMAP of real and synthetic windows, as the published code reduces them.

    Each window becomes the vector of its T steps' means over the features (jsyoon0823/TimeGAN,
    `visualization_metrics.py`). PCA is fitted on the real ones; t-SNE (perplexity 40, 300 iterations) and UMAP
    (McInnes et al. 2018; 15 neighbours, 200 epochs, started from PCA) on both. Windows that are fewer than the
    neighbours have as many neighbours as there are.

    Args:
        real: Shape (n, T, D), scaled to about [0, 1].
        synthetic: Shape (m, T, D), scaled by the same.
        seed: Fixes t-SNE and UMAP.
        overlays: Some of `OVERLAYS`.
    """
    flat = [values.mean(axis=2, dtype=np.float64) for values in (real, synthetic)]
    both = np.concatenate(flat)
    kinds: dict[str, tuple[str, str, Callable[[], NDArray[np.float64]]]] = {
        "pca": ("PCA", "component", lambda: _pca(flat[0], both)),
        "tsne": ("t-SNE", "dimension", lambda: _tsne(both, seed)),
        "umap": ("UMAP", "dimension", lambda: _umap(both, seed)),
    }
    still = not np.ptp(both, axis=0).any()
    if still:
        logger.warning("all windows are the same: their embeddings are a single point")
    # One thread: two take six times as long on two busy cores, and their number would show in the picture.
    with threadpool_limits(1):
        return tuple(
            Embedding(name, axis, np.zeros((len(both), 2)) if still else points())
            for name, axis, points in (kinds[overlay] for overlay in overlays)
        )


def histogram(real: Values, synthetic: Values) -> Histogram:
    """Shares of values by size, over the real range and a tenth of it on either side.

    Synthetic values beyond it are counted in the outermost bins.

    Args:
        real: Any shape, any units.
        synthetic: Any shape, the same units.
    """
    low, high = float(real.min()), float(real.max())
    margin = 0.1 * (high - low) or max(abs(low), 1.0) * 0.1
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    counts = [
        np.histogram(values.clip(edges[0], edges[-1]), bins=edges)[0] / values.size
        for values in (real, synthetic)
    ]
    return Histogram(edges, *counts)


def _shown(
    compute: Callable[[Values], NDArray[np.float64]],
    pair: tuple[Values, Values],
    defined: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of real and of synthetic windows; NaN where the measure of the same leaves a feature out."""
    real, synthetic = (np.where(defined, compute(values), np.nan) for values in pair)
    return real, synthetic


def _spectra(pair: tuple[Values, Values]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both spectra in shares of the real power."""
    real, synthetic = _shown(spectrum, pair, moving(pair[0]))
    total = real.sum(axis=0)
    return real / total, synthetic / total


def _pca(real: Values, both: Values) -> NDArray[np.float64]:
    """Rows on the two directions in which the real ones vary most."""
    basis = real if np.ptp(real, axis=0).any() else both
    points = PCA(n_components=2, svd_solver="full").fit(basis).transform(both)
    return np.asarray(points, dtype=np.float64)


def _tsne(both: Values, seed: int) -> NDArray[np.float64]:
    tsne = TSNE(perplexity=min(40.0, (len(both) - 1) / 3), max_iter=300, random_state=seed)
    return np.asarray(tsne.fit_transform(both), dtype=np.float64)


def _umap(both: Values, seed: int) -> NDArray[np.float64]:
    if len(both) < _SMALLEST_UMAP:
        logger.warning("UMAP needs %d windows, got %d: PCA stands in its place", _SMALLEST_UMAP, len(both))
        return _pca(both, both)
    from umap import UMAP  # slow to import: Numba compiles

    neighbours = min(15, len(both) - 1)
    umap = UMAP(n_neighbors=neighbours, n_epochs=200, init="pca", random_state=seed, n_jobs=1)
    return np.asarray(umap.fit_transform(both), dtype=np.float64)
