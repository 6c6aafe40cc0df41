from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.preprocessing import MinMaxScaler as Reference

from core.prepare.scaler import MinMaxScaler

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
