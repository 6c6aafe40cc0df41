"""The speed benchmark: what it times, and the sums that it makes of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.lake import CORE
from tests.benchmarks import train_speed
from tests.benchmarks.train_speed import (
    PHASES,
    SWEEP,
    Ours,
    Reference,
    Setup,
    arguments,
    measure_memory,
    series,
    setups,
    sweep,
    take_turns,
    time_full,
    time_phases,
    time_replicas,
)
from tests.benchmarks.train_speed_report import exponent, plot_sweeps, show_blocks, show_full, spread

TINY = Setup(hidden=3, layers=2, batch=5, length=4, features=2, rounds=2, seconds=0.0)


def given(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[Setup]:
    monkeypatch.setattr(sys, "argv", ["train_speed", *words])
    return setups(arguments())


def test_both_sides_train_the_same_weights_on_the_same_windows() -> None:
    ours, reference = Ours(TINY), Reference(TINY)
    own, plain = ours.model.state_dict(), reference.model.state_dict()
    assert sum(t.double().square().sum().item() for t in own.values()) == pytest.approx(
        sum(t.double().square().sum().item() for t in plain.values())
    )
    windows = series(TINY)
    listed = reference.training.draws.windows  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.stack(listed), windows.gather(np.arange(len(windows))).values)
    assert ours.training.batch_size == len(reference.training.draws.batch()) == TINY.batch


@pytest.mark.parametrize("batch", [TINY.batch, 5_000])
def test_a_batch_of_the_reference_is_whole(batch: int) -> None:
    setup = Setup(batch=batch, length=3, features=2)
    windows = series(setup)
    assert len(windows) > batch
    assert (windows.values.min(), windows.values.max()) == (0, 1)
    assert not np.array_equal(windows.values[:, 0], windows.values[:, 1])


@pytest.mark.parametrize("phase", PHASES)
def test_an_iteration_of_either_side_moves_the_networks_of_its_phase(phase: str) -> None:
    moving = {
        "embedding": {"embedder", "recovery"},
        "supervised": {"supervisor"},
        "joint": {"embedder", "recovery", "generator", "supervisor", "discriminator"},
    }
    for side in (Ours(TINY), Reference(TINY)):
        before = {name: tensor.clone() for name, tensor in side.model.state_dict().items()}
        side.iterate(phase, 2)
        after = side.model.state_dict()
        moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert moved == moving[phase]


def test_sides_take_turns() -> None:
    calls: list[str] = []

    def work(name: str, times: int) -> None:
        calls.extend([name] * times)

    works = {name: lambda times, name=name: work(name, times) for name in ("a", "b")}
    blocks = take_turns(works, Setup(rounds=3, seconds=0.0), warm=2)
    assert calls == [*"aaaa", *"bbbb", *"ababab"]
    assert {(side, kind): len(found) for side, kinds in blocks.items() for kind, found in kinds.items()} == {
        (side, kind): 3 for side in "ab" for kind in ("wall", "cpu")
    }


def test_every_phase_and_drawing_are_timed() -> None:
    found = time_phases(TINY)
    assert list(found) == [*PHASES, "drawing 10,000 windows"]
    for blocks in found.values():
        assert min(min(times["wall"]) for times in blocks.values()) > 0


def test_replicas_are_timed_against_one() -> None:
    for blocks in time_replicas(replace(TINY, replicas=3)).values():
        assert list(blocks) == ["3", "1"]


def test_a_whole_training_is_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train_speed, "ITERATIONS", 3)
    found = time_full(TINY)
    assert found["iterations"] == dict.fromkeys(PHASES, 3)
    show_full(found, reference=1234)
    printed = capsys.readouterr().out
    assert "embedding 3, supervised 3, joint 3 iterations" in printed
    assert "1,234 s" in printed


def test_a_sweep_has_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_speed, "SWEEP", {"length": (4, 6), "batch": (5, 7)})
    found = sweep(TINY)
    assert {axis: points["values"] for axis, points in found.items()} == {"length": (4, 6), "batch": (5, 7)}
    assert found["length"]["milliseconds"][0] == found["batch"]["milliseconds"][0]  # the point they share


@pytest.mark.gpu
def test_everything_is_measured_on_a_gpu() -> None:
    setup = replace(TINY, device="cuda", replicas=3)
    assert list(time_phases(replace(setup, replicas=1)))[:3] == list(PHASES)
    assert list(time_replicas(setup)) == list(PHASES)
    assert measure_memory(replace(setup, replicas=1), "ours")["GPU, tensors"] > 0


def test_threads_are_the_recurrent_layers_unless_those_are_torchs() -> None:
    assert [replace(TINY, threads=n).torch_threads for n in (0, 1, 2)] == [1, 1, 1]
    assert [replace(TINY, threads=n, recurrence="torch").torch_threads for n in (0, 1, 2)] == [1, 1, 2]


def test_the_peak_is_no_less_than_what_the_imports_take() -> None:
    found = measure_memory(TINY, "ours")
    assert found["peak"] >= found["imports"] > 50


def test_options_of_training_are_the_projects_own_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    one, two, gpu = given(monkeypatch)
    assert [(s.device, s.threads, s.replicas) for s in (one, two, gpu)] == [
        ("cpu", 1, 1),
        ("cpu", 2, 1),
        ("cuda", 1, 16),
    ]
    assert not {"recurrence", "cuda_graphs", "replicas"} & set(one.training)
    (gpu,) = given(
        monkeypatch, "--device", "cuda", "--recurrence", "triton", "--replicas", "4", "--no-cuda-graphs"
    )
    assert gpu.training["recurrence"] == "triton"
    assert gpu.training["cuda_graphs"] is False
    assert gpu.training["replicas"] == 4
    assert gpu.training["selection"]["validation"] > 0


def test_without_a_gpu_there_are_rows_of_the_processor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [s.device for s in given(monkeypatch, "--threads", "1")] == ["cpu"]
    assert [s.threads for s in given(monkeypatch, "--sweep")] == [1]


def test_ratios_are_of_rounds() -> None:
    assert spread([10, 40, 90], [10, 20, 30]) == (1, 2, 3)


def test_the_table_has_medians_and_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = {
        "a": {"wall": [10.0, 40.0, 90.0], "cpu": [1.0, 2.0, 3.0]},
        "b": {"wall": [10.0, 20.0, 30.0], "cpu": [4.0, 5.0, 6.0]},
    }
    show_blocks({"joint": blocks}, "a", "b")
    assert "| joint | 40.00 | 2.00 | 20.00 | 5.00 | 2.00 (1.00 to 3.00) |" in capsys.readouterr().out


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_law(power: float) -> None:
    values = SWEEP["length"]
    assert exponent(values, [3.7 * value**power for value in values]) == pytest.approx(power)


def test_a_sweep_is_plotted(tmp_path: Path) -> None:
    sweep = {
        axis: {"values": values, "milliseconds": [7.0 * v for v in values]} for axis, values in SWEEP.items()
    }
    plot_sweeps({"cpu": sweep}, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_the_benchmark_needs_what_training_needs_alone() -> None:
    """A machine with a GPU has torch and the array libraries."""
    code = (
        "import sys\n"
        "class Guard:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in FORBIDDEN:\n"
        "            raise ImportError('forbidden: ' + name)\n"
        "FORBIDDEN = {'pydantic', 'pydantic_settings', 'yaml', 'prefect', 'mlflow', 'great_expectations',\n"
        "             'safetensors', 'psutil', 'matplotlib', 'rich', 'cyclopts'}\n"
        "sys.meta_path.insert(0, Guard())\n"
        "from tests.benchmarks.train_speed import Setup, time_phases, first_steps\n"
        f"setup = Setup(**{vars(TINY)!r})\n"
        "time_phases(setup)\n"
        "first_steps(setup, 'ours')\n"
        "import core.training.loop\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CORE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(PHASES)
