"""How fast TimeGAN trains, beside the same written the obvious way (`reference_timegan.py`), as Markdown.

    python -m tests.benchmarks.train_speed [--device cpu|cuda|auto] [--threads 1 2] [--rounds 7] [--json FILE]
    python -m tests.benchmarks.train_speed --device cuda --full      3 x 10,000 iterations as well
    python -m tests.benchmarks.train_speed --sweep [--plot FILE]     cost by length, features, hidden, batch

Both sides train the same networks from the same weights on windows of the same series. In one process they
take turns, block by block, so that a machine that slows down slows both; a ratio is of two neighbouring blocks.
Each number of threads, each peak of memory and each start of a training has a process of its own. Iterations
are unlogged ones, without the checkpoints of a real training (`--full` has both). Threads mean what they mean
to a job (`TIMELOOM_THREADS`): those of our recurrent layers, and for the reference torch's.

It needs what training needs (torch, numpy, pandas, pyarrow), and matplotlib for `--plot`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.generators.timegan import TimeGAN
from core.networks.recurrence import set_threads
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows
from tests.benchmarks.reference_timegan import ListDraws, ReferenceTimeGAN, ReferenceTraining
from tests.benchmarks.train_speed_report import (
    Blocks,
    commit,
    machine,
    plot_sweeps,
    show_blocks,
    show_full,
    show_memory,
    show_starts,
    show_sweep,
)

MODULE = "tests.benchmarks.train_speed"
PHASES = ("embedding", "supervised", "joint")
ITERATIONS = 10_000
"""Of a phase, and ordered everywhere: in a constant schedule their number changes no iteration."""
ROWS = 3_685
"""As many as the stocks series has."""
SAMPLED = 10_000
SEED = 0
WARM = {"cpu": 1, "cuda": 20}
"""Untimed iterations: compilation, buffers, and on a GPU whatever is captured after a few eager ones."""
MEMORY_ITERATIONS = 10
REPLICAS = 16
SWEEP = {
    "length": (24, 48, 96, 192, 512),
    "features": (6, 28, 64, 128),
    "hidden": (24, 48, 96, 192, 256),
    "batch": (128, 512, 2048, 4096),
}
SWEEP_ROUNDS, SWEEP_SECONDS = 3, 0.3
MIB = 2**20

Work = Callable[[int], None]
"""Does so many iterations."""
Result = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What is timed; a child process gets it as JSON."""

    device: str = "cpu"
    threads: int = 1
    """0: the project's own choice, one for the reference."""
    hidden: int = 24
    layers: int = 3
    batch: int = 128
    length: int = 24
    features: int = 6
    rounds: int = 7
    seconds: float = 1.0
    """Of a block of iterations, about."""
    replicas: int = 1
    recurrence: str | None = None
    """The project's choice if None, like the next."""
    cuda_graphs: bool | None = None

    @property
    def torch_threads(self) -> int:
        """Of our own training, as `core.training.job` sets them."""
        return (self.threads or 1) if self.recurrence == "torch" else 1

    @property
    def training(self) -> dict[str, Any]:
        """Section `training` of the configuration."""
        options: dict[str, Any] = {"batch_size": self.batch, "seed": SEED}
        options |= {f"{phase}_iterations": ITERATIONS for phase in PHASES}
        if self.recurrence is not None:
            options["recurrence"] = self.recurrence
        if self.cuda_graphs is not None:
            options["cuda_graphs"] = self.cuda_graphs
        if self.replicas > 1:  # the best of them is chosen by held-out windows
            options |= {"replicas": self.replicas, "selection": {"validation": 0.2}}
        return options


def series(setup: Setup) -> Windows:
    """Random walks around sine waves, scaled to [0, 1]; every window of them."""
    rng = np.random.default_rng(SEED)
    rows = max(ROWS, setup.batch + setup.length)  # the reference draws a batch without replacement
    t = np.arange(rows)[:, None] / rows
    waves = np.sin(2 * np.pi * t * (3 + np.arange(setup.features)))
    values = waves + rng.normal(size=(rows, setup.features)).cumsum(axis=0) / rows**0.5
    values = (values - values.min(axis=0)) / np.ptp(values, axis=0)
    return Windows.of(values.astype(np.float32), np.arange(rows - setup.length + 1), setup.length)


def new_model(setup: Setup) -> TimeGAN:
    channels = Channels.continuous(setup.features)
    return TimeGAN(length=setup.length, channels=channels, hidden=setup.hidden, layers=setup.layers, seed=SEED)


class Ours:
    """This project."""

    def __init__(self, setup: Setup) -> None:
        self.threads = setup.torch_threads
        self.model = new_model(setup)
        self.training = self.model.start_training(series(setup), setup.training, torch.device(setup.device))
        self.phases = {phase.name: phase for phase in self.training.phases}
        self.done = dict.fromkeys(PHASES, 0)

    def iterate(self, phase: str, times: int) -> None:
        torch.set_num_threads(self.threads)
        for _ in range(times):
            self.done[phase] += 1
            self.training.iterate(self.phases[phase], self.done[phase], logged=False, profiled=False)

    def sample(self, times: int) -> None:
        for _ in range(times):
            self.model.sample(SAMPLED, SEED)


class Reference:
    """TimeGAN written the obvious way."""

    def __init__(self, setup: Setup) -> None:
        windows = series(setup)
        self.threads = setup.threads or 1
        self.length = setup.length
        self.model = ReferenceTimeGAN(setup.features, setup.hidden, setup.layers)
        self.model.take(new_model(setup).state_dict())
        self.model.to(setup.device)
        listed = list(windows.gather(np.arange(len(windows))).values)
        draws = ListDraws(listed, setup.batch, SEED, setup.device)
        self.training = ReferenceTraining(self.model, draws)

    def iterate(self, phase: str, times: int) -> None:
        torch.set_num_threads(self.threads)
        for _ in range(times):
            getattr(self.training, phase)()

    def sample(self, times: int) -> None:
        torch.set_num_threads(self.threads)
        for _ in range(times):
            self.model.sample(SAMPLED, self.length)


SIDES: dict[str, type[Ours | Reference]] = {"reference": Reference, "ours": Ours}


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def timed(work: Work, times: int, device: str) -> tuple[float, float]:
    """Wall and CPU milliseconds of an iteration, the mean of `times`."""
    synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work(times)
    synchronize(device)
    return (time.perf_counter() - wall) * 1000 / times, (time.process_time() - cpu) * 1000 / times


def take_turns(works: Mapping[str, Work], setup: Setup, warm: int) -> Blocks:
    """`rounds` blocks of each side, one after the other; `warm`: untimed iterations of each before."""
    times = {}
    for name, work in works.items():
        work(warm)
        wall, _ = timed(work, warm, setup.device)
        times[name] = max(1, math.ceil(setup.seconds * 1000 / wall))
    blocks: Blocks = {name: {"wall": [], "cpu": []} for name in works}
    for _ in range(setup.rounds):
        for name, work in works.items():
            wall, cpu = timed(work, times[name], setup.device)
            blocks[name]["wall"].append(wall)
            blocks[name]["cpu"].append(cpu)
    return blocks


def time_phases(setup: Setup) -> Result:
    """Blocks of each phase, and of drawing windows."""
    sides = {name: side(setup) for name, side in SIDES.items()}
    found = phase_blocks(sides, setup)
    found[f"drawing {SAMPLED:,} windows"] = take_turns(
        {name: side.sample for name, side in sides.items()}, setup, warm=1
    )
    return found


def time_replicas(setup: Setup) -> Result:
    """Blocks of each phase, by number of replicas."""
    counts = (setup.replicas, 1)
    return phase_blocks({str(count): Ours(replace(setup, replicas=count)) for count in counts}, setup)


def phase_blocks(sides: Mapping[str, Ours | Reference], setup: Setup) -> Result:
    return {
        phase: take_turns(
            {name: partial(side.iterate, phase) for name, side in sides.items()}, setup, WARM[setup.device]
        )
        for phase in PHASES
    }


def measure_memory(setup: Setup, side: str) -> Result:
    """Peak MiB of a process that trains one side, and of it what imports alone take."""
    imported = peak_resident()
    training = SIDES[side](setup)
    for phase in PHASES:
        training.iterate(phase, max(MEMORY_ITERATIONS, WARM[setup.device]))
    synchronize(setup.device)
    found = {"imports": imported, "peak": peak_resident()}
    return found | (gpu_memory() if setup.device == "cuda" else {})


def gpu_memory() -> Result:
    """Peak MiB of tensors, and of what torch holds for them (buffers of CUDA graphs, too)."""
    return {
        "GPU, tensors": torch.cuda.max_memory_allocated() / MIB,
        "GPU, held": torch.cuda.max_memory_reserved() / MIB,
    }


def peak_resident() -> float:
    """MiB. Unlike `ru_maxrss`, which starts from the parent's size, it is of this program alone."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def first_steps(setup: Setup, side: str) -> None:
    """Say when the first iteration is done, and when one of each phase is."""
    if side == "ours":  # the process that trains has it imported
        import core.training.job  # noqa: F401
    training = SIDES[side](setup)
    for phase in PHASES:
        training.iterate(phase, 1)
        synchronize(setup.device)
        print(phase, flush=True)


def time_full(setup: Setup) -> Result:
    """Seconds of a whole training, with its logging and checkpoints."""
    from core.training.loop import LoopOptions, train

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = train(Ours(setup).training, Path(folder), LoopOptions())
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "iterations": result.iterations, "memory": gpu_memory()}


def sweep(setup: Setup) -> Result:
    """By axis: its values, and median milliseconds of a joint iteration of ours at each; points take turns."""
    points = {
        axis: [Setup(**(asdict(setup) | {axis: value})) for value in values] for axis, values in SWEEP.items()
    }
    works = {str(point): partial(Ours(point).iterate, "joint") for line in points.values() for point in line}
    blocks = take_turns(works, setup, WARM[setup.device])
    return {
        axis: {
            "values": SWEEP[axis],
            "milliseconds": [statistics.median(blocks[str(point)]["wall"]) for point in line],
        }
        for axis, line in points.items()
    }


TASKS: dict[str, Callable[..., Result | None]] = {
    "phases": time_phases,
    "replicas": time_replicas,
    "memory": measure_memory,
    "start": first_steps,
    "full": time_full,
    "sweep": sweep,
}


def child(task: str, setup: Setup, *words: str, **environment: str) -> subprocess.Popen[str]:
    """A fresh process that does one of `TASKS`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(setup.threads or 1))
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, "--child", task, json.dumps(asdict(setup)), *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | threads | environment,
    )


def run_child(task: str, given: str, *words: str) -> None:
    """What the child process does; its result is the last line that it prints."""
    setup = Setup(**json.loads(given))
    set_threads(setup.threads or None)
    print(json.dumps(TASKS[task](setup, *words)), flush=True)


def ask(task: str, setup: Setup, *words: str) -> Result:
    """The result of a task, done by a process of its own."""
    print(f"{task} {' '.join(words)}: {setup}", file=sys.stderr)
    with child(task, setup, *words) as process:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{task} {' '.join(words)} ended with exit code {process.returncode}")
    result: Result = json.loads(output.splitlines()[-1])
    return result


def time_start(setup: Setup, side: str, cache: str) -> Result:
    """Seconds from the start of a process to the first iteration, and to one of each phase."""
    started = time.perf_counter()
    with child("start", setup, side, **caches(cache)) as process:
        assert process.stdout is not None
        marks = [time.perf_counter() - started for line in process.stdout if line.strip() in PHASES]
    if process.returncode:
        raise SystemExit(f"start {side} ended with exit code {process.returncode}")
    return {"first": marks[0], "each": marks[-1]}


def caches(folder: str) -> dict[str, str]:
    """Environment of a process that keeps what it compiles in `folder`."""
    return {"NUMBA_CACHE_DIR": folder, "TRITON_CACHE_DIR": folder}


def time_starts(setup: Setup) -> Result:
    """By side; ours with nothing compiled, and again with what the first left in the cache."""
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (time_start(setup, "ours", cache) for _ in range(2))
        found = {"reference": time_start(setup, "reference", cache), "ours, cold": cold, "ours, warm": warm}
    show_starts(found)
    return found


def compare(setup: Setup, *, full: bool) -> Result:
    """Everything of one device and number of threads, printed as it comes."""
    one = replace(setup, replicas=1)
    found: Result = {}
    print(f"## {named(setup)}\n")
    found["phases"] = ask("phases", one)
    show_blocks(found["phases"], "reference", "ours")
    # After the phases, so that what they compiled is in the cache: compiling has a peak of its own.
    found["memory"] = {side: ask("memory", one, side) for side in SIDES}
    show_memory(found["memory"])
    if setup.replicas > 1:
        found["replicas"] = ask("replicas", setup)
        show_blocks(found["replicas"], str(setup.replicas), "1")
    if full:
        found["full"] = ask("full", one)
        milliseconds = sum(statistics.median(found["phases"][phase]["reference"]["wall"]) for phase in PHASES)
        show_full(found["full"], milliseconds * ITERATIONS / 1000)
    return found


def named(setup: Setup) -> str:
    return f"{setup.device}, threads: {setup.threads or 'own choice'}"


def setups(options: argparse.Namespace) -> list[Setup]:
    """One for each number of threads on the CPU, and one for a GPU, which one thread feeds."""
    names = ("hidden", "layers", "batch", "length", "features", "rounds", "seconds", "recurrence")
    common = Setup(**{name: getattr(options, name) for name in names})
    found = []
    if options.device != "cuda":
        replicas = options.replicas or 1
        found += [replace(common, threads=threads, replicas=replicas) for threads in options.threads]
    if options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available()):
        graphs = False if options.no_cuda_graphs else None
        replicas = options.replicas or REPLICAS
        found.append(replace(common, device="cuda", replicas=replicas, cuda_graphs=graphs))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="auto")
    parser.add_argument("--threads", type=int, nargs="+", help="on the CPU; 0: own choice")
    for name in ("hidden", "layers", "batch", "length", "features", "rounds"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Setup, name))
    parser.add_argument("--seconds", type=float, default=Setup.seconds, help="of a block of iterations")
    parser.add_argument("--recurrence", help="training.recurrence instead of the project's choice")
    parser.add_argument("--replicas", type=int, help=f"also so many against one; {REPLICAS} on a GPU")
    parser.add_argument("--no-cuda-graphs", action="store_true", help="training.cuda_graphs=false")
    parser.add_argument("--full", action="store_true", help="also a whole training on the GPU")
    parser.add_argument("--sweep", action="store_true", help="instead: cost against the sizes")
    parser.add_argument("--plot", type=Path, help="PNG of the sweep")
    parser.add_argument("--json", type=Path, help="everything measured, to this file")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.threads = options.threads or ([1] if options.sweep else [1, 2])
    return options


def run_sweeps(wanted: list[Setup], plot: Path | None) -> Result:
    found = {}
    for setup in wanted:
        name = named(setup)
        print(f"## Joint iteration, {name}\n", flush=True)
        found[name] = ask("sweep", replace(setup, replicas=1, rounds=SWEEP_ROUNDS, seconds=SWEEP_SECONDS))
        show_sweep(found[name])
    if plot:
        plot_sweeps(found, plot)
    return found


def run_comparison(wanted: list[Setup], *, full: bool) -> Result:
    found: Result = {named(setup): compare(setup, full=full and setup.device == "cuda") for setup in wanted}
    for device in dict.fromkeys(setup.device for setup in wanted):
        print(f"## Start of a training, {device}\n", flush=True)
        # Nobody says how many threads: where the project measures them first, that is part of the start.
        setup = next(setup for setup in wanted if setup.device == device)
        found[f"start, {device}"] = time_starts(replace(setup, replicas=1, threads=0))
    return found


def main() -> None:
    options = arguments()
    if options.child:
        run_child(*options.child)
        return
    wanted = setups(options)
    found: Result = {"machine": machine(), "commit": commit(), "setups": [asdict(setup) for setup in wanted]}
    print(f"{found['machine']}; commit {found['commit']}\n", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= caches(cache)  # kernels of an older version of the code would be timed else
        if options.sweep:
            found |= run_sweeps(wanted, options.plot)
        else:
            found |= run_comparison(wanted, full=options.full)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
