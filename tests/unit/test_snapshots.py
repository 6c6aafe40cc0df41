"""Snapshots: named by what is in them, shared where sources grow, whole or absent."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalog import DatasetConfig, FileSource
from core.errors import DataError, StorageError
from core.handles import SnapshotRef
from core.lake import workspace
from core.sources import parts
from core.sources.digest import regroup, table_digest
from core.sources.snapshots import snapshot
from core.sources.stored import StoredRows
from tests.unit.source_tables import of_file

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
    assert StoredRows.open(first).table().to_pydict() == {"a": [1, 3], "b": [2.5, 4.5]}
    manifest = json.loads((first.path / "manifest.json").read_text())
    assert manifest["sha256"] == first.digest == table_digest(StoredRows.open(first).table())
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
        StoredRows.open(ref).table()


@pytest.fixture
def small_groups(monkeypatch):
    """Groups of 8 rows, so that few rows are many groups."""
    monkeypatch.setattr(parts, "GROUP_ROWS", 8)
    monkeypatch.setattr(regroup, "__defaults__", (8,))


def numbers(count: int, changed: int | None = None) -> pa.Table:
    values = np.arange(count) * 0.5
    if changed is not None:
        values[changed] = -1
    return pa.table({"i": np.arange(count), "x": values, "s": [f"t{i % 3}" for i in range(count)]})


def take(table: pa.Table, lake: Path) -> SnapshotRef:
    path = lake.parent / "rows.parquet"
    pq.write_table(table, path)
    return snapshot(of_file(path), lake)


def manifest_of(ref: SnapshotRef) -> dict:
    return json.loads((ref.path / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("before", "after"), [(5, 6), (5, 8), (8, 9), (8, 16), (5, 40), (16, 17), (19, 24), (24, 57)]
)
@pytest.mark.usefixtures("small_groups")
def test_appended_rows_share_the_files_before(tmp_path, before, after):
    lake = tmp_path / "lake"
    first, second = take(numbers(before), lake), take(numbers(after), lake)
    assert StoredRows.open(second).table().equals(numbers(after))
    manifest = manifest_of(second)
    assert (manifest["appended_to"], manifest["appended_rows"]) == (first.path.name, after - before)
    assert [part["rows"] for part in manifest["parts"]] == [before, after - before]
    assert (first.path / "data.parquet").samefile(second.path / "data.parquet")
    assert second.digest == take(numbers(after), tmp_path / "other").digest
    third = take(numbers(after + 3), lake)
    assert [part["rows"] for part in manifest_of(third)["parts"]] == [before, after - before, 3]
    assert StoredRows.open(third).table().equals(numbers(after + 3))


@pytest.mark.parametrize("changed", [0, 7, 8, 18])
@pytest.mark.parametrize("after", [19, 30])
@pytest.mark.usefixtures("small_groups")
def test_changed_rows_are_a_snapshot_of_their_own(tmp_path, changed, after):
    lake = tmp_path / "lake"
    first = take(numbers(19), lake)
    second = take(numbers(after, changed), lake)
    assert StoredRows.open(second).table().equals(numbers(after, changed))
    assert "appended_to" not in manifest_of(second)
    assert second.digest == take(numbers(after, changed), tmp_path / "other").digest
    assert StoredRows.open(first).table().equals(numbers(19))


@pytest.mark.parametrize("after", [1, 8, 15, 16])
@pytest.mark.usefixtures("small_groups")
def test_fewer_rows_are_a_snapshot_of_their_own(tmp_path, after):
    lake = tmp_path / "lake"
    take(numbers(19), lake)
    second = take(numbers(after), lake)
    assert StoredRows.open(second).table().equals(numbers(after))
    assert second.digest == take(numbers(after), tmp_path / "other").digest


def test_the_way_back_finds_the_first_snapshot(tmp_path):
    lake = tmp_path / "lake"
    first = take(numbers(10), lake)
    take(numbers(12), lake)
    again = take(numbers(10), lake)
    assert again.reused
    assert again.path == first.path


@given(st.integers(0, 60), st.integers(1, 60), st.lists(st.integers(1, 20), max_size=5), st.integers(1, 9))
def test_rows_in_groups_are_the_same_rows(start, count, cuts, rows):
    table = numbers(start + count).slice(start)
    edges = sorted({0, len(table), *(cut for cut in cuts if cut < len(table))})
    pieces = list(regroup((table.slice(a, b - a) for a, b in pairwise(edges)), rows))
    assert [len(piece) for piece in pieces[:-1]] == [rows] * (len(pieces) - 1)
    assert 0 < len(pieces[-1]) <= rows
    assert pa.concat_tables(pieces).equals(table)


def test_an_unchanged_file_is_not_parsed_again(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2.5\n")
    first = snapshot(of_file(path), tmp_path / "lake")
    monkeypatch.setattr("core.sources.csv_file.parse_block", None)
    again = snapshot(of_file(path), tmp_path / "lake")
    assert again == first.model_copy(update={"reused": True})
    path.write_text("a,b\n1,3.5\n")
    with pytest.raises(TypeError):
        snapshot(of_file(path), tmp_path / "lake")


def test_other_options_read_the_file_again(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a;b\n-9;2\n1;3\n")
    first = snapshot(of_file(path), tmp_path / "lake")
    second = snapshot(of_file(path, missing_values=("-9",)), tmp_path / "lake")
    assert first.digest != second.digest
    assert StoredRows.open(second).table()["a"].to_pylist() == [None, 1]


def test_nan_is_missing_and_counted(tmp_path):
    ref = take(pa.table({"x": pa.array([1.0, float("nan"), None])}), tmp_path / "lake")
    assert StoredRows.open(ref).table()["x"].to_pylist() == [1.0, None, None]
    assert manifest_of(ref)["notes"] == ["1 cells of column 'x' are NaN and count as missing."]


def test_progress_ends_at_the_whole_file(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,2\n" * 1000)
    seen = []
    snapshot(of_file(path), tmp_path / "lake", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.sources.parts.Files.write", full)
    with pytest.raises(StorageError, match="No space left"):
        take(numbers(5), tmp_path / "lake")
    assert [path.name for path in (tmp_path / "lake" / "snapshots" / "set").iterdir()] == [".lock"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".tmp-dead").mkdir()
    (tmp_path / ".tmp-dead.lock").touch()
    with workspace(tmp_path) as other, workspace(tmp_path) as mine:
        assert not (tmp_path / ".tmp-dead").exists()
        assert other.is_dir()
        assert mine.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_unreadable_snapshot_before_is_not_shared(tmp_path):
    lake = tmp_path / "lake"
    first = take(numbers(10), lake)
    (first.path / "data.parquet").write_bytes(b"")
    second = take(numbers(12), lake)
    assert StoredRows.open(second).table().equals(numbers(12))


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        (["2024-01-03", "2024-01-01", "2024-01-02"], ("2024-01-01", "2024-01-03", None)),
        (
            ["2024-01-03T05:00:00+01:00", "2024-01-01T05:00:00+01:00", ""],
            ("2024-01-01 05:00", "2024-01-03 05:00", "+01:00"),
        ),
        (["1704067200", "1704070800", "1704074400"], ("2024-01-01 00:00", "2024-01-01 02:00", "UTC")),
    ],
)
def test_the_manifest_says_from_when_to_when_the_rows_are(tmp_path, stamps, expected):
    path = tmp_path / "a.csv"
    path.write_text("time,a\n" + "".join(f"{stamp},{number}\n" for number, stamp in enumerate(stamps)))
    dataset = DatasetConfig(name="set", source=FileSource(path=str(path)))
    time = StoredRows.open(snapshot(dataset, tmp_path / "lake")).manifest["time"]
    assert time["column"] == "time"
    assert (time["first"].startswith(expected[0]), time["last"].startswith(expected[1])) == (True, True)
    assert time["timezone"] == expected[2]


def test_rows_without_a_readable_time_have_no_time_in_the_manifest(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("when,a\nlater,1\nsooner,2\n")
    dataset = DatasetConfig(name="set", source=FileSource(path=str(path)))
    assert StoredRows.open(snapshot(dataset, tmp_path / "lake")).manifest["time"] is None


@pytest.mark.parametrize("stamp", ["2024-01-{:02d} 00:00:00", "2024-01-{:02d}", "2024-01-{:02d} 00:00:00.5"])
def test_rows_appended_to_a_file_with_stamps_share_the_files_before(tmp_path, stamp):
    path = tmp_path / "a.csv"
    lines = [f"{stamp.format(day)},{day}\n" for day in range(1, 9)]
    path.write_text("time,a\n" + "".join(lines[:5]))
    first = snapshot(of_file(path), tmp_path / "lake")
    path.write_text("time,a\n" + "".join(lines))
    second = snapshot(of_file(path), tmp_path / "lake")
    assert manifest_of(second)["appended_to"] == first.path.name
    assert len(StoredRows.open(second).table()) == 8


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.timestamp("ns"), pa.date64()])
def test_a_snapshot_gives_the_types_that_its_digest_is_of(tmp_path, kind):
    path = tmp_path / "a.feather"
    feather.write_feather(pa.table({"t": pa.array([0, 86_400_000], pa.int64()).cast(kind)}), path)
    rows = StoredRows.open(snapshot(of_file(path), tmp_path / "lake"))
    assert {item.name: str(item.type) for item in rows.schema} == rows.manifest["schema"]
    assert table_digest(rows.table()) == rows.manifest["sha256"]


def test_what_another_process_is_writing_is_no_snapshot_before(tmp_path):
    first = take(numbers(5), tmp_path)
    (first.path / "manifest.json").replace(first.path / "kept.json")
    hidden = first.path.with_name(".tmp-12345678")
    first.path.rename(hidden)
    (hidden / "kept.json").replace(hidden / "manifest.json")
    assert parts.newest(hidden.parent) is None


@pytest.mark.parametrize(
    ("far", "whole", "kind"), [(2**60, pa.int64(), pa.timestamp("us")), (2**30, pa.int32(), pa.date32())]
)
def test_stamps_that_no_calendar_holds_are_left_to_the_validation(tmp_path, far, whole, kind):
    path = tmp_path / "a.parquet"
    cells = pa.array([far, far], whole).cast(kind)
    pq.write_table(pa.table({"time": cells, "x": [1, 2]}), path)
    assert len(StoredRows.open(snapshot(of_file(path), tmp_path / "lake"))) == 2
