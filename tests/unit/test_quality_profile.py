from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import yaml
from arch.data import sp500
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from core.catalog import DatasetConfig, load_dataset
from core.errors import ConfigError
from core.quality.profile import propose
from core.quality.validate import check_rows
from core.sources.stored import StoredRows
from flows.cli import app
from tests.unit.laid_snapshot import lay_snapshot
from tests.unit.test_quality import dataset_of, people, prices


def profile_of(folder: Path, frame: pd.DataFrame, **parts: object) -> tuple[str, DatasetConfig, list[str]]:
    """The text, what is read back from it, and the critical checks that the same rows fail by it."""
    rows = StoredRows.open(lay_snapshot(folder, frame))
    text = propose(dataset_of(**parts), rows)
    (folder / "set.yaml").write_text(text)
    dataset = load_dataset(folder / "set.yaml")
    found = check_rows(dataset, rows, folder)
    return text, dataset, [f"{check.name} {check.column}" for check in found.findings.failed]


def test_prices_show_their_calendar_and_relations(tmp_path):
    text, dataset, failed = profile_of(tmp_path, sp500.load().rename_axis("Date").reset_index())
    assert failed == []
    assert (dataset.time.column, dataset.time.calendar) == ("Date", "XNYS")
    relations = set(dataset.expectations.relations)
    assert {"Low <= Open", "Low <= Close", "Open <= High", "Close <= High"} <= relations
    assert not [text for text in relations if "Volume" in text]
    low, volume = dataset.expectations.ranges["Low"], dataset.expectations.ranges["Volume"]
    assert 0 <= (low.min or 0) < 666 < 2900 < (low.max or 0) < 4000
    assert volume.min == 0
    assert "# every row on a session of XNYS" in text


def test_roles_are_seen_in_the_values(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=400, freq="10min"),
            "id": np.arange(7, 407),
            "x": rng.normal(size=400),
            "on": rng.integers(0, 2, 400),
            "mode": rng.choice(["a", "b", "c"], 400),
            "note": [f"note {number}" for number in range(400)],
            "same": 5.0,
            "hole": np.where(rng.random(400) < 0.02, np.nan, rng.random(400)),
        }
    ).drop(index=[100, 101])
    text, dataset, failed = profile_of(tmp_path, frame)
    assert failed == []
    assert dataset.columns == {
        "on": "binary",
        "mode": "categorical",
        "note": "drop",
        "same": "drop",
    }
    assert dataset.time.frequency == "10min"
    assert dataset.missing.policy == "drop_row"
    assert dataset.expectations.max_gap_steps == 2
    assert dataset.expectations.types["mode"] == "text"
    assert yaml.safe_load(text)["expectations"]["min_rows"] == 358


def test_a_column_that_counts_the_rows_is_dropped(tmp_path):
    _, dataset, _ = profile_of(tmp_path, prices(50, number=np.arange(5, 55), whole=np.arange(50) % 7))
    assert dataset.columns == {"number": "drop"}


def test_several_series_in_one_table_are_told_apart(tmp_path):
    frame = people(x=np.arange(30.0) % 7, group=np.repeat(["l", "r", "l"], 10))
    frame.insert(0, "date", list(pd.date_range("2024-01-01", periods=10)) * 3)
    _, dataset, failed = profile_of(tmp_path, frame)
    assert failed == []
    assert dataset.series == "who"
    assert dataset.columns["group"] == "static"


def test_what_the_dataset_says_is_kept(tmp_path):
    said = {
        "columns": {"Low": "drop"},
        "time": {"column": "date", "frequency": "D"},
        "expectations": {"min_rows": 3},
    }
    _, dataset, _ = profile_of(tmp_path, prices(), **said)
    assert dataset.columns["Low"] == "drop"
    assert dataset.time.frequency == "D"
    assert dataset.expectations.min_rows == 3
    assert "Low" not in dataset.expectations.ranges


def test_hostile_names_stay_data(tmp_path):
    name = "x\n# injected: {yes}\n- !!python/object:os.system"
    text, dataset, failed = profile_of(tmp_path, prices(**{name: 1.0, "a <= b": np.arange(30.0)}))
    assert failed == []
    assert dataset.columns == {name: "drop"}
    assert "\n# injected" not in text
    assert "a <= b" in dataset.expectations.ranges


_CELLS = {
    "floats": st.floats(-1e9, 1e9, width=32),
    "holes": st.one_of(st.none(), st.floats(-5, 5)),
    "whole": st.integers(-(2**40), 2**40),
    "flags": st.booleans(),
    "text": st.sampled_from(["a", "b", "c", "true", "1"]),
}


@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(data=st.data(), rows=st.integers(12, 40), names=st.sets(st.sampled_from(sorted(_CELLS)), min_size=1))
def test_the_data_pass_their_own_profile(data, rows, names):
    columns = {name: data.draw(st.lists(_CELLS[name], min_size=rows, max_size=rows)) for name in sorted(names)}
    frame = prices(rows, **{name: pd.Series(cells) for name, cells in columns.items()})
    with TemporaryDirectory() as folder:
        _, _, failed = profile_of(Path(folder), frame)
    assert failed == []


def test_time_is_said_to_be_none_where_there_is_none(tmp_path):
    _, dataset, failed = profile_of(tmp_path, pd.DataFrame({"x": np.random.default_rng(0).normal(size=50)}))
    assert (dataset.time.none, failed) == (True, [])


@pytest.mark.parametrize("freq", ["h", "D", "MS"])
def test_the_frequency_is_as_inferred(tmp_path, freq):
    frame = prices(40).assign(date=pd.date_range("2020-01-01", periods=40, freq=freq))
    _, dataset, failed = profile_of(tmp_path, frame)
    assert (dataset.time.frequency, failed) == (freq, [])


def test_holidays_are_no_gaps_of_a_calendar_that_is_proposed(tmp_path):
    frame = sp500.load().rename_axis("Date").reset_index()
    _, dataset, failed = profile_of(tmp_path, frame.drop(index=range(1000, 1003)).reset_index(drop=True))
    assert (dataset.time.calendar, failed) == ("XNYS", [])
    assert dataset.expectations.max_gap_steps == 3


def test_a_static_column_of_the_dataset_with_holes_is_masked(tmp_path):
    frame = prices(200, name=["a", "b"] * 100, group=["l", "r"] * 100, more=np.arange(200) % 7)
    frame = pd.concat([frame, prices(2, name=["c", "c"], group=[None, None], more=[1, 2])])
    frame["date"] = pd.date_range("2020-01-01", periods=len(frame), freq="D")
    static = {"group": {"kind": "categorical", "static": True}}
    _, dataset, failed = profile_of(tmp_path, frame, series="name", columns=static)
    assert (dataset.missing.policy, failed) == ("mask", [])


@pytest.mark.parametrize("option", ["--json", "--data-docs"])
def test_a_profile_does_not_drop_what_it_is_asked_besides(option, tmp_path):
    tokens = ["validate", str(tmp_path / "x.csv"), "--profile", option, str(tmp_path / "y")]
    with pytest.raises(ConfigError, match=option):
        app(tokens, exit_on_error=False, print_error=False)


def test_half_floats_have_a_range(tmp_path):
    frame = prices(half=np.linspace(1, 9, 30).astype(np.float16))
    _, dataset, failed = profile_of(tmp_path, frame)
    assert failed == []
    assert 0 <= dataset.expectations.ranges["half"].min <= 1
