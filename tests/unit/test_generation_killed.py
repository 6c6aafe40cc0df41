"""A process that is killed outright, and the same call after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.timegan import TimeGAN
from core.prepare.channels.layout import Column, Layout

SCRIPT = "from core.generation import windows; windows.PART_CELLS = 1; from flows.cli import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("output", ["x.parquet", "x.csv", "x/"])
def test_the_same_call_after_a_kill_writes_the_same_bytes(tmp_path: Path, output: str) -> None:
    layout = Layout((Column("x", maximum=9.0), Column("y", maximum=2.0)))
    (tmp_path / "model").mkdir()
    timegan = TimeGAN(length=24, channels=layout.channels, hidden=8, layers=2, seed=0)
    GeneratorBundle(timegan, SeriesInfo("made-up", layout, None, "x")).save(tmp_path / "model")

    def start(lake: str, folder: str) -> subprocess.Popen[bytes]:
        (tmp_path / folder).mkdir(exist_ok=True)
        words = ["generate", str(tmp_path / "model"), "-n", "12000", "-o", f"{tmp_path}/{folder}/{output}"]
        environment = {**os.environ, "TIMELOOM_HOME": str(tmp_path / lake)}
        call = [sys.executable, "-c", SCRIPT, *words, "--json", str(tmp_path / f"{lake}.json")]
        return subprocess.Popen(call, env=environment)

    killed = 0
    for finished in (2, 6):
        process = start("lake", "killed")
        deadline = time.monotonic() + 600
        while journalled(tmp_path / "lake") < finished and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 2
    last, undisturbed = start("lake", "killed"), start("other", "undisturbed")
    assert (last.wait(), undisturbed.wait()) == (0, 0)
    assert json.loads((tmp_path / "lake.json").read_text())["resumed"] >= 6
    assert json.loads((tmp_path / "other.json").read_text())["resumed"] == 0
    assert files(tmp_path / "killed") == files(tmp_path / "undisturbed")
    assert not list((tmp_path / "lake").rglob("journal.jsonl"))


def journalled(lake: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in lake.rglob("journal.jsonl"))


def files(folder: Path) -> dict[str, bytes]:
    """All but the manifest, which knows its place."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "_manifest.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
