"""Pictures of real and synthetic windows beside each other, as PNG files.

Figures are built without `pyplot`, whose global state is not safe in a server's threads. Colours are from
Okabe and Ito's palette, which colour-blind readers can tell apart; real is always blue, synthetic orange.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.evaluation.report.view import Embedding, Histogram, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

REAL, SYNTHETIC = "#0072B2", "#D55E00"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Colours of curves that are not of real or synthetic windows."""
NAMED_CELLS = 24
"""Most features whose names stand beside a correlation matrix."""
UNITS = (
    "Values are in the units of the windows that were judged: a file's own, while a run of the pipeline judges "
    "its channels scaled to [0, 1]."
)
_DPI = 110
_MAX_PANELS = 30
_MAX_PATH_FEATURES = 12


@dataclass(frozen=True)
class Plot:
    """A picture that was written."""

    path: Path
    title: str
    caption: str
    """How to read it, and what it leaves out."""
    alt: str
    """What it shows, for those who do not see it."""

    @property
    def name(self) -> str:
        """What the interactive figure of the same is called."""
        return self.path.stem


def draw_plots(
    view: View, folder: Path, *, progress: Callable[[str, int, int], None] | None = None
) -> list[Plot]:
    """Write every picture of a view into a folder.

    Correlations of a single feature and a training without scores have no picture.

    Args:
        view: What is drawn.
        folder: Made if missing; its parent exists.
        progress: Told `plots`, how many are done, and of how many.
    """
    folder.mkdir(exist_ok=True)
    draw: dict[str, Callable[[View, Path], Plot]] = {
        "overlays": plot_overlays,
        "distributions": plot_distributions,
        "autocorrelations": plot_autocorrelations,
        "spectra": plot_spectra,
        "paths": plot_paths,
    }
    if len(view.features) > 1:
        draw["correlations"] = plot_correlations
    if view.training:
        draw["training"] = plot_training
    plots = []
    for done, (name, draw_one) in enumerate(draw.items(), 1):
        plots.append(draw_one(view, folder / f"{name}.png"))
        if progress is not None:
            progress("plots", done, len(draw))
    return plots


def plot_overlays(view: View, out: Path) -> Plot:
    """PCA, t-SNE and UMAP of real and synthetic windows, see `view.embed`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.6), layout="constrained")
    panels = figure.subplots(1, len(view.embeddings), squeeze=False).ravel()
    for axes, embedding in zip(panels, view.embeddings, strict=True):
        _scatter(axes, embedding, len(view.drawn[0]))
    _legend(figure, marker="o")
    names = _listed([embedding.name for embedding in view.embeddings])
    alt = f"Scatter plots by {names}: each point is a window, real ones blue, synthetic ones orange."
    return _saved(figure, out, "Where the windows lie", overlays_caption(view), alt)


def overlays_caption(view: View) -> str:
    """How to read the embeddings."""
    real, synthetic = map(len, view.drawn)
    return (
        f"{real:,} real and {synthetic:,} synthetic windows, each reduced to its mean over the features by "
        "step. The clouds should cover each other: blue alone is missed variety, orange alone is something "
        "that the real data never do."
    )


def plot_distributions(view: View, out: Path) -> Plot:
    """A histogram of every feature, real and synthetic over the same bins."""
    figure, panels, note = _panels(view, "")
    for number, axes in panels.items():
        _histogram(axes, view.histograms[number])
    caption = (
        "Share of values by size, all steps together; the percentage is the share of synthetic values that lie "
        "in wrong bins. Synthetic values beyond the axis (the real range and a tenth of it on either side) are "
        f"counted in the outermost bins. {UNITS}{note}"
    )
    worst = view.worst(1)[0]
    alt = (
        f"{_panels_of(panels)} with the histogram of real values filled blue and that of synthetic ones as an "
        f"orange outline. The worst fit is {short_name(view.features[worst])}: "
        f"{100 * view.histograms[worst].misfit:.0f} % of its synthetic values lie in wrong bins."
    )
    return _saved(figure, out, "Distribution of each feature", caption, alt)


def plot_autocorrelations(view: View, out: Path) -> Plot:
    """Autocorrelation of every feature, real and synthetic, see `View.autocorrelations`."""
    figure, panels, note = _panels(view, "lag in steps")
    for number, axes in panels.items():
        axes.axhline(0, color="0.75", linewidth=0.8)
        lags = np.arange(len(view.autocorrelations[0]))
        _curves(axes, lags, [curve[:, number] for curve in view.autocorrelations])
        axes.set_ylim(view.lowest_autocorrelation(number) - 0.05, 1.05)
        _whole_steps(axes, 5)
    caption = (
        "How strongly a value goes with the value so many steps later, from -1 to 1. The curves should lie on "
        f"each other; a feature that never changes in the real windows has none.{note}"
    )
    alt = f"{_panels_of(panels)} of curves by lag, real solid blue, synthetic dashed orange."
    return _saved(figure, out, "Autocorrelation of each feature", caption, alt + _largest_gap(view))


def plot_spectra(view: View, out: Path) -> Plot:
    """Power spectrum of every feature, real and synthetic, see `View.spectra`."""
    figure, panels, note = _panels(view, "cycles per step")
    for number, axes in panels.items():
        curves = [curve[:, number] for curve in view.spectra]
        _curves(axes, view.frequencies, curves, marker="." if len(view.frequencies) < 3 else "")
        if any((curve > 0).any() for curve in curves):
            axes.set_yscale("log")
            axes.tick_params(which="both", labelsize=8)
        axes.set_xlim(0, 0.5)
    caption = (
        "How strongly each feature swings within a window, by frequency: slow swings on the left, jumps from "
        "step to step on the right, in shares of the real power and on a logarithmic scale. An orange curve "
        f"above the blue one on the right is too rough, one below it too smooth.{note}"
    )
    alt = f"{_panels_of(panels)} of the power by frequency, real solid blue, synthetic dashed orange."
    return _saved(figure, out, "Power spectrum of each feature", caption, alt)


def plot_paths(view: View, out: Path) -> Plot:
    """A few real and synthetic windows of every feature, beside each other on the same scale."""
    from matplotlib.figure import Figure

    chosen = view.worst(_MAX_PATH_FEATURES)
    pairs = min(3, len(chosen))
    rows = math.ceil(len(chosen) / pairs)
    figure = Figure(figsize=(4.4 * pairs if pairs > 1 else 7, 2.3 * rows + 0.6), layout="constrained")
    blocks = figure.subfigures(rows, pairs, wspace=0.03, squeeze=False).ravel()
    for number, block in zip(chosen, blocks, strict=False):
        block.suptitle(short_name(view.features[number]), fontsize=10, parse_math=False)
        cells = block.subplots(1, 2, sharey=True)
        for axes, paths, colour in zip(cells, view.paths, (REAL, SYNTHETIC), strict=True):
            axes.plot(paths[:, :, number].T, color=colour, linewidth=1.2, alpha=0.8)
            _whole_steps(axes, 4)
            _plain(axes)
    _legend(figure)
    most = max(map(len, view.paths))
    caption = (
        f"At most {most} windows of each drawn at random, the same ones in every panel: real on the left, "
        f"synthetic on the right, over the steps of a window. {UNITS}"
        f"{_left_out(len(chosen), len(view.features))}"
    )
    features = "1 feature" if len(chosen) == 1 else f"{len(chosen)} features"
    alt = f"For {features}, up to {most} real windows in blue beside as many synthetic ones in orange."
    return _saved(figure, out, "Sample paths", caption, alt)


def plot_correlations(view: View, out: Path) -> Plot:
    """Correlation matrices, real and synthetic, see `View.correlations`, and their difference."""
    from matplotlib.figure import Figure

    named = len(view.features) <= NAMED_CELLS
    figure = Figure(figsize=(12.5, 5.2 if named else 4.4), layout="constrained")
    panels = figure.subplots(1, 3, squeeze=False).ravel()
    names = [short_name(name, 16) for name in view.features]
    for axes, (title, matrix) in zip(panels, correlation_panels(view), strict=True):
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=11)
        axes.set_facecolor("0.85")
        if named:
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
            axes.set_yticks(range(len(names)), names if axes is panels[0] else [], parse_math=False)
        axes.tick_params(labelsize=8)
    figure.colorbar(image, ax=list(panels), shrink=0.8)
    alt = f"Three matrices of {len(names)} by {len(names)} features.{_worst_pair(view)}"
    return _saved(figure, out, "Correlations between the features", correlations_caption(view), alt)


def correlation_panels(view: View) -> list[tuple[str, NDArray[np.float64]]]:
    """Titles and matrices: real, synthetic, and what the synthetic ones add."""
    real, synthetic = view.correlations
    return [("real", real), ("synthetic", synthetic), ("synthetic less real", synthetic - real)]


def correlations_caption(view: View) -> str:
    """How to read the matrices, and the pair that fits worst."""
    return (
        "Pearson's correlation of each pair of features over all steps, from -1 (blue) to 1 (red). The first "
        "two should be the same, the third pale; a feature that never changes in the real windows is grey."
        f"{_worst_pair(view)}"
    )


def _worst_pair(view: View) -> str:
    difference = np.abs(view.correlations[1] - view.correlations[0])
    if np.isnan(difference).all():
        return ""
    row, column = np.unravel_index(np.nanargmax(difference), difference.shape)
    pair = f"{short_name(view.features[row])} and {short_name(view.features[column])}"
    return f" The largest difference is {difference[row, column]:.2f}, between {pair}."


def plot_training(view: View, out: Path) -> Plot:
    """What was measured against training steps, a panel for each group of curves."""
    from matplotlib.figure import Figure

    panels = view.training_panels()
    figure = Figure(figsize=(11, 4), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False).ravel()
    for axes, (group, curves) in zip(grid, panels.items(), strict=True):
        for number, (name, points) in enumerate(curves.items()):
            steps, values = zip(*points, strict=True) if points else ((), ())
            style = {"color": LINES[number % len(LINES)], "marker": "." if len(points) < 60 else ""}
            axes.plot(steps, values, linewidth=1.6, label=short_name(name).replace("$", r"\$"), **style)
        axes.set_title(short_name(group), fontsize=11, parse_math=False)
        axes.set_xlabel("training steps", fontsize=9)
        axes.grid(color="0.9")
        axes.legend(frameon=False, fontsize=8)
        _plain(axes)
    drawn = "; ".join(
        f"{short_name(group)}: {_listed([short_name(name) for name in named])}"
        for group, named in panels.items()
    )
    return _saved(figure, out, "The training", TRAINING_CAPTION, f"Curves against training steps of {drawn}.")


TRAINING_CAPTION = (
    "What was measured as the training went on; lower is better. A distance or score that still falls at its "
    "end asks for a longer training, one that rises for an earlier stop. Losses tell whether the training was "
    "stable, not how good the windows are."
)


def short_name(name: str, most: int = 24) -> str:
    """The name on one line, with its middle left out if it is longer than `most`."""
    printable = "".join(letter if letter.isprintable() else " " for letter in str(name)).strip()
    if len(printable) <= most:
        return printable
    tail = most * 10 // 24
    return f"{printable[: most - tail - 1]}\N{HORIZONTAL ELLIPSIS}{printable[-tail:]}"


def _panels(view: View, label: str) -> tuple[Figure, dict[int, Axes], str]:
    """A grid with a titled panel for each feature, and a note on those that do not fit in."""
    from matplotlib.figure import Figure

    chosen = view.worst(_MAX_PANELS)
    columns = min(len(chosen), 3 if len(chosen) <= 9 else 5)
    rows = math.ceil(len(chosen) / columns)
    width = 11 if columns > 1 else 6
    figure = Figure(figsize=(width, (2.4 if columns <= 3 else 1.9) * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(chosen) :]:
        axes.remove()
    for place, axes in enumerate(grid[: len(chosen)]):
        axes.set_title(short_name(view.features[chosen[place]]), fontsize=10, parse_math=False)
        _plain(axes)
        if label and place >= len(chosen) - columns:
            axes.set_xlabel(label, fontsize=9)
    _legend(figure)
    return figure, dict(zip(chosen, grid, strict=False)), _left_out(len(chosen), len(view.features))


def _histogram(axes: Axes, histogram: Histogram) -> None:
    axes.stairs(histogram.real, histogram.edges, fill=True, color=REAL, alpha=0.45)
    axes.stairs(histogram.synthetic, histogram.edges, color=SYNTHETIC, linewidth=1.6)
    share = f"{100 * histogram.misfit:.0f} %"
    axes.text(0.99, 0.97, share, fontsize=8, color="0.35", ha="right", va="top", transform=axes.transAxes)
    axes.set_yticks([])
    _ticks(axes, 4)


def _curves(axes: Axes, x: NDArray[Any], curves: list[NDArray[Any]], marker: str = "") -> None:
    for curve, colour, style in zip(curves, (REAL, SYNTHETIC), ("-", "--"), strict=True):
        axes.plot(x, curve, style, marker=marker, color=colour, linewidth=1.8)


def _scatter(axes: Axes, embedding: Embedding, real: int) -> None:
    # Mixed, so that neither set is drawn over the other.
    points = embedding.points
    order = np.random.default_rng(0).permutation(len(points))
    colours = np.where(np.arange(len(points)) < real, REAL, SYNTHETIC)[order]
    axes.scatter(points[order, 0], points[order, 1], s=10, alpha=0.4, c=colours, linewidths=0)
    axes.set_title(embedding.name, fontsize=11)
    axes.set_xlabel(f"first {embedding.axis}", fontsize=9)
    axes.set_ylabel(f"second {embedding.axis}", fontsize=9)
    _plain(axes)


def _ticks(axes: Axes, most: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(most))


def _whole_steps(axes: Axes, most: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True))


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _legend(figure: Figure, marker: str = "") -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, label=label, marker=marker, linewidth=0 if marker else 3)
        for colour, label in ((REAL, "real"), (SYNTHETIC, "synthetic"))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=10)


def _left_out(shown: int, features: int) -> str:
    if shown == features:
        return ""
    return f" The {shown} of {features} features whose distributions fit worst are shown."


def _panels_of(panels: dict[int, Axes]) -> str:
    return "A panel" if len(panels) == 1 else f"{len(panels)} panels, one for each feature shown,"


def _largest_gap(view: View) -> str:
    """Where the autocorrelations differ most."""
    gap = np.abs(view.autocorrelations[1] - view.autocorrelations[0])
    if np.isnan(gap).all():
        return ""
    lag, feature = np.unravel_index(np.nanargmax(gap), gap.shape)
    return f" The largest gap is {gap[lag, feature]:.2f}, of {short_name(view.features[feature])} at lag {lag}."


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _saved(figure: Figure, out: Path, title: str, caption: str, alt: str) -> Plot:
    figure.savefig(out, dpi=_DPI, format="png", metadata={"Software": None})
    return Plot(out, title, caption, alt)
