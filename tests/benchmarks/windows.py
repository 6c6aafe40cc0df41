"""What windows cost: the index of a long series, a batch of it, and both against a list of copies.

    python -m tests.benchmarks.windows [--rows 10000000]

A memory-mapped series of random numbers, `--rows` x 28 in float32, is written to a temporary folder (1.1 GB for
10 million rows) and read through once, so that it is in memory. Index: `PreparedSeries.windows` of its windows
of 24 steps. Batch: `Windows.gather` of 128 of them, drawn at random from the whole series.

Against the published TimeGAN code, of 20,000 x 28 float64 numbers in memory, the least of 20 times each:
windows alone (its Python list of them, copied and put into a random order, against opening the prepared folder
and indexing it), and from the rows to what is trained on (it: min-max scaling, the list, one array of it,
min-max scaling again; ours: fitting the columns, encoding the rows, the index; writing the folder does not
count). Size: bytes of the numbers that are kept, and of all at the peak beyond the numbers to start with.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.prepare.channels.encode import encode
from core.prepare.channels.layout import Column, Layout
from core.prepare.channels.scaler import MinMaxScaler
from core.prepare.series import PreparedSeries, Windows
from tests.benchmarks.main_job import commit, machine

STEPS, FEATURES, BATCH = 24, 28, 128
LIST_ROWS = 20_000
BLOCK = 250_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the long series")
    options = parser.parse_args()
    print(f"{machine()}; commit {commit()}\n")
    print("| | taken | bar | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        windows = time_index(folder, options.rows)
        time_batches(windows)
        compare_with_published(folder)


def time_index(folder: Path, rows: int) -> Windows:
    """Seconds and peak memory of the index."""
    shape = rows, FEATURES
    values = np.lib.format.open_memmap(folder / "values.npy", mode="w+", dtype=np.float32, shape=shape)
    rng = np.random.default_rng(0)
    for start in range(0, rows, BLOCK):
        block = values[start : start + BLOCK]
        block[:] = rng.random(block.shape, dtype=np.float32)
    values.flush()
    write_manifest(folder, rows)
    work = partial(indexed, folder)
    taken = statistics.median(seconds(work) for _ in range(5))
    _, peak = traced(work)
    windows = PreparedSeries.open(folder).windows(STEPS)
    row(
        f"index of {rows:,} rows",
        f"{taken:.2f} s",
        "1 s",
        f"{len(windows):,} windows, {peak / 2**20:,.0f} MiB at the peak",
    )
    return windows


def time_batches(windows: Windows) -> None:
    """Median of batches from all over the series."""
    for start in range(0, len(windows.values), BLOCK):
        windows.values[start : start + BLOCK].sum()
    rng, taken = np.random.default_rng(1), []
    for _ in range(2000):
        index = rng.integers(0, len(windows), BATCH)
        taken.append(seconds(partial(windows.gather, index)))
    longest = statistics.quantiles(taken, n=100)[98]
    shape = f"{BATCH} x {STEPS} x {FEATURES}"
    median = statistics.median(taken) * 1000
    row(f"batch of {shape}", f"{median:.2f} ms", "1 ms", f"99 of 100 within {longest * 1000:.2f} ms")


def compare_with_published(folder: Path) -> None:
    """Seconds, the least of several in turn, and bytes."""
    rows = np.random.default_rng(2).normal(size=(LIST_ROWS, FEATURES)).cumsum(axis=0)
    np.save(folder / "values.npy", encode(fitted(rows), rows))
    write_manifest(folder, LIST_ROWS)
    scaled = min_max(rows)
    sides = {
        "windows": (partial(listed, scaled), partial(indexed, folder)),
        "rows to what is trained on": (partial(published, rows), partial(prepared, folder, rows)),
    }
    for what, (plain, ours) in sides.items():
        pairs = [(seconds(plain), seconds(ours)) for _ in range(20)]
        slow, fast = (min(side) for side in zip(*pairs, strict=True))
        plain_kept, plain_peak = traced(plain)
        kept, peak = traced(ours)
        row(
            f"{what}, {LIST_ROWS:,} x {FEATURES}: published code / ours",
            f"{slow / fast:.0f} times the time, {plain_kept / kept:.0f} times the size",
            "20, 20",
            f"{slow * 1000:.0f} ms / {fast * 1000:.1f} ms; "
            f"kept {plain_kept / 2**20:.0f} MiB / {kept / 2**20:.1f} MiB; "
            f"peak {plain_peak / 2**20:.0f} MiB / {peak / 2**20:.1f} MiB",
        )


def min_max(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The published scaling, over all axes but the last."""
    axes = tuple(range(values.ndim - 1))
    numerator = values - np.min(values, axes)
    return np.asarray(numerator / (np.max(numerator, axes) + 1e-7))


def listed(scaled: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The windows of `real_data_loading`, copied."""
    windows = [scaled[start : start + STEPS].copy() for start in range(len(scaled) - STEPS)]
    return [windows[number] for number in np.random.default_rng(0).permutation(len(windows))]


def published(rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """All that the published code does to the rows before it trains."""
    return [min_max(np.asarray(listed(min_max(rows))))]


def prepared(folder: Path, rows: NDArray[np.float64]) -> list[NDArray[Any]]:
    """Encoded rows and the index of their windows."""
    return [encode(fitted(rows), rows), *indexed(folder)]


def fitted(rows: NDArray[np.float64]) -> list[Column]:
    """Min-max scaled columns."""
    scaler = MinMaxScaler.fit(rows)
    ends = zip(scaler.minimum.tolist(), scaler.maximum.tolist(), strict=True)
    return [Column(f"x{place}", minimum=low, maximum=high) for place, (low, high) in enumerate(ends)]


def indexed(folder: Path) -> list[NDArray[Any]]:
    """The index of the prepared rows' windows."""
    windows = PreparedSeries.open(folder).windows(STEPS)
    return [windows.starts, windows.lengths]


def write_manifest(folder: Path, rows: int) -> None:
    layout = Layout(tuple(Column(f"x{place}") for place in range(FEATURES)))
    manifest = {"dataset": "random", "layout": layout.to_json(), "segments": [[0, rows]], "time": None}
    (folder / "prepared.json").write_text(json.dumps(manifest), encoding="utf-8")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def traced(work: Callable[[], list[NDArray[Any]]]) -> tuple[int, int]:
    """Bytes of the arrays that it gives, and the most bytes that it held."""
    tracemalloc.start()
    try:
        found = work()
        return sum(part.nbytes for part in found), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
