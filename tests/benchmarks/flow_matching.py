"""What flow matching's options bring: variants trained alike and judged alike, as one Markdown table.

    python -m tests.benchmarks.flow_matching energydata_complete.csv --variants plain fourier latent
    python -m tests.benchmarks.flow_matching --columns 100 --rows 20000 --length 128 --variants plain
    python -m tests.benchmarks.flow_matching stock_data.csv --set latent:latent=4 --set plain:hidden=96

Each variant is the section `model` of the configuration with some options (`VARIANTS`, changed by `--set`); the
section `training` is that of the preset `best` with `--iterations`. Windows are every window of the numeric
columns, scaled to [0, 1] by the whole series as in the literature; at most `--judged` of each kind, drawn at
random, are judged. Seconds of training and of drawing are wall time on one CPU thread, or on the GPU that
`--device` or TIMELOOM_DEVICE names; judges run on the CPU. The stronger judges are tested on real windows that
share no row with those that they learnt from, and on made windows that are nearest to those. The row `real` is
one half of the real windows, drawn at random, in the place of made ones, against the other half.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.config import JobConfig, build_job
from core.evaluation.distances.context_fid import frechet_distance, gaussian
from core.evaluation.distances.ts2vec import train_ts2vec
from core.evaluation.judges.classifiers import KINDS, stronger_judges
from core.evaluation.judges.paper_scores import discriminative_score, predictive_score
from core.evaluation.judges.splits import Split, divided, divided_alike, nearest_real
from core.generators.registry import new_generator
from core.networks.threads import one_thread
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows
from core.training.device import resolve_device
from tests.benchmarks.main_job import commit, machine
from tests.benchmarks.reconstruction import scaled

VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "white": ("whitening=false",),
    "told": ("completion=0.25",),
    "adams": ("solver=adams", "sampling_steps=20"),
    "fourier": ("fourier=0.1",),
    "fourier-square": ("fourier=1", "fourier_form=square"),
    "correlation": ("correlation=1",),
    "moments": ("moments=0.1",),
    "latent": (),
}
"""Options of `model` by variant; `latent` has half as many numbers as columns if `--set` does not say."""
DATASET = DatasetConfig.model_validate({"name": "bench", "source": {"kind": "file", "path": "unread.csv"}})
Array = NDArray[np.float32]
SCORES = ("discriminative", "predictive", "Context-FID")


@dataclass(frozen=True)
class Trained:
    """A variant with one seed."""

    name: str
    windows: NDArray[np.float32]
    """What it drew."""
    training: float
    """Seconds."""
    drawing: float
    """Seconds."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    device = resolve_device(options.device)
    values = series(options)
    windows = Windows.of(values, np.arange(len(values) - options.length + 1), options.length)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "one CPU thread"
    print(f"{machine()}; commit {commit()}; trained on {where}", flush=True)
    print(
        f"{len(windows):,} windows of {options.length} x {values.shape[1]}, {options.iterations:,} iterations\n"
    )
    judge = Judge(windows, options)
    print(judge.head())
    if options.real:
        print(judge.halves(), flush=True)
    for name in options.variants:
        for seed in options.seeds:
            job = job_of(name, values.shape[1], seed, options)
            made = trained(name, job, windows, judge.drawn, device)
            seconds = (f"{made.training:.0f}", f"{made.drawing:.1f}")
            print(judge.rows(name, seed, made.windows[: judge.count], seconds), flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="?", help="numeric columns; simulated ones if left out")
    parser.add_argument("--columns", type=int, default=28, help="simulated")
    parser.add_argument("--rows", type=int, default=20_000, help="simulated")
    parser.add_argument("--drop", nargs="*", default=[], help="columns of the file to leave out")
    parser.add_argument("--length", type=int, default=24)
    parser.add_argument("--iterations", type=int, default=5000, help="of the flow")
    parser.add_argument("--embedding", type=int, default=2000, help="iterations of the autoencoder")
    parser.add_argument("--variants", nargs="+", default=["plain"], choices=VARIANTS)
    parser.add_argument("--set", action="append", default=[], metavar="VARIANT:KEY=VALUE", dest="changes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--judges", type=int, default=10, help="of the paper's scores")
    parser.add_argument("--judged", type=int, default=4000, help="most windows of each kind")
    parser.add_argument("--drawn", type=int, default=10_000, help="windows whose drawing is timed, at least")
    parser.add_argument("--stronger", nargs="*", default=["lstm", "cnn", "rocket"], choices=KINDS)
    parser.add_argument("--repetitions", type=int, default=3, help="of each stronger judge")
    parser.add_argument("--device", default=os.environ.get("TIMELOOM_DEVICE", "auto"))
    parser.add_argument("--no-real", dest="real", action="store_false", help="leave out the row of real halves")
    options = parser.parse_args()
    if wrong := [change for change in options.changes if change.partition(":")[0] not in VARIANTS]:
        parser.error(f"--set {wrong[0]}: expected VARIANT:KEY=VALUE, VARIANT one of {', '.join(VARIANTS)}")
    return options


def series(options: argparse.Namespace) -> NDArray[np.float32]:
    """Rows of a file, or correlated autoregressive columns with a season each, scaled to [0, 1]."""
    if options.csv:
        return scaled(options.csv, options.drop)[1]
    rng = np.random.default_rng(0)
    count, columns = options.rows, options.columns
    mixing = rng.normal(size=(columns, columns)) / np.sqrt(columns) + np.eye(columns)
    shocks = rng.normal(size=(count, columns)) @ mixing
    values = np.zeros_like(shocks)
    for t in range(1, count):
        values[t] = 0.95 * values[t - 1] + shocks[t]
    seasons = np.sin(
        2 * np.pi * (np.arange(count)[:, None] / rng.integers(12, 96, columns) + rng.random(columns))
    )
    values += 3 * seasons
    return np.asarray((values - values.min(0)) / (values.max(0) - values.min(0)), dtype=np.float32)


def job_of(name: str, columns: int, seed: int, options: argparse.Namespace) -> JobConfig:
    """The preset `best` with a variant's options, checked like a user's."""
    changes = [change.partition(":")[2] for change in options.changes if change.startswith(f"{name}:")]
    if name == "latent" and not any(change.startswith("latent=") for change in changes):
        changes.append(f"latent={max(1, columns // 2)}")
    words = [f"model.{word}" for word in (*VARIANTS[name], *changes)]
    words += [
        f"window.length={options.length}",
        f"training.joint_iterations={options.iterations}",
        f"training.embedding_iterations={options.embedding}",
        # As long a rise as the preset has, of shorter trainings a tenth.
        f"training.schedule.warmup={min(500, options.iterations // 10)}",
    ]
    return build_job(DATASET, preset="best", overrides=words, seed=seed)


def trained(name: str, job: JobConfig, windows: Windows, count: int, device: torch.device) -> Trained:
    """Train every phase to its end, without checkpoints, and draw so many windows."""
    channels = Channels.continuous(windows.features)
    model = job.model.model_dump(mode="json")
    generator = new_generator(model, length=windows.length, channels=channels, seed=job.training.seed)
    with one_thread():
        started = time.perf_counter()
        training = generator.start_training(windows, job.training.model_dump(mode="json"), device)
        for phase in training.phases:
            for step in range(1, phase.iterations + 1):
                training.iterate(phase, step, logged=False, profiled=False)
        training.finish(None)
        synchronise(device)
        seconds = time.perf_counter() - started
        generator.sample(10, seed=1)  # warms the device up
        started = time.perf_counter()
        made = generator.sample(count, seed=job.training.seed)  # on the CPU: nothing is left to wait for
        return Trained(name, made.values, seconds, time.perf_counter() - started)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Judge:
    """The same real windows, splits and seeds for every variant."""

    def __init__(self, windows: Windows, options: argparse.Namespace) -> None:
        self.options = options
        self.count = min(options.judged, len(windows))
        self.drawn = max(self.count, options.drawn)
        chosen = np.random.default_rng(0).permutation(len(windows))
        self.starts, self.real = self.windows_of(windows, chosen[: self.count])
        self.both = self.windows_of(windows, chosen[: 2 * self.count])
        self.encode = train_ts2vec(self.real, seed=0)

    def windows_of(self, windows: Windows, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array]:
        """First rows, ascending, and windows."""
        chosen = np.sort(chosen)
        values: Array = windows.gather(chosen).values
        return windows.starts[chosen], values

    def rows(self, name: str, seed: Any, made: Array, seconds: Sequence[str]) -> str:
        """Scores of what was made."""
        return self.row(name, seed, (self.real, made), self.starts, seconds)

    def halves(self) -> str:
        """Scores of real windows in the place of made ones, against others of the same times."""
        starts, values = self.both
        halves = np.array_split(np.random.default_rng(0).permutation(len(values)), 2)
        half, other = (np.sort(part) for part in halves)
        return self.row("real", "", (values[half], values[other]), starts[half], ("", ""))

    def head(self) -> str:
        """The table's first lines."""
        judges = [f"AUC of {kind}" for kind in self.options.stronger]
        columns = ("variant", "seed", *SCORES, *judges, "training, s", f"{self.drawn:,} windows, s")
        return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"

    def row(
        self,
        name: str,
        seed: Any,
        sets: tuple[Array, Array],
        starts: NDArray[np.int64],
        seconds: Sequence[str],
    ) -> str:
        """A line of the table: the second set against the first, whose first rows are given."""
        count, repetitions = self.options.judges, self.options.repetitions
        parts = divided(len(sets[0]), starts, self.options.length, repetitions, seed=0)
        others = divided_alike(nearest_real(sets[1], sets[0]), len(sets[0]), parts, seed=0)
        splits = [Split(*one, *other) for one, other in zip(parts, others, strict=True)]
        told = discriminative_score(*sets, judges=count, seed=0)
        foretold = predictive_score(*sets, judges=count, seed=0)
        stronger = stronger_judges(*sets, splits, kinds=self.options.stronger, seed=0)
        cells = [name, str(seed)]
        cells += [f"{told.mean:.3f} +/- {told.std:.3f}", f"{foretold.mean:.4f} +/- {foretold.std:.4f}"]
        codes = (gaussian(self.encode(windows)) for windows in sets)
        cells.append(f"{frechet_distance(*codes):.3f}")
        cells += [f"{stronger[kind].auc:.3f}" if kind in stronger else "" for kind in self.options.stronger]
        return f"| {' | '.join((*cells, *seconds))} |"


if __name__ == "__main__":
    main()
