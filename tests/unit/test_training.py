"""The loop and its child process: resuming, stopping, refusing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.errors import (
    BusyError,
    ConfigError,
    StorageError,
    TrainingDivergedError,
    TrainingError,
    TrainingInterruptedError,
    TrainingKilledError,
)
from core.generators.bundle import GeneratorBundle
from core.generators.timegan import TimeGAN
from core.generators.timegan.training import TimeGANTraining
from core.lake import CORE, exclusive
from core.prepare.channels.layout import Channels
from core.prepare.series import PreparedSeries
from core.tensors import read_tensors
from core.training.checkpoints import (
    Position,
    load_best,
    load_latest_checkpoint,
    save_best,
    save_checkpoint,
)
from core.training.child import Progress, finished, job_key, run_training, training_code
from core.training.device import resolve_device
from core.training.job import TrainingJob, check_job
from core.training.loop import LoopOptions, train
from core.training.metrics import Point, read_points
from core.training.selection import Best
from tests.conftest import Write
from tests.unit.toy_generator import toy_training, whole

TRAINING: dict[str, Any] = {
    "embedding_iterations": 40,
    "supervised_iterations": 40,
    "joint_iterations": 40,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "discriminator_threshold": 0.15,
    "checkpoint_every_seconds": 0.05,
    "log_every": 5,
    "timeout_seconds": None,
    "seed": 4,
}


@pytest.fixture
def job(write_prepared: Write, sines: NDArray[np.float32]) -> TrainingJob:
    return TrainingJob(
        prepared=str(write_prepared(sines)),
        digest="data",
        window_length=6,
        window_stride=1,
        window_min_length=None,
        model={"kind": "timegan", "hidden": 4, "layers": 1, "noise": None},
        training=TRAINING,
        device="cpu",
        threads=1,
    )


def new_training(prepared: PreparedSeries, **options: Any) -> TimeGANTraining:
    model = TimeGAN(length=6, channels=Channels.continuous(3), hidden=4, layers=1, seed=4)
    return TimeGANTraining(model, prepared.windows(6), {**TRAINING, **options}, torch.device("cpu"))


def test_a_training_leaves_a_model_curves_and_checkpoints(job: TrainingJob, tmp_path: Path) -> None:
    seen: list[Progress] = []
    points: list[Point] = []
    result = run_training(job, tmp_path / "run", seen.append, points.extend)
    assert finished(tmp_path / "run") == result
    assert not result.resumed
    assert seen[-1] == Progress(phase="joint", step=40, done=120, total=120)
    assert [(p.phase, p.step) for p in points] == [
        (phase, step) for phase in ("embedding", "supervised", "joint") for step in range(5, 41, 5)
    ]
    assert points[0].values.keys() == {
        "loss/reconstruction",
        "gradient/embedder",
        "gradient/recovery",
        "gradient_first_step/embedder",
        "gradient_first_step/recovery",
        "gradient_last_step/embedder",
        "gradient_last_step/recovery",
        "milliseconds_per_step",
        "windows_per_second",
    }
    embedding = [p.values["loss/reconstruction"] for p in points if p.phase == "embedding"]
    assert embedding[-1] < embedding[0]
    bundle = GeneratorBundle.load(tmp_path / "run" / "model")
    assert bundle.series.features == ("x0", "x1", "x2")
    frame = bundle.sample_frame(20, 0)
    assert frame[["x0", "x1", "x2"]].to_numpy().min() > -5
    assert frame[["x0", "x1", "x2"]].to_numpy().max() < 15
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))) == 2


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param("embedding", marks=pytest.mark.slow),
        pytest.param("supervised", marks=pytest.mark.slow),
        "joint",
    ],
)
def test_killed_and_resumed_equals_uninterrupted(job: TrainingJob, tmp_path: Path, phase: str) -> None:
    """SIGKILL in each phase; the retry ends with the same bits, its curve has each step once."""
    slow = replace(job, training={**TRAINING, f"{phase}_iterations": 200})
    run_training(slow, tmp_path / "whole")
    killed = tmp_path / "killed"

    def kill() -> None:
        progress = killed / "progress.json"
        description = f"{('embedding', 'supervised', 'joint').index(phase)}-*.json"
        while not list((killed / "checkpoints").glob(description)):
            time.sleep(0.005)
        assert progress.exists()
        pid = int((killed / "lock").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(TrainingKilledError, match="signal 9"):
        run_training(slow, killed)
    killer.join()
    assert run_training(slow, killed).resumed
    whole = read_tensors(tmp_path / "whole" / "model" / "weights.safetensors")[0]
    again = read_tensors(killed / "model" / "weights.safetensors")[0]
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    steps = [(p.phase, p.step) for p in read_points(killed / "metrics.jsonl")[0]]
    assert steps == [(p.phase, p.step) for p in read_points(tmp_path / "whole" / "metrics.jsonl")[0]]


def test_stopping_leaves_a_checkpoint_at_that_step(prepared: PreparedSeries, tmp_path: Path) -> None:
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == 57

    with pytest.raises(TrainingInterruptedError, match="phase supervised at step 17 of 40"):
        train(new_training(prepared), tmp_path, LoopOptions(1000.0, 5), stop)
    found = load_latest_checkpoint(tmp_path / "checkpoints")
    assert found is not None
    assert (found[0].phase, found[0].step) == (1, 17)


def test_interrupting_the_parent_stops_the_child(job: TrainingJob, tmp_path: Path) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    long = replace(job, training={**TRAINING, "joint_iterations": 100_000})
    with pytest.raises(KeyboardInterrupt):
        run_training(long, tmp_path / "run", interrupt)
    with exclusive(tmp_path / "run" / "lock"):  # nobody trains there any more
        assert load_latest_checkpoint(tmp_path / "run" / "checkpoints") is not None
    assert "TrainingInterruptedError" in (tmp_path / "run" / "error.json").read_text()


def test_a_child_whose_parent_died_stops(job: TrainingJob, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    long = {**vars(job), "training": {**TRAINING, "joint_iterations": 1_000_000}}
    (run_dir / "job.json").write_text(json.dumps(long))
    inner = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"
    parent = subprocess.Popen(
        [sys.executable, "-c", inner, "-m", "core.training", str(run_dir)],
        cwd=CORE.parent,
        stderr=subprocess.DEVNULL,
    )
    while not (run_dir / "progress.json").exists():
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    for _ in range(200):
        if (run_dir / "error.json").exists():
            break
        time.sleep(0.05)
    assert json.loads((run_dir / "error.json").read_text())["type"] == "TrainingInterruptedError"


def test_a_time_limit_stops_the_training(job: TrainingJob, tmp_path: Path) -> None:
    long = replace(job, training={**TRAINING, "joint_iterations": 100_000})
    with pytest.raises(TrainingError, match=r"longer than training\.timeout_seconds=0\.5"):
        run_training(long, tmp_path / "run", timeout_seconds=0.5)


def test_a_second_training_in_the_same_folder_is_refused(job: TrainingJob, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with exclusive(run_dir / "lock"), pytest.raises(BusyError, match=f"in use by process {os.getpid()}"):
        run_training(job, run_dir)


def test_infinite_data_end_as_divergence(
    job: TrainingJob, write_prepared: Write, sines: NDArray[np.float32], tmp_path: Path
) -> None:
    sines[100:] = np.inf
    write_prepared(sines)
    with pytest.raises(TrainingDivergedError, match="phase embedding at step 5: loss/reconstruction=nan"):
        run_training(job, tmp_path / "run")
    assert finished(tmp_path / "run") is None


def test_training_needs_torch_and_the_array_libraries_alone(job: TrainingJob, tmp_path: Path) -> None:
    """The child with every other dependency of Timeloom forbidden."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "job.json").write_text(json.dumps(vars(job)))
    guard = (
        "import sys, runpy\n"
        "class Guard:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in FORBIDDEN:\n"
        "            raise ImportError('forbidden: ' + name)\n"
        "FORBIDDEN = {'pydantic', 'pydantic_settings', 'yaml', 'prefect', 'mlflow', 'great_expectations',\n"
        "             'safetensors', 'cyclopts', 'rich', 'arch', 'exchange_calendars', 'psutil'}\n"
        "sys.meta_path.insert(0, Guard())\n"
        f"sys.argv = ['core.training', {str(run_dir)!r}]\n"
        "runpy.run_module('core.training', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", guard], cwd=CORE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert finished(run_dir) is not None


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, Position(0, step, 1.0), {"a": torch.full((3,), float(step))})
    latest = sorted(tmp_path.glob("*.safetensors"))[-1]
    latest.write_bytes(latest.read_bytes()[:-1] + b"\x7f")
    found = load_latest_checkpoint(tmp_path)
    assert found is not None
    assert found[0].step == 1
    assert found[1]["a"].tolist() == [1.0, 1.0, 1.0]


def test_checkpoints_without_description_do_not_count(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Position(0, 1, 1.0), {"a": torch.zeros(1)})
    next(tmp_path.glob("*.json")).unlink()
    assert load_latest_checkpoint(tmp_path) is None


def test_the_key_ignores_what_cannot_change_the_weights(job: TrainingJob) -> None:
    watching = {"log_every": 1, "timeout_seconds": 9.0, "keep_checkpoints": 7, "checkpoint_every_seconds": 1.0}
    machine = replace(job, threads=2, training={**TRAINING, **watching})
    assert job_key(machine) == job_key(job)
    for change in (
        replace(job, digest="other"),
        replace(job, window_length=7),
        replace(job, window_min_length=3),
        replace(job, model={**job.model, "hidden": 5}),
        replace(job, training={**TRAINING, "seed": 5}),
    ):
        assert job_key(change) != job_key(job)


def test_missing_devices_are_refused_and_auto_finds_one() -> None:
    assert resolve_device("auto").type in {"cpu", "cuda"}
    with pytest.raises(ConfigError, match="CUDA devices"):
        resolve_device("cuda:99")
    with pytest.raises(ConfigError, match="TIMELOOM_DEVICE"):
        resolve_device("abacus")


def test_the_last_checkpoints_are_kept_as_many_as_asked(tmp_path: Path) -> None:
    for keep in (1, 3):
        tmp_folder = tmp_path / str(keep)
        for step in range(1, 6):
            save_checkpoint(tmp_folder, Position(0, step, 1.0), {"a": torch.zeros(1)}, keep)
        names = sorted(path.name for path in tmp_folder.glob("*.safetensors"))
        assert names == [f"0-{step:09d}.safetensors" for step in range(6 - keep, 6)]


def test_best_weights_are_no_checkpoint_and_no_checkpoint_drops_them(tmp_path: Path) -> None:
    best = Best(phase=2, step=50, distance=0.25)
    save_best(tmp_path, best, {"a": torch.arange(3)})
    for step in range(1, 5):
        save_checkpoint(tmp_path, Position(0, step, 1.0), {"a": torch.zeros(1)})
    assert torch.equal(load_best(tmp_path, best)["a"], torch.arange(3))
    found = load_latest_checkpoint(tmp_path)
    assert found is not None
    assert found[0].step == 4
    (tmp_path / "best.safetensors").write_bytes(b"damaged")
    with pytest.raises(StorageError, match="SHA-256"):
        load_best(tmp_path, best)


@pytest.mark.parametrize("none", ["embedding_iterations", "joint_iterations"])
def test_a_phase_may_have_no_iterations(none: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    training = toy_training({none: 0})
    result = train(training, tmp_path / "run", LoopOptions())
    done = {phase.name: phase.iterations for phase in training.phases if phase.iterations}
    assert result.iterations == done
    again = train(toy_training({none: 0}), tmp_path / "run", LoopOptions())
    assert again.resumed
    assert again.iterations == done


def test_windows_per_second_are_batches_over_time(tmp_path: Path) -> None:
    whole({}, tmp_path / "run")
    for point in read_points(tmp_path / "run" / "metrics.jsonl")[0]:
        seconds = point.values["milliseconds_per_step"] / 1000
        assert point.values["windows_per_second"] == pytest.approx(8 / seconds)


def test_bf16_is_refused_without_a_gpu() -> None:
    with pytest.raises(ConfigError, match=r"training\.precision=bf16 needs a GPU, this training runs on cpu"):
        toy_training(precision="bf16")


def test_a_job_of_bf16_on_a_cpu_is_refused_before_it_starts(job: TrainingJob) -> None:
    check_job(job, 100)
    with pytest.raises(ConfigError, match="bf16"):
        check_job(replace(job, training={**TRAINING, "precision": "bf16"}), 100)


def test_deterministic_is_torchs_own_mode() -> None:
    code = (
        "import torch; from core.training.job import be_deterministic; be_deterministic();"
        "print(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CORE.parent, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.parametrize("deterministic", [False, True])
def test_cublas_is_told_in_the_childs_environment(
    job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen: dict[str, str] = {}

    def refuse(*_: Any, env: dict[str, str], **__: Any) -> Any:
        seen.update(env)
        raise OSError("no child today")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(OSError, match="no child today"):
        run_training(replace(job, training={**TRAINING, "deterministic": deterministic}), tmp_path / "run")
    assert seen.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if deterministic else None)


def test_the_key_covers_all_code_that_trains() -> None:
    """What a training imports of core is in its key, but for what only watches it or serves everything."""
    code = (
        "import sys; import core.training.job;"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'core'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CORE.parent, capture_output=True, text=True)
    imported = {Path(name).relative_to(CORE).as_posix() for name in done.stdout.split()}
    left_out = imported - set(training_code())
    assert left_out == {"__init__.py", "errors.py", "lake.py", "prepare/__init__.py", "training/metrics.py"}
