"""Pictures of real and synthetic windows beside each other.

Figures are built without `pyplot`, whose global state is not safe in a server's threads. Colours are from
Okabe and Ito's palette, which colour-blind readers can tell apart; real is always blue, synthetic orange.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

REAL, SYNTHETIC = "#0072B2", "#D55E00"
_DPI = 110
_MAX_PANELS = 30
_MAX_PATH_FEATURES = 12
_PATHS = 5
_BINS = 40


@dataclass(frozen=True)
class Plot:
    """A picture that was written."""

    path: Path
    title: str
    caption: str
    """How to read it, and what it leaves out."""


def plot_overlays(
    real: NDArray[Any], synthetic: NDArray[Any], out: Path, *, windows: int = 1000, seed: int = 0
) -> Plot:
    """PCA and t-SNE of real and synthetic windows, as the published code draws them.

    Each window becomes the vector of its T steps' means over the features. PCA is fitted on the real ones;
    t-SNE (perplexity 40, 300 iterations) on both.

    Args:
        real: Shape (N, T, D), scaled to [0, 1].
        synthetic: Shape (M, T, D), scaled by the same.
        out: PNG file to write.
        windows: At most so many of each are drawn.
        seed: Fixes which, and t-SNE.
    """
    rng = np.random.default_rng(seed)
    sets = [
        values[_some(len(values), windows, rng)].mean(axis=2, dtype=np.float64) for values in (real, synthetic)
    ]
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _scatter(left, _pca(*sets), len(sets[0]), "PCA", "component")
    _scatter(right, _tsne(np.concatenate(sets), seed), len(sets[0]), "t-SNE", "dimension")
    _legend(figure, marker="o")
    caption = (
        f"{len(sets[0]):,} real and {len(sets[1]):,} synthetic windows, each reduced to its mean over the "
        "features by step. The clouds should cover each other: blue alone is missed variety, orange alone is "
        "something that the real data never do."
    )
    return _saved(figure, out, "Where the windows lie", caption)


def plot_distributions(real: NDArray[Any], synthetic: NDArray[Any], features: Sequence[str], out: Path) -> Plot:
    """A histogram of every feature, real and synthetic over the same bins.

    Args:
        real: Shape (N, T, D), any units.
        synthetic: Shape (M, T, D), the same units.
        features: D names.
        out: PNG file to write.
    """
    figure, panels, note = _panels(features, "")
    for number, axes in enumerate(panels):
        _histogram(axes, real[..., number].ravel(), synthetic[..., number].ravel())
    _legend(figure)
    caption = (
        "Share of values by size, all steps together, in the units given. Synthetic values beyond the axis "
        f"(the real range and a tenth of it on either side) are counted in the outermost bins.{note}"
    )
    return _saved(figure, out, "Distribution of each feature", caption)


def plot_autocorrelations(
    real: NDArray[Any], synthetic: NDArray[Any], features: Sequence[str], out: Path
) -> Plot:
    """`autocorrelation` of every feature, real and synthetic.

    Args:
        real: Shape (N, T, D).
        synthetic: Shape (M, T, D).
        features: D names.
        out: PNG file to write.
    """
    figure, panels, note = _panels(features, "lag in steps")
    curves = [autocorrelation(values[..., : len(panels)]) for values in (real, synthetic)]
    for number, axes in enumerate(panels):
        axes.axhline(0, color="0.75", linewidth=0.8)
        for curve, colour, style in zip(curves, (REAL, SYNTHETIC), ("-", "--"), strict=True):
            axes.plot(curve[:, number], style, color=colour, linewidth=1.8)
        axes.set_ylim(-1.05, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _legend(figure)
    caption = (
        "How strongly a value goes with the value so many steps later, about each window's own mean. The "
        f"curves should lie on each other; a feature that never changes within a window has none.{note}"
    )
    return _saved(figure, out, "Autocorrelation of each feature", caption)


def plot_paths(
    real: NDArray[Any], synthetic: NDArray[Any], features: Sequence[str], out: Path, *, seed: int = 0
) -> Plot:
    """A few real and synthetic windows of every feature, beside each other on the same scale.

    Args:
        real: Shape (N, T, D), any units.
        synthetic: Shape (M, T, D), the same units.
        features: D names.
        out: PNG file to write.
        seed: Fixes which windows.
    """
    rng = np.random.default_rng(seed)
    shown = min(len(features), _MAX_PATH_FEATURES)
    pairs = min(3, shown)
    rows = math.ceil(shown / pairs)
    figure = Figure(figsize=(4.4 * pairs if pairs > 1 else 7, 2.3 * rows + 0.6), layout="constrained")
    blocks = figure.subfigures(rows, pairs, wspace=0.03, squeeze=False).ravel()
    picks = [values[_some(len(values), _PATHS, rng)] for values in (real, synthetic)]
    for number, block in enumerate(blocks[:shown]):
        block.suptitle(_short(features[number]), fontsize=10, parse_math=False)
        cells = block.subplots(1, 2, sharey=True)
        for axes, paths, colour in zip(cells, picks, (REAL, SYNTHETIC), strict=True):
            axes.plot(paths[:, :, number].T, color=colour, linewidth=1.2, alpha=0.8)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            _plain(axes)
    _legend(figure)
    caption = (
        f"At most {_PATHS} windows of each drawn at random, the same ones in every panel: real on the left, "
        "synthetic on the right, over the steps of a window and in the units given."
        f"{_left_out(shown, len(features))}"
    )
    return _saved(figure, out, "Sample paths", caption)


def autocorrelation(values: NDArray[Any]) -> NDArray[np.float64]:
    """`sum_n sum_t y[n, t] y[n, t + k] / sum_n sum_t y[n, t]^2` with y the window less its own mean.

    Args:
        values: Shape (N, T, D).

    Returns:
        Shape (T, D) for lags 0..T-1; NaN for a feature that is constant in every window.
    """
    y = values.astype(np.float64)
    # In units of the largest value: the squares of very large ones would not be finite.
    y = y / np.maximum(np.abs(y).max(axis=(0, 1)), np.finfo(np.float64).tiny)
    y = y - y.mean(axis=1, keepdims=True)
    steps = y.shape[1]
    products = np.stack([np.einsum("ntd,ntd->d", y[:, : steps - lag], y[:, lag:]) for lag in range(steps)])
    constant = np.abs(y).max(axis=(0, 1)) < 1e-12
    return np.where(constant, np.nan, products / np.where(constant, 1.0, products[0]))


def _pca(real: NDArray[Any], synthetic: NDArray[Any]) -> NDArray[Any]:
    """Rows of both sets on the two directions in which the real ones vary most."""
    both = np.concatenate([real, synthetic])
    basis = real if np.ptp(real, axis=0).any() else both
    if not np.ptp(basis, axis=0).any():
        return np.zeros((len(both), 2))
    points: NDArray[Any] = PCA(n_components=2, svd_solver="full").fit(basis).transform(both)
    return points


def _tsne(both: NDArray[Any], seed: int) -> NDArray[Any]:
    if not np.ptp(both, axis=0).any():
        return np.zeros((len(both), 2))
    tsne = TSNE(perplexity=min(40.0, (len(both) - 1) / 3), max_iter=300, random_state=seed)
    # One thread: two take six times as long on two busy cores, and the picture would depend on their number.
    with threadpool_limits(1):
        points: NDArray[Any] = tsne.fit_transform(both)
    return points


def _panels(features: Sequence[str], label: str) -> tuple[Figure, list[Axes], str]:
    """A grid with a titled panel for each feature, and a note on those that do not fit in."""
    shown = min(len(features), _MAX_PANELS)
    columns = min(shown, 3 if shown <= 9 else 5)
    rows = math.ceil(shown / columns)
    width = 11 if columns > 1 else 6
    figure = Figure(figsize=(width, (2.4 if columns <= 3 else 1.9) * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[shown:]:
        axes.remove()
    for number, axes in enumerate(grid[:shown]):
        axes.set_title(_short(features[number]), fontsize=10, parse_math=False)
        _plain(axes)
        if label and number >= shown - columns:
            axes.set_xlabel(label, fontsize=9)
    return figure, list(grid[:shown]), _left_out(shown, len(features))


def _histogram(axes: Axes, real: NDArray[Any], synthetic: NDArray[Any]) -> None:
    low, high = float(real.min()), float(real.max())
    margin = 0.1 * (high - low) or max(abs(low), 1.0) * 0.1
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    for values, fill in ((real, True), (synthetic, False)):
        counts, _ = np.histogram(values.clip(edges[0], edges[-1]), bins=edges)
        share = counts / counts.sum()
        if fill:
            axes.stairs(share, edges, fill=True, color=REAL, alpha=0.45)
        else:
            axes.stairs(share, edges, color=SYNTHETIC, linewidth=1.6)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _scatter(axes: Axes, points: NDArray[Any], real: int, title: str, axis: str) -> None:
    # Mixed, so that neither set is drawn over the other.
    order = np.random.default_rng(0).permutation(len(points))
    colours = np.where(np.arange(len(points)) < real, REAL, SYNTHETIC)[order]
    axes.scatter(points[order, 0], points[order, 1], s=12, alpha=0.4, c=colours, linewidths=0)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(f"first {axis}", fontsize=9)
    axes.set_ylabel(f"second {axis}", fontsize=9)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _legend(figure: Figure, marker: str = "") -> None:
    handles = [
        Line2D([], [], color=colour, label=label, marker=marker, linewidth=0 if marker else 3)
        for colour, label in ((REAL, "real"), (SYNTHETIC, "synthetic"))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=10)


def _short(name: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    return printable if len(printable) <= 24 else f"{printable[:13]}\N{HORIZONTAL ELLIPSIS}{printable[-10:]}"


def _left_out(shown: int, features: int) -> str:
    return "" if shown == features else f" The first {shown} of {features} features are shown."


def _some(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permutation(count)[:wanted]


def _saved(figure: Figure, out: Path, title: str, caption: str) -> Plot:
    figure.savefig(out, dpi=_DPI, format="png", metadata={"Software": None})
    return Plot(out, title, caption)
