"""Old and new rows side by side, as PNG files that can be read on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.evaluation.report.plots import short_name
from core.prepare.channels.encode import channel_names
from core.prepare.channels.recode import recode
from core.watch.rows import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OLD, NEW = "#3d8fd1", "#e8711a"
"""Of Okabe and Ito's blue and orange, brightened for dark pages."""
_INK = "#7d8590"
_MAX_PANELS = 24
_MAX_STRIPS = 8
_POINTS = 1500
_BINS = 40


@dataclass(frozen=True)
class Strip:
    """Rows over time as the champion encodes them, thinned."""

    names: list[str]
    values: NDArray[np.float32]
    """Shape (points, channels)."""
    places: Any
    """Stamps or numbers of the points."""
    new: NDArray[np.bool_]
    """Shape (points,)."""

    @classmethod
    def of(cls, found: Found) -> Strip:
        """Of the first series, if there are several: rows of others are of the same times."""
        series, known = found.series, found.known
        stop = len(series.values)
        if series.manifest["series"] is not None:
            stop = int(series.manifest["series_list"][0]["rows"])
        rows = np.unique(np.linspace(0, stop - 1, _POINTS).round().astype(np.int64))
        values, _ = recode(series.values[rows], series.conditioned(found.condition), known)
        places = (
            rows if series.stamps is None else pd.DatetimeIndex(series.stamps[rows].astype("datetime64[ns]"))
        )
        return cls(channel_names(known.temporal), values, places, found.is_new[rows])


def draw_columns(path: Path, names: Sequence[str], old: NDArray[Any], new: NDArray[Any]) -> None:
    """A histogram of every channel, old windows filled, the new stretch as an outline, the range marked.

    Args:
        path: Where to.
        names: D names.
        old: Shape (N, T, D), training windows.
        new: Shape (M, T, D).
    """
    from matplotlib.figure import Figure

    count = min(len(names), _MAX_PANELS)
    width = min(4, count)
    rows = math.ceil(count / width)
    figure = Figure(figsize=(3.2 * width + 0.4, 2.1 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, width, squeeze=False).ravel()
    for place, axes in enumerate(panels):
        if place >= count:
            axes.set_visible(False)
            continue
        kinds = [windows[..., place].ravel() for windows in (old, new)]
        ends = (float(min(map(np.min, kinds))), float(max(map(np.max, kinds))))
        bins = np.linspace(ends[0], ends[1] if ends[1] > ends[0] else ends[0] + 1, _BINS + 1)
        weights = [np.full(len(values), 100 / len(values)) for values in kinds]
        axes.hist(kinds[0], bins, weights=weights[0], color=OLD, alpha=0.55)
        axes.hist(kinds[1], bins, weights=weights[1], histtype="step", color=NEW, linewidth=1.6)
        axes.set_title(short_name(names[place]), fontsize=10, color=_INK, parse_math=False)
        _range(axes, ends, vertical=True)
        _plain(axes)
    _save(figure, path)


def draw_timeline(path: Path, strip: Strip) -> None:
    """The channels over time, new rows in another colour."""
    from matplotlib.figure import Figure

    count = min(len(strip.names), _MAX_STRIPS)
    figure = Figure(figsize=(13.2, 1.25 * count + 0.6), layout="constrained")
    panels = figure.subplots(count, 1, sharex=True, squeeze=False).ravel()
    for place, axes in enumerate(panels):
        values = strip.values[:, place]
        for which, colour in ((~strip.new, OLD), (strip.new, NEW)):
            axes.plot(strip.places[which], values[which], color=colour, linewidth=0.9)
        axes.set_ylabel(short_name(strip.names[place], 14), fontsize=9, color=_INK, parse_math=False)
        _range(axes, (float(values.min()), float(values.max())), vertical=False)
        _plain(axes)
    _save(figure, path)


def _range(axes: Axes, ends: tuple[float, float], *, vertical: bool) -> None:
    """Lines at 0 and 1, the range that was learnt, where values lie beyond it."""
    for limit, beyond in ((0.0, ends[0] < 0), (1.0, ends[1] > 1)):
        if beyond:
            draw = axes.axvline if vertical else axes.axhline
            draw(limit, color=_INK, linewidth=0.9, linestyle="--")


def _plain(axes: Axes) -> None:
    axes.patch.set_alpha(0)
    axes.tick_params(labelsize=8, colors=_INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)


def _save(figure: Figure, path: Path) -> None:
    figure.patch.set_alpha(0)
    # No software's version in the file: the same look gives the same bytes.
    figure.savefig(path, dpi=100, metadata={"Software": None})
