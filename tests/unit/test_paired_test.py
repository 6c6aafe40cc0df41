"""The corrected resampled t-test: against scipy, a closed form, and judges that share windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core.errors import ConfigError
from core.promotion.statistics import corrected_resampled_test

GAINS = st.lists(st.floats(-0.5, 0.5).map(lambda value: round(value, 4)), min_size=2, max_size=30)
TRIALS, JUDGES, RATIO = 1000, 10, 0.25


@given(gains=GAINS, ratio=st.floats(0.01, 2), least=st.sampled_from([0.0, 0.02]))
def test_it_is_the_plain_t_test_with_a_wider_error(gains: list[float], ratio: float, least: float) -> None:
    found = corrected_resampled_test(gains, ratio, least_gain=least)
    if np.ptp(gains) == 0:
        assert found.p_value == float(gains[0] <= least)
        return
    plain = stats.ttest_1samp(gains, least, alternative="greater")
    wider = math.sqrt((1 / len(gains) + ratio) * len(gains))
    assert found.p_value == pytest.approx(stats.t.sf(plain.statistic / wider, len(gains) - 1), rel=1e-9)
    # The confidence bound and the test say the same.
    if abs(found.p_value - found.level) > 1e-9:
        assert (found.low > least) == found.passed


def gains_of(shift: float, rng: np.random.Generator) -> np.ndarray:
    """Judges tested on a random fifth each of 200 windows, whose gains on each are noise about a shift."""
    windows = rng.normal(shift, 1, 200)
    return np.array([rng.permutation(windows)[:40].mean() for _ in range(JUDGES)])


def test_two_equal_generators_are_told_apart_as_rarely_as_the_level_says() -> None:
    rng = np.random.default_rng(0)
    drawn = [gains_of(0.0, rng) for _ in range(TRIALS)]
    corrected = np.mean([corrected_resampled_test(gains, RATIO).passed for gains in drawn])
    plain = np.mean(stats.ttest_1samp(np.array(drawn), 0, axis=1, alternative="greater").pvalue < 0.05)
    # 0.05 and three standard errors of 1,000 trials; a plain test finds four times as many.
    assert 0.03 < corrected < 0.07
    assert plain > 0.15


def test_with_the_correlation_that_it_assumes_its_p_values_are_uniform() -> None:
    """Closed form: equicorrelated normal gains give the t distribution exactly."""
    rng, shared = np.random.default_rng(1), RATIO / (1 + RATIO)
    common = rng.normal(0, math.sqrt(shared), (TRIALS, 1))
    drawn = common + rng.normal(0, math.sqrt(1 - shared), (TRIALS, JUDGES))
    values = [corrected_resampled_test(gains, RATIO).p_value for gains in drawn]
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_it_finds_what_is_there_and_asks_for_the_least_gain() -> None:
    rng = np.random.default_rng(2)
    drawn = [gains_of(0.3, rng) for _ in range(300)]  # 4.2 standard errors of the mean of 200 windows
    assert np.mean([corrected_resampled_test(gains, RATIO).passed for gains in drawn]) > 0.9
    assert np.mean([corrected_resampled_test(g, RATIO, least_gain=0.3).passed for g in drawn]) < 0.1


def test_more_judges_of_the_same_windows_do_not_make_it_ever_sharper() -> None:
    many = np.random.default_rng(3).normal(0.01, 1, 5000)
    assert corrected_resampled_test(many, RATIO).error == pytest.approx(math.sqrt(RATIO), rel=0.05)


@pytest.mark.parametrize(
    ("gains", "ratio"), [([], 0.25), ([0.1], 0.25), ([0.1, math.nan], 0.25), ([0.1, 0.2], 0.0)]
)
def test_what_is_no_sample_is_refused(gains: list[float], ratio: float) -> None:
    with pytest.raises(ConfigError, match="at least 2 finite gains"):
        corrected_resampled_test(gains, ratio)
