from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.preprocessing import MinMaxScaler as Reference
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from core.errors import DataError
from core.prepare.channels.layout import Column
from core.prepare.channels.scaler import MinMaxScaler, ScalerFit, scaled, unscaled

VALUES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.floats(-1e12, 1e12, width=64),
)


@given(VALUES)
def test_round_trip_is_exact_to_rounding_and_inside_the_unit_interval(values):
    scaler = MinMaxScaler.fit(values)
    scaled = scaler.transform(values)
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    width = values.max(axis=0) - values.min(axis=0)
    error = np.abs(scaler.inverse(scaled) - values)
    assert (error <= 1e-14 * (width + np.abs(values).max(axis=0)) + 1e-300).all()


@given(VALUES)
def test_agrees_with_scikit_learn(values):
    # Subnormal ranges are where scikit-learn takes a column for constant.
    wide = (values.max(axis=0) - values.min(axis=0)) > 1e-6 * np.abs(values).max(axis=0) + 1e-12
    expected = Reference().fit_transform(values)
    np.testing.assert_allclose(
        MinMaxScaler.fit(values).transform(values)[:, wide], expected[:, wide], atol=1e-9
    )


def test_constant_column_becomes_zero_and_comes_back():
    values = np.array([[7.5, 1.0], [7.5, 3.0]])
    scaler = MinMaxScaler.fit(values)
    scaled = scaler.transform(values)
    np.testing.assert_array_equal(scaled, [[0, 0], [0, 1]])
    np.testing.assert_array_equal(scaler.inverse(scaled), values)


def test_values_beyond_the_fitted_range_are_not_clipped():
    scaler = MinMaxScaler.fit(np.array([[0.0], [10.0]]))
    np.testing.assert_allclose(scaler.transform(np.array([[-5.0], [20.0]])), [[-0.5], [2.0]])


@given(VALUES)
def test_json_keeps_every_bit(values):
    scaler = MinMaxScaler.fit(values)
    again = MinMaxScaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert again.minimum.tobytes() == scaler.minimum.tobytes()
    assert again.maximum.tobytes() == scaler.maximum.tobytes()


def test_windows_are_scaled_by_feature():
    windows = np.arange(24, dtype=np.float64).reshape(2, 4, 3)
    scaler = MinMaxScaler.fit(windows)
    np.testing.assert_array_equal(scaler.minimum, [0, 1, 2])
    np.testing.assert_array_equal(scaler.maximum, [21, 22, 23])
    assert scaler.transform(windows).shape == (2, 4, 3)


# Columns

SCALERS = ["minmax", "standard", "robust", "quantile"]


def fitted(scaler: str, *parts: np.ndarray) -> Column:
    fit = ScalerFit(Column("x", scaler=scaler))
    for part in parts:
        fit.update(part)
    return fit.finish()


def test_standard_and_robust_are_scikit_learn_s_over_eight_deviations():
    values = np.random.default_rng(0).lognormal(2, 1, 4000) - 1e4
    for scaler, reference in (("standard", StandardScaler()), ("robust", RobustScaler(unit_variance=True))):
        expected = reference.fit_transform(values[:, None])[:, 0] / 8 + 0.5
        # 1.349 is the usual rounding of the normal's interquartile range.
        np.testing.assert_allclose(scaled(fitted(scaler, values), values), expected, rtol=1e-4, atol=1e-5)


def test_quantile_is_scikit_learn_s_between_the_ends():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=3000), np.full(900, 0.25), rng.integers(-2, 3, 1100)])
    reference = QuantileTransformer(n_quantiles=1001, subsample=None).fit(values[:, None])
    column = fitted("quantile", values)
    np.testing.assert_allclose(column.quantiles, reference.quantiles_[:, 0], atol=1e-12)
    new = np.concatenate([rng.uniform(values.min(), values.max(), 500), values])
    inside = (new > values.min()) & (new < values.max())
    expected = reference.transform(new[:, None])[:, 0]
    np.testing.assert_allclose(scaled(column, new)[inside], expected[inside], atol=1e-9)


def test_a_value_with_mass_stands_in_the_middle_of_its_ranks_also_at_the_ends():
    values = np.repeat([0.0, 1.0, 5.0, 9.0], [400, 100, 400, 101])
    column = fitted("quantile", values)
    np.testing.assert_allclose(scaled(column, np.array([0.0, 1, 5, 9])), [0.1995, 0.4495, 0.6995, 0.95])
    drawn = unscaled(column, np.array([0.0, 0.399, 0.5, 0.899, 0.9, 1]))
    np.testing.assert_allclose(drawn, [0, 0, 5, 5, 9, 9])
    far = np.array([-18.0, 9.9, 27])
    np.testing.assert_allclose(scaled(column, far)[[0, 2]], [-2, 3])
    np.testing.assert_allclose(unscaled(column, scaled(column, far)), far)


@pytest.mark.parametrize("scaler", SCALERS)
@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e9, 1e9, width=32)),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_parts_are_merged_exactly_and_values_come_back(scaler, values, cuts):
    values = np.concatenate([values, [0.5, 0.75, 1.0, 1.25, 1.5] * 30])
    whole = fitted(scaler, values)
    parts = fitted(scaler, *np.split(values, sorted(cuts)))
    np.testing.assert_allclose(
        [parts.minimum, parts.maximum, *parts.quantiles], [whole.minimum, whole.maximum, *whole.quantiles]
    )
    beyond = np.concatenate([values, [values.min() - 3, values.max() + 3]])
    back = unscaled(whole, scaled(whole, beyond))
    np.testing.assert_allclose(back, beyond, rtol=1e-12, atol=1e-12 * np.ptp(beyond))


@pytest.mark.parametrize("offset", [0.0, 1e8, -1e12])
def test_merged_variance_loses_nothing_to_a_large_mean(offset):
    values = np.random.default_rng(2).normal(size=10_000)
    column = fitted("standard", *np.split(values + offset, 97 * np.arange(1, 100)))
    shifted = values + offset
    middle, reach = (column.minimum + column.maximum) / 2, (column.maximum - column.minimum) / 8
    assert middle == pytest.approx(shifted.mean(), rel=1e-15, abs=1e-12)
    assert reach == pytest.approx(shifted.std(), rel=1e-3 if offset < -1e9 else 1e-7)


@pytest.mark.parametrize("scaler", SCALERS)
def test_a_constant_column_is_zero_whatever_the_scaler(scaler):
    value = 0.1
    column = fitted(scaler, *[np.full(7, value)] * 11)
    assert column.minimum == column.maximum == value
    assert column.quantiles == ()
    np.testing.assert_array_equal(scaled(column, np.full(3, value)), 0)
    np.testing.assert_array_equal(unscaled(column, np.array([0.0, 0.4, 1])), value)


@pytest.mark.parametrize("scaler", SCALERS)
def test_columns_that_cannot_be_scaled_are_refused(scaler):
    with pytest.raises(DataError, match="'x' has no value in the rows to learn from"):
        fitted(scaler, np.empty(0))
    with pytest.raises(DataError, match="range of column 'x' is too wide"):
        fitted(scaler, np.repeat([-1.5e308, 1.5e308], 50))


def test_robust_needs_a_middle_half_that_varies():
    values = np.concatenate([np.zeros(80), np.arange(1.0, 20)])
    with pytest.raises(DataError, match="scaler=robust has nothing to divide by; choose minmax or quantile"):
        fitted("robust", values)
    column = fitted("quantile", values)
    np.testing.assert_allclose(unscaled(column, scaled(column, values)), values, atol=1e-12)


@pytest.mark.parametrize("scaler", SCALERS)
def test_only_quantiles_keep_the_values(scaler):
    fit = ScalerFit(Column("x", scaler=scaler))
    assert fit.needs_all == (scaler in ("robust", "quantile"))
    given_away = np.arange(5.0)
    fit.update(given_away)
    given_away[:] = 0
    column = fit.finish()
    assert column.maximum > column.minimum
