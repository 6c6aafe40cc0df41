from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from core.errors import ConfigError, DataError
from core.evaluation.distances import Prices, context_fid, measure_distances
from core.evaluation.distances.catalogue import DESCRIPTIONS
from core.evaluation.distances.draw import draw, halves
from core.evaluation.distances.recipes import MARKET, RECIPES
from core.evaluation.distances.ts2vec import train_ts2vec
from core.evaluation.measures import Measure

NAMES = [name for recipe in RECIPES for name in recipe.names]
FEATURES = ("first", "second", "third")


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    monkeypatch.setattr(
        context_fid,
        "train_ts2vec",
        lambda windows, *, seed, **_: train_ts2vec(windows, seed=seed, iterations=5),
    )


def walks(windows: int = 150, steps: int = 12, features: int = 3, seed: int = 0) -> np.ndarray:
    """Random walks that share a part, scaled to [0, 1]."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=(windows, steps, features)) + rng.normal(size=(windows, steps, 1))
    values = moves.cumsum(axis=1)
    return (values + 30) / 60


def skewed(windows: np.ndarray) -> np.ndarray:
    return np.exp(10 * (windows - 0.5)) / 20


def noisy(windows: np.ndarray, scale: float, seed: int = 9) -> np.ndarray:
    return windows + scale * np.random.default_rng(seed).normal(size=windows.shape)


def by_name(measures: list[Measure]) -> dict[str, Measure]:
    return {measure.name: measure for measure in measures}


def distance_of(name: str, real: np.ndarray, other: np.ndarray) -> float:
    recipe = next(recipe for recipe in (*RECIPES, MARKET) if name in recipe.names)
    return float(np.mean(recipe.prepare(real, 0)(other)[name]))


def prices_of(windows: np.ndarray) -> np.ndarray:
    return np.exp(5 * windows)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_identical_sets_give_the_optimum(name):
    real = prices_of(walks()) if name in MARKET.names else walks()
    found, ideal = distance_of(name, real, real.copy()), DESCRIPTIONS[name].ideal
    # The MMD is a root, which makes 1e-8 of the rounding of its square.
    assert found == pytest.approx(ideal, abs=1e-7 if name == "mmd" else 1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "context_fid"])
def test_a_growing_perturbation_takes_every_measure_further_from_its_ideal(name):
    real = skewed(walks()) if name in ("skewness_difference", "kurtosis_difference") else walks()
    if name == "recall":  # noise makes the synthetic balls large enough to hold everything
        others = [real.mean() + share * (real - real.mean()) for share in (1, 0.6, 0.2)]
    else:
        others = [noisy(real, scale) for scale in (0.02, 0.05, 0.15)]
    worse = -1 if name in ("precision", "recall", "density", "coverage") else 1
    away = [worse * distance_of(name, real, other) for other in others]
    assert away[0] < away[1] < away[2]


@pytest.mark.parametrize("name", MARKET.names)
def test_noise_takes_prices_further_from_the_facts(name):
    rng = np.random.default_rng(0)
    returns = rng.standard_t(3, size=(1500, 24, 1))
    for step in range(1, 24):  # after losses, moves are larger
        returns[:, step] *= np.sqrt(0.3 + 0.5 * np.minimum(returns[:, step - 1], 0) ** 2)
    real = np.exp(0.01 * returns.cumsum(axis=1))
    # Noise on log prices makes their returns normal and negatively autocorrelated.
    others = [real * np.exp(noisy(np.zeros_like(real), scale)) for scale in (0, 0.005, 0.05)]
    away = [distance_of(name, real, other) for other in others]
    assert away[0] < away[1] < away[2]


def test_all_measures_in_the_order_of_the_catalogue_and_ready_for_json():
    real, prices = walks(), prices_of(walks())
    told = []
    measures = measure_distances(
        real,
        noisy(real, 0.1),
        FEATURES,
        prices=Prices(prices, prices_of(noisy(real, 0.1))),
        progress=lambda *report: told.append(report),
    )
    assert [measure.name for measure in measures] == list(DESCRIPTIONS)
    assert told == [("distances", done, len(RECIPES) + 1) for done in range(1, len(RECIPES) + 2)]
    for measure in measures:
        assert np.isfinite([measure.value, measure.reference]).all()
        assert json.loads(json.dumps(measure.to_json(), allow_nan=False))["name"] == measure.name
        if measure.by_feature is not None:
            assert tuple(measure.by_feature) == FEATURES
            assert measure.value == pytest.approx(np.mean(list(measure.by_feature.values())))
    assert by_name(measures)["wasserstein"].by_feature is not None


def test_a_perfect_generator_is_about_at_its_reference_and_a_poor_one_beyond_it():
    real = walks(400)
    perfect = by_name(measure_distances(real, walks(300, seed=1), FEATURES))
    poor = by_name(measure_distances(real, noisy(walks(300, seed=1), 0.3), FEATURES))
    for name in ("wasserstein", "autocorrelation_difference", "correlation_difference", "context_fid"):
        assert perfect[name].value < 3 * perfect[name].reference
        assert poor[name].value > 3 * poor[name].reference
    assert {name: m.reference for name, m in perfect.items()} == {name: m.reference for name, m in poor.items()}


def test_the_reference_stands_in_the_synthetic_windows_place():
    real, held_out = walks(), walks(150, seed=3)
    against = by_name(measure_distances(real, noisy(real, 0.2), FEATURES, reference=held_out))
    swapped = by_name(measure_distances(real, held_out, FEATURES, reference=noisy(real, 0.2)))
    for name in ("kolmogorov_smirnov", "mmd", "spectral_difference"):
        # The same windows of each, in another order.
        assert against[name].value == pytest.approx(swapped[name].reference)
        assert against[name].reference == pytest.approx(swapped[name].value)


def test_the_seed_decides():
    real, synthetic = walks(), walks(seed=1)
    one, same, other = (measure_distances(real, synthetic, FEATURES, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert all(a.value != b.value for a, b in zip(one, other, strict=True) if a.name == "context_fid")


def test_drawing_is_told_and_bounded(caplog):
    with caplog.at_level("INFO"):
        few = measure_distances(walks(), walks(60, seed=1), FEATURES, windows=20)
    assert "distances compare 20 of 150 real and of 60 synthetic windows" in caplog.text
    # 20 windows of 12 steps: no two values are equal, so the statistic is a multiple of 1 / 240.
    steps = np.array(list(by_name(few)["kolmogorov_smirnov"].by_feature.values())) * 240
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)


def test_a_single_feature_has_all_but_correlations(caplog):
    real = walks()[..., :1]
    found = by_name(measure_distances(real, noisy(real, 0.1), ["only"]))
    assert set(NAMES) - set(found) == {"correlational_score", "correlation_difference"}
    assert "correlational_score left out: correlations need at least 2 features that vary, got 1" in caplog.text


def test_a_constant_feature_is_left_out_of_what_it_has_not(caplog):
    real, synthetic = walks(), walks(seed=1)
    real[..., 1] = 0.5
    with caplog.at_level("INFO"):
        found = by_name(measure_distances(real, synthetic, FEATURES))
    assert set(found) == set(NAMES)
    for name in ("skewness_difference", "spectral_difference", "marginal_distribution_difference"):
        assert set(found[name].by_feature) == {"first", "third"}
        assert f"{name}: constant in the real windows, left out: 'second'" in caplog.text
    assert found["kolmogorov_smirnov"].by_feature["second"] > 0.4
    assert all(np.isfinite(measure.value) for measure in found.values())


def test_a_feature_that_is_constant_inside_windows_has_no_spectrum():
    real = walks()
    real[..., 1] = real[:, :1, 1]
    found = by_name(measure_distances(real, walks(seed=1), FEATURES))
    assert set(found["spectral_difference"].by_feature) == {"first", "third"}
    assert set(found["autocorrelation_difference"].by_feature) == set(FEATURES)


def test_windows_that_are_all_equal_leave_what_is_defined(caplog):
    real = np.full((40, 12, 3), 0.5)
    found = by_name(measure_distances(real, walks(), FEATURES))
    assert {"kolmogorov_smirnov", "wasserstein", "sliced_wasserstein", "context_fid"} <= set(found)
    assert not {"skewness_difference", "autocorrelation_difference", "correlational_score", "mmd"} & set(found)
    assert "skewness_difference left out: no feature is fit" in caplog.text
    assert "mmd left out: the median distance" in caplog.text


def test_a_generator_that_collapsed_is_far_in_every_measure_it_can_be():
    real = walks()
    found = by_name(measure_distances(real, np.full((150, 12, 3), 0.5), FEATURES))
    assert set(found) == set(NAMES)
    for name in ("autocorrelation_difference", "spectral_difference", "correlation_difference"):
        assert found[name].value > 5 * found[name].reference
    assert found["mmd"].value > 3 * found["mmd"].reference
    assert found["recall"].value == 0
    assert found["coverage"].value < 0.5 * found["coverage"].reference


def test_few_windows_leave_out_neighbourhoods(caplog):
    found = by_name(measure_distances(walks(8), walks(5, seed=1), FEATURES))
    assert set(NAMES) - set(found) == {"precision", "recall", "density", "coverage"}
    assert "at least 7 windows of each kind, got 4 and 4" in caplog.text


def test_windows_of_2_steps_are_compared(caplog):
    found = by_name(measure_distances(walks(steps=2), walks(steps=2, seed=1), FEATURES))
    assert set(NAMES) - set(found) == {"spectral_difference"}
    assert "a spectrum needs windows of at least 4 steps, got 2" in caplog.text


def test_what_is_not_positive_is_no_price(caplog):
    real, synthetic = walks(), walks(seed=1)
    prices = Prices(prices_of(real), prices_of(synthetic))
    prices.synthetic[:5, 3, 2] = 0
    found = by_name(measure_distances(real, synthetic, FEATURES, prices=prices))
    assert set(found["leverage_difference"].by_feature) == {"first", "second"}
    assert "stylised facts leave out what is not above 0 everywhere: 'third'" in caplog.text
    none = Prices(-prices.real, -prices.synthetic)
    found = by_name(measure_distances(real, synthetic, FEATURES, prices=none))
    assert not set(MARKET.names) & set(found)


def test_the_prices_are_those_of_the_windows_compared():
    real, synthetic, held_out = walks(), walks(120, seed=1), walks(100, seed=2)
    prices = Prices(*map(prices_of, (real, synthetic, held_out)))
    swapped = Prices(prices.real, prices.reference, prices.synthetic)
    one = by_name(measure_distances(real, synthetic, FEATURES, reference=held_out, windows=50, prices=prices))
    assert one["tail_index_difference"].value != one["tail_index_difference"].reference
    with pytest.raises(DataError, match="prices must be those of the real, synthetic and reference windows"):
        measure_distances(real, synthetic, FEATURES, reference=held_out, prices=swapped)


def autoregression(rows: int, seed: int) -> np.ndarray:
    """Of coefficient 0.95 and variance 1, cut into windows of 24 steps at stride 1."""
    noise = np.random.default_rng(seed).standard_normal(rows + 200) * np.sqrt(1 - 0.95**2)
    series = lfilter([1], [1, -0.95], noise)[200:]
    return np.lib.stride_tricks.sliding_window_view(series, 24)[..., None]


@pytest.fixture
def _wasserstein_alone(monkeypatch):
    chosen = tuple(recipe for recipe in RECIPES if recipe.names == ("wasserstein",))
    monkeypatch.setattr("core.evaluation.distances.RECIPES", chosen)


@pytest.mark.usefixtures("_wasserstein_alone")
@pytest.mark.parametrize("rows", [700, 2000])
def test_the_reference_is_what_another_series_of_the_same_law_gets(rows):
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(25):
        real, other = autoregression(rows, 2 * seed), autoregression(rows, 2 * seed + 1)
        for known, found in ratios.items():
            starts = np.arange(len(real)) if known else None
            (measure,) = measure_distances(real, other, ["only"], starts=starts, seed=seed)
            found.append(measure.value / measure.reference)
    assert 0.5 < np.median(ratios[True]) < 2
    assert np.mean(np.array(ratios[True]) > 5) < 0.1
    assert np.median(ratios[False]) > 3


@given(
    rows=st.integers(150, 400),
    length=st.integers(2, 12),
    stride=st.integers(1, 14),
    seed=st.integers(0, 9),
    windows=st.integers(2, 30),
)
def test_what_is_compared_and_its_reference_share_no_row(rows, length, stride, seed, windows):
    starts = np.arange(0, rows - length + 1, stride)
    first, second = halves(len(starts), starts, length, seed)
    drawn = draw(first, 1000, second, windows, seed)
    assert len(drawn.real) == len(drawn.reference) == len(drawn.synthetic) >= 2
    assert len(np.unique(drawn.real)) == len(drawn.real)
    assert (np.abs(starts[drawn.real][:, None] - starts[drawn.reference]) >= length).all()


@pytest.mark.usefixtures("_wasserstein_alone")
def test_too_few_rows_leave_random_halves_and_a_warning(caplog):
    real, starts = walks(8), np.arange(8)
    (found,) = measure_distances(real, walks(5, seed=1), FEATURES, starts=starts)
    assert "8 windows of 12 steps cannot be halved" in caplog.text
    assert "too small where windows overlap" in caplog.text
    assert found == measure_distances(real, walks(5, seed=1), FEATURES)[0]
    assert "nobody knows which real windows overlap" in caplog.text


@pytest.mark.usefixtures("_wasserstein_alone")
def test_a_reference_that_is_given_needs_no_halves(caplog):
    arguments = (walks(), walks(seed=1), FEATURES)
    with_starts, without = (
        measure_distances(*arguments, reference=walks(seed=2), starts=starts)
        for starts in (np.arange(150), None)
    )
    assert with_starts == without
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"starts": np.arange(19)}, DataError, "ascending start for each of the 20 real windows"),
        ({"starts": np.arange(20)[::-1]}, DataError, "ascending start for each of the 20 real windows"),
        ({"reference": np.full((9, 12, 3), np.inf)}, DataError, "reference windows must be finite, got 324"),
        ({"features": ("a", "b")}, DataError, "expected 3 names of features, one for each, got 2"),
        ({"windows": 1}, ConfigError, "windows must be at least 2, got 1"),
        ({"real": walks(3)}, DataError, "distances need 2 windows of each kind, and 4 real ones"),
        ({"synthetic": walks(steps=5)}, DataError, "same steps and features"),
        ({"reference": walks(features=2)}, DataError, "same steps and features"),
        ({"synthetic": np.full((9, 12, 3), np.nan)}, DataError, "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, message):
    arguments = {"real": walks(20), "synthetic": walks(20, seed=1), "features": FEATURES, **change}
    with pytest.raises(error, match=message):
        measure_distances(**arguments)


def test_every_measure_is_described_once():
    assert sorted([*NAMES, *MARKET.names]) == sorted(DESCRIPTIONS)
    for words in DESCRIPTIONS.values():
        assert all(dataclasses.asdict(words)[part] for part in ("title", "group", "meaning", "source"))
        assert words.meaning.endswith(".")
