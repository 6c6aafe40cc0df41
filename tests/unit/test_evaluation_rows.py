from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation.report.pages import risks, times_text
from core.evaluation.report.rows import LEVELS, Row, distance_groups, distance_row, risk_rows, weakest
from core.evaluation.report.verdicts import privacy_verdict
from tests.unit.report_scores import measure, privacy


@pytest.mark.parametrize(
    ("value", "reference", "better", "ideal", "times", "level"),
    [
        (0.015, 0.01, "lower", 0.0, 1.5, "good"),
        (0.03, 0.01, "lower", 0.0, 3.0, "fair"),
        (0.2, 0.01, "lower", 0.0, 20.0, "poor"),
        (0.0, 0.0, "lower", 0.0, 0.0, "good"),
        (1e-6, -1e-4, "lower", 0.0, 0.001, "good"),
        (0.0015, 0.0, "lower", 0.0, 1.5, "good"),
        (0.1, 0.0, "lower", 0.0, 100.0, "poor"),
        (-0.1, 0.01, "lower", 0.0, 0.0, "good"),
        (0.97, 0.9, "higher", 1.0, 0.3, "good"),
        (0.95, 1.0, "higher", 1.0, 1.0, "good"),
        (0.94, 0.9999, "higher", 1.0, 1.2, "good"),
        (0.5, 1.0, "higher", 1.0, 10.0, "poor"),
        (0.7, 0.9, "higher", 1.0, 3.0, "fair"),
        (0.2, 0.9, "higher", 1.0, 8.0, "poor"),
        (0.54, 0.5, "closer", 0.5, 1.6, "good"),
        (0.51, 0.48, "closer", 0.5, 0.4, "good"),
        (0.4, 0.45, "closer", 0.5, 2.0, "good"),
        (0.6, 0.45, "closer", 0.5, 2.0, "good"),
        (0.9, 0.45, "closer", 0.5, 8.0, "poor"),
        (3.0, None, "lower", 0.0, None, ""),
    ],
)
def test_a_distance_is_as_many_times_off_as_real_windows(value, reference, better, ideal, times, level):
    row = distance_row(measure("m", value, reference, better=better, ideal=ideal))
    assert row.times == (times if times is None else pytest.approx(times))
    assert row.level == level
    assert 0 <= row.bar <= 100


def test_bars_grow_with_the_distance_and_pass_the_line_where_real_windows_stand():
    bars = [distance_row(measure("m", value, 1.0)).bar for value in (0.0, 0.5, 1.0, 2.0, 8.0, 20.0, 500.0)]
    assert bars == sorted(bars)
    assert bars[0] == 0
    assert bars[2] == 25
    assert bars[-1] == 100
    assert [times_text(times) for times in (None, 1.04, 2000.0)] == [
        "\u2013",
        "1.0\xa0\xd7",
        ">\xa099\xa0\xd7",
    ]


def test_the_worst_measures_and_features_come_first():
    shares = {"a": 0.1, "b": 0.5, "c": 0.3, "d": 0.2}
    found = [
        measure("near", 0.01, 0.01),
        measure("far", 0.09, 0.01, by_feature=shares),
        measure("other", 0.03, 0.01, group="temporal"),
        measure("alone", 0.5, None),
    ]
    groups = {name: [row.measure["name"] for row in rows] for name, rows in distance_groups(found)}
    assert groups == {"marginal": ["far", "near", "alone"], "temporal": ["other"]}
    assert [row.measure["name"] for row in weakest(found)] == ["far", "other"]
    assert [name for name, _ in distance_row(found[1]).worst] == ["b", "c", "d"]
    recall = measure("recall", 0.5, 0.9, ideal=1.0, better="higher", by_feature=shares)
    assert distance_row(recall).worst[0][0] == "a"


@given(
    st.sampled_from([("lower", 0.0), ("higher", 1.0), ("closer", 1.0), ("closer", 0.5)]),
    st.floats(0, 1),
    st.floats(-0.1, 1),
    st.floats(1e-12, 1e-6),
)
def test_no_verdict_hangs_on_a_reference_at_its_ideal(kind, value, reference, step):
    """A reference that moves by next to nothing moves the verdict by next to nothing."""
    better, ideal = kind
    rows = [
        distance_row(measure("m", value, each, better=better, ideal=ideal))
        for each in (reference, reference + step)
    ]
    times = [row.times for row in rows]
    assert times[1] == pytest.approx(times[0], rel=0.002, abs=1e-6)
    assert times[0] <= 1000


def record(name: str, value: float, reference: float) -> dict:
    """A measure of the section `privacy`, of which real windows are the ideal."""
    return measure(name, value, reference, ideal=reference, better="closer", group="privacy")


def risk(found: dict, verdict: str) -> Row:
    return risk_rows([found], verdict)[0]


@pytest.mark.parametrize("far", [1.0, 1.5, 8.0, 1000.0])
def test_noise_is_no_memory(far):
    row = risk(record("distance_to_closest_record", 0.05 * far, 0.05), "good")
    assert (row.level, row.times) == ("good", None)


@pytest.mark.parametrize(
    ("value", "verdict", "level"),
    [(0.04, "good", "good"), (0.02, "good", "fair"), (0.0, "good", "fair"), (0.0, "poor", "poor")],
)
def test_what_is_nearer_than_real_windows_is_poor_only_if_the_summary_is(value, verdict, level):
    row = risk(record("distance_to_closest_record", value, 0.05), verdict)
    assert row.level == level
    assert row.times == (pytest.approx(0.05 / value) if value else 100)


@pytest.mark.parametrize(
    ("value", "reference", "times"), [(0.4, 0.5, None), (0.6, 0.7, None), (0.9, 0.6, 4), (0.6, 0.5, 4)]
)
def test_an_attack_that_finds_less_than_drift_does_is_harmless(value, reference, times):
    attack = measure("membership_inference_auc", value, reference, ideal=0.5, better="closer", group="privacy")
    assert risk(attack, "good").times == (times if times is None else pytest.approx(times))


@given(st.integers(0, 2000), st.integers(0, 200), st.floats(0, 0.2), st.floats(0, 0.2))
def test_no_row_of_memorisation_contradicts_the_summary(exact, near, real, distance):
    compared = 2000
    near = min(near, compared - exact)
    # The rule of `core.evaluation.privacy`.
    copied = exact + near - real * compared > max(1.0, 0.01 * compared) or distance < 0.25 * 0.05
    found = privacy(exact, near, compared=compared, real=real, verdict=copied)
    found["measures"][0] = record("distance_to_closest_record", distance, 0.05)
    verdict = privacy_verdict(found).level
    levels = {row.measure["name"]: row.level for row in risks(found)}
    assert ("poor" in levels.values()) == (verdict == "poor")
    assert LEVELS.index(levels["copied_share"]) <= LEVELS.index(verdict)
    if verdict == "fair":
        assert levels["copied_share"] == "fair"


def test_one_near_copy_among_thousands_is_no_fault_anywhere():
    found = privacy(0, 1, compared=2000)
    assert privacy_verdict(found).level == "good"
    assert {row.level for row in risks(found)} == {"good"}
