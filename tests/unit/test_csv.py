"""CSV files in every form, read in blocks."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import random
import zipfile
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalog import FileSource
from core.errors import ConfigError, DataError
from core.sources import blocks, csv_head
from core.sources.csv_file import CsvRows
from core.sources.rows import plain
from tests.unit.source_tables import complaint, load_table, load_text, of_file, read_all


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


def test_padded_quoted_numbers_with_dates_between(tmp_path):
    text = '"date","x"\n"2016-01-11 17:00:00","  60"\n"2016-01-11 17:10:00"," 6.5e+00"\n'
    table = load_text(tmp_path, text)
    assert table["x"].to_pylist() == [60.0, 6.5]
    assert pa.types.is_timestamp(table.schema.field("date").type)


def read_blocks(path: Path, block_bytes: int, **options: object) -> tuple[pa.Table, CsvRows]:
    # What tells the delimiter is one block.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_head, "_SAMPLE_BYTES", block_bytes)
        source = CsvRows(path, FileSource(path=str(path), **options), str(path), block_bytes)
        return read_all(source), source


def zipped(**members: str) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("_", "."), text)
    return memory.getvalue()


PLAIN = "a,b\n1.5,x\n3,y\n"


def bytes_unread(value):
    """Archives hold the time of day: the name of a test must not."""
    return "bytes" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.csv.gz", PLAIN),
        ("x.csv.zst", pa.compress(PLAIN.encode(), "zstd", asbytes=True)),
        ("x.csv.bz2", bz2.compress(PLAIN.encode())),
        ("x.zip", zipped(data_csv=PLAIN)),
        ("x.csv", gzip.compress(PLAIN.encode())),
        ("x.csv", PLAIN.encode("utf-16")),
        ("x.csv", "\ufeff".encode("utf-16-be") + PLAIN.encode("utf-16-be")),
        ("x.csv", PLAIN.replace("\n", "\r")),
    ],
    ids=bytes_unread,
)
def test_packed_and_encoded_text_gives_the_same_table(tmp_path, name, data):
    assert load_text(tmp_path, data, name).to_pydict() == {"a": [1.5, 3.0], "b": ["x", "y"]}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le"])
def test_encodings(tmp_path, encoding):
    table = load_text(tmp_path, "größe,b\n1,Köln\n".encode(encoding), encoding=encoding)
    assert table.to_pydict() == {"größe": [1], "b": ["Köln"]}


@pytest.mark.parametrize(
    ("data", "options", "error", "says"),
    [
        (zipped(a_csv=PLAIN, b_csv=PLAIN), {}, DataError, "one file, it holds 2"),
        (zipped(a_csv=PLAIN)[:-30], {}, DataError, "intact"),
        (bz2.compress(PLAIN.encode() * 99)[:-9], {}, DataError, "intact"),
        (pa.compress(PLAIN.encode() * 9999, "zstd", asbytes=True)[:-3], {}, DataError, "intact"),
        (b"PAR1xxxx", {}, DataError, "format: parquet"),
        (b"ARROW1\0\0", {}, DataError, "format: feather"),
        (b"SQLite format 3\0", {}, DataError, "SQLite"),
        (b"a,b\n1,\0\n", {}, DataError, "NUL"),
        (PLAIN.encode("utf-16-le"), {}, DataError, "encoding: utf-16"),
        (b"a\n\xff\n", {"encoding": "ascii"}, DataError, "source.encoding"),
        (b"a\n1\n", {"encoding": "klingon"}, ConfigError, "source.encoding"),
        (b"a\n1\n", {"encoding": "hex"}, ConfigError, "source.encoding"),
        (b"a,b\n1,\xe9\n", {}, DataError, "source.encoding"),
    ],
    ids=bytes_unread,
)
def test_what_is_no_readable_text_is_refused(tmp_path, data, options, error, says):
    with pytest.raises(error, match=says):
        load_text(tmp_path, data, **options)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a;b\n1.234,5;x\n12;y\n", {"decimal": ",", "thousands": "."}, {"a": [1234.5, 12.0], "b": ["x", "y"]}),
        ('a,b\n"1,234",1\n"1,234,567",2\n', {"thousands": ","}, {"a": [1234, 1234567], "b": [1, 2]}),
        ("a;b\n1 234;1\n1\u00a0234\u202f567;2\n", {"thousands": " "}, {"a": [1234, 1234567], "b": [1, 2]}),
        ("a;b\n1'234;1,2 km\n;2\n", {"thousands": "'"}, {"a": [1234, None], "b": ["1,2 km", "2"]}),
        ("# made by\na,b\n# more\n1,2\n#3,4\n", {"comment": "#"}, {"a": [1], "b": [2]}),
        ('a,b\n1,"x\n# no comment"\n2,y\n', {"comment": "#"}, {"a": [1, 2], "b": ["x\n# no comment", "y"]}),
        ('report\n"of\na,b\n1,2\n', {"skip_rows": 2}, {"a": [1], "b": [2]}),
        ("a,b\n-999,1\n2,-\n", {"missing_values": ("-999", "-")}, {"a": [None, 2], "b": [1, None]}),
        ('"a\nb",c\n1,2\n', {}, {"a\nb": [1], "c": [2]}),
        ("a,b\n10:30,1\n11:00,2\n", {}, {"a": ["10:30", "11:00"], "b": [1, 2]}),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 8, 1 << 20])
def test_dialects(tmp_path, text, options, expected, block_bytes):
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    assert read_blocks(tmp_path / "x.csv", block_bytes, **options)[0].to_pydict() == expected


def test_thousands_in_numbers_that_are_text_elsewhere_are_left_alone(tmp_path):
    text = "a;b\n" + "1,234;1\n" * 40 + "none of it, 1,234;1\n"
    (tmp_path / "x.csv").write_text(text)
    table, _ = read_blocks(tmp_path / "x.csv", 64, thousands=",", delimiter=";")
    assert table["a"].to_pylist() == ["1,234"] * 40 + ["none of it, 1,234"]


def test_odd_rows_are_counted_across_blocks(tmp_path):
    rows = [f"{i},{i}" for i in range(300)]
    rows[99], rows[199] = "1", "1,2,3"
    (tmp_path / "x.csv").write_text("a,b\n" + "\n".join(rows))
    with pytest.raises(DataError, match=r"2 rows differ: row 100 has 1: '1'; row 200 has 3: '1,2,3'"):
        read_blocks(tmp_path / "x.csv", 32)


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("core.sources.blocks.MAX_RECORD_BYTES", 1000)
    (tmp_path / "x.csv").write_text('a,b\n1,"x\n' + "1,2\n" * 1000)
    with pytest.raises(DataError, match="quote"):
        read_blocks(tmp_path / "x.csv", 100)


def test_a_file_is_read_at_most_twice_and_its_digest_is_of_its_bytes(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "1,\n" * 50 + "1.5,x\n" * 50)
    table, source = read_blocks(path, 16)
    assert table.schema.types == [pa.float64(), pa.string()]
    assert source.key == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.done == source.total == path.stat().st_size


cells = st.sampled_from(
    [
        "1",
        "0",
        "-7",
        "2.5",
        "1e3",
        "true",
        "False",
        "2020-01-02",
        "2020-01-02 03:04:05",
        "2020-01-02 03:04:05.25",
        *["10:30", "2020-01-01T00:00:00Z", "", "NA", "x", "9007199254740993", "99999999999999999999", "007"],
    ]
)


def in_one_go(text: str, names: list[str]) -> pa.Table:
    """As pyarrow reads it whole, with stamps in zones and times of day as text."""
    options = pa_csv.ConvertOptions(strings_can_be_null=True)
    parse = pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(names) > 1)
    data = text.strip("\n").encode() if len(names) == 1 else text.encode()
    read = pa_csv.ReadOptions(block_size=1 << 24, use_threads=False)
    table = pa_csv.read_csv(io.BytesIO(data), read, parse, options)
    text_columns = {
        field.name: pa.string()
        for field in table.schema
        if pa.types.is_time(field.type) or (pa.types.is_timestamp(field.type) and field.type.tz)
    }
    options = pa_csv.ConvertOptions(strings_can_be_null=True, column_types=text_columns)
    return pa_csv.read_csv(io.BytesIO(data), read, parse, options)


@given(
    st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=30),
    st.integers(1, 60),
    st.lists(st.integers(0, 29), max_size=3),
)
@settings(max_examples=100)
def test_types_in_blocks_are_those_of_one_go(tmp_path_factory, rows, block_bytes, repeats):
    # Longer runs of a row make first blocks that know nothing of the rest.
    for row in repeats:
        rows = [*[rows[row % len(rows)]] * 10, *rows]
    text = "a,b,c\n" + "".join(",".join(row) + "\n" for row in rows)
    path = tmp_path_factory.mktemp("go") / "x.csv"
    path.write_text(text)
    expected = plain(in_one_go(text, ["a", "b", "c"]), "it")
    table, _ = read_blocks(path, block_bytes, delimiter=",")
    assert table.schema == expected.schema
    assert table.equals(expected.combine_chunks()) or table.to_pydict() == expected.to_pydict()


columns = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False, allow_infinity=False),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(date(1700, 1, 1), date(2200, 1, 1)),
    pa.timestamp("ms"): st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)).map(
        lambda d: d.replace(microsecond=0)
    ),
    pa.string(): st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), min_size=1, max_size=8),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 12))
    kinds = draw(st.lists(st.sampled_from(list(columns)), min_size=2, max_size=4))
    arrays = []
    for kind in kinds:
        cell = columns[kind].map(lambda value: f"text {value}") if kind == pa.string() else columns[kind]
        values = draw(st.lists(st.none() | cell, min_size=rows, max_size=rows))
        # One value that leaves no doubt of the type.
        fixed = {
            pa.float64(): 0.5,
            pa.bool_(): True,
            pa.int64(): 2,
            pa.timestamp("ms"): datetime(2020, 1, 1, 1, 1, 1),
        }
        fixed |= {pa.date32(): date(2020, 1, 1), pa.string(): "text"}
        arrays.append(pa.array([*values, fixed[kind]], kind))
    return pa.table(arrays, names=[f"c{i}" for i in range(len(kinds))])


def as_text(table: pa.Table, delimiter: str, decimal: str, newline: str) -> str:
    def cell(value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return repr(value).replace(".", decimal)
        text = str(value)
        if any(mark in text for mark in (delimiter, '"', "\n")):
            return '"' + text.replace('"', '""') + '"'
        return text

    lines = [delimiter.join(table.column_names)]
    lines += [delimiter.join(map(cell, row.values())) for row in table.to_pylist()]
    return newline.join(lines) + newline


@given(
    tables(),
    st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("|", ",")]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("utf-16-le", "utf-16-le")]),
    st.sampled_from([bytes, gzip.compress, bz2.compress]),
    st.integers(1, 200),
)
@settings(max_examples=60)
def test_tables_come_back_from_any_dialect(
    tmp_path_factory, table, marks, newline, encoding, pack, block_bytes
):
    delimiter, decimal = marks
    path = tmp_path_factory.mktemp("dialect") / "x.csv"
    path.write_bytes(pack(as_text(table, delimiter, decimal, newline).encode(encoding[0])))
    found, _ = read_blocks(path, block_bytes, delimiter=delimiter, decimal=decimal, encoding=encoding[1])
    assert found.schema == table.schema
    assert found.to_pydict() == table.to_pydict()


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"a,b\n1,2\n", b"\x1f\x8b\x08", b"PK\x03\x04", b"BZh9", b"\xff\xfe"]),
)
@settings(max_examples=80)
def test_any_bytes_are_rows_or_a_clear_error(tmp_path_factory, data, start):
    path = tmp_path_factory.mktemp("bytes") / "x.csv"
    path.write_bytes(start + data)
    said = complaint(path)
    assert not said or "x.csv" in said


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lambda data: pa.compress(data, "zstd", asbytes=True)]
)
def test_packed_files_with_a_changed_byte(tmp_path, pack):
    whole = pack(PLAIN.encode() * 200)
    chance = random.Random(0)
    path = tmp_path / "x.csv"
    for _ in range(20):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        said = complaint(path)
        assert not said or "x.csv" in said


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
    [
        (
            ["1500-01-01 00:00:00", "1500-01-02 00:00:00", "2020-01-01 00:00:00.5"],
            {},
            ["1500-01-01 00:00:00", "1500-01-02 00:00:00", "2020-01-01 00:00:00.5"],
        ),
        (["1,000", "2.5", "9,007,199,254,740,993"], {"thousands": ","}, [1000.0, 2.5, 2.0**53]),
    ],
)
def test_cells_of_a_block_that_no_common_type_holds(tmp_path, cells, options, expected):
    (tmp_path / "x.csv").write_text("a;b\n" + "".join(f"{cell};{i}\n" for i, cell in enumerate(cells)))
    for block_bytes in (8, 1 << 20):
        table, _ = read_blocks(tmp_path / "x.csv", block_bytes, **options)
        assert table.to_pydict() == {"a": expected, "b": [0, 1, 2]}


def test_a_lost_quote_costs_no_look_at_every_line(tmp_path, monkeypatch):
    looks = []
    count = blocks._quotes
    monkeypatch.setattr(blocks, "_quotes", lambda data: looks.append(len(data)) or count(data))
    path = tmp_path / "x.csv"
    path.write_text('"a","b"\n"1,"2"\n' + '"3","4"\n' * 2000)
    with pytest.raises(DataError, match=r"x\.csv: expected 2 cells"):
        read_blocks(path, 100)
    assert sum(looks) < 4 * path.stat().st_size


def test_a_quote_that_is_never_closed_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "MAX_RECORD_BYTES", 1000)
    (tmp_path / "x.csv").write_text('a,b\n5,6\n1,"lost\n' + "1,2\n" * 1000)
    with pytest.raises(DataError, match=r"x\.csv: a quote .* below '1,\"lost"):
        read_blocks(tmp_path / "x.csv", 100)


@pytest.mark.parametrize(
    "first", ["2020-01-01,1.5", "01.02.2020,3", "2020-01-01 10:00,7", "2020-01-01T10:00:00.5Z,1e3"]
)
def test_a_first_row_of_values_is_no_header(tmp_path, first):
    with pytest.raises(DataError, match="no header"):
        load_text(tmp_path, f"{first}\n{first}\n")


def test_columns_may_be_called_by_dates_beside_a_name(tmp_path):
    assert load_text(tmp_path, "who,2020-01-01\n1,2\n").column_names == ["who", "2020-01-01"]


def test_padded_markers_of_missing_cells_are_missing(tmp_path):
    table = load_text(tmp_path, 'a,b\n" -999",1\n2,-999  \n', missing_values=("-999",))
    assert table.to_pydict() == {"a": [None, 2], "b": [1, None]}
