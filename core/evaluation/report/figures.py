"""The same pictures to look into: figures for plotly.js, as plain JSON.

Colours are names of the page's own properties (`real`, `ink`), which its script looks up, so that they follow
a light or dark page. plotly.js takes a few HTML tags in labels for markup: `label_text` disarms any text.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.evaluation.report.plots import (
    NAMED_CELLS,
    TRAINING_CAPTION,
    UNITS,
    correlation_panels,
    correlations_caption,
    overlays_caption,
    short_name,
)
from core.evaluation.report.view import Embedding, View

_LINES = ("real", "synthetic", "third", "fourth", "fifth", "sixth")
_PAIR = ("real", "synthetic")
_TURNS = 5
"""Parts of each cloud of points, drawn by turns."""


@dataclass(frozen=True)
class Choice:
    """A feature to look at: what its traces are given in place of the first one's."""

    label: str
    update: dict[str, list[Any]]
    """By the trace's property, a value for each trace."""


@dataclass(frozen=True)
class Figure:
    """What plotly.js draws."""

    name: str
    """Of the PNG file that stands in its place on paper and without scripts."""
    title: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    choices: list[Choice] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {"data": self.data, "layout": self.layout, "updates": [each.update for each in self.choices]}


def interactive_figures(view: View) -> list[Figure]:
    """All figures of a view: the embeddings, each feature in detail, correlations, and the training.

    Correlations of a single feature and a training without scores have no figure.
    """
    figures = [overlays_figure(view), feature_figure(view)]
    if len(view.features) > 1:
        figures.append(correlations_figure(view))
    if view.training:
        figures.append(training_figure(view))
    return figures


def overlays_figure(view: View) -> Figure:
    """PCA, t-SNE and UMAP side by side; a point tells which window it is."""
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    for number, embedding in enumerate(view.embeddings, 1):
        data += _scatter(view, embedding, number)
        axes |= _axes(number, f"first {embedding.axis}", f"second {embedding.axis}")
    layout = _layout(400, axes, _titles([each.name for each in view.embeddings]))
    layout |= {"grid": _grid(1, len(view.embeddings), 0.14)}
    return Figure("overlays", "Where the windows lie", overlays_caption(view), data, layout)


def feature_figure(view: View) -> Figure:
    """One feature's distribution, autocorrelation, spectrum and sample paths; the worst one first."""
    order = view.worst(len(view.features))
    order.sort(key=lambda number: -view.histograms[number].misfit)
    lowest = min(map(view.lowest_autocorrelation, order))
    axes = (
        _axes(1, "value", "share of values")
        | _axes(2, "lag in steps", "autocorrelation", range=[lowest - 0.05, 1.05])
        | _axes(3, "cycles per step", "share of the real power", type="log", exponentformat="power")
        | _axes(4, "step", "value")
    )
    layout = _layout(640, axes, _titles(["Distribution", "Autocorrelation", "Power spectrum", "Sample paths"]))
    layout |= {"grid": _grid(2, 2, 0.14) | {"ygap": 0.28}, "bargap": 0}
    curves = [_feature_traces(view, number) for number in order]
    data = [trace | curve for trace, curve in zip(_feature_style(), curves[0], strict=True)]
    choices = [
        Choice(
            f"{short_name(view.features[number], 60)} ({100 * view.histograms[number].misfit:.0f} % off)",
            {key: [curve[key] for curve in curve_set] for key in ("x", "y")},
        )
        for number, curve_set in zip(order, curves, strict=True)
    ]
    caption = (
        "The feature whose distribution fits worst comes first; the percentage is the share of synthetic "
        f"values that lie in wrong bins of the histogram. {UNITS}"
    )
    return Figure("feature", "A feature in detail", caption, data, layout, choices)


def correlations_figure(view: View) -> Figure:
    """Correlation matrices, real, synthetic, and the difference; a cell tells its pair."""
    names = [label_text(short_name(name, 16)) for name in view.features]
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "showgrid": False, "zeroline": False}
    named = len(names) <= NAMED_CELLS
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    for number, (title, matrix) in enumerate(correlation_panels(view), 1):
        data.append(
            {
                "type": "heatmap",
                "z": [_plain(row, 3) for row in matrix],
                "zmin": -1,
                "zmax": 1,
                "colorscale": "diverging",
                "showscale": number == 3,
                "colorbar": {"thickness": 12, "outlinewidth": 0},
                # Where a tick has a text, so has the place under the pointer.
                "hovertemplate": f"%{{y}}<br>%{{x}}<br>{title}: %{{z}}<extra></extra>",
                "hoverongaps": False,
                "xaxis": f"x{_index(number)}",
                "yaxis": f"y{_index(number)}",
            }
        )
        axes[f"xaxis{_index(number)}"] = _axis("") | ticks | {"tickangle": -90, "showticklabels": named}
        axes[f"yaxis{_index(number)}"] = (
            _axis("") | ticks | {"autorange": "reversed", "showticklabels": named and number == 1}
        )
    layout = _layout(440, axes, _titles([title for title, _ in correlation_panels(view)]))
    layout |= {"grid": _grid(1, 3, 0.06), "showlegend": False, "margin": {"l": 50, "r": 15, "t": 30, "b": 45}}
    title = "Correlations between the features"
    return Figure("correlations", title, correlations_caption(view), data, layout)


def training_figure(view: View) -> Figure:
    """What was measured against training steps, a panel for each group of curves."""
    panels = view.training_panels()
    data: list[dict[str, Any]] = []
    axes: dict[str, Any] = {}
    for number, (group, curves) in enumerate(panels.items(), 1):
        axes |= _axes(number, "training steps", "")
        for colour, (name, points) in zip(cycle(_LINES), curves.items(), strict=False):
            trace = _pair_trace(label_text(short_name(name, 40)), number, first=True) | {
                "mode": "lines+markers" if len(points) < 60 else "lines",
                "x": [int(step) for step, _ in points],
                "y": _plain(np.array([value for _, value in points], dtype=np.float64)),
                "line": {"color": colour},
                "marker": {"color": colour, "size": 5},
                "legendgroup": str(number),
                "legendgrouptitle": {"text": label_text(short_name(group))},
            }
            data.append(trace)
    layout = _layout(400, axes, _titles([short_name(group) for group in panels]))
    layout |= {"hovermode": "x", "grid": _grid(1, len(panels), 0.12), "legend": {"groupclick": "toggleitem"}}
    return Figure("training", "The training", TRAINING_CAPTION, data, layout)


def label_text(text: str) -> str:
    """Any text as plotly.js shows it unchanged: its tags, entities and templates do not come alive."""
    safe = html.escape(" ".join(str(text).split()), quote=False)
    # `%{x}` in a hover template and `$x$` with MathJax would be replaced.
    return safe.replace("%{", "%&#8203;{").replace("$", "&#36;")


def _scatter(view: View, embedding: Embedding, number: int) -> list[dict[str, Any]]:
    """Points of both kinds by turns, so that neither set is drawn over the other."""
    traces = []
    sets = np.split(embedding.points, [len(view.drawn[0])])
    for turn in range(_TURNS):
        for kind, points, windows in zip(_PAIR, sets, view.drawn, strict=True):
            trace = _pair_trace(kind, number, first=number == 1 and turn == 0) | {
                "mode": "markers",
                "x": _plain(points[turn::_TURNS, 0]),
                "y": _plain(points[turn::_TURNS, 1]),
                "customdata": windows[turn::_TURNS].tolist(),
                "hovertemplate": f"{kind} window %{{customdata}}<extra></extra>",
                "marker": {"size": 5, "opacity": 0.5, "color": kind},
            }
            traces.append(trace)
    return traces


def _feature_style() -> list[dict[str, Any]]:
    """The traces of `_feature_traces` without their points."""
    styles = []
    for kind, dash in zip(_PAIR, ("solid", "dash"), strict=True):
        line = {"mode": "lines", "line": {"color": kind, "dash": dash, "width": 2}, "connectgaps": False}
        filled = {"fill": "tozeroy", "mode": "lines", "line": {"color": kind, "shape": "hvh", "width": 1.5}}
        styles.append(
            _pair_trace(kind, 1, first=True) | (filled if kind == "real" else filled | {"fill": "none"})
        )
        styles += [_pair_trace(kind, 2) | line, _pair_trace(kind, 3) | line]
        styles.append(
            _pair_trace(kind, 4) | {"mode": "lines", "line": {"color": kind, "width": 1.3}, "opacity": 0.8}
        )
    return styles


def _feature_traces(view: View, number: int) -> list[dict[str, Any]]:
    """Points of one feature: histogram, autocorrelation, spectrum and paths, real and then synthetic."""
    histogram = view.histograms[number]
    centres = _plain((histogram.edges[:-1] + histogram.edges[1:]) / 2)
    traces = []
    for shares, autocorrelation, spectrum, paths in zip(
        (histogram.real, histogram.synthetic), view.autocorrelations, view.spectra, view.paths, strict=True
    ):
        traces.append({"x": centres, "y": _plain(shares)})
        traces.append({"x": list(range(len(autocorrelation))), "y": _plain(autocorrelation[:, number])})
        traces.append({"x": _plain(view.frequencies), "y": _plain(spectrum[:, number])})
        traces.append(_joined_paths(paths[:, :, number]))
    return traces


def _joined_paths(paths: NDArray[Any]) -> dict[str, Any]:
    """Several curves as one trace, with a gap between them."""
    x: list[Any] = []
    y: list[Any] = []
    for path in paths:
        x += [*range(len(path)), None]
        y += [*_plain(path), None]
    return {"x": x, "y": y}


def _pair_trace(kind: str, number: int, *, first: bool = False) -> dict[str, Any]:
    """A trace of real or synthetic windows on the axes of panel `number`; the first one is in the legend."""
    return {
        "type": "scatter",
        "name": kind,
        "legendgroup": kind,
        "showlegend": first,
        "xaxis": f"x{_index(number)}",
        "yaxis": f"y{_index(number)}",
    }


def _axes(number: int, x: str, y: str, **more: Any) -> dict[str, Any]:
    return {f"xaxis{_index(number)}": _axis(x), f"yaxis{_index(number)}": _axis(y) | more}


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 12}, "standoff": 6},
        "gridcolor": "line",
        "zerolinecolor": "line",
        "linecolor": "soft",
        "automargin": True,
    }


def _layout(height: int, axes: dict[str, Any], titles: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 50, "r": 15, "t": 60, "b": 45},
        "modebar": {"bgcolor": "card", "color": "soft", "activecolor": "ink", "orientation": "v"},
        "paper_bgcolor": "card",
        "plot_bgcolor": "card",
        "font": {"color": "ink", "family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"bgcolor": "card", "bordercolor": "line", "font": {"color": "ink"}},
        "legend": {
            "orientation": "h",
            "x": 0.5,
            "xanchor": "center",
            "y": 1.0,
            "yref": "container",
            "yanchor": "top",
        },
        "showlegend": True,
        "annotations": titles,
        **axes,
    }


def _titles(titles: Sequence[str]) -> list[dict[str, Any]]:
    """Headings of the panels, as plotly.js has none of its own."""
    return [
        {
            "text": label_text(title),
            "xref": f"x{_index(number)} domain",
            "yref": f"y{_index(number)} domain",
            "x": 0.5,
            "y": 1.02,
            "yanchor": "bottom",
            "showarrow": False,
            "font": {"size": 13},
        }
        for number, title in enumerate(titles, 1)
    ]


def _grid(rows: int, columns: int, xgap: float) -> dict[str, Any]:
    return {"rows": rows, "columns": columns, "pattern": "independent", "xgap": xgap}


def _index(number: int) -> str:
    return "" if number == 1 else str(number)


def _plain(values: NDArray[Any], digits: int = 5) -> list[float | None]:
    """Numbers of so many significant digits; None where there is none, for a gap."""
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values.tolist()]
