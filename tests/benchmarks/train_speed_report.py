"""What `train_speed.py` measured, as Markdown and as a plot, and where it was measured."""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

Blocks = dict[str, dict[str, list[float]]]
"""By side, `wall` and `cpu`: milliseconds of an iteration in each round."""


def show_blocks(found: Mapping[str, Blocks], slow: str, fast: str) -> None:
    """A row for each entry of `found`: medians over rounds, and the ratio of slow to fast in a round."""
    print(f"| | {slow}, ms | CPU ms | {fast}, ms | CPU ms | {slow} / {fast}: median (min to max) |")
    print("|---|---|---|---|---|---|")
    for name, blocks in found.items():
        medians = [statistics.median(blocks[side][kind]) for side in (slow, fast) for kind in ("wall", "cpu")]
        least, middle, most = spread(blocks[slow]["wall"], blocks[fast]["wall"])
        cells = " | ".join(f"{median:,.2f}" for median in medians)
        print(f"| {name} | {cells} | {middle:.2f} ({least:.2f} to {most:.2f}) |")
    print(flush=True)


def spread(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """Smallest, median and largest ratio of a round."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return min(ratios), statistics.median(ratios), max(ratios)


def show_memory(found: Mapping[str, Mapping[str, float]]) -> None:
    """By side and kind, MiB."""
    kinds = list(next(iter(found.values())))
    print(f"| peak memory, MiB | {' | '.join(kinds)} |")
    print("|---" * (len(kinds) + 1) + "|")
    for side, values in found.items():
        print(f"| {side} | {' | '.join(f'{values[kind]:,.0f}' for kind in kinds)} |")
    print(flush=True)


def show_starts(found: Mapping[str, Mapping[str, float]]) -> None:
    """By side, seconds."""
    print("| from the start of the process, s | first iteration | one of each phase |")
    print("|---|---|---|")
    for side, marks in found.items():
        print(f"| {side} | {marks['first']:.1f} | {marks['each']:.1f} |")
    print(flush=True)


def show_full(found: Mapping[str, Any], reference: float) -> None:
    """A whole training; `reference`: seconds that the other side would take."""
    counts = ", ".join(f"{phase} {count:,}" for phase, count in found["iterations"].items())
    print(
        f"Full training ({counts} iterations, with logging and checkpoints): {found['seconds']:.1f} s, ", end=""
    )
    print("; ".join(f"{kind} {peak:,.0f} MiB" for kind, peak in found["memory"].items()), end="")
    print(f"; the reference would take {reference:,.0f} s by its milliseconds above\n", flush=True)


def show_sweep(found: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """A table for each axis: its values and their milliseconds."""
    for axis, points in found.items():
        values, costs = points["values"], points["milliseconds"]
        print(f"| {axis} | {' | '.join(map(str, values))} | exponent |")
        print("|---" * (len(values) + 2) + "|")
        print(f"| ms | {' | '.join(f'{cost:,.1f}' for cost in costs)} | {exponent(values, costs):.2f} |\n")
    print(flush=True)


def exponent(values: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the straight line through the points in logarithms: 1 where the cost is linear."""
    slope, _ = np.polyfit(np.log(values), np.log(costs), 1)
    return float(slope)


def plot_sweeps(sweeps: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]], file: Path) -> None:
    """A PNG with a panel for each axis, in it a line for each sweep and dotted what a linear cost would be."""
    from matplotlib.figure import Figure

    axes = list(next(iter(sweeps.values())))
    figure = Figure(figsize=(3 * len(axes), 3.4), layout="constrained")
    for panel, axis in zip(figure.subplots(1, len(axes)), axes, strict=True):
        for name, sweep in sweeps.items():
            values, costs = sweep[axis]["values"], sweep[axis]["milliseconds"]
            panel.plot(values, costs, marker="o", label=f"{name}, exponent {exponent(values, costs):.2f}")
            linear = [costs[0] * value / values[0] for value in values]
            panel.plot(values, linear, color="grey", linestyle=":", zorder=1)
        panel.set(xscale="log", yscale="log", xlabel=axis)
        panel.set_xticks(values, [str(value) for value in values], fontsize=7)
        panel.minorticks_off()
        panel.legend(fontsize="small")
    figure.axes[0].set_ylabel("ms for a joint iteration")
    figure.suptitle(f"{', '.join(axes)}: one of them varied at a time; dotted: linear", fontsize="medium")
    figure.savefig(file, dpi=150)


def machine() -> str:
    """Processor, GPU and versions; unlike `main_job.machine` without psutil."""
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores{gpu}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def commit() -> str:
    """Of the checkout, `unknown` where there is no git or no repository."""
    if shutil.which("git") is None:
        return "unknown"
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
