"""The gates: what passes, what does not, and that a generator that copies never does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DataError
from core.evaluation.judges.scores import Score
from core.evaluation.privacy import measure_privacy
from core.promotion.facts import DataFacts
from core.promotion.gates import better_gate, data_gate, incomparable_gate, privacy_gate, validity_gate
from core.promotion.options import GatesConfig
from core.promotion.paired import Comparison
from core.promotion.statistics import corrected_resampled_test
from tests.unit.report_scores import privacy

OPTIONS = GatesConfig()
NEW = DataFacts("d", "new", 100, "2020-01-01T00:00:00+00:00", "2021-01-01T00:00:00+00:00")


def compared(old: list[float], new: list[float], *, held_out: bool = True) -> Comparison:
    test = corrected_resampled_test([a - b for a, b in zip(old, new, strict=True)], 0.25)
    return Comparison(Score(tuple(old)), Score(tuple(new)), test, 1000, 200, held_out, "2020-01-01")


def test_better_asks_for_more_than_the_noise() -> None:
    clear = better_gate(compared([0.30, 0.31, 0.29, 0.30], [0.10, 0.12, 0.11, 0.10]), "3")
    assert clear.passed
    assert "0.1075 against 0.3000 of version 3" in clear.explanation
    assert "held-out windows" in clear.explanation
    noisy = better_gate(compared([0.30, 0.10, 0.40, 0.20], [0.10, 0.30, 0.20, 0.30]), "3")
    assert not noisy.passed
    assert noisy.numbers["gain"] > 0
    assert "within the noise" in noisy.explanation
    same = better_gate(compared([0.3, 0.2], [0.3, 0.2], held_out=False), "3")
    assert not same.passed
    assert "Nothing fit is held out" in same.explanation
    assert not incomparable_gate("other columns", "3").passed


@given(
    compared=st.integers(50, 5000),
    copied=st.floats(0, 1),
    real=st.floats(0, 0.3),
    verdict=st.booleans(),
    allowed=st.sampled_from([0.0, 0.1]),
)
def test_copies_pass_only_as_far_as_real_windows_show_them(
    compared: int, copied: float, real: float, verdict: bool, allowed: float
) -> None:
    count = round(copied * compared)
    found = privacy(0, count, compared=compared, real=real, verdict=verdict)
    gate = privacy_gate(found, GatesConfig(copies=allowed))
    if verdict:
        assert not gate.passed
    if gate.passed:
        # Four standard errors of a count with the real share, and one window.
        assert count <= (real + allowed) * compared + 4 * np.sqrt(real * compared) + 1
    elif not verdict:
        assert count > (real + allowed) * compared
    fewer = privacy_gate(privacy(0, count // 2, compared=compared, real=real, verdict=verdict), GatesConfig())
    assert fewer.passed or not privacy_gate(found, GatesConfig()).passed


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_a_generator_that_copies_is_refused(noise: float) -> None:
    """Real windows of a random walk, given out again with hardly any noise, and honest ones for comparison."""
    rng = np.random.default_rng(0)
    rows = np.cumsum(rng.normal(0, 1, (3000, 2)), axis=0)
    rows = (rows - rows.min(0)) / np.ptp(rows, axis=0)
    starts = np.arange(0, 2900, 3)
    windows = np.stack([rows[start : start + 12] for start in starts])
    copies = windows[rng.integers(len(windows), size=400)]
    honest = np.clip(copies + rng.normal(0, 0.05, copies.shape), 0, 1)
    tenth = np.concatenate([copies[:40], honest[40:]])
    for synthetic, passes in ((copies, False), (tenth, False), (honest, True)):
        made = synthetic + (rng.normal(0, noise, synthetic.shape) if noise else 0)
        found = measure_privacy(windows, made, starts=starts)
        section = {**vars(found), "measures": [measure.to_json() for measure in found.measures]}
        assert privacy_gate(section, OPTIONS).passed is passes


def test_what_was_not_measured_passes_and_says_so() -> None:
    gate = privacy_gate(None, OPTIONS)
    assert (gate.passed, gate.measured, gate.verdict) == (True, False, "not measured")
    assert "evaluation.privacy is off" in gate.explanation
    assert data_gate(NEW, None, OPTIONS).verdict == "not measured"
    assert data_gate(NEW, replace(NEW, dataset="other"), OPTIONS).verdict == "not measured"
    assert data_gate(NEW, replace(NEW, digest="old", end=None), OPTIONS).verdict == "not measured"


@given(share=st.floats(0, 1), real=st.floats(0, 1), allowed=st.floats(0, 1))
def test_rules_may_be_broken_as_often_as_by_real_rows_and_a_bit(
    share: float, real: float, allowed: float
) -> None:
    rules = [
        {"rule": "a < b", "kind": "relation", "broken": 1, "of": 9, "share": share, "real_share": real},
        {"rule": "c", "kind": "range", "broken": 0, "of": 9, "share": 0.0, "real_share": 0.0},
    ]
    gate = validity_gate(rules, GatesConfig(broken_rules=allowed))
    assert gate.passed == (max(share - real, 0.0) <= allowed)
    assert validity_gate([], OPTIONS).passed


@pytest.mark.parametrize(
    ("old", "passes"),
    [
        (NEW, True),
        (replace(NEW, digest="old", end="2020-06-01T00:00:00+02:00"), True),
        (replace(NEW, digest="old", end="2021-01-01T00:00:00.000000001+00:00"), False),
        # The same moment, written in another zone.
        (replace(NEW, digest="old", end="2021-01-01T01:00:00+01:00"), True),
    ],
)
def test_data_must_not_be_older(old: DataFacts, passes: bool) -> None:
    assert data_gate(NEW, old, OPTIONS).passed is passes
    assert data_gate(NEW, old, GatesConfig(older_data=True)).passed


@pytest.mark.parametrize(("rows", "passes"), [(99, True), (100, True), (101, False)])
def test_without_time_rows_count(rows: int, passes: bool) -> None:
    timeless = replace(NEW, start=None, end=None)
    assert data_gate(timeless, replace(timeless, digest="old", rows=rows), OPTIONS).passed is passes


def test_facts_survive_their_tags() -> None:
    for facts in (NEW, replace(NEW, start=None, end=None)):
        assert DataFacts.from_tags({**facts.tags(), "more": "x"}) == facts
    assert DataFacts.from_tags({"dataset": "d"}) is None
    for wrong in ({"data_rows": "many"}, {"data_end": "soon"}, {"data_end": "2020-01-01"}):
        with pytest.raises(DataError, match="cannot be read"):
            DataFacts.from_tags({**NEW.tags(), **wrong})
