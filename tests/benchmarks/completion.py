"""How well held-out windows are completed.

    python -m tests.benchmarks.completion stock_data.csv --iterations 5000 --save FOLDER

The numeric columns of a CSV file, oldest row first, are cut into stretches of 120 rows, every fifth of which no
generator sees: so the held-out windows are of the same times as the training windows, and share no row with
them. A flow is trained on the others and completes the held-out windows, with 50 versions of each: 30% of their
cells, and what follows their first half. Beside it stand what needs no training: straight lines between known
cells, the last known value, and the 50 training windows nearest in the known cells (also moved so that their
last known step is the window's).

Errors are in standard deviations of each column, over the unknown cells: the mean absolute error of the median,
and the continuous ranked probability score (Gneiting and Raftery 2007, eq. 21; of a single number its absolute
error).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from core.generators.flow_matching import FlowMatching
from core.prepare.channels.layout import Channels, WindowArrays
from core.prepare.series import Windows

STRETCH, EVERY, LENGTH, VERSIONS, SHARE, COMPLETION = 120, 5, 24, 50, 0.3, 0.25
TRAINING: dict[str, Any] = {
    "batch_size": 128,
    "optimizer": {"kind": "adamw", "weight_decay": 0.01},
    "schedule": {"kind": "cosine", "warmup": 500},
    "ema": 0.999,
}
Cells = NDArray[np.float64]


def main() -> None:
    """Print the table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("csv", type=Path)
    words.add_argument("--iterations", type=int, default=5000)
    words.add_argument("--save", type=Path, help="Folder for the generator, which is used if it is there.")
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    torch.set_num_threads(1)
    rows = pd.read_csv(asked.csv).select_dtypes("number").to_numpy(np.float64)
    values = ((rows - rows.min(0)) / np.ptp(rows, axis=0)).astype(np.float32)
    training, held_out = divided(len(values))
    windows = Windows.of(values, training, LENGTH)
    model = trained(windows, asked.iterations, asked.seed, asked.save)
    deviation = values.std(axis=0, dtype=np.float64)
    nearby = cut(values, training)
    truth = cut(values, held_out[::4])
    rng = np.random.default_rng(0)
    known = {
        f"{SHARE:.0%} of cells": rng.random(truth.shape) >= SHARE,
        "second half": np.broadcast_to((np.arange(LENGTH) < LENGTH // 2)[:, None], truth.shape),
    }
    print(f"{len(training):,} training windows, {len(truth):,} held-out windows of {LENGTH} steps")
    print("| unknown | by | mean absolute error | CRPS | seconds |\n|---|---|---|---|---|")
    for name, there in known.items():
        for by, drawn in methods(model, nearby, deviation).items():
            began = time.perf_counter()
            found = drawn(np.where(there, truth, np.nan))
            error, crps = scores(found, truth, ~there, deviation)
            print(
                f"| {name} | {by} | {error:.4f} | {crps:.4f} | {time.perf_counter() - began:.0f} s", flush=True
            )


def divided(rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First rows of the training windows and of the held-out ones, none over a border of stretches."""
    starts = np.arange(rows - LENGTH + 1)
    of_row = np.arange(rows) // STRETCH % EVERY == EVERY - 1
    held_out = np.array([of_row[start : start + LENGTH].all() for start in starts])
    training = np.array([not of_row[start : start + LENGTH].any() for start in starts])
    return starts[training], starts[held_out]


def cut(values: NDArray[np.float32], starts: NDArray[np.int64]) -> Cells:
    """Shape (windows, LENGTH, columns)."""
    return values[starts[:, None] + np.arange(LENGTH)].astype(np.float64)


def trained(windows: Windows, iterations: int, seed: int, folder: Path | None) -> FlowMatching:
    """A flow, or the one that was saved."""
    if folder is not None and (folder / "generator.json").is_file():
        return FlowMatching.load(folder)
    began = time.perf_counter()
    channels = Channels.continuous(windows.features)
    model = FlowMatching(length=LENGTH, channels=channels, completion=COMPLETION, seed=seed)
    options = {**TRAINING, "joint_iterations": iterations, "seed": seed}
    training = model.start_training(windows, options, torch.device("cpu"))
    for phase in training.phases:
        for step in range(1, phase.iterations + 1):
            training.iterate(phase, step, logged=False, profiled=False)
    training.finish(None)
    print(f"trained in {time.perf_counter() - began:.0f} s")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder)
    return model.eval()


def methods(model: FlowMatching, nearby: Cells, deviation: Cells) -> dict[str, Callable[[Cells], Cells]]:
    """By name, what makes of windows with NaN versions of them, shape (versions, windows, steps, columns)."""
    return {
        "flow": lambda known: completed(model, known),
        "straight lines": straight,
        "last value": lambda known: forward(known)[None],
        "nearest windows": lambda known: nearest(known, nearby, deviation, moved=False),
        "nearest windows, moved": lambda known: nearest(known, nearby, deviation, moved=True),
    }


def completed(model: FlowMatching, known: Cells) -> Cells:
    """Versions by the flow."""
    many = np.tile(known, (VERSIONS, 1, 1)).astype(np.float32)
    none = np.zeros((len(many), 0), dtype=np.float32)
    windows = WindowArrays(many, none, none, np.full(len(many), LENGTH))
    return model.complete(windows, 0).values.reshape(VERSIONS, *known.shape).astype(np.float64)


def straight(known: Cells) -> Cells:
    """Straight lines between known cells, beyond them the nearest."""
    frames = (pd.DataFrame(window).interpolate(limit_direction="both") for window in known)
    return np.stack([frame.to_numpy() for frame in frames])[None]


def forward(known: Cells) -> Cells:
    """The last known value, before the first one that."""
    return np.stack([pd.DataFrame(window).ffill().bfill().to_numpy() for window in known])


def nearest(known: Cells, nearby: Cells, deviation: Cells, *, moved: bool) -> Cells:
    """The training windows that are nearest in the known cells."""
    found = np.empty((VERSIONS, *known.shape))
    for place, window in enumerate(known):
        there = np.isfinite(window)
        gap = (nearby - np.where(there, window, 0)) / deviation
        chosen = np.argsort(np.square(gap * there).sum(axis=(1, 2)))[:VERSIONS]
        found[:, place] = nearby[chosen]
        if moved:  # by what separates both in the last known cell of each column
            last = LENGTH - 1 - there[::-1].argmax(axis=0)
            columns = np.arange(window.shape[1])
            found[:, place] += (window[last, columns] - nearby[chosen][:, last, columns])[:, None]
    return found


def scores(found: Cells, truth: Cells, unknown: NDArray[np.bool_], deviation: Cells) -> tuple[float, float]:
    """Mean absolute error of the median, and CRPS, over the unknown cells."""
    ordered = np.sort(found, axis=0) / deviation
    count = len(ordered)
    error = np.abs(np.median(ordered, axis=0) - truth / deviation)
    # Mean distance of pairs of versions, from the sorted ones.
    ranks = (2 * np.arange(count) - count + 1)[:, None, None, None]
    spread = 2 * (ranks * ordered).sum(axis=0) / max(count * (count - 1), 1)
    crps = np.abs(ordered - truth / deviation).mean(axis=0) - spread / 2
    return float(error[unknown].mean()), float(crps[unknown].mean())


if __name__ == "__main__":
    main()
