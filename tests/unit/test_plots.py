from __future__ import annotations

import json

import matplotlib.image
import numpy as np
import plotly.graph_objects
import pytest

from core.errors import ConfigError
from core.evaluation.report.figures import interactive_figures, label_text
from core.evaluation.report.plots import draw_plots, short_name
from core.evaluation.report.view import View, embed, histogram, view_windows

TRAINING = {
    "validation/distance": [(100, 0.5), (200, 0.3)],
    "validation/distance_of_training": [(100, 0.1), (200, 0.1)],
}


def walks(count: int, seed: int, features: int = 3, steps: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, steps, features)).cumsum(axis=1)


def view(real: np.ndarray, synthetic: np.ndarray, **options: object) -> View:
    low, high = real.min((0, 1)), real.max((0, 1))
    span = np.where(high > low, high - low, 1.0)
    names = options.pop("names", [f"column {number}" for number in range(real.shape[2])])
    return view_windows(real, synthetic, ((real - low) / span, (synthetic - low) / span), names, **options)


@pytest.fixture(scope="module")
def seen() -> View:
    return view(walks(40, 0), walks(30, 1), windows=25, training=TRAINING)


def test_the_misfit_of_a_histogram_is_the_share_that_moved():
    values = np.arange(100.0)
    assert histogram(values, values).misfit == 0
    assert histogram(values, np.full(100, 1e6)).misfit == pytest.approx(1.0)
    moved = values.copy()
    moved[:30] = 99.0
    assert histogram(values, moved).misfit == pytest.approx(0.3)
    shifts = [histogram(values, values + shift).misfit for shift in (0, 10, 20, 40)]
    assert shifts == sorted(shifts)
    assert shifts[-1] > 0.3


def test_the_worst_features_are_shown_in_their_order():
    real = walks(50, 0, features=5)
    synthetic = real.copy()
    synthetic[..., 3] += 3
    synthetic[..., 1] += 6
    made = view(real, synthetic, windows=2)
    assert made.worst(2) == [1, 3]
    assert made.worst(9) == [0, 1, 2, 3, 4]


def test_embeddings_tell_two_clouds_apart_and_are_the_same_again():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(40, 6, 2)), rng.normal(size=(30, 6, 2)) + 8
    first = embed(real, synthetic, 3)
    again = embed(real, synthetic, 3)
    assert [each.name for each in first] == ["PCA", "t-SNE", "UMAP"]
    for one, other in zip(first, again, strict=True):
        assert one.points.shape == (70, 2)
        np.testing.assert_array_equal(one.points, other.points)
        # Nearly every point's nearest other one is of its own kind.
        apart = np.linalg.norm(one.points[:, None] - one.points[None], axis=2) + np.diag(np.full(70, np.inf))
        nearest = apart.argmin(axis=1)
        assert np.mean((nearest < 40) == (np.arange(70) < 40)) > 0.9, one.name


@pytest.mark.parametrize(("real", "synthetic"), [(2, 1), (2, 2), (3, 2), (5, 9)])
def test_fewer_windows_than_neighbours_are_embedded(real, synthetic):
    for each in embed(walks(real, 0), walks(synthetic, 1), 0):
        assert each.points.shape == (real + synthetic, 2)
        assert np.isfinite(each.points).all()


def test_windows_that_never_change_and_single_features_are_drawn(tmp_path, caplog):
    flat = np.full((6, 3, 1), 2.0)
    flat_view = view(flat, flat)
    assert "single point" in caplog.text
    names = [plot.name for plot in draw_plots(flat_view, tmp_path / "plots")]
    assert names == ["overlays", "distributions", "autocorrelations", "spectra", "paths"]
    assert [figure.name for figure in interactive_figures(flat_view)] == ["overlays", "feature"]


def test_too_few_windows_to_embed_are_a_wrong_call():
    with pytest.raises(ConfigError, match="at least 2, got 1"):
        view(walks(4, 0), walks(4, 1), windows=1)


def test_every_picture_is_drawn_in_both_colours_and_told_of(seen, tmp_path):
    told: list[tuple[str, int, int]] = []
    plots = draw_plots(seen, tmp_path / "plots", progress=lambda *word: told.append(word))
    assert [plot.name for plot in plots][-2:] == ["correlations", "training"]
    assert told == [("plots", done, 7) for done in range(1, 8)]
    for plot in plots:
        red, _, blue = np.moveaxis(matplotlib.image.imread(plot.path)[..., :3], 2, 0)
        for drawn in (blue - red > 0.3, red - blue > 0.3):
            assert drawn.sum() > 50, plot.name
    assert "25 real and 25 synthetic" in plots[0].caption


def test_pictures_say_in_words_what_they_show(seen, tmp_path):
    plots = {plot.name: plot for plot in draw_plots(seen, tmp_path / "plots")}
    assert len({plot.alt for plot in plots.values()}) == len(plots)
    assert plots["overlays"].alt.startswith("Scatter plots by PCA, t-SNE and UMAP")
    misfits = [each.misfit for each in seen.histograms]
    worst = f"The worst fit is column {int(np.argmax(misfits))}: {100 * max(misfits):.0f} %"
    assert worst in plots["distributions"].alt
    gaps = np.abs(seen.autocorrelations[1] - seen.autocorrelations[0])
    lag, feature = divmod(int(gaps.argmax()), gaps.shape[1])
    assert f"is {gaps.max():.2f}, of column {feature} at lag {lag}" in plots["autocorrelations"].alt
    assert f"{np.abs(np.subtract(*seen.correlations)).max():.2f}, between" in plots["correlations"].alt
    assert "validation: distance and distance of training" in plots["training"].alt
    for name in ("distributions", "paths"):
        assert "scaled to [0, 1]" in plots[name].caption
        assert "units given" not in plots[name].caption


@pytest.mark.parametrize("count", [1, 35])
def test_pictures_of_few_and_many_features_say_what_they_leave_out(tmp_path, count):
    names = [f"a rather long column name {number}" for number in range(count)]
    many = view(walks(8, 0, features=count), walks(4, 1, features=count), names=names, windows=3)
    plots = {plot.name: plot.caption for plot in draw_plots(many, tmp_path / "plots")}
    notes = {
        "distributions": "30 of 35",
        "autocorrelations": "30 of 35",
        "spectra": "30 of 35",
        "paths": "12 of 35",
    }
    for name, note in notes.items():
        assert (note in plots[name]) == (count == 35)


def test_the_same_view_gives_the_same_files(seen, tmp_path):
    for folder in ("a", "b"):
        draw_plots(seen, tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_plotly_takes_every_figure_and_finds_the_numbers_of_the_view(seen):
    figures = {figure.name: figure for figure in interactive_figures(seen)}
    assert list(figures) == ["overlays", "feature", "correlations", "training"]
    for figure in figures.values():
        content = json.loads(json.dumps(figure.to_json(), allow_nan=False))
        coloured = json.loads(json.dumps(content), object_hook=without_page_colours)
        plotly.graph_objects.Figure(coloured["data"], coloured["layout"])
    points = {(trace["xaxis"], x) for trace in figures["overlays"].data for x in trace["x"]}
    pca = seen.embeddings[0].points[:, 0]
    assert {x for axis, x in points if axis == "x"} == {float(f"{value:.5g}") for value in pca}
    matrices = [np.array(trace["z"]) for trace in figures["correlations"].data]
    np.testing.assert_allclose(matrices[2], matrices[1] - matrices[0], atol=2e-3)
    assert figures["training"].data[0]["y"] == [0.5, 0.3]


def without_page_colours(fields: dict[str, object]) -> dict[str, object]:
    # The page's script puts colours in the place of these names.
    return {
        key: "#123456" if key.endswith("color") and isinstance(value, str) else value
        for key, value in fields.items()
        if key != "colorscale"
    }


def test_each_feature_can_be_chosen_the_worst_first(seen):
    figure = next(figure for figure in interactive_figures(seen) if figure.name == "feature")
    misfits = [each.misfit for each in seen.histograms]
    worst = int(np.argmax(misfits))
    assert figure.choices[0].label.split(" (")[0] == f"column {worst}"
    assert len(figure.choices) == 3
    for choice in figure.choices:
        assert [len(values) for values in choice.update.values()] == [len(figure.data)] * 2
    curve = figure.choices[0].update["y"][1]
    np.testing.assert_allclose(curve, seen.autocorrelations[0][:, worst], rtol=1e-4)


def test_curves_of_a_training_are_grouped_by_scale():
    training = {
        "loss/generator": [(1, 9.0)],
        "validation/distance_of_training": [(1, 0.1)],
        "plain": [(1, 2.0)],
    }
    made = view(walks(5, 0), walks(5, 1), windows=2, training=training)
    assert {group: list(curves) for group, curves in made.training_panels().items()} == {
        "loss": ["generator"],
        "validation": ["distance of training"],
        "score": ["plain"],
    }
    figure = interactive_figures(made)[-1]
    assert [(trace["name"], trace["y"], trace["xaxis"]) for trace in figure.data] == [
        ("generator", [9.0], "x"),
        ("distance of training", [0.1], "x2"),
        ("plain", [2.0], "x3"),
    ]


def test_labels_and_short_names_disarm_any_text():
    assert label_text("<b>a</b> & %{x} $y$") == "&lt;b&gt;a&lt;/b&gt; &amp; %&#8203;{x} &#36;y&#36;"
    assert short_name("Close") == "Close"
    long = short_name("x" * 30 + "tail")
    assert len(long) == 24
    assert long.endswith("tail")
    assert short_name("a\nb\x00") == "a b"
