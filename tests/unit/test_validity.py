from __future__ import annotations

import numpy as np
import pandas as pd

from core.catalog import Bounds, Expectations
from core.evaluation.validity import check_validity


def rows(**columns: object) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    steps = np.arange(len(frame))
    return frame.assign(window=steps // 4, step=steps % 4)


def by_rule(real: pd.DataFrame, synthetic: pd.DataFrame, expectations: Expectations | None = None) -> dict:
    return {row["rule"]: row for row in check_validity(real, synthetic, expectations)}


REAL = rows(low=np.arange(8.0) + 0.5, high=np.arange(8.0) + 1.5, count=np.arange(8.0), kind=list("abababab"))
DECLARED = Expectations.model_validate(
    {"relations": ["low <= high"], "ranges": {"low": {"min": 0, "max": 8}, "high": {"min": 1}}}
)


def test_rows_that_keep_every_rule_break_none():
    found = by_rule(REAL, REAL, DECLARED)
    assert set(found) == {
        "low <= high",
        "0 <= low <= 8",
        "high >= 1",
        "count: whole numbers",
        "kind: a category of the real rows",
    }
    assert all(row["broken"] == 0 and row["real_share"] == 0 and row["of"] == 8 for row in found.values())


def test_each_broken_row_is_counted_once():
    broken = REAL.copy()
    broken.loc[[1, 2, 3], "low"] = [99.0, -1.0, np.nan]
    broken.loc[4, "count"] = 2.5
    broken.loc[[5, 6], "kind"] = ["z", None]
    found = by_rule(REAL, broken, DECLARED)
    counts = {rule: row["broken"] for rule, row in found.items()}
    assert counts == {
        "low <= high": 1,
        "0 <= low <= 8": 2,
        "high >= 1": 0,
        "count: whole numbers": 1,
        "kind: a category of the real rows": 1,
    }
    assert next(iter(found)) == "0 <= low <= 8"
    assert found["0 <= low <= 8"]["share"] == 2 / 8


def test_rounding_to_32_bits_breaks_no_rule():
    """Equal prices of two columns, scaled by the ranges of each and back, are not quite equal."""
    rng = np.random.default_rng(0)
    close = rng.uniform(1000, 2000, size=500)
    there_and_back = {}
    for name, (low, high) in {"Close": (987.6, 2011.3), "High": (991.7, 2093.1)}.items():
        there_and_back[name] = ((close - low) / (high - low)).astype(np.float32) * (high - low) + low
    rows = pd.DataFrame({"window": 0, "step": np.arange(500), **there_and_back})
    assert (rows["Close"] > rows["High"]).any()
    rules = Expectations(
        relations=("Close <= High", "High >= Close"), ranges={"Close": Bounds(min=close.min())}
    )
    assert all(rule["broken"] == 0 for rule in check_validity(rows, rows, rules))
    above = rows.assign(Close=rows["High"] + 0.01)
    assert [rule["share"] for rule in check_validity(rows, above, rules)][:2] == [1.0, 1.0]
    strict = Expectations(relations=("Close < High", "High > Close"))
    equal = rows.assign(Close=rows["High"])
    assert [rule["share"] for rule in check_validity(rows, equal, strict)] == [1.0, 1.0]


def test_times_of_synthetic_rows_rise_in_each_window():
    times = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"] * 2)
    found = by_rule(REAL, REAL.assign(when=times))
    assert found["when: later at each step"]["broken"] == 0
    wrong = times[[0, 1, 1, 3, 4, 7, 6, 5]]  # one stays, two go back
    rule = by_rule(REAL, REAL.assign(when=wrong))["when: later at each step"]
    assert (rule["broken"], rule["of"], rule["real_share"]) == (3, 8, 0.0)
    assert "when: a category of the real rows" not in by_rule(REAL.assign(when=times), REAL.assign(when=times))


def test_what_real_rows_break_themselves_is_said():
    expectations = Expectations.model_validate({"relations": ["low > high"]})
    found = by_rule(REAL, REAL, expectations)["low > high"]
    assert found["share"] == found["real_share"] == 1


def test_rules_of_columns_that_are_not_there_are_left_out_and_told(caplog):
    expectations = Expectations.model_validate(
        {"relations": ["low <= elsewhere"], "ranges": {"kind": {"min": 0}}}
    )
    assert set(by_rule(REAL, REAL, expectations)) == set(by_rule(REAL, REAL))
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert "low <= elsewhere is not checked" in told[0]
    assert "the range of kind is not checked" in told[1]


def test_rows_without_rules_have_none():
    real = rows(low=np.arange(8.0) + 0.5)
    assert check_validity(real, real) == []
