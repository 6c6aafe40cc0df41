"""What a configuration reaches over several training seeds, by the paper's protocol, as Markdown.

    python -m tests.benchmarks.quality stocks.yaml --preset paper --seeds 3
    python -m tests.benchmarks.quality events --set window.min_length=8 --matrix type --by group

Each seed is one `timeloom run` in a lake that is kept (`--lake`): one that was cut short is resumed, one
that is done is not done again. `--matrix COLUMN` compares the transition matrices of a categorical column,
for each value of the static column `--by`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.benchmarks.main_job import SCRIPT, commit, machine

WINDOWS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--lake", type=Path, default=Path("data/lake"))
    parser.add_argument("--matrix", metavar="COLUMN")
    parser.add_argument("--by", metavar="COLUMN")
    options = parser.parse_args()
    print(f"{machine()}; commit {commit()}\n")
    print(f"`{options.dataset}`, preset `{options.preset}` {' '.join(options.overrides)}\n")
    print("| seed | discriminative | median | predictive | real: discriminative / predictive | training |")
    print("|---|---|---|---|---|---|")
    results = [run(options, seed) for seed in range(options.seeds)]
    for part in ("discriminative_mean", "predictive_mean"):
        values = [result["scores"][part] for result in results]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"\n{part} over seeds: {statistics.mean(values):.4f} +/- {spread:.4f}")
    if options.matrix:
        for result in results:
            compare_matrices(options, result)


def run(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    output = options.lake / f"quality-{seed}.json"
    options.lake.mkdir(parents=True, exist_ok=True)
    words = [
        SCRIPT,
        "run",
        options.dataset,
        "--preset",
        options.preset,
        "--seed",
        str(seed),
        "--json",
        str(output),
    ]
    words += [word for override in options.overrides for word in ("--set", override)]
    environment = {**os.environ, "TIMELOOM_HOME": str(options.lake.absolute())}
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    scores = result["scores"]
    print(
        f"| {seed} | {scores['discriminative_mean']:.3f} +/- {scores['discriminative_std']:.3f} "
        f"| {scores['discriminative_median']:.3f} "
        f"| {scores['predictive_mean']:.4f} +/- {scores['predictive_std']:.4f} "
        f"| {scores['discriminative_real_halves']:.3f} / {scores['predictive_real']:.4f} "
        f"| {result['train_seconds']:,.0f} s |",
        flush=True,
    )
    return result


def compare_matrices(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Mean absolute difference of the transition matrices, over real and generated neighbours in a window."""
    lake = options.lake.absolute()
    made = lake / "quality.parquet"
    model = f"{result['model_name']}/{result['model_version']}"
    words = [SCRIPT, "generate", model, "-n", str(WINDOWS), "-o", str(made)]
    subprocess.run(words, env={**os.environ, "TIMELOOM_HOME": str(lake)}, check=True)
    (snapshot,) = (lake / "snapshots").glob(f"*/{result['digests']['snapshot'][:16]}*")
    real = pq.read_table(snapshot / "data.parquet").to_pandas()
    series = next(name for name in ("sequence", "series") if name in real)
    synthetic = pd.read_parquet(made)
    names = sorted(real[options.matrix].unique())
    valid = synthetic[options.matrix].isin(names).mean()
    print(
        f"\n{options.matrix}: {100 * valid:.2f}% of the generated steps hold one of the {len(names)} categories"
    )
    for value in sorted(real[options.by].unique()) if options.by else [None]:
        parts = [frame if value is None else frame[frame[options.by] == value] for frame in (real, synthetic)]
        matrices = [
            transitions(part, key, options.matrix, names)
            for part, key in zip(parts, (series, "window"), strict=True)
        ]
        difference = np.abs(matrices[0] - matrices[1]).mean()
        where = "" if value is None else f" of {options.by}={value}"
        print(
            f"- transition matrix{where}: off by {difference:.4f} on average, {len(parts[1]):,} generated steps"
        )


def transitions(frame: pd.DataFrame, series: str, column: str, names: list[Any]) -> NDArray[np.float64]:
    """Row-normalised counts of neighbours."""
    same = frame[series].to_numpy()[1:] == frame[series].to_numpy()[:-1]
    codes = pd.Categorical(frame[column], categories=names).codes
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (codes[:-1][same], codes[1:][same]), 1)
    return counts / counts.sum(axis=1, keepdims=True).clip(1)


if __name__ == "__main__":
    main()
