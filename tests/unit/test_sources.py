from __future__ import annotations

import gzip
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalog import DatasetConfig, FileSource, SineSource
from core.errors import ConfigError, DataError, StorageError
from core.sources import (
    load_table,
    resolve_dataset,
    snapshot,
    table_digest,
    table_from_snapshot,
)

CATALOG = Path(__file__).resolve().parents[2] / "data" / "catalog"


def of_file(path: Path, **options: object) -> DatasetConfig:
    return DatasetConfig(name="set", source=FileSource(path=str(path), **options))


def load_text(folder: Path, text: str | bytes, name: str = "x.csv", **options: object) -> pa.Table:
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return load_table(of_file(path, **options))


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("a,b\n1.5,2\n3,4\n", "x.csv", {}),
        ("\ufeffa,b\r\n1.5,2\r\n3,4\r\n", "x.csv", {}),
        ("a;b\n1.5;2\n3;4\n", "x.csv", {}),
        ("a\tb\n1.5\t2\n3\t4", "x.tsv", {}),
        ("a|b\n1.5|2\n3|4\n", "x.txt", {}),
        ('"a","b"\n" 1.5"," 2"\n"3 ","4"\n', "x.csv", {}),
        ("a;b\n1,5;2\n3;4\n", "x.csv", {"decimal": ","}),
        ("a,b\n1.5,2\n3,4\n", "x.csv.gz", {}),
        (" a ,b\n\n1.5,2\n3,4\n\n", "x.CSV", {}),
        ("a,b\n1.5,2\n3,4\n", "x.data", {"format": "csv"}),
    ],
)
def test_forms_of_csv_give_the_same_table(tmp_path, text, name, options):
    table = load_text(tmp_path, text, name, **options)
    assert table.to_pydict() == {"a": [1.5, 3.0], "b": [2, 4]}
    assert table.schema.types == [pa.float64(), pa.int64()]


def test_types_come_from_the_whole_column(tmp_path):
    rows = "\n".join(["1,1,2020-01-01"] * 200_000)
    table = load_text(tmp_path, f"a,b,t\n{rows}\n1.25,abc,2020-01-02\n")
    assert table.schema.types == [pa.float64(), pa.string(), pa.date32()]
    assert table["a"][-1].as_py() == 1.25


def test_large_integers_stay_integers(tmp_path):
    table = load_text(tmp_path, f"a,b\n{2**62 + 1},1\n")
    assert table["a"].to_pylist() == [2**62 + 1]


def test_missing_markers_are_missing_and_blank_lines_of_one_column_too(tmp_path):
    assert load_text(tmp_path, "a,b\nN/A,1\n,2\nNaN,3\n1,4\n")["a"].to_pylist() == [None, None, None, 1]
    assert load_text(tmp_path, "a\n1\n\n3\n\n")["a"].to_pylist() == [1, None, 3]


def test_unnamed_column_gets_a_name(tmp_path):
    assert load_text(tmp_path, ",x\n2020-01-01,1\n").column_names == ["unnamed_1", "x"]


def test_offsets_stay_visible(tmp_path):
    stamps = ["2020-01-01T00:00:00+01:00", "2020-07-01T00:00:00+02:00"]
    table = load_text(tmp_path, "t,a\n" + "".join(f"{stamp},1\n" for stamp in stamps))
    assert table["t"].to_pylist() == stamps


@pytest.mark.parametrize(
    ("text", "error", "part"),
    [
        ("", DataError, "0 rows"),
        ("\n\n", DataError, "0 rows"),
        ("a,b\n", DataError, "0 rows"),
        ("a,b,a\n1,2,3\n", DataError, "'a'"),
        ("a,b, a\n1,2,3\n", DataError, "'a'"),
        ("a,b\n1,2\n3\n4,5\n6,7,8\n", DataError, "row 2 has 1"),
        ("a,b\n1,2\n3\n4,5\n6,7,8\n", DataError, "row 4 has 3"),
        ("1,2\n3,4\n", DataError, "no header"),
        (b"a,b\n1,\xe9\n", DataError, "UTF-8"),
        (b"\xe9,b\n1,2\n", DataError, "UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), DataError, "UTF-16"),
    ],
)
def test_bad_csv_is_refused(tmp_path, text, error, part):
    with pytest.raises(error, match=part):
        load_text(tmp_path, text)


def test_wrong_delimiter_is_refused_with_the_right_one(tmp_path):
    with pytest.raises(ConfigError, match="';'"):
        load_text(tmp_path, "a;b\n1;2\n", delimiter=",")


def test_damaged_gzip_is_refused(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 1000)[:-20])
    with pytest.raises(DataError, match=r"x\.csv\.gz"):
        load_table(of_file(path))


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more", b"a,b\n1,2\n"])
def test_damaged_parquet_is_refused_by_name(tmp_path, content):
    path = tmp_path / "broken.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.parquet"):
        load_table(of_file(path))


def test_cut_off_parquet_is_refused(tmp_path):
    path = tmp_path / "cut.parquet"
    pq.write_table(pa.table({"a": range(1000)}), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cut\.parquet"):
        load_table(of_file(path))


@pytest.mark.parametrize(
    ("table", "part"),
    [
        (pa.table({"a": pa.array([], pa.int64())}), "0 rows"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "'a'"),
        (pa.table({"a": [[1, 2]]}), "list"),
        (pa.table({"a": [b"x"]}), "binary"),
    ],
)
def test_unusable_parquet_is_refused(tmp_path, table, part):
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    with pytest.raises(DataError, match=part):
        load_table(of_file(path))


def test_parquet_keeps_types_and_makes_no_columns_of_folders(tmp_path):
    folder = tmp_path / "year=2020"
    folder.mkdir()
    table = pa.table(
        {
            "t": pa.array([0, 1], pa.timestamp("us", "UTC")),
            "i": pa.array([1, None], pa.int8()),
            "d": pa.array(["x", "y"]).dictionary_encode(),
            "s": pa.array(["x", "y"], pa.large_string()),
        }
    )
    pq.write_table(table, folder / "x.parquet")
    loaded = load_table(of_file(folder / "x.parquet"))
    assert loaded.column_names == ["t", "i", "d", "s"]
    assert loaded.schema.types == [pa.timestamp("us", "UTC"), pa.int8(), pa.string(), pa.string()]
    assert loaded.to_pydict() == table.to_pydict()


@pytest.mark.parametrize("place", ["nothing.csv", "", "a\0b.csv", "x" * 300 + ".csv"])
def test_what_is_no_file_is_a_configuration_error(tmp_path, place):
    with pytest.raises(ConfigError):
        load_table(of_file(Path(str(tmp_path) + "/" + place)))


def test_unknown_ending_asks_for_the_format(tmp_path):
    with pytest.raises(ConfigError, match=r"source\.format"):
        load_text(tmp_path, "a,b\n1,2\n", "x.xlsx")


@pytest.mark.parametrize("name", ["sp500", "nasdaq"])
def test_arch_tables(name):
    table = load_table(resolve_dataset(name, CATALOG).dataset)
    assert table.column_names == ["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"]
    assert table.num_rows == 5031
    assert pd.Timestamp(table["Date"][0].as_py()) == pd.Timestamp("1999-01-04")


def test_sine_code_variant_is_the_published_loop():
    source = SineSource(variant="code", series=3, length=5, features=2, seed=7)
    table = load_table(DatasetConfig(name="s", source=source))
    rng = np.random.default_rng(7)
    frequency, phase = rng.uniform(0, 0.1, (3, 2)), rng.uniform(0, 0.1, (3, 2))
    for i in range(3):
        for k in range(2):
            for j in range(5):
                expected = (math.sin(frequency[i, k] * j + phase[i, k]) + 1) * 0.5
                assert table[f"sine_{k}"][5 * i + j].as_py() == pytest.approx(expected, abs=1e-15)
    assert table["series"].to_pylist() == [0] * 5 + [1] * 5 + [2] * 5


def test_sine_paper_variant_is_a_sinusoid_of_every_frequency():
    source = SineSource(variant="paper", series=200, length=24, features=1, seed=1)
    waves = np.asarray(load_table(DatasetConfig(name="s", source=source))["sine_0"]).reshape(200, 24)
    # Any sampled sinusoid obeys x[j+1] + x[j-1] = 2 cos(2 pi eta) x[j].
    inner = waves[:, 1:-1]
    cosine = ((waves[:, 2:] + waves[:, :-2]) * inner).sum(axis=1) / (2 * (inner**2).sum(axis=1))
    residual = waves[:, 2:] + waves[:, :-2] - 2 * cosine[:, None] * inner
    assert np.abs(residual).max() < 1e-9
    assert cosine.min() < -0.9
    assert cosine.max() > 0.9
    assert waves.min() < -0.99


def test_sine_depends_on_the_seed_alone():
    def digest(seed: int) -> str:
        return table_digest(
            load_table(DatasetConfig(name="s", source=SineSource(series=2, length=4, features=1, seed=seed)))
        )

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


TABLE = pa.table(
    {
        "i": pa.array([1, None, 3, 4, 5, 6, 7, 8, 9], pa.int64()),
        "f": pa.array([0.5, None, float("nan"), 1, 2, 3, 4, 5, 6]),
        "b": pa.array([True, None, False, True, True, False, None, True, True]),
        "s": pa.array(["x", None, "", "y", "z", "zz", "", "a", "b"]),
    }
)


@given(st.lists(st.integers(0, 9), max_size=6))
@settings(deadline=None)
def test_digest_ignores_chunks(cuts):
    edges = [0, *sorted(cuts), 9]
    pieces = [TABLE.slice(a, b - a) for a, b in pairwise(edges)]
    again = pa.concat_tables(pieces)
    assert table_digest(again) == table_digest(TABLE)


@pytest.mark.parametrize("column", ["i", "f", "b", "s"])
@pytest.mark.parametrize("row", [0, 1, 8])
def test_digest_sees_every_changed_cell(column, row):
    tree = TABLE.to_pydict()
    other = {"i": 100, "f": 0.25, "b": False, "s": "other"}[column]
    tree[column][row] = other
    assert table_digest(pa.table(tree, schema=TABLE.schema)) != table_digest(TABLE)


def test_digest_sees_names_types_and_order():
    digests = {
        table_digest(table)
        for table in (
            TABLE,
            TABLE.rename_columns(["j", "f", "b", "s"]),
            TABLE.select(["f", "i", "b", "s"]),
            TABLE.set_column(0, "i", TABLE["i"].cast(pa.int32())),
            TABLE.slice(0, 8),
        )
    }
    assert len(digests) == 5


def test_digest_ignores_what_lies_below_missing_values():
    mask = pa.array([False, True])
    one = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.array([1, 5]).buffers()[1]])
    two = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.array([1, 9]).buffers()[1]])
    assert one.is_null().equals(mask)
    assert table_digest(pa.table({"a": one})) == table_digest(pa.table({"a": two}))


def test_snapshot_once_and_read_back(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2.5\n3,4.5\n")
    first = snapshot(of_file(path), tmp_path / "lake")
    again = snapshot(of_file(path), tmp_path / "lake")
    assert (first.reused, again.reused) == (False, True)
    assert first.digest == again.digest
    assert (first.rows, first.columns) == (2, ("a", "b"))
    assert first.path == tmp_path / "lake" / "snapshots" / "set" / first.digest[:16]
    assert table_from_snapshot(first).to_pydict() == {"a": [1, 3], "b": [2.5, 4.5]}
    manifest = json.loads((first.path / "manifest.json").read_text())
    assert manifest["sha256"] == first.digest == table_digest(table_from_snapshot(first))
    assert manifest["schema"] == {"a": "int64", "b": "double"}
    path.write_text("a,b\n1,2.5\n3,4.25\n")
    changed = snapshot(of_file(path), tmp_path / "lake")
    assert changed.digest != first.digest
    assert first.path.is_dir()


def test_snapshot_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1\n")
    with pytest.raises(DataError):
        snapshot(of_file(path), tmp_path / "lake")
    assert not (tmp_path / "lake").exists()


def test_damaged_snapshot_is_a_storage_error(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    ref = snapshot(of_file(path), tmp_path / "lake")
    (ref.path / "data.parquet").write_bytes(b"")
    with pytest.raises(StorageError):
        table_from_snapshot(ref)


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


def test_padded_quoted_numbers_with_dates_between(tmp_path):
    text = '"date","x"\n"2016-01-11 17:00:00","  60"\n"2016-01-11 17:10:00"," 6.5e+00"\n'
    table = load_text(tmp_path, text)
    assert table["x"].to_pylist() == [60.0, 6.5]
    assert pa.types.is_timestamp(table.schema.field("date").type)
