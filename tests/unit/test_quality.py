from __future__ import annotations

import json
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from arch.data import sp500

from core.catalog import DatasetConfig, load_dataset
from core.errors import ConfigError, DataError
from core.handles import ValidationRef
from core.quality import raise_if_failed, validate
from core.quality.checks import Check, Outcome, WholeRule, judged
from core.quality.suite import Judge
from core.quality.validate import check_rows
from core.sources.stored import StoredRows
from tests.unit.laid_snapshot import lay_snapshot

CATALOG = Path(__file__).resolve().parents[2] / "data" / "catalog"


def dataset_of(**parts: object) -> DatasetConfig:
    tree = {"name": "set", "source": {"kind": "file", "path": "x.parquet"}, **parts}
    return DatasetConfig.model_validate(tree)


def checks_of(
    frame: pd.DataFrame, size: int | None = None, **parts: object
) -> dict[tuple[str, str | None], Check]:
    with tempfile.TemporaryDirectory() as folder:
        rows = StoredRows.open(lay_snapshot(Path(folder), frame))
        found = check_rows(dataset_of(**parts), rows, Path(folder), size=size)
    return {(check.name, check.column): check for check in found.findings.checks}


def prices(rows: int = 30, **columns: object) -> pd.DataFrame:
    days = pd.date_range("2020-01-01", periods=rows, freq="D")
    low = np.arange(rows, dtype=float)
    return pd.DataFrame({"date": days, "Low": low, "Close": low + 1, **columns})


def validate_frame(folder: Path, frame: pd.DataFrame, **parts: object) -> ValidationRef:
    return validate(dataset_of(**parts), lay_snapshot(folder, frame), folder)


def report_of(ref: ValidationRef) -> dict:
    return json.loads((ref.path / "report.json").read_text())


def test_good_data_pass_every_check(tmp_path):
    dataset = load_dataset(CATALOG / "sp500.yaml")
    taken = lay_snapshot(tmp_path, sp500.load().rename_axis("Date").reset_index(), name="sp500")
    ref = validate(dataset, taken, tmp_path)
    assert (ref.success, ref.failed, ref.warnings, ref.reused) == (True, 0, 0, False)
    assert ref.checks == len(report_of(ref)["checks"]) > 40
    assert validate(dataset, taken, tmp_path).reused
    raise_if_failed(ref)


def test_one_failure_of_each_kind_is_found_with_column_and_rows(tmp_path):
    frame = prices(
        text=["1"] * 28 + ["N-A", "2"],
        empty=[np.nan, *range(29)],
        infinite=[1.0, np.inf, *range(28)],
        price=[-1.0, *range(28), 1e6],
    )
    frame.loc[5, "Close"] = -7
    frame.loc[9, "date"] = frame.loc[8, "date"]
    expectations = {
        "min_rows": 31,
        "ranges": {"price": {"min": 0, "max": 1000}, "nowhere": {"min": 0}},
        "relations": ["Low <= Close"],
    }
    ref = validate_frame(tmp_path, frame, expectations=expectations)
    failed = {
        (check["name"], check["column"]): [bad["row"] for bad in check["rows"]]
        for check in report_of(ref)["checks"]
        if not check["success"] and check["severity"] == "critical"
    }
    assert failed == {
        ("rows", None): [],
        ("column exists", "nowhere"): [],
        ("numbers", "text"): [29],
        ("missing values", "empty"): [1],
        ("finite", "infinite"): [2],
        ("range", "price"): [1, 30],
        ("relation", "Low <= Close"): [6],
        ("no time stamp twice", "date"): [9, 10],
    }
    assert not ref.success
    assert ref.failed == 8
    with pytest.raises(DataError) as caught:
        raise_if_failed(ref)
    message = str(caught.value)
    for part in ("text", "29 ('N-A')", "columns: {text: drop}", "price", "1 (-1.0)", "nowhere", "8 of"):
        assert part in message


@pytest.mark.parametrize(("operator", "bad"), [("<=", [1]), ("<", [1, 2]), (">=", [3]), (">", [2, 3])])
def test_relations_hold_row_by_row(operator, bad):
    frame = pd.DataFrame({"a b": [2.0, 1.0, 0.0, np.nan], "c": [1.0, 1.0, 1.0, 1.0]})
    text = f"a b {operator} c"
    check = checks_of(
        frame, time={"none": True}, expectations={"relations": [text]}, missing={"policy": "drop_row"}
    )["relation", text]
    assert [row.row for row in check.rows] == bad
    assert check.unexpected == len(bad)
    assert check.success is False


@pytest.mark.parametrize(("policy", "severity"), [("refuse", "critical"), ("drop_row", "warning")])
def test_the_missing_policy_decides_how_bad_a_hole_is(policy, severity):
    frame = prices(hole=[np.nan, *range(29)])
    check = checks_of(frame, missing={"policy": policy})["missing values", "hole"]
    assert (check.success, check.severity, check.unexpected) == (False, severity, 1)


def test_counts_agree_with_our_rows_and_rows_stop_at_twenty():
    rng = np.random.default_rng(3)
    values = rng.normal(size=500)
    check = checks_of(prices(500, x=values), expectations={"ranges": {"x": {"min": -0.5, "max": 0.5}}})[
        "range", "x"
    ]
    outside = np.flatnonzero(np.abs(values) > 0.5)
    assert check.unexpected == len(outside)
    assert [row.row for row in check.rows] == (outside[:20] + 1).tolist()


@pytest.mark.parametrize(
    ("frame", "name", "column"),
    [
        (prices(c=1.0), "varies", "c"),
        (prices().sample(frac=1, random_state=0), "order", "date"),
        (prices().drop(index=[4, 5]), "gaps", "date"),
        (prices(n=np.array([2**53 + 1] + [0] * 29)), "exact in float64", "n"),
    ],
)
def test_what_is_odd_but_usable_is_a_warning(frame, name, column):
    checks = checks_of(frame)
    assert (checks[name, column].success, checks[name, column].severity) == (False, "warning")
    assert all(check.success for key, check in checks.items() if key != (name, column))


def test_newest_first_is_no_fault():
    assert all(check.success for check in checks_of(prices()[::-1]).values())


def test_gaps_name_the_sessions_that_are_missing():
    frame = sp500.load().rename_axis("Date").reset_index()
    gone = ["2001-09-10", "2001-09-17"]
    frame = frame[~frame["Date"].isin(pd.to_datetime(gone))]
    check = checks_of(frame, time={"calendar": "XNYS"})["gaps", "Date"]
    # The exchange was closed from the 11th to the 14th: one gap, of two sessions.
    assert check.found == "1 gap, 2 steps missing"
    assert all(day in check.rows[0].value for day in gone)


def test_days_off_the_calendar_are_named():
    frame = pd.DataFrame({"date": pd.date_range("2020-01-06", "2020-01-12"), "x": np.arange(7.0)})
    check = checks_of(frame, time={"calendar": "XNYS"})["on the calendar", "date"]
    assert (check.severity, [row.row for row in check.rows]) == ("warning", [6, 7])


def test_unreadable_time_is_critical_and_named():
    frame = prices(3).assign(date=["2020-01-01", "soon", None])
    check = checks_of(frame)["time stamps", "date"]
    assert (check.success, check.severity) == (False, "critical")
    assert [row.row for row in check.rows] == [2, 3]
    assert "soon" in check.rows[0].value


def test_the_same_time_in_two_series_is_fine_and_twice_in_one_is_not():
    two = pd.concat([prices(3).assign(name="a"), prices(3).assign(name="b")], ignore_index=True)
    good = checks_of(two, series="name")
    assert all(check.success for check in good.values())
    two.loc[4, "date"] = two.loc[3, "date"]
    check = checks_of(two, series="name")["no time stamp twice", "date"]
    assert (check.success, [row.row for row in check.rows]) == (False, [4, 5])


def test_missing_configured_time_column_is_a_finding():
    checks = checks_of(prices(), time={"column": "when"})
    assert not checks["column exists", "when"].success


def test_no_time_column_and_unknown_calendar_are_configuration_errors():
    with pytest.raises(ConfigError, match="time"):
        checks_of(pd.DataFrame({"x": [1.0]}))
    with pytest.raises(ConfigError, match="XNYX"):
        checks_of(prices(), time={"calendar": "XNYX"})


def test_a_dropped_column_is_not_checked_for_numbers():
    checks = checks_of(prices(note="text"), columns={"note": "drop"})
    assert ("numbers", "note") not in checks
    assert all(check.success for check in checks.values())


def test_a_check_that_cannot_run_is_told_from_bad_data():
    rule = WholeRule(
        "odd", "zz", "warning", "something", "ExpectColumnValuesToBeBetween", {"column": "zz", "min_value": 0}
    )
    good = WholeRule("rows", None, "critical", "rows", "ExpectTableRowCountToBeBetween", {"min_value": 1})
    broken, fine = Judge([rule, good]).judge(pd.DataFrame({"a": [1.0]}))
    assert broken.broken
    assert fine == Outcome(success=True, observed="1")
    check = judged(rule, broken)
    assert (check.success, check.severity) == (False, "critical")
    assert "could not run" in check.found


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_reports_show_hostile_names_and_cells_as_text(tmp_path):
    name, cell = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>|[a](javascript:b)`'
    ref = validate_frame(tmp_path, prices(3, **{name: ["1", cell, "2"]}))
    page = Tags()
    page.feed((ref.path / "report.html").read_text())
    assert not {"script", "img", "a", "link"} & set(page.tags)
    assert not [key for key, _ in page.attributes if key.startswith("on") or key in ("src", "href")]
    assert name in page.text
    assert cell in page.text
    markdown = (ref.path / "report.md").read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "[a](" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    # Unescaped bars only between cells.
    assert {line.replace(r"\|", "").count("|") for line in rows} == {8}


def people(**columns: object) -> pd.DataFrame:
    """Three people of ten rows each."""
    return pd.DataFrame({"who": np.repeat(["x", "y", "z"], 10), "n": np.arange(30.0), **columns})


BY_PERSON = {"series": "who", "time": {"none": True}}


def test_columns_of_every_kind_pass():
    frame = people(
        type=list("abc") * 10,
        flag=[True, False] * 15,
        sign=[-1, 1] * 15,
        group=np.repeat(["l", "r", "l"], 10),
        age=np.repeat([30, 40, 50], 10),
    )
    roles = {"type": "categorical", "sign": "binary", "group": "static", "age": "static"}
    checks = checks_of(frame, columns=roles, **BY_PERSON)
    assert [key for key, check in checks.items() if not check.success] == []
    assert {key for key in checks if key[1] == "type"} == {
        ("column exists", "type"),
        ("categorical values", "type"),
        ("missing values", "type"),
        ("varies", "type"),
    }
    assert ("binary values", "flag") in checks
    assert ("constant in each series", "age") in checks
    assert ("numbers", "age") in checks


@pytest.mark.parametrize(
    ("columns", "roles", "key", "found"),
    [
        ({"t": list("abc") * 10}, {}, ("numbers", "t"), "object|str"),
        ({"t": list("abc") * 10}, {"t": "binary"}, ("binary values", "t"), "this one 3: 'a', 'b', 'c'"),
        (
            {"t": [str(i) for i in range(30)]},
            {"t": "categorical"},
            ("categorical values", "t"),
            "30 categories",
        ),
        ({"t": [1.0, np.inf] * 15}, {"t": "categorical"}, ("finite", "t"), "15 rows"),
        (
            {"t": list("a" * 10 + "b" * 5 + "c" * 15)},
            {"t": "static"},
            ("constant in each series", "t"),
            "5 rows differ",
        ),
    ],
)
def test_columns_that_their_kind_does_not_fit_are_critical(columns, roles, key, found):
    check = checks_of(people(**columns), columns=roles, **BY_PERSON)[key]
    assert (check.success, check.severity) == (False, "critical")
    assert re.search(found, check.found)


def test_what_breaks_a_static_column_is_named_by_row_and_series():
    frame = people(t=list("a" * 10 + "b" * 5 + "c" * 15))
    check = checks_of(frame, columns={"t": "static"}, **BY_PERSON)["constant in each series", "t"]
    assert [row.row for row in check.rows] == [16, 17, 18, 19, 20]
    assert check.rows[0].value == "'c' in series 'y'"


def test_text_without_a_role_is_told_of_categories():
    check = checks_of(people(t=list("abc") * 10), **BY_PERSON)["numbers", "t"]
    assert "columns: {t: categorical}" in check.advice
    assert "columns: {t: drop}" in check.advice


@pytest.mark.parametrize(
    ("policy", "severity"), [("refuse", "critical"), ("forward_fill", "warning"), ("mask", "warning")]
)
def test_missing_categories_are_as_bad_as_the_policy_says(policy, severity):
    frame = people(t=[None, *"ab" * 14, "a"])
    checks = checks_of(frame, columns={"t": "categorical"}, missing={"policy": policy}, **BY_PERSON)
    check = checks["missing values", "t"]
    assert (check.success, check.severity, [row.row for row in check.rows]) == (False, severity, [1])
    assert ("kept as missing" in check.advice) == (policy == "mask")


@pytest.mark.parametrize(("policy", "severity"), [("drop_row", "critical"), ("mask", "warning")])
def test_missing_static_cells_are_refused_unless_masked(policy, severity):
    frame = people(t=np.repeat(["a", None, "b"], 10))
    checks = checks_of(frame, columns={"t": "static"}, missing={"policy": policy}, **BY_PERSON)
    assert checks["missing values", "t"].severity == severity
    assert checks["constant in each series", "t"].success


def test_a_range_of_the_series_column_is_judged_on_its_numbers():
    frame = prices(20, id=[1] * 10 + [2] * 10)
    check = checks_of(frame, series="id", expectations={"ranges": {"id": {"max": 1}}})["range", "id"]
    assert [bad.row for bad in check.rows] == list(range(11, 21))
    assert check.unexpected == 10
    assert "mend the cells" in check.advice


@pytest.mark.parametrize("name", ["date", "word"])
@pytest.mark.parametrize("relation", [True, False])
def test_what_has_no_size_is_refused_where_a_size_is_asked(name, relation):
    asked = {"relations": [f"{name} <= Low"]} if relation else {"ranges": {name: {"min": 0}}}
    frame = prices(word=["a", "b"] * 15)
    checks = checks_of(frame, columns={"word": "categorical"}, expectations=asked)
    assert [key for key, check in checks.items() if not check.success] == [("numbers", name)]
    assert checks["numbers", name].severity == "critical"


def test_half_floats_are_judged_as_numbers():
    frame = prices(rare=np.array([1.5, *[0.0] * 29], dtype=np.float16), same=np.zeros(30, dtype=np.float16))
    assert [key for key, check in checks_of(frame).items() if not check.success] == [("varies", "same")]
