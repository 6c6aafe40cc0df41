"""`make bench`: the main job on an empty lake as whole processes, and what it reaches, as Markdown.

    python -m tests.benchmarks.main_job [--dataset sp500] [--preset quick] [--seeds 1]

Seconds are of this machine at this moment; scores are fixed by the seed (on the same kind of processor).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch

SCRIPT = str(Path(sys.executable).with_name("timeloom"))
HELP_RUNS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="sp500")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    print(f"{machine()}; commit {commit()}\n")
    print(f"`timeloom --help`: median {statistics.median(timed_help() for _ in range(HELP_RUNS)):.2f} s\n")
    with tempfile.TemporaryDirectory(prefix="timeloom-bench-") as lake:
        for seed in range(options.seeds):
            result, wall, peak = run(lake, options.dataset, options.preset, seed)
            show(f"{options.dataset}, {options.preset}, seed {seed}", result, wall, peak)
        again, wall, peak = run(lake, options.dataset, options.preset, options.seeds - 1)
        show(f"the same again, reusing {len(again['cached'])} steps", again, wall, peak)


def machine() -> str:
    return (
        f"{psutil.cpu_count()} CPU cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}"
    )


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def timed_help() -> float:
    started = time.perf_counter()
    subprocess.run([SCRIPT, "--help"], check=True, capture_output=True)
    return time.perf_counter() - started


def run(lake: str, dataset: str, preset: str, seed: int) -> tuple[dict[str, Any], float, float]:
    """The result's JSON, wall seconds, and the peak resident MiB of the whole process tree."""
    output = Path(lake) / "result.json"
    words = [SCRIPT, "run", dataset, "--preset", preset, "--seed", str(seed), "--json", str(output)]
    started, peak = time.perf_counter(), 0.0
    process = psutil.Popen(
        words, env={**os.environ, "TIMELOOM_HOME": lake}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        peak = max(peak, resident(process))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with exit code {process.returncode}")
    return json.loads(output.read_text()), time.perf_counter() - started, peak


def resident(process: psutil.Process) -> float:
    total = 0.0
    try:
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_info().rss
    except psutil.NoSuchProcess:
        return total / 2**20
    return total / 2**20


def show(title: str, result: dict[str, Any], wall: float, peak: float) -> None:
    steps = {name: seconds for name, seconds in result["seconds"].items() if name != "total"}
    scores = result["scores"]
    print(f"**{title}**: {wall:.0f} s wall, {peak:,.0f} MiB peak\n")
    print("| " + " | ".join(steps) + " | server, imports |")
    print("|---" * (len(steps) + 1) + "|")
    rest = wall - sum(steps.values())
    print("| " + " | ".join(f"{seconds:.1f} s" for seconds in steps.values()) + f" | {rest:.1f} s |\n")
    for name in ("discriminative", "predictive"):
        mean, std, median = (scores[f"{name}_{part}"] for part in ("mean", "std", "median"))
        print(f"- {name}: {mean:.3f} +/- {std:.3f}, median {median:.3f}")
    print(flush=True)


if __name__ == "__main__":
    main()
