"""Drift of windows: false alarms at about the level, and each kind of change found alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import false_discovery_control

from core.watch.drift import DriftTests, measure_drift
from core.watch.stretches import benjamini_hochberg, held_against, stretch_size, stretches

LENGTH, STRIDE, LEVEL = 8, 2, 0.01
NAMES = ["a", "b", "c"]


def series(
    rng: np.random.Generator, rows: int, *, memory: float = 0.7, together: float = 0.5
) -> NDArray[np.float64]:
    """Three correlated autoregressive series of variance 1."""
    covariance = np.full((3, 3), together) + (1 - together) * np.eye(3)
    noise = rng.multivariate_normal(np.zeros(3), covariance, size=rows + 100)
    found: NDArray[np.float64] = lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise, axis=0)[100:]
    return found


def judged(old: NDArray[np.float64], new: NDArray[np.float64], **options: float) -> DriftTests:
    kinds = []
    for rows in (old, new):
        starts = np.arange(0, len(rows) - LENGTH + 1, STRIDE)
        kinds.append((rows[starts[:, None] + np.arange(LENGTH)].astype(np.float32), starts))
    (training, starts), (latest, _) = kinds
    low, high = training.min(axis=(0, 1)), training.max(axis=(0, 1))
    span = np.where(high > low, high - low, 1)
    training, latest = ((windows - low) / span for windows in (training, latest))
    latest = latest[-stretch_size(len(training), len(latest)) :]
    return measure_drift(
        training.__getitem__,
        latest,
        NAMES,
        NAMES,
        span=(starts, starts + LENGTH - 1),
        level=options.get("level", LEVEL),
        most=200,
    )


def alarm(found: DriftTests) -> bool:
    return found.share > 0.2 or bool(found.found_together)


def unchanged(seed: int) -> DriftTests:
    rows = series(np.random.default_rng(seed), 1800, memory=0.7 if seed % 2 else 0.9)
    return judged(rows[:1650], rows[1650:])


@pytest.mark.parametrize(
    ("change", "measures"),
    [
        ("mean", {"mmd", "sliced_wasserstein"}),
        ("spread", {"sliced_wasserstein"}),
        ("correlation", {"correlation_difference"}),
        ("memory", {"autocorrelation_difference"}),
    ],
)
def test_each_change_alone_is_found_by_what_looks_for_it(change: str, measures: set[str]) -> None:
    rng = np.random.default_rng(5)
    old, new = series(rng, 1800), series(rng, 150)
    if change == "mean":
        new += 2
    elif change == "spread":
        new *= 3
    elif change == "correlation":
        new = series(rng, 150, together=-0.4)
    else:
        new = series(rng, 150, memory=-0.5)
    found = judged(old, new)
    assert alarm(found)
    assert {test.name for test in found.found_together} >= measures
    if change in ("mean", "spread"):
        assert {column.column for column in found.drifted} == set(NAMES)
    else:  # each column on its own is what it was
        assert not found.drifted


def test_one_column_of_three_is_named() -> None:
    rng = np.random.default_rng(6)
    rows = series(rng, 1950, together=0.0)
    rows[1800:, 1] += 3
    assert [column.column for column in judged(rows[:1800], rows[1800:]).drifted] == ["b"]


def test_without_a_change_there_is_no_alarm() -> None:
    assert not any(alarm(unchanged(seed)) for seed in range(2))


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    # 1 % of 200, and what luck adds to it: more than 6 come up once in 200 times at a rate of exactly 1 %.
    assert sum(alarm(unchanged(seed)) for seed in range(100, 300)) <= 6


@pytest.mark.slow
def test_a_series_that_wanders_is_its_own_reference() -> None:
    """Levels that change every few months anyway are no drift; for independent windows they would be."""
    rng = np.random.default_rng(9)
    slow = lfilter([np.sqrt(1 - 0.98**2)], [1, -0.98], rng.standard_normal((2400, 3)), axis=0)[400:]
    found = judged(2 * slow[:1850], 2 * slow[1850:])
    assert not alarm(found)
    assert min(column.test.reference for column in found.columns) > 0.05


@pytest.mark.slow
def test_a_constant_channel_is_left_out() -> None:
    rng = np.random.default_rng(3)
    rows = series(rng, 1400)
    rows[:, 2] = 4.0
    found = judged(rows[:1300], rows[1300:])
    assert [column.column for column in found.columns] == ["a", "b"]


def test_rare_events_and_constants_are_measured_as_far_as_they_can_be(caplog: pytest.LogCaptureFixture) -> None:
    """Most windows of rare events are equal, so that there is no bandwidth; it is no reason to call a drift."""
    rng = np.random.default_rng(8)
    rows = (rng.uniform(size=(1400, 3)) < 0.01).astype(np.float64)
    found = judged(rows[:1300], rows[1300:])
    assert not alarm(found)
    assert [test.name for test in found.together] == [
        "sliced_wasserstein",
        "autocorrelation_difference",
        "correlation_difference",
    ]
    assert "maximum mean discrepancy is left out" in caplog.text
    often = np.concatenate([rows[:1300], (rng.uniform(size=(100, 3)) < 0.5).astype(np.float64)])
    assert alarm(judged(often[:1300], often[1300:]))
    still = judged(np.zeros((1300, 3)), np.ones((100, 3)))
    assert (still.columns, still.together, still.share) == ((), (), 0.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_is_scipys(p: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(np.array(p)), false_discovery_control(p), atol=1e-12)


def test_the_chance_of_a_value_is_what_it_says() -> None:
    """Of distances whose roots are normal, one in twenty is called at 5 %."""
    rng = np.random.default_rng(0)
    draws = rng.normal(2, 0.4, size=(4000, 13)) ** 2
    p = np.array([held_against("x", draw[0], draw[1:], 12).p for draw in draws])
    for level in (0.01, 0.05, 0.2):
        assert abs((p < level).mean() - level) < 4 * np.sqrt(level * (1 - level) / len(p))


def test_what_never_moved_is_certain() -> None:
    still = np.zeros(12)
    assert held_against("x", 0.0, still, 12).p == 0.5
    moved = held_against("x", 0.1, still, 12)
    assert moved.p < 1e-12
    assert moved.beyond


@given(st.integers(24, 400), st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_stretch_and_its_rest_share_no_row(count: int, length: int, stride: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = np.cumsum(rng.integers(1, stride + 1, count))
    last = first + rng.integers(0, length, count)
    size = stretch_size(count, int(rng.integers(2, 50)))
    for part in stretches(first, last, size, 50):
        assert len(part.own) == size
        assert (np.diff(part.own) == 1).all()
        assert len(part.rest) <= 50
        rows = {row for one in part.own for row in range(first[one], last[one] + 1)}
        others = {row for one in part.rest for row in range(first[one], last[one] + 1)}
        assert not rows & others
