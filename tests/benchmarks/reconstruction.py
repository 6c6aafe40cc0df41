"""How well TimeGAN's embedder and recovery alone give windows back: no generator behind them can do better.

    python -m tests.benchmarks.reconstruction energydata_complete.csv --hidden 24 48 --iterations 4000

The first phase is trained for each size on every window of the numeric columns, scaled to [0, 1]; the paper's
judges then tell real windows from their reconstructions. A score well above that of real halves is a floor
under what any generator of that size reaches: the latent is too narrow for the data, or trained too briefly.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from core.evaluation.judges.paper_scores import discriminative_score
from core.generators.timegan.model import TimeGAN
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows
from tests.benchmarks.main_job import commit, machine

LENGTH, BATCH, SEED = 24, 128, 0
JUDGED = 4000
"""Windows of each kind, drawn at random."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv")
    parser.add_argument("--hidden", type=int, nargs="+", default=[24])
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=4000)
    parser.add_argument("--drop", nargs="*", default=[], help="columns to leave out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names, rows = scaled(options.csv, options.drop)
    windows = Windows.of(rows, np.arange(len(rows) - LENGTH + 1), LENGTH)
    print(f"{machine()}; commit {commit()}; {len(windows):,} windows of {LENGTH} x {len(names)}\n")
    print("| hidden | layers | iterations | root mean square error | discriminative | worst columns | s |")
    print("|---|---|---|---|---|---|---|")
    for hidden in options.hidden:
        started = time.perf_counter()
        model = embedded(windows, len(names), hidden, options.layers, options.iterations)
        real, again = reconstructed(model, windows)
        score = discriminative_score(real, again, judges=10, seed=SEED)
        errors = np.sqrt(((real - again) ** 2).mean(axis=(0, 1)))
        worst = ", ".join(f"{names[place]} {errors[place]:.3f}" for place in np.argsort(-errors)[:4])
        print(
            f"| {hidden} | {options.layers} | {options.iterations:,} | {np.sqrt((errors**2).mean()):.4f} "
            f"| {score.mean:.3f} +/- {score.std:.3f} | {worst} | {time.perf_counter() - started:.0f} |",
            flush=True,
        )


def scaled(csv: str, dropped: list[str]) -> tuple[list[str], NDArray[np.float32]]:
    """Numeric columns by minimum and maximum."""
    frame = pd.read_csv(csv, skipinitialspace=True).drop(columns=dropped).select_dtypes("number")
    values = frame.to_numpy(dtype=np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    return list(frame), ((values - low) / np.where(high > low, high - low, 1)).astype(np.float32)


def embedded(windows: Windows, features: int, hidden: int, layers: int, iterations: int) -> TimeGAN:
    """Its embedder and recovery after the first phase."""
    channels = Channels.continuous(features)
    model = TimeGAN(length=LENGTH, channels=channels, hidden=hidden, layers=layers, seed=SEED)
    phases = dict.fromkeys(("supervised_iterations", "joint_iterations"), 1)
    given = {"batch_size": BATCH, "seed": SEED, "embedding_iterations": iterations, **phases}
    training = model.start_training(windows, given, torch.device("cpu"))
    for iteration in range(1, iterations + 1):
        training.iterate(training.phases[0], iteration, logged=False, profiled=False)
    return model.eval()


@torch.no_grad()
def reconstructed(model: TimeGAN, windows: Windows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Real windows, and what recovery makes of their latents."""
    rng = np.random.default_rng(SEED)
    real = windows.gather(rng.permutation(len(windows))[:JUDGED]).values
    x = torch.from_numpy(real)
    again: torch.Tensor = model.head(model.recovery(model.embed(x, x.new_empty(len(x), 0))))
    return real, again.numpy()


if __name__ == "__main__":
    main()
