"""Rows of a query."""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalog import DatasetConfig, SqlSource
from core.errors import ConfigError, DataError, SourceError, TimeloomError
from core.sources.secrets import expand
from core.sources.snapshots import snapshot
from core.sources.sql import SqlRows
from core.sources.types import common_type
from tests.unit.source_tables import read_all


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (i integer, x real, s text, mixed)")
        rows = [(i, None if i < 7 else i / 2, f"t{i}", "7" if i == 19 else i) for i in range(20)]
        connection.executemany("insert into t values (?, ?, ?, ?)", rows)
    connection.close()
    return path


def source(path: Path, query: str) -> SqlSource:
    return SqlSource(url=f"sqlite:///{path}", query=query)


@pytest.mark.parametrize("chunk_rows", [1, 3, 100])
def test_types_are_those_of_all_rows(database, chunk_rows):
    table = read_all(SqlRows(source(database, "select * from t order by i"), chunk_rows))
    assert table.schema.types == [pa.int64(), pa.float64(), pa.string(), pa.string()]
    assert table["x"].to_pylist() == [None if i < 7 else i / 2 for i in range(20)]
    assert table["mixed"].to_pylist() == [str(i) if i != 19 else "7" for i in range(20)]


def test_marks_of_queries_mean_nothing_to_us(database):
    query = "select s, ':x' as c from t where s like 't1%' and s <> '%s' order by i"
    assert read_all(SqlRows(source(database, query)))["s"].to_pylist() == [
        "t1",
        *(f"t{i}" for i in range(10, 20)),
    ]


def test_snapshot_of_a_query(database, tmp_path):
    dataset = DatasetConfig(name="rows", source=source(database, "select i, x from t order by i"))
    first, again = snapshot(dataset, tmp_path / "lake"), snapshot(dataset, tmp_path / "lake")
    assert (first.rows, first.columns, again.reused) == (20, ("i", "x"), True)


@pytest.mark.parametrize(
    ("query", "error", "says"),
    [
        ("select none from t", ConfigError, "no such column: none"),
        ("selec", ConfigError, "syntax error"),
        ("delete from t", ConfigError, "readonly|read-only|query_only|attempt to write"),
        ("drop table t", ConfigError, "readonly|read-only|query_only|attempt to write"),
        ("select i from t where i > 99", DataError, "0 rows"),
        ("select i, x as i from t", DataError, "'i'"),
        ("select x'00' as b from t", DataError, "'b' holds bytes"),
    ],
)
def test_bad_queries(database, query, error, says):
    with pytest.raises(error, match=says):
        read_all(SqlRows(source(database, query)))
    assert len(read_all(SqlRows(source(database, "select * from t")))) == 20


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////nowhere/x.db", "no SQLite file"),
        ("not a url", "no SQLAlchemy URL"),
        ("klingon://host/db", "driver"),
        ("postgresql://me:${TIMELOOM_NO_SUCH}@host/db", "TIMELOOM_NO_SUCH"),
    ],
)
def test_bad_urls(url, says):
    with pytest.raises(ConfigError, match=says):
        read_all(SqlRows(SqlSource(url=url, query="select 1")))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host/db",
        "postgresql://host/db?user=me&password=hunter2",
        "mysql+pymysql://me:x${A}hunter2@host/db",
    ],
)
def test_a_literal_password_is_refused_and_not_repeated(url, monkeypatch):
    monkeypatch.setenv("A", "a")
    with pytest.raises(ConfigError, match="password") as caught:
        SqlRows(SqlSource(url=url, query="select 1"))
    assert "hunter2" not in str(caught.value)


def test_an_unreachable_server_is_worth_another_try_and_keeps_the_password(monkeypatch):
    monkeypatch.setenv("SECRET", "p@ss/w:rd")
    rows = SqlRows(SqlSource(url="postgresql+psycopg2://me:${SECRET}@127.0.0.1:1/db", query="select 1"))
    with pytest.raises(SourceError) as caught:
        read_all(rows)
    error: BaseException | None = caught.value
    assert isinstance(error, TimeloomError)
    assert error.retryable
    while error is not None:
        assert "p@ss" not in str(error)
        assert "p%40ss" not in str(error)
        error = error.__cause__


def test_variables_are_quoted_in_front_of_the_host_alone(monkeypatch):
    monkeypatch.setenv("A", "x/@y")
    assert expand("db://${A}:${A}@host/${A}", "option")[0] == "db://x%2F%40y:x%2F%40y@host/x/@y"
    assert expand("db://host/plain", "option") == ("db://host/plain", set())


kinds = st.sampled_from(
    [
        pa.null(),
        pa.bool_(),
        pa.int64(),
        pa.float64(),
        pa.date32(),
        pa.timestamp("s"),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
        pa.string(),
        pa.decimal128(5, 2),
        pa.decimal128(30, 10),
        pa.decimal128(38, 0),
    ]
)


@given(kinds, kinds, kinds)
def test_common_types_do_not_depend_on_order(one, two, three):
    assert common_type(one, one) == one
    assert common_type(one, two) == common_type(two, one)
    both = common_type(one, two)
    assert common_type(both, one) == both
    if pa.string() not in (both, common_type(two, three), common_type(one, three)):
        assert common_type(both, three) == common_type(one, common_type(two, three))


def test_common_types_hold_both():
    cells = {pa.date32(): date(2020, 1, 2), pa.timestamp("us"): datetime(2020, 1, 2, 3, 4, 5, 6)}
    cells |= {
        pa.decimal128(5, 2): Decimal("123.45"),
        pa.int64(): 2**62,
        pa.decimal128(8, 6): Decimal("12.345678"),
    }
    pairs = [(pa.date32(), pa.timestamp("us")), (pa.decimal128(5, 2), pa.int64())]
    for one, two in [*pairs, (pa.decimal128(5, 2), pa.decimal128(8, 6))]:
        both = common_type(one, two)
        for kind in (one, two):
            cell = pa.array([cells[kind]], kind).cast(both)[0].as_py()
            assert cell == cells[kind] or cell.date() == cells[kind]


@pytest.mark.parametrize("cells", [[2**53 + 1, 5, 1.5], [1.5, 5.0, 2**53 + 1]])
def test_whole_numbers_past_float_are_rounded_beside_fractions(tmp_path, cells):
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (x)")
        connection.executemany("insert into t values (?)", [(cell,) for cell in cells])
    connection.close()
    table = read_all(SqlRows(source(path, "select * from t"), chunk_rows=2))
    assert table["x"].to_pylist() == [float(cell) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([date(2024, 1, 2), datetime(2024, 1, 3, 4)], [datetime(2024, 1, 2), datetime(2024, 1, 3, 4)]),
        ([Decimal("1.5"), Decimal("Infinity"), None], [1.5, math.inf, None]),
        (
            [
                datetime(2024, month, 1, tzinfo=timezone(timedelta(hours=hours)))
                for month, hours in ((3, 1), (4, 2))
            ],
            [datetime(2024, 2, 29, 23, tzinfo=UTC), datetime(2024, 3, 31, 22, tzinfo=UTC)],
        ),
    ],
)
def test_values_of_drivers(database, cells, expected):
    assert SqlRows(source(database, "select 1"))._array("x", cells).to_pylist() == expected


def test_the_offset_of_a_chunk_is_not_in_its_type(database):
    rows = SqlRows(source(database, "select 1"))
    winter, summer = (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=hours))) for hours in (1, 2))
    assert rows._array("x", [winter]).type == rows._array("x", [summer]).type


def test_the_name_of_a_query_holds_no_secret(database, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    rows = SqlRows(SqlSource(url=f"sqlite:///{database}?password=${{SECRET}}", query="select 1"))
    assert "hunter2" not in rows.place
