"""What validating a snapshot costs: chunks through Great Expectations' pandas engine, against the other ways.

    python -m tests.benchmarks.validation [--rows 2000000] [--ways chunks,whole,duckdb]

Each way checks a snapshot of 28 float columns and a stamp, written here, in a process of its own: no missing
and no infinite cell in any column. `chunks` is `core.quality.validate`, with all that it does beside (order,
gaps, statistics, report); `whole` hands the whole frame to a Great Expectations suite; `duckdb` counts the same
cells in one SQL query without Great Expectations, whose SQL engine (1.24) gets no rows back from DuckDB through
duckdb-engine 0.17: what that way would cost at least. It is left out where duckdb is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.main_job import commit, machine
from tests.benchmarks.train_speed import peak_resident

COLUMNS, GROUP_ROWS, DIGEST = 28, 131_072, "0" * 64
LARGEST = float(np.finfo(np.float64).max)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--ways", default="chunks,whole,duckdb", help="with commas between")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--lake", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one, options.lake)
        return
    print(f"{machine()}; commit {commit()}\n")
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder)
        write_snapshot(lake, options.rows)
        print(f"| {options.rows:,} x {COLUMNS} | seconds | CPU seconds | peak memory above the imports, MiB |")
        print("|---|---|---|---|")
        for way in options.ways.split(","):
            if way != "duckdb" or importlib.util.find_spec("duckdb"):
                command = [sys.executable, "-m", "tests.benchmarks.validation", "--one", way, "--lake", folder]
                print(
                    subprocess.run(command, check=True, capture_output=True, text=True).stdout,
                    end="",
                    flush=True,
                )


def write_snapshot(lake: Path, rows: int) -> None:
    folder = snapshot_folder(lake)
    folder.mkdir(parents=True)
    names = [f"c{number}" for number in range(COLUMNS)]
    schema = pa.schema([("time", pa.timestamp("s")), *((name, pa.float64()) for name in names)])
    rng = np.random.default_rng(0)
    with pq.ParquetWriter(folder / "data.parquet", schema, compression="zstd", use_dictionary=False) as file:
        for start in range(0, rows, GROUP_ROWS):
            count = min(GROUP_ROWS, rows - start)
            stamps = pa.array(np.arange(start, start + count) + 1_600_000_000, pa.int64()).cast(
                pa.timestamp("s")
            )
            cells = [pa.array(rng.normal(size=count)) for _ in names]
            file.write_table(pa.table([stamps, *cells], schema=schema))
    manifest = {
        "dataset": "big",
        "source": {"kind": "file", "path": "big.csv"},
        "sha256": DIGEST,
        "rows": rows,
        "parts": [{"file": "data.parquet", "rows": rows}],
        "schema": {field.name: str(field.type) for field in schema},
        "ingested_at": "2026-01-01T00:00:00+00:00",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def snapshot_folder(lake: Path) -> Path:
    return lake / "snapshots" / "big" / DIGEST[:16]


def measure(way: str, lake: Path) -> None:
    import great_expectations as gx  # noqa: F401  # its seconds are not those of the check

    before, started, worked = peak_resident(), time.perf_counter(), time.process_time()
    {"chunks": check_chunks, "whole": check_whole, "duckdb": check_sql}[way](lake)
    spent, work = time.perf_counter() - started, time.process_time() - worked
    print(f"| {way} | {spent:.1f} | {work:.1f} | {peak_resident() - before:,.0f} |")


def check_chunks(lake: Path) -> None:
    from core.catalog import DatasetConfig
    from core.handles import SnapshotRef
    from core.quality import validate

    rows = json.loads((snapshot_folder(lake) / "manifest.json").read_text())["rows"]
    ref = SnapshotRef(path=snapshot_folder(lake), digest=DIGEST, dataset="big", rows=rows, columns=())
    dataset = DatasetConfig.model_validate({"name": "big", "source": {"kind": "file", "path": "big.csv"}})
    if not validate(dataset, ref, lake).success:
        raise SystemExit("the rows did not pass")


def check_whole(lake: Path) -> None:
    context = ephemeral()
    asset = context.data_sources.add_pandas("big").add_dataframe_asset("big")
    frame = pq.read_table(snapshot_folder(lake) / "data.parquet").to_pandas()
    run(asset.add_batch_definition_whole_dataframe("big").get_batch({"dataframe": frame}))


def check_sql(lake: Path) -> None:
    import duckdb

    counts = [
        f"count(*) FILTER (c{number} IS NULL), count(*) FILTER (abs(c{number}) > {LARGEST!r})"
        for number in range(COLUMNS)
    ]
    parquet = snapshot_folder(lake) / "data.parquet"
    found = duckdb.sql(f"SELECT {', '.join(counts)} FROM read_parquet('{parquet}')").fetchone()
    if found is None or any(found):
        raise SystemExit(f"the rows did not pass: {found}")


def ephemeral() -> Any:
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def run(batch: Any) -> None:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    suite = gx.ExpectationSuite(name="big")
    for number in range(COLUMNS):
        suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=f"c{number}"))
        finite = gxe.ExpectColumnValuesToBeBetween(column=f"c{number}", min_value=-LARGEST, max_value=LARGEST)
        suite.add_expectation(finite)
    result = batch.validate(suite, result_format="BASIC")
    if not result.success:
        failed = [result for result in result.results if not result.success]
        raise SystemExit(f"{len(failed)} checks failed, such as {failed[0]}")


if __name__ == "__main__":
    main()
