from __future__ import annotations

import logging

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from core.errors import ConfigError, DataError
from core.evaluation.privacy import Privacy, measure_privacy

STEPS = 12


def autoregression(rows: int, seed: int, features: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    series = np.zeros((rows, features))
    for t in range(1, rows):
        series[t] = 0.8 * series[t - 1] + rng.standard_normal(features)
    return 0.5 + series / 12


def windows_of(series: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(series, STEPS, axis=0).transpose(0, 2, 1)


def values(found: Privacy) -> dict[str, float]:
    return {measure.name: measure.value for measure in found.measures}


def references(found: Privacy) -> dict[str, float | None]:
    return {measure.name: measure.reference for measure in found.measures}


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    return windows_of(autoregression(900, 0))


@pytest.fixture(scope="module")
def fresh() -> np.ndarray:
    return windows_of(autoregression(700, 1))


@pytest.fixture(scope="module")
def holdout() -> np.ndarray:
    return windows_of(autoregression(400, 2))


@pytest.mark.parametrize("with_holdout", [True, False])
@pytest.mark.parametrize("with_starts", [True, False])
@pytest.mark.parametrize(("noise", "copied"), [(0.0, True), (0.002, True), (None, False)])
def test_only_copies_come_out_as_copies(train, fresh, holdout, noise, copied, with_holdout, with_starts):
    rng = np.random.default_rng(3)
    made = fresh if noise is None else train[::2] + noise * rng.standard_normal(train[::2].shape)
    found = measure_privacy(
        train,
        made,
        holdout=holdout if with_holdout else None,
        starts=np.arange(len(train)) if with_starts else None,
    )
    assert found.copies is copied
    assert found.compared == len(made)
    assert found.exact_copies == (len(made) if noise == 0 else 0)
    assert found.near_copies == (len(made) if noise else 0)


def test_what_a_fresh_draw_measures_is_what_real_windows_do(train, fresh, holdout):
    found = measure_privacy(train, fresh, holdout=holdout, starts=np.arange(len(train)))
    for measure in found.measures:
        assert measure.group == "privacy"
        assert measure.value == pytest.approx(measure.reference, rel=0.12, abs=0.02), measure.name
    assert values(found)["membership_inference_auc"] == pytest.approx(0.5, abs=0.05)
    assert found.nearness == pytest.approx(1, abs=0.1)


def test_a_few_copies_among_fresh_windows_are_found(train, fresh):
    mixed = np.concatenate([fresh, train[100:130]])
    found = measure_privacy(train, mixed, starts=np.arange(len(train)))
    assert found.exact_copies == 30
    assert found.copies
    assert values(found)["copied_share"] >= 30 / len(mixed)


def test_the_measures_move_with_the_noise_on_copies(train, holdout):
    rng = np.random.default_rng(4)
    noise = rng.standard_normal(train.shape)
    found = [
        values(measure_privacy(train, train + scale * noise, holdout=holdout, starts=np.arange(len(train))))
        for scale in (0.0, 0.005, 0.02, 0.08, 0.3)
    ]
    for name in ("distance_to_closest_record", "dcr_ratio", "nearest_neighbour_distance_ratio"):
        series = [each[name] for each in found]
        assert series == sorted(series)
        assert series[0] == pytest.approx(0, abs=1e-9)
    assert [each["authenticity"] for each in found[:2]] == [0, 0]
    assert found[-1]["authenticity"] > 0.9
    # A copy is at distance 0 of a member: the attacker is right whenever no other window is as near.
    assert found[0]["membership_inference_auc"] == 1


def test_it_agrees_with_brute_force():
    train, made, unseen = (windows_of(autoregression(rows, seed)) for rows, seed in ((60, 5), (31, 6), (40, 7)))
    starts = np.arange(len(train))
    found = measure_privacy(train, made, holdout=unseen, starts=starts)

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]) ** 2).mean(axis=(2, 3)))

    apart = np.abs(starts[:, None] - starts) >= STEPS
    own = np.where(apart, distances(train, train), np.inf)
    fake, real = distances(made, train), distances(unseen, train)
    nearest = fake.argmin(axis=1)
    second = np.where(apart[nearest], fake, np.inf).min(axis=1)
    expected = {
        "distance_to_closest_record": np.median(fake.min(axis=1)),
        "distance_to_closest_record_p05": np.quantile(fake.min(axis=1), 0.05),
        "dcr_ratio": np.median(fake.min(axis=1)) / np.median(real.min(axis=1)),
        "nearest_neighbour_distance_ratio": np.median(fake.min(axis=1) / second),
        "authenticity": (fake.min(axis=1) > own[nearest].min(axis=1)).mean(),
        "membership_inference_auc": roc_auc_score(
            np.repeat([1, 0], [len(train), len(unseen)]),
            -np.concatenate([distances(train, made).min(axis=1), distances(unseen, made).min(axis=1)]),
        ),
    }
    got = values(found)
    assert {name: got[name] for name in expected} == pytest.approx(expected)
    quantile = min(np.quantile(own.min(axis=1), 0.01), np.quantile(real.min(axis=1), 0.01))
    assert found.near_distance == pytest.approx(quantile / 4)
    smaller = min(np.median(own.min(axis=1)), np.median(real.min(axis=1)))
    assert found.nearness == pytest.approx(np.median(fake.min(axis=1)) / smaller)
    attack = references(found)["membership_inference_auc"]
    labels = np.repeat([1, 0], [len(train), len(unseen)])
    assert attack == pytest.approx(roc_auc_score(labels, -np.concatenate([own.min(axis=1), real.min(axis=1)])))


def test_drift_alone_is_no_memory():
    # The hold-out lies elsewhere: whoever knows the training period tells it from the rest.
    train, made = windows_of(autoregression(600, 8)), windows_of(autoregression(600, 9))
    drifted = windows_of(autoregression(300, 10)) + 0.5
    found = measure_privacy(train, made, holdout=drifted, starts=np.arange(len(train)))
    auc = next(measure for measure in found.measures if measure.name == "membership_inference_auc")
    assert auc.value > 0.95
    assert auc.value == pytest.approx(auc.reference, abs=0.02)
    assert values(found)["dcr_ratio"] < 0.5
    assert not found.copies


def test_windows_that_overlap_do_not_count_as_the_next_training_window(train):
    apart = measure_privacy(train, train[:50], starts=np.arange(len(train)))
    together = measure_privacy(train, train[:50])
    name = "distance_to_closest_record"
    assert references(apart)[name] > references(together)[name]


@pytest.mark.parametrize("features", [1, 3])
def test_constant_columns_are_no_copies_where_real_windows_are_constant_too(features):
    still = np.full((40, STEPS, features), 0.5)
    found = measure_privacy(still, still[:7], holdout=still[:9])
    assert (found.exact_copies, found.near_copies, found.compared) == (7, 0, 7)
    assert not found.copies
    assert all(np.isfinite(measure.value) and np.isfinite(measure.reference) for measure in found.measures)


def test_a_constant_column_beside_another_changes_no_verdict(train, fresh):
    def beside(windows: np.ndarray) -> np.ndarray:
        return np.concatenate([windows, np.zeros_like(windows)], axis=2)

    assert measure_privacy(beside(train), beside(train[:99])).copies
    assert not measure_privacy(beside(train), beside(fresh)).copies


def test_one_feature_and_two_windows_will_do():
    train = np.array([[[0.0], [0.1]], [[0.5], [0.9]]])
    found = measure_privacy(train, train + 0.3)
    assert values(found)["distance_to_closest_record"] == pytest.approx((0.3 + np.sqrt(0.05)) / 2, rel=0.2)
    assert all(np.isfinite(measure.value) for measure in found.measures)


def test_a_short_series_falls_back_to_the_windows_themselves(caplog):
    train = windows_of(autoregression(2 * STEPS, 11))
    with caplog.at_level(logging.WARNING):
        found = measure_privacy(train, train[:5], starts=np.arange(len(train)))
    assert "shares no row" in caplog.text
    assert found == measure_privacy(train, train[:5])


def test_single_precision_is_still_an_exact_copy(train):
    found = measure_privacy(train, train[:20].astype(np.float32))
    assert found.exact_copies == 20


def test_what_is_looked_at_is_bounded_and_fixed_by_the_seed(train, fresh, holdout, caplog):
    first, again, other = (
        measure_privacy(train, fresh, holdout=holdout, windows=100, seed=seed) for seed in (0, 0, 1)
    )
    assert first.compared == 100
    assert first == again
    assert first != other
    with caplog.at_level(logging.INFO):
        measure_privacy(train, fresh, windows=100)
    assert f"100 of {len(train)} training windows are looked at" in caplog.text


def test_every_training_window_is_searched_however_many_numbers_they_hold():
    train = np.random.default_rng(0).random((31_000, 24, 28), dtype=np.float32)
    found = measure_privacy(train, train[::310], windows=100)
    assert found.exact_copies == found.compared == 100
    assert found.training_windows == 31_000


def test_copies_bit_by_bit_are_counted_among_all_synthetic_windows(train, fresh):
    still, negative = np.zeros_like(train[:1]), np.full_like(train[:1], -0.0)
    known, made = np.concatenate([train, still]), np.concatenate([fresh, train[7:20], train[7:8], negative])
    found = measure_privacy(known, made, windows=5)
    assert (found.identical, found.synthetic_windows, found.compared) == (15, len(made), 5)
    rounded = measure_privacy(known, made.astype(np.float32), windows=5)
    assert rounded.identical == 15
    assert measure_privacy(train, train[:9] + 1e-7).identical == 0


def test_bad_input_is_refused(train, holdout):
    with pytest.raises(ConfigError, match="windows must be at least 1"):
        measure_privacy(train, train, windows=0)
    with pytest.raises(DataError, match="a start for each"):
        measure_privacy(train, train, starts=np.arange(3))
    with pytest.raises(DataError, match="hold-out windows must be at least 2 with the same steps and features"):
        measure_privacy(train, train, holdout=holdout[:, 1:])
    broken = train.copy()
    broken[3, 2, 1] = np.nan
    with pytest.raises(DataError, match="finite"):
        measure_privacy(train, broken)
    with pytest.raises(DataError, match="hold-out windows must be finite, got 1 values"):
        measure_privacy(train, train, holdout=broken)
