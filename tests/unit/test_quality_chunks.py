from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from core.quality import raise_if_failed, validate
from core.quality.checks import Outcome, Rule
from core.quality.chunks import read_chunks
from core.quality.docs import build_data_docs
from core.quality.merge import Tally
from core.quality.suite import Judge
from core.quality.validate import check_rows
from core.sources.stored import StoredRows
from tests.unit.laid_snapshot import lay_snapshot
from tests.unit.test_quality import checks_of, dataset_of, prices, report_of, validate_frame


def rough(seed: int) -> pd.DataFrame:
    """Two series with something of everything that is wrong by row, but for unreadable stamps."""
    rng = np.random.default_rng(seed)
    frame = prices(40, n=rng.integers(0, 9, 40), text=rng.choice(["1", "2.5", "x"], 40, p=[0.6, 0.3, 0.1]))
    frame["Close"] = frame["Close"] + rng.normal(scale=2, size=40)
    frame.loc[rng.random(40) < 0.1, "Low"] = np.nan
    frame.loc[rng.random(40) < 0.05, "Close"] = np.inf
    frame["name"] = np.repeat(["a", "b"], 20)
    frame["group"] = np.where(frame["name"] == "a", "l", "r")
    frame.loc[rng.integers(40), "group"] = "l"
    frame.loc[7, "date"] = frame.loc[6, "date"]
    return frame.drop(index=rng.integers(10, 15)).reset_index(drop=True)


STRICT = {
    "series": "name",
    "columns": {"group": "static", "n": "categorical"},
    "expectations": {"relations": ["Low <= Close"], "ranges": {"Low": {"max": 30}}, "max_gap_steps": 3},
}


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(6, 45))
def test_the_size_of_chunks_changes_nothing(seed, size):
    frame = rough(seed)
    assert checks_of(frame, size, **STRICT) == checks_of(frame, 1000, **STRICT)


def test_chunks_are_even_whatever_the_row_groups(tmp_path):
    rows = StoredRows.open(lay_snapshot(tmp_path, prices(25), group_rows=7))
    chunks = list(read_chunks(rows, ["Low"], 10))
    assert [(start, len(table)) for start, table in chunks] == [(0, 10), (10, 10), (20, 5)]
    assert [row for _, table in chunks for row in table["Low"].to_pylist()] == list(range(25))


def test_a_count_that_great_expectations_does_not_confirm_breaks_the_check():
    tally = Tally(Rule("range", "x", "critical", "small", "", {}))
    tally.add(Outcome(success=False, unexpected=2), np.array([True, False]), lambda row: row)
    check = tally.check()
    assert not check.success
    assert "counts 2 rows where there is 1" in check.found


def test_the_custom_expectations_look_at_neighbours_inside_a_series():
    frame = pd.DataFrame({"s": [0, 0, 0, 1, 1], "t": [1, 2, 2, 1, 9], "p": [0, 1, 2, 0, 4]})
    keys = {"column_A": "s", "column_B": "t"}

    def counts(expectation: str, **arguments: object) -> int:
        rule = Rule("", None, "critical", "", expectation, arguments)
        outcome = Judge([rule]).judge(frame)[0]
        assert not outcome.broken
        assert outcome.success == (outcome.unexpected == 0)
        return outcome.unexpected

    order = "ExpectColumnPairToBeChronological"
    assert counts(order, **keys) == 0
    assert counts(order, **keys, strictly=True) == 1
    assert counts(order, **keys, newest_first=True) == 2
    gaps = "ExpectColumnPairGapsToBeAtMost"
    assert [counts(gaps, column_A="s", column_B="p", most=most) for most in (0, 2, 3)] == [1, 1, 0]


def test_nanoseconds_are_told_apart():
    start = 1_600_000_000_000_000_000
    frame = pd.DataFrame({"s": [0, 0], "t": [start, start - 1]})
    rule = Rule(
        "", None, "critical", "", "ExpectColumnPairToBeChronological", {"column_A": "s", "column_B": "t"}
    )
    assert Judge([rule]).judge(frame)[0].unexpected == 1


@pytest.mark.parametrize(
    ("name", "column", "severity", "frame", "expectations"),
    [
        ("gaps", "date", "critical", prices().drop(index=[4]), {}),
        ("order", "date", "critical", prices().sample(frac=1, random_state=0), {}),
        ("varies", "c", "critical", prices(c=1.0), {}),
        ("range", "Low", "warning", prices(), {"ranges": {"Low": {"max": 3}}}),
        ("relation", "Close < Low", "warning", prices(), {"relations": ["Close < Low"]}),
        ("types", "Low", "warning", prices(), {"types": {"Low": "integer"}}),
    ],
)
def test_severity_is_as_the_dataset_says(name, column, severity, frame, expectations):
    check = checks_of(frame, expectations={**expectations, "severity": {name: severity}})[name, column]
    assert (check.success, check.severity) == (False, severity)


def test_what_nothing_can_be_made_of_stays_critical():
    said = {"severity": {"missing values": "warning", "exact in float64": "warning"}}
    checks = checks_of(prices(hole=[np.nan, *range(29)], inf=[np.inf, *range(29)]), expectations=said)
    assert checks["missing values", "hole"].severity == "critical"
    assert checks["finite", "inf"].severity == "critical"


@pytest.mark.parametrize(
    ("limits", "severity", "success"),
    [
        ({}, "warning", False),
        ({"max_gaps": 1}, "critical", False),
        ({"max_gaps": 2, "max_gap_steps": 2}, "warning", True),
        ({"max_gap_steps": 1}, "critical", False),
        ({"max_gap_steps": 1, "severity": {"gaps": "warning"}}, "warning", False),
    ],
)
def test_gaps_are_as_bad_as_their_limits(limits, severity, success):
    check = checks_of(prices().drop(index=[4, 5, 9]), expectations=limits)["gaps", "date"]
    assert (check.severity, check.success, check.unexpected) == (severity, success, 2)
    assert "2 gaps, 3 steps" in check.found


def test_types_shares_of_missing_cells_and_nearly_constant_columns():
    frame = prices(2000, whole=np.arange(2000), text=["a", "b"] * 1000, rare=[1.0] * 1999 + [2.0])
    frame.loc[:99, "Low"] = np.nan
    wanted = {"whole": "integer", "text": "text", "date": "time", "Low": "number", "Close": "boolean"}
    checks = checks_of(
        frame,
        columns={"text": "categorical"},
        missing={"policy": "mask"},
        expectations={"types": wanted, "max_missing": {"Low": 0.04, "Close": 0.0}},
    )
    failed = {key: check.found for key, check in checks.items() if not check.success}
    assert failed == {
        ("types", "Close"): "double",
        ("missing share", "Low"): "5 % (100 cells)",
        ("missing values", "Low"): "100 rows",
        ("varies", "rare"): "one value in 99.95 % of the rows",
    }


@pytest.mark.parametrize(
    ("policy", "same", "severity"),
    [
        ("equal", True, "warning"),
        ("equal", False, "critical"),
        ("refuse", True, "critical"),
        ("first", False, "warning"),
        ("last", False, "warning"),
    ],
)
def test_repeated_stamps_are_as_bad_as_the_policy_says(policy, same, severity):
    frame = prices(6)
    frame.loc[6] = frame.loc[2]
    if not same:
        frame.loc[6, "Low"] = -5
    check = checks_of(frame, time={"duplicates": policy})["no time stamp twice", "date"]
    assert (check.success, check.severity, [bad.row for bad in check.rows]) == (False, severity, [3, 7])
    assert check.unexpected == 1


def bad_prices() -> pd.DataFrame:
    frame = prices(200, text=["1"] * 199 + ["total"])
    frame.loc[10, "Low"] = np.inf
    frame.loc[20, "Close"] = -1
    frame.loc[30, "Close"] = np.nan
    return frame


RULES = {"relations": ["Low <= Close"], "ranges": {"Close": {"min": 0}}}


def test_bad_rows_are_kept_as_they_are_with_every_reason(tmp_path):
    ref = validate_frame(tmp_path, bad_prices(), expectations=RULES, missing={"policy": "drop_row"})
    kept = pq.read_table(ref.path / "quarantine.parquet").to_pandas()
    assert dict(zip(kept["row"], kept["reason"], strict=True)) == {
        11: "Low: finite; Low <= Close: relation",
        21: "Close: range; Low <= Close: relation",
        200: "text: numbers",
    }
    rows = bad_prices().iloc[kept["row"] - 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        kept.drop(columns=["row", "reason"]), rows, check_dtype=False, check_index_type=False
    )
    assert (ref.success, ref.quarantined, ref.excluded()) == (False, 0, None)
    with pytest.raises(DataError):
        raise_if_failed(ref)


def test_quarantined_rows_are_left_out_and_fail_nothing(tmp_path):
    expectations = {**RULES, "bad_rows": "quarantine", "max_quarantined": 0.015}
    ref = validate_frame(tmp_path, bad_prices(), expectations=expectations, missing={"policy": "drop_row"})
    assert (ref.success, ref.quarantined) == (True, 3)
    excluded = ref.excluded()
    assert excluded is not None
    assert excluded.tolist() == [10, 20, 199]
    failed = [check for check in report_of(ref)["checks"] if check["quarantined"]]
    assert {check["name"] for check in failed} == {"finite", "relation", "range", "numbers"}
    assert {check["severity"] for check in failed} == {"warning"}
    left = bad_prices().drop(index=excluded).astype({"text": float})
    assert validate_frame(tmp_path / "again", left, expectations=RULES, missing={"policy": "drop_row"}).success


def test_too_many_bad_rows_are_refused(tmp_path):
    expectations = {**RULES, "bad_rows": "quarantine", "max_quarantined": 0.01}
    ref = validate_frame(tmp_path, bad_prices(), expectations=expectations, missing={"policy": "drop_row"})
    assert (ref.success, ref.quarantined) == (False, 0)
    check = next(check for check in report_of(ref)["checks"] if check["name"] == "quarantine")
    assert check["found"] == "3 rows (1.5 %)"


def test_unreadable_stamps_are_critical_even_under_quarantine(tmp_path):
    frame = prices(200).assign(date=lambda frame: frame["date"].astype(str))
    frame.loc[3, "date"] = "soon"
    ref = validate_frame(tmp_path, frame, time={"column": "date"}, expectations={"bad_rows": "quarantine"})
    assert (ref.success, ref.quarantined) == (False, 0)
    assert pq.read_table(ref.path / "quarantine.parquet")["row"].to_pylist() == [4]


def walk(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["a", "b"], rows, p=[0.7, 0.3])
    return prices(rows, x=rng.normal(size=rows) + shift, kind=kinds)[["date", "x", "kind"]]


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_drift_is_of_a_shift_and_not_of_more_rows(tmp_path, shift):
    dataset = dataset_of(columns={"kind": "categorical"})
    first = lay_snapshot(tmp_path, walk(1500, 0))
    more = pd.concat([walk(1500, 0), walk(1500, 1, shift)]) if not shift else walk(1500, 1, shift)
    more["date"] = pd.date_range("2020-01-01", periods=len(more))
    second = lay_snapshot(tmp_path, more, taken="2026-02-01T00:00:00+00:00")
    assert [check["name"] for check in report_of(validate(dataset, first, tmp_path))["checks"]].count(
        "drift"
    ) == 0
    report = report_of(validate(dataset, second, tmp_path))
    drift = {check["column"]: check for check in report["checks"] if check["name"] == "drift"}
    assert {name: check["success"] for name, check in drift.items()} == {"x": not shift, "kind": True}
    assert report["drift"]["before"] == first.digest
    if shift:
        assert drift["x"]["severity"] == "warning"
        assert report["warnings"] == 1


def test_drift_of_samples_is_the_two_sample_statistic(tmp_path):
    from scipy.stats import ks_2samp

    dataset = dataset_of(columns={"kind": "drop"}, expectations={"drift": 0.01})
    lay_snapshot(tmp_path, walk(300, 0))
    second = lay_snapshot(tmp_path, walk(300, 5), taken="2026-02-01T00:00:00+00:00")
    report = report_of(validate(dataset, second, tmp_path))
    expected = ks_2samp(walk(300, 0)["x"], walk(300, 5)["x"]).statistic
    assert report["drift"]["columns"][0]["distance"] == pytest.approx(expected)


def test_ties_of_text_need_no_float_columns():
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=30), "kind": list("ab") * 15})
    checks = checks_of(frame, columns={"kind": "categorical"})
    assert all(check.success for check in checks.values())


def test_progress_ends_at_all_rows(tmp_path):
    told: list[tuple[int, int]] = []
    with TemporaryDirectory() as folder:
        rows = StoredRows.open(lay_snapshot(tmp_path, prices(25)))
        check_rows(
            dataset_of(), rows, Path(folder), size=10, progress=lambda done, total: told.append((done, total))
        )
    assert told == [(10, 25), (20, 25), (25, 25)]


def test_no_rows_at_all_are_refused_and_break_no_check():
    checks = checks_of(prices(3).iloc[:0], expectations={"ranges": {"Low": {"min": 0}}})
    assert not checks["rows", None].success
    assert [check.name for check in checks.values() if "could not run" in check.found] == []


@pytest.mark.parametrize(
    ("cells", "name", "found"),
    [
        (["1,5"] * 29 + ["2,5"], "numbers", "string, 30 cells"),
        (["1"] * 30, "numbers", "text (string)"),
        ([None] * 30, "missing values", "30 rows"),
        ([1e308] * 15 + [-1e308] * 15, "finite", None),
    ],
)
def test_columns_of_odd_cells(cells, name, found):
    check = checks_of(prices(x=cells))[name, "x"]
    assert (check.success, check.found) == ((True, "as expected") if found is None else (False, found))
    if "1,5" in cells:
        assert "source.decimal" in check.advice


def test_a_snapshot_taken_later_is_not_the_one_before(tmp_path):
    dataset = dataset_of(columns={"kind": "drop"})
    old = lay_snapshot(tmp_path, walk(50, 0))
    lay_snapshot(tmp_path, walk(50, 1), taken="2026-03-01T00:00:00+00:00")
    assert report_of(validate(dataset, old, tmp_path))["drift"] == {"before": None, "columns": []}


def test_the_report_tells_what_is_in_the_columns(tmp_path):
    frame = prices(100, kind=["calm"] * 70 + ["storm"] * 30).drop(index=[40])
    frame.loc[3, "Low"] = np.nan
    ref = validate_frame(tmp_path, frame, columns={"kind": "categorical"}, missing={"policy": "mask"})
    report = report_of(ref)
    facts = {column["name"]: column for column in report["columns"]}
    low = frame["Low"]
    assert (facts["Low"]["minimum"], facts["Low"]["maximum"]) == ("0", "99")
    assert float(facts["Low"]["middle"]) == low.median()
    assert facts["Low"]["missing_share"] == low.isna().mean()
    assert facts["Low"]["histogram"] == np.histogram(low.dropna(), bins=24)[0].tolist()
    assert (facts["kind"]["middle"], facts["date"]["role"]) == ("calm", "time")
    assert report["time"]["from"] == "2020-01-01"
    assert report["gaps"] == {
        "count": 1,
        "list": [{"from": "2020-02-09", "to": "2020-02-11", "row": 40, "length": "2 days", "steps": 1}],
    }
    assert report["source"]["file"] == "x.parquet"
    page = (ref.path / "report.html").read_text()
    assert "some-folder" not in page
    assert page.count("<svg") == 2


def test_data_docs_are_built_of_the_rules_on_cells(tmp_path):
    rows = StoredRows.open(lay_snapshot(tmp_path, prices(20)))
    assert build_data_docs(dataset_of(), rows, tmp_path / "docs") == 20
    pages = "".join(path.read_text() for path in (tmp_path / "docs").rglob("*.html"))
    assert "values must never be null" in pages
    assert "Close" in pages


def test_rows_left_out_change_no_static_column():
    frame = prices(40, name=["a", "b"] * 20, group=["l", "r"] * 20)
    frame.loc[[0, 33], "group"] = None
    strict = {"series": "name", "columns": {"group": "static"}}
    taken_out = {"bad_rows": "quarantine", "max_quarantined": 0.1}
    for expectations, success in (({}, False), (taken_out, True)):
        checks = checks_of(frame, 10, **strict, expectations=expectations)
        assert checks["constant in each series", "group"].success is success
    frame.loc[20, "group"] = "r"
    check = checks_of(frame, 10, **strict, expectations=taken_out)["constant in each series", "group"]
    assert [bad.row for bad in check.rows] == [21]
