"""Running a training in a process of its own: it can be killed, timed out, followed and resumed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from core import errors
from core.errors import TimeloomError, TrainingError, TrainingKilledError
from core.lake import CORE, code_digest, content_digest, exclusive, write_json
from core.processes import child_environment
from core.training.device import resolve_device
from core.training.job import TrainingJob
from core.training.loop import LoopResult
from core.training.masks import masks_digest
from core.training.metrics import Point, read_points
from core.training.options import Options, training_options
from core.training.start import start_digest

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
STOP_SECONDS = 20.0
"""How long a stopped training may take to write its checkpoint before it is killed; Prefect kills a cancelled
flow after 30 s, and the MLflow run is to be closed until then."""
TURN_SECONDS = 24 * 3600.0
"""How long to wait for another process that does the same training."""
_LOG_TAIL = 2000

# What only watches a training, writes it down or uses what comes of it; all other code decides the weights.
_WATCHES = {"training/__main__.py", "training/child.py", "training/metrics.py"}
# What cannot change the weights that come out.
_WITHOUT_EFFECT = (
    "checkpoint_every_seconds", "cuda_graphs", "keep_checkpoints", "log_every", "timeout_seconds",
)  # fmt: skip
# Where they are counted at logged points and change what is done, how often is logged changes the weights.
_COUNTING_ACTIONS = ("clip", "lower_rate")
_CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Without it cuBLAS may use buffers in an order of its own, and torch's deterministic mode refuses it."""


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    phase: str
    step: int
    done: int
    """Iterations over all phases."""
    total: int


def job_key(job: TrainingJob) -> str:
    """Content key of a training: its data, configuration, seed and code, not the machine it runs on.

    So neither what `training.recurrence` comes to there, if it is not given; the last bits depend on it.

    Files that the configuration names count by their content: the weights it starts from and the masks.

    Raises:
        ConfigError: one of these files is missing.
    """
    return content_digest(
        data=job.digest,
        window=[job.window_length, job.window_stride, job.window_min_length],
        model=job.model,
        training=_effective(job.training),
        start=None if job.start_from is None else start_digest(Path(job.start_from)),
        code=code_digest(*training_code()),
        torch=torch.__version__.partition("+")[0],
    )


def training_code() -> tuple[str, ...]:
    """The code that decides the weights, as paths in `core/`."""
    folders = [CORE / name for name in ("generators", "networks", "training", "prepare/channels")]
    files = sorted(path.relative_to(CORE).as_posix() for folder in folders for path in folder.rglob("*.py"))
    known = ("tensors.py", "strict_json.py", "prepare/series.py")
    return (*(name for name in files if name not in _WATCHES), *known)


def _effective(training: dict[str, Any]) -> Options:
    """The options that decide the weights, complete."""
    options = training_options(training)
    counts = options["gradients"]["action"] in _COUNTING_ACTIONS
    for key in (*_WITHOUT_EFFECT, "start_from"):
        if key != "log_every" or not counts:
            del options[key]
    if (file := options["update"]["file"]) is not None:
        options["update"]["file"] = masks_digest(Path(file))
    return options


def finished(run_dir: Path) -> LoopResult | None:
    """The result of a training that ended well, if it did."""
    path = run_dir / "result.json"
    return LoopResult(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


@contextmanager
def turn(run_dir: Path, wait_seconds: float = TURN_SECONDS) -> Iterator[None]:
    """Have a run folder for this process alone, once whoever trains there has ended.

    Raises:
        BusyError: another process still trains there after `wait_seconds`.
    """
    with exclusive(run_dir / "turn", wait_seconds):
        # The training of a process that was killed goes on until it notices, and writes a checkpoint then.
        with exclusive(run_dir / "lock", STOP_SECONDS + POLL_SECONDS):
            pass
        yield


def run_training(
    job: TrainingJob,
    run_dir: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_points: Callable[[list[Point]], None] = lambda _: None,
    timeout_seconds: float | None = None,
    kernels: Path | None = None,
) -> LoopResult:
    """Train in a child process and wait for it, telling the callbacks what it writes.

    Whatever interrupts the wait (Ctrl-C, cancellation, an error in a callback) stops the child, which
    leaves a checkpoint, before it goes on up.

    Args:
        job: What to train.
        run_dir: Gets everything that comes of it; what it holds of an earlier attempt is gone on with.
        on_progress: Told how far it is.
        on_points: Told what is logged.
        timeout_seconds: Stop after that long.
        kernels: Where Numba keeps what it compiled for later trainings; in `run_dir` if None.

    Raises:
        TimeloomError: what the child raised, by the same class.
        TrainingError: the child died (killed, out of memory) or ran over `timeout_seconds`.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / "job.json", asdict(job))
    (run_dir / "error.json").unlink(missing_ok=True)
    started = time.monotonic()
    follower = _Follower(run_dir, on_progress, on_points)
    environment = {"NUMBA_CACHE_DIR": str((kernels or run_dir / "kernels").resolve())} | child_environment()
    _announce_compilation(job, Path(environment["NUMBA_CACHE_DIR"]))
    if job.training.get("deterministic"):
        environment |= _CUBLAS
    with _child(run_dir, environment) as process:
        while process.poll() is None:
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                raise TrainingError(
                    f"training ran longer than training.timeout_seconds={timeout_seconds:g}; its checkpoint "
                    f"is in {run_dir}: run again to resume"
                )
            time.sleep(POLL_SECONDS)
            follower.poll()
    follower.poll()
    if process.returncode == 0 and (result := finished(run_dir)):
        return result
    raise _failure(run_dir, process.returncode)


@contextmanager
def _child(run_dir: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (run_dir / "training.log").open("ab") as log:
        # A session of its own: Ctrl-C in the terminal reaches the parent alone, which then stops the child.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", "core.training", str(run_dir), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _stop(process)


def _announce_compilation(job: TrainingJob, kernels: Path) -> None:
    """Say what the first step waits for, where recurrent layers have yet to be compiled."""
    by_numba = job.training.get("recurrence") in (None, "numba") and job.model.get("cell") == "gru"
    if by_numba and resolve_device(job.device).type == "cpu" and not any(kernels.glob("*/*/*.nbi")):
        logger.info("the first training here compiles its recurrent layers: some seconds, once")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        logger.warning("training did not stop within %g s of SIGTERM and is killed", STOP_SECONDS)
        process.kill()
        process.wait()


def _failure(run_dir: Path, code: int) -> TimeloomError:
    path = run_dir / "error.json"
    if path.is_file():
        tree = json.loads(path.read_text(encoding="utf-8"))
        kind: type[TimeloomError] = getattr(errors, tree["type"], TrainingError)
        return kind(tree["message"])
    tail = (run_dir / "training.log").read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
    end = f"; the end of {run_dir / 'training.log'}:\n{tail}"
    if code < 0:
        return TrainingKilledError(f"the training process was killed by signal {-code}{end}")
    return TrainingError(f"the training process ended with exit code {code}{end}")


class _Follower:
    """Reads what the child writes and passes on what is new."""

    def __init__(
        self,
        run_dir: Path,
        on_progress: Callable[[Progress], None],
        on_points: Callable[[list[Point]], None],
    ) -> None:
        self.run_dir = run_dir
        self.on_progress = on_progress
        self.on_points = on_points
        self.file, self.offset = 0, 0
        self.seen: set[tuple[str, int]] = set()
        self.progress: Progress | None = None

    def poll(self) -> None:
        path = self.run_dir / "progress.json"
        if path.is_file():
            progress = Progress(**json.loads(path.read_text(encoding="utf-8")))
            if progress != self.progress:
                self.progress = progress
                self.on_progress(progress)
        metrics = self.run_dir / "metrics.jsonl"
        if metrics.is_file() and (file := metrics.stat().st_ino) != self.file:
            # A resumed child put a new file in place, without the points past its checkpoint.
            self.file, self.offset = file, 0
        points, self.offset = read_points(metrics, self.offset)
        new = [point for point in points if (point.phase, point.step) not in self.seen]
        self.seen |= {(point.phase, point.step) for point in new}
        if new:
            self.on_points(new)
