"""Seconds and memory of writing many windows: `python -m tests.benchmarks.generation`.

Each count in a process of its own, whose peak of resident memory the system reports. The generator is an
untrained TimeGAN: what it draws makes no difference to the work.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COUNTS = (10_000, 100_000, 1_000_000)
OUTPUTS = ("windows.parquet", "parts/")
LENGTH, COLUMNS, HIDDEN = 24, 5, 8


def main() -> None:
    """Print the table."""
    print("| output | windows | seconds | windows/s | peak MiB | size MiB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        for output in OUTPUTS:
            for count in COUNTS:
                words = [sys.executable, "-m", "tests.benchmarks.generation", folder, output, str(count)]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout)
                print(
                    f"| {output} | {count:,} | {found['seconds']:.1f} | {count / found['seconds']:,.0f} | "
                    f"{found['mib']:.0f} | {found['bytes'] / 2**20:.0f} |",
                    flush=True,
                )


def make_model(folder: Path) -> None:
    """An untrained generator's files."""
    from core.generators.bundle import GeneratorBundle, SeriesInfo
    from core.generators.timegan import TimeGAN
    from core.prepare.channels.layout import Column, Layout

    layout = Layout(tuple(Column(f"x{place}", maximum=100.0) for place in range(COLUMNS)))
    timegan = TimeGAN(length=LENGTH, channels=layout.channels, hidden=HIDDEN, layers=1, seed=0)
    GeneratorBundle(timegan, SeriesInfo("made-up", layout, None, "x")).save(folder)


def measure(model: Path, output: str, count: int) -> None:
    """Write windows and print what it took, as JSON."""
    from core.generation.options import GenerationConfig
    from core.generation.write import generate
    from core.generators.bundle import GeneratorBundle

    with tempfile.TemporaryDirectory() as folder:
        job = GenerationConfig(model=str(model), output=f"{folder}/{output}", windows=count)
        bundle = GeneratorBundle.load(model)
        started = time.perf_counter()
        made = generate(bundle, job, {}, Path(folder) / "lake")
        seconds = time.perf_counter() - started
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mib": mib, "bytes": made.bytes}))


if __name__ == "__main__":
    if sys.argv[1:]:
        measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    else:
        main()
