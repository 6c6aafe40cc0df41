"""Many trivial runs in a row on Prefect and MLflow on PostgreSQL: does anything grow? As Markdown.

    python -m tests.benchmarks.load [--runs 200] [--every 10] [--fresh 20]

Each run is a whole `train` flow with registration, called in this one process against a server in another.
Every `--fresh`th has a seed of its own and so really trains and judges; the others find that in the lake and do
all the rest: flow and task runs, artifacts, events, an MLflow run with curves, files and registered version.
Left out: the worker, which lives for as long but starts a process for each run.

PostgreSQL is at TIMELOOM_TEST_POSTGRES; two databases are made there, and dropped in the end.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil
import psycopg2
from scipy.stats import linregress

from core.config import build_job
from core.settings import Settings
from core.sources.resolve import resolve_dataset
from flows.environment import configure
from flows.server import free_port, is_healthy
from tests.benchmarks.main_job import commit, machine

POSTGRES = os.environ.get("TIMELOOM_TEST_POSTGRES", "postgresql://root@127.0.0.1:5432/postgres")
TRIVIAL = {
    "dataset": {"source": {"series": 60}},
    "model": {"kind": "timegan", "hidden": 4, "layers": 1},
    "training": {
        "batch_size": 16,
        "embedding_iterations": 10,
        "supervised_iterations": 10,
        "joint_iterations": 10,
    },
    "evaluation": {
        "judges": 1,
        "discriminative_iterations": 10,
        "predictive_iterations": 10,
        "plot_windows": 20,
        "stronger_judges": [],
        "forecasters": False,
        "distances": False,
        "privacy": False,
        "overlays": ["pca"],
    },
}
WARM_UP = 0.2
"""Share of the runs before the line is fitted: caches fill."""
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """What is held after so many runs."""

    runs: int
    seconds_a_run: float
    """On average, since the sample before."""
    rss_mib: float
    files: int
    threads: int
    connections_mlflow: int
    server_rss_mib: float
    server_files: int
    server_threads: int
    connections_prefect: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--every", type=int, default=10, help="runs between two samples")
    parser.add_argument("--fresh", type=int, default=20, help="runs between two that train")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="timeloom-load-") as home, databases() as (prefect, mlflow):
        os.environ |= {"TIMELOOM_HOME": home, "MLFLOW_TRACKING_URI": f"postgresql+psycopg2://{mlflow}"}
        os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
        configure(Settings())
        with prefect_server(Path(home), f"postgresql+asyncpg://{prefect}") as server:
            samples = measure(options.runs, options.every, options.fresh, server, (prefect, mlflow))
    print(f"{machine()}; commit {commit()}; {options.runs} runs, every {options.fresh}th trains\n")
    show(samples)


def measure(runs: int, every: int, fresh: int, server: psutil.Process, names: tuple[str, str]) -> list[Sample]:
    """Do the runs; a sample now and then."""
    from flows.train import train  # Prefect reads its address when it is imported

    dataset = resolve_dataset("sine", Settings().catalog).dataset
    samples, since = [], time.monotonic()
    for done in range(1, runs + 1):
        train(build_job(dataset, values=TRIVIAL, seed=(done - 1) // fresh))
        if done % every == 0:
            samples.append(sample(done, (time.monotonic() - since) / every, server, names))
            print(" ".join(f"{value:.4g}" for value in astuple(samples[-1])), file=sys.stderr, flush=True)
            since = time.monotonic()
    return samples


def sample(done: int, seconds: float, server: psutil.Process, names: tuple[str, str]) -> Sample:
    """What this process, the server and PostgreSQL hold now."""
    prefect, mlflow = (connections(name.rpartition("/")[2]) for name in names)
    me = psutil.Process()
    return Sample(
        done,
        seconds,
        me.memory_info().rss / MIB,
        me.num_fds(),
        me.num_threads(),
        mlflow,
        server.memory_info().rss / MIB,
        server.num_fds(),
        server.num_threads(),
        prefect,
    )


def show(samples: list[Sample]) -> None:
    """The samples as a table, and whether each column grows after the warm-up."""
    names = [field.name for field in fields(Sample)]
    print(f"| {' | '.join(name.replace('_', ' ') for name in names)} |\n|{'---|' * len(names)}")
    for row in samples:
        print(f"| {' | '.join(f'{value:.4g}' for value in astuple(row))} |")
    settled = [row for row in samples if row.runs > WARM_UP * samples[-1].runs]
    print("\n| after the warm-up | mean | growth in 100 runs | p of the slope |\n|---|---|---|---|")
    for name in names[1:]:
        values = [float(getattr(row, name)) for row in settled]
        fit = linregress([row.runs for row in settled], values)
        mean = sum(values) / len(values)
        print(f"| {name.replace('_', ' ')} | {mean:.4g} | {100 * fit.slope:+.3g} | {fit.pvalue:.2g} |")


def connections(database: str) -> int:
    """Open to a database, by PostgreSQL's own books."""
    connection = psycopg2.connect(POSTGRES)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select count(*) from pg_stat_activity where datname = %s", (database,))
            return int(cursor.fetchone()[0])  # type: ignore[index]
    finally:
        connection.close()


@contextmanager
def databases() -> Iterator[tuple[str, str]]:
    """Two new databases, `user@host:port/name` each, then dropped."""
    names = [f"timeloom_load_{secrets.token_hex(4)}" for _ in range(2)]
    connection = psycopg2.connect(POSTGRES)
    connection.autocommit = True
    address = POSTGRES.partition("://")[2].rpartition("/")[0]
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"create database {name}")
        try:
            yield f"{address}/{names[0]}", f"{address}/{names[1]}"
        finally:
            for name in names:
                cursor.execute(f"drop database {name} with (force)")
    connection.close()


@contextmanager
def prefect_server(home: Path, database: str) -> Iterator[psutil.Process]:
    """A server on that database; `PREFECT_API_URL` is set to it."""
    port = free_port(0)
    api = f"http://127.0.0.1:{port}/api"
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database},
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + 180
            while not is_healthy(api):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server did not start: {(home / 'server.log').read_text()[-2000:]}")
                time.sleep(0.5)
            os.environ["PREFECT_API_URL"] = api
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
