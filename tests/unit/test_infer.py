"""What names, YAML files and bare data files are resolved to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest

from core.errors import ConfigError
from core.sources import infer
from core.sources.resolve import resolve_dataset
from tests.unit.source_tables import load_table

CATALOG = Path(__file__).resolve().parents[2] / "data" / "catalog"


def test_resolve_by_name_and_by_yaml(tmp_path):
    assert resolve_dataset("sp500", CATALOG).dataset.time.calendar == "XNYS"
    (tmp_path / "mine.yaml").write_text("source: {kind: file, path: x.csv}\ntime: {none: true}\n")
    resolved = resolve_dataset(str(tmp_path / "mine.yaml"), CATALOG)
    assert resolved.dataset.name == "mine"
    assert resolved.dataset.source.path == str(tmp_path / "x.csv")
    assert resolved.notes == ()


@pytest.mark.parametrize(
    "text", ["../x", "/etc/passwd", "", "a\0b", "a\0b.csv", "x" * 300, "SP500", "..", "x/../sp500", "./no.csv"]
)
def test_unknown_names_are_configuration_errors(text):
    with pytest.raises(ConfigError):
        resolve_dataset(text, CATALOG)


def test_unknown_name_lists_names_and_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean sp500\?.*nasdaq"):
        resolve_dataset("sp50", CATALOG)


def write_days(path: Path, days: pd.DatetimeIndex, name: str = "Date") -> str:
    pd.DataFrame({name: days, "x": np.arange(len(days)) * 0.5}).to_csv(path, index=False)
    return str(path)


def test_infer_trading_calendar_of_a_price_file(tmp_path):
    days = pd.DatetimeIndex(load_table(resolve_dataset("sp500", CATALOG).dataset)["Date"].to_pandas())
    resolved = resolve_dataset(write_days(tmp_path / "My Prices (2).csv", days[:600][::-1]), CATALOG)
    assert resolved.dataset.name == "my-prices-2"
    assert resolved.dataset.time.column == "Date"
    assert resolved.dataset.time.calendar == "XNYS"
    assert any("XNYS" in note for note in resolved.notes)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (pd.bdate_range("2020-01-01", periods=500), {"max_gap": "5D"}),
        (pd.date_range("2020-01-01", periods=50, freq="D"), {"frequency": "D"}),
        (pd.date_range("2020-01-01", periods=50, freq="10min"), {"frequency": "10min"}),
        (pd.date_range("2020-01-01", periods=50, freq="h").delete([7, 20]), {"frequency": "h"}),
        (pd.date_range("2020-01-01", periods=30, freq="MS").delete(4), {"frequency": "MS"}),
        (pd.date_range("2020-01-01", periods=30, freq="QE"), {"frequency": "QE"}),
        (pd.date_range("2020-01-01", periods=30, freq="7D"), {"frequency": "7D"}),
    ],
)
def test_infer_step(tmp_path, stamps, expected):
    time = resolve_dataset(write_days(tmp_path / "x.csv", stamps, "when"), CATALOG).dataset.time
    assert time.model_dump(exclude_defaults=True) == {"column": "when", **expected}


def test_infer_of_a_file_without_time_keeps_every_column(tmp_path):
    (tmp_path / "x.csv").write_text("a;name;c\n1,5;Ann;7\n2,5;Bob;7\n")
    resolved = resolve_dataset(str(tmp_path / "x.csv"), CATALOG)
    assert resolved.dataset.time.none
    assert resolved.dataset.source.decimal == ","
    assert resolved.dataset.columns == {}
    assert load_table(resolved.dataset).to_pydict() == {"a": [1.5, 2.5], "name": ["Ann", "Bob"], "c": [7, 7]}
    assert any("'name'" in note and "drop" in note for note in resolved.notes)


def test_infer_reads_the_beginning_alone_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(infer, "HEAD_ROWS", 100)
    stamps = pd.date_range("2020-01-01", periods=100, freq="h").append(pd.DatetimeIndex(["2050-01-01"] * 900))
    resolved = resolve_dataset(write_days(tmp_path / "x.csv", stamps), CATALOG)
    assert resolved.dataset.time.frequency == "h"
    assert any("first 100 rows" in note for note in resolved.notes)


@pytest.mark.parametrize("ending", ["x.parquet", "x.feather", "parts/"])
def test_infer_of_other_files_and_folders(tmp_path, ending):
    table = pa.table({"when": pd.date_range("2020-01-01", periods=30, freq="D"), "x": np.arange(30.0)})
    if ending == "parts/":
        (tmp_path / "parts").mkdir()
        pq.write_table(table, tmp_path / "parts" / "0.parquet")
    else:
        (pq.write_table if ending == "x.parquet" else pa_feather.write_feather)(table, tmp_path / ending)
    dataset = resolve_dataset(f"{tmp_path}/{ending}", CATALOG).dataset
    assert dataset.time.model_dump(exclude_defaults=True) == {"column": "when", "frequency": "D"}
    assert dataset.name == ending.strip("/").split(".")[0]
    assert load_table(dataset).num_rows == 30


@pytest.mark.parametrize("text", ["~nobody9/x.csv", "~nobody9/x.yaml"])
def test_homes_of_nobody_are_configuration_errors(text, tmp_path):
    with pytest.raises(ConfigError, match="no path"):
        resolve_dataset(text, tmp_path)
