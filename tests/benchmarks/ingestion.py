"""Snapshot, validation and preparation of a large CSV against a plain streaming read and write of it.

    python -m tests.benchmarks.ingestion [--rows 10000000 20000000] [--columns 28] [--repeats 1] [--folder DIR]

The file holds a stamp a second and random walks of four decimals. The reference is what anyone would write with
pyarrow: `csv.open_csv` into `ParquetWriter`, defaults of both. Each side runs in a process of its own, turn
about; peak memory is that of the whole process, libraries included. The file takes about 280 bytes a row, the
lake as much.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tests.benchmarks.main_job import commit, machine

BAR_MIB, BAR_RATIO = 1536, 2.5
BLOCK = 250_000
START = np.datetime64("2020-01-01T00:00:00", "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000_000, 20_000_000])
    parser.add_argument("--columns", type=int, default=28)
    parser.add_argument("--repeats", type=int, default=1, help="The best of so many.")
    parser.add_argument("--folder", type=Path, help="Where to work; a temporary folder if left out.")
    parser.add_argument("--step", choices=tuple(STEPS), help="Run this in this process: what main() starts.")
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured(options.step, options.file)))
        return
    print(f"{machine()}; commit {commit()}\n")
    print("| rows | CSV, GiB | what | seconds | of the reference | peak MiB | bar |")
    print("|---|---|---|---|---|---|---|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="timeloom-ingestion-", dir=options.folder) as folder:
            compare(Path(folder), rows, options.columns, options.repeats)


def compare(folder: Path, rows: int, columns: int, repeats: int) -> None:
    """Print the rows of the table for a file of so many rows."""
    path = folder / "series.csv"
    write_csv(path, rows, columns)
    runs: dict[str, list[dict[str, Any]]] = {"reference": [], "timeloom": []}
    for _ in range(repeats):
        for step, found in runs.items():
            found.append(in_a_process(step, path))
            shutil.rmtree(folder / "lake", ignore_errors=True)
            (folder / "reference.parquet").unlink(missing_ok=True)
    reference, ours = (min(found, key=lambda run: run["seconds"]) for found in runs.values())
    size = path.stat().st_size / 2**30
    ratio = ours["seconds"] / reference["seconds"]
    plain, peak = f"{reference['seconds']:.1f}", f"{reference['mib']:,.0f}"
    print(f"| {rows:,} | {size:.1f} | pyarrow: read, write | {plain} | 1 | {peak} | |")
    for name, seconds in ours["steps"].items():
        print(f"| | | {name} | {seconds:.1f} | {seconds / reference['seconds']:.2f} | | |")
    bar = f"<= {BAR_RATIO}, <= {BAR_MIB:,} MiB"
    print(f"| | | **all three** | {ours['seconds']:.1f} | **{ratio:.2f}** | **{ours['mib']:,.0f}** | {bar} |")


def write_csv(path: Path, rows: int, columns: int) -> None:
    """A stamp a second and `columns` random walks."""
    rng = np.random.default_rng(0)
    last = np.zeros(columns)
    with path.open("wb") as file:
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            walk = last + rng.standard_normal((count, columns)).cumsum(axis=0)
            last = walk[-1]
            stamps = START + np.arange(start, start + count)
            table = pa.table(
                {"time": stamps} | {f"x{number}": walk[:, number].round(4) for number in range(columns)}
            )
            pa_csv.write_csv(table, file, pa_csv.WriteOptions(include_header=start == 0))


def in_a_process(step: str, path: Path) -> dict[str, Any]:
    """Run a side in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.ingestion", "--step", step, "--file", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measured(step: str, path: Path) -> dict[str, Any]:
    """Run a side here: seconds, those by step, and the peak memory of this process."""
    started = time.perf_counter()
    steps = STEPS[step](path)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "steps": steps, "mib": peak}


def reference(path: Path) -> dict[str, float]:
    """A streaming read into a Parquet file."""
    with (
        pa_csv.open_csv(path) as reader,
        pq.ParquetWriter(path.with_name("reference.parquet"), reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
    return {}


def timeloom(path: Path) -> dict[str, float]:
    """The three steps, libraries' imports included."""
    from core.catalog import DatasetConfig, FileSource
    from core.config import WindowConfig
    from core.prepare.build import prepare
    from core.quality import validate
    from core.sources.snapshots import snapshot

    dataset = DatasetConfig(name="large", source=FileSource(path=str(path)))
    lake = path.with_name("lake")
    steps: dict[str, float] = {}
    started = time.perf_counter()
    taken = snapshot(dataset, lake)
    steps["snapshot"] = time.perf_counter() - started
    started = time.perf_counter()
    report = validate(dataset, taken, lake)
    steps["validation"] = time.perf_counter() - started
    assert report.success
    started = time.perf_counter()
    prepared = prepare(dataset, WindowConfig(), taken, lake)
    steps["preparation"] = time.perf_counter() - started
    assert prepared.rows == taken.rows
    return steps


STEPS = {"reference": reference, "timeloom": timeloom}

if __name__ == "__main__":
    main()
