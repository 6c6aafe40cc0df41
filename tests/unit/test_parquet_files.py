"""Parquet files, folders of them, and Arrow files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from tests.unit.source_tables import complaint, load_table, load_text, of_file


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


def write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_a_folder_is_read_in_order_and_its_partitions_become_columns(tmp_path):
    for year, place, value in [(2021, "b%20c", 3), (2020, "a", 1), (2020, "__HIVE_DEFAULT_PARTITION__", 0)]:
        write(pa.table({"x": [value, value + 10]}), tmp_path / f"year={year}" / f"place={place}" / "p.parquet")
    (tmp_path / "_SUCCESS").touch()
    table = load_table(of_file(tmp_path))
    assert table.to_pydict() == {
        "x": [0, 10, 1, 11, 3, 13],
        "year": [2020] * 4 + [2021] * 2,
        "place": [None, None, "a", "a", "b c", "b c"],
    }
    assert table.schema.types == [pa.int64(), pa.int64(), pa.string()]


def test_files_of_a_folder_must_be_alike(tmp_path):
    write(pa.table({"x": [1]}), tmp_path / "a.parquet")
    write(pa.table({"x": [1.5]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet has other columns.*x double.*x int64"):
        load_table(of_file(tmp_path))


def test_a_column_in_file_and_folder_is_refused(tmp_path):
    write(pa.table({"x": [1]}), tmp_path / "x=1" / "a.parquet")
    with pytest.raises(DataError, match="'x'"):
        load_table(of_file(tmp_path))


def test_a_folder_without_data_is_a_configuration_error(tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(ConfigError, match="holds no file"):
        load_table(of_file(tmp_path))


@pytest.mark.parametrize("kind", [pa.time32("s"), pa.time64("us"), pa.duration("s"), pa.binary(3)])
def test_types_that_are_not_plain_are_refused_by_name(tmp_path, kind):
    cell = {pa.binary(3): b"abc"}.get(kind, 1)
    write(pa.table({"odd": pa.array([cell], kind)}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="column 'odd' is of type"):
        load_table(of_file(tmp_path / "x.parquet"))


@pytest.mark.parametrize("compression", ["lz4", "uncompressed"])
def test_feather(tmp_path, compression):
    table = pa.table({"a": [1.5, None, 2.0], "d": pa.array(["u", "v", "u"]).dictionary_encode()})
    pa_feather.write_feather(table, tmp_path / "x.feather", compression=compression, chunksize=2)
    loaded = load_table(of_file(tmp_path / "x.feather"))
    assert loaded.to_pydict() == {"a": [1.5, None, 2.0], "d": ["u", "v", "u"]}
    assert loaded.schema.types == [pa.float64(), pa.string()]


@pytest.mark.parametrize("name", ["x.parquet", "x.feather"])
def test_a_csv_by_another_ending_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=r"x\.(parquet|feather)"):
        load_text(tmp_path, "a,b\n1,2\n", name)


def test_parquet_called_feather_is_called_by_its_name(tmp_path):
    write(pa.table({"a": [1]}), tmp_path / "x.feather")
    with pytest.raises(DataError, match="format: parquet"):
        load_table(of_file(tmp_path / "x.feather"))


def test_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / "x.feather"
    pa_feather.write_feather(pa.table({"naming": [1, 2]}), path, compression="uncompressed")
    path.write_bytes(path.read_bytes().replace(b"naming", b"n\x80ming"))
    assert "x.feather" in complaint(path)


@given(st.data(), st.sampled_from(["x.parquet", "x.feather"]))
@settings(max_examples=80)
def test_damaged_files_are_rows_or_a_clear_error(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("damaged") / name
    table = pa.table({"a": range(50), "s": [f"text {i}" for i in range(50)], "f": [0.5] * 50})
    pq.write_table(table, path) if name == "x.parquet" else pa_feather.write_feather(table, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    said = complaint(path)
    assert not said or name in said
