"""Sources on real servers: PostgreSQL, and S3 by moto's server."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.catalog import DatasetConfig, FileSource, SqlSource
from core.errors import ConfigError, DataError
from core.sources.snapshots import snapshot
from core.sources.sql import SqlRows
from core.sources.stored import StoredRows
from tests.unit.source_tables import load_table, read_all

POSTGRES = os.environ.get("TIMELOOM_TEST_POSTGRES", "postgresql://root@127.0.0.1:5432/postgres")
URL = POSTGRES.replace("postgresql:", "postgresql+psycopg2:")
pytestmark = pytest.mark.services


@pytest.fixture
def table() -> Iterator[str]:
    """Name of a new table in PostgreSQL, then dropped."""
    try:
        connection = psycopg2.connect(POSTGRES, connect_timeout=5)
    except psycopg2.OperationalError as error:
        if os.environ.get("TIMELOOM_CI"):
            pytest.fail(f"PostgreSQL does not answer at {POSTGRES}: {error}")
        pytest.skip(f"PostgreSQL does not answer at {POSTGRES}")
    connection.autocommit = True
    name = f"timeloom_test_{secrets.token_hex(4)}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"create table {name} (id uuid, n numeric, at timestamptz, local timestamp, day date, ok boolean, "
            "big bigint, x double precision)"
        )
        cursor.execute(
            f"insert into {name} select gen_random_uuid(), i * 1.25, timestamptz '2024-01-01 00:00+01' + i * "
            "interval '1 hour', timestamp '2024-01-01' + i * interval '1 hour', date '2024-01-01' + i, "
            "i % 2 = 0, case when i > 20000 then i end, case when i = 3 then 'NaN' else i / 4.0 end "
            "from generate_series(0, 24999) i"
        )
        yield name
        cursor.execute(f"drop table {name}")
    connection.close()


def test_types_of_postgresql(table):
    query = f"select * from {table} where big is null or big::bigint % 1 = 0 order by at"
    rows = read_all(SqlRows(SqlSource(url=URL, query=query)))
    assert len(rows) == 25_000
    assert rows.schema.field("id").type == pa.string()
    assert pa.types.is_decimal(rows.schema.field("n").type)
    assert rows["n"][3].as_py() == Decimal("3.75")
    assert rows["at"][1].as_py() == datetime(2024, 1, 1, 0, 0, tzinfo=UTC)
    assert rows["local"][1].as_py() == datetime(2024, 1, 1, 1)
    assert rows["day"][31].as_py() == date(2024, 2, 1)
    assert rows["ok"].to_pylist()[:2] == [True, False]
    assert rows["big"].null_count == 20_001
    assert rows["x"].to_pylist()[2:5] == [0.5, None, 1.0]


def test_a_query_of_postgresql_is_a_snapshot_and_grows(table, tmp_path):
    def take(limit: int) -> dict:
        query = f"select n, at from {table} order by at limit {limit}"
        dataset = DatasetConfig(name="rows", source=SqlSource(url=URL, query=query))
        return StoredRows.open(snapshot(dataset, tmp_path)).manifest

    take(20_000)
    assert take(25_000)["appended_rows"] == 5_000


@pytest.mark.parametrize(
    ("query", "error", "says"),
    [
        ("select nothing from {}", ConfigError, "nothing"),
        ("delete from {}", ConfigError, "syntax error"),
        ("select 1 / (n - 1.25) from {}", ConfigError, "division by zero"),
        ("select array[1, 2] as a from {}", DataError, "'a' holds list"),
        ("select '\\x00'::bytea as b from {}", DataError, "'b' holds memoryview"),
    ],
)
def test_bad_queries_of_postgresql(table, query, error, says):
    with pytest.raises(error, match=says):
        read_all(SqlRows(SqlSource(url=URL, query=query.format(table))))


def put(bucket: str, key: str, data: bytes) -> str:
    import boto3

    boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=data)
    return f"{bucket}/{key}"


def of_url(url: str) -> DatasetConfig:
    return DatasetConfig(name="far", source=FileSource(path=url))


def test_a_file_on_s3(bucket, tmp_path):
    url = put(bucket, "deep/x.csv", b"a,b\n1,2.5\n3,4.5\n")
    assert load_table(of_url(url), tmp_path).to_pydict() == {"a": [1, 3], "b": [2.5, 4.5]}
    with pytest.raises(ConfigError, match=r"nothing at s3://.*no\.csv"):
        load_table(of_url(f"{bucket}/no.csv"), tmp_path)


def test_a_folder_of_parquet_on_s3(bucket, tmp_path):
    for year in (2020, 2021):
        pq.write_table(pa.table({"x": [year * 1.0]}), tmp_path / "x.parquet")
        put(bucket, f"set/year={year}/x.parquet", Path(tmp_path / "x.parquet").read_bytes())
    dataset = DatasetConfig(name="far", source=FileSource(path=f"{bucket}/set", format="parquet"))
    assert load_table(dataset, tmp_path).to_pydict() == {"x": [2020.0, 2021.0], "year": [2020, 2021]}
