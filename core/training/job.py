"""A training as a folder: the order in `job.json`, then everything that comes of it.

Layout of a run folder: `job.json` (the order), `lock`, `metrics.jsonl`, `progress.json` (phase and step,
rewritten about once a second: the heartbeat), `checkpoints/`, `training.log`, then `model/` (a
`GeneratorBundle`) and, last, `result.json`; or `error.json` when it failed.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from core.errors import ConfigError
from core.generators.base import Phase
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.registry import new_generator
from core.lake import exclusive, write_json
from core.prepare.series import PreparedSeries
from core.training.device import resolve_device
from core.training.loop import LoopOptions, LoopResult, train

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0


@dataclass(frozen=True)
class TrainingJob:
    """What to train, and on what."""

    prepared: str
    """Folder of the `PreparedSeries`."""
    digest: str
    """Of the prepared data."""
    window_length: int
    window_stride: int
    model: dict[str, Any]
    """Section `model` of the configuration."""
    training: dict[str, Any]
    """Section `training` of the configuration."""
    device: str
    threads: int
    """Torch threads on the CPU: networks this small are slower with more than one."""


def run_job(run_dir: Path, parent: int) -> LoopResult:
    """Do what `job.json` orders, from the last checkpoint if there is one; stop when process `parent` ends.

    Raises:
        BusyError: another process trains in this folder.
        TrainingError: see `core.training.loop.train`.
    """
    job = TrainingJob(**json.loads((run_dir / "job.json").read_text(encoding="utf-8")))
    with exclusive(run_dir / "lock"):
        torch.set_num_threads(job.threads)
        series = PreparedSeries.open(Path(job.prepared))
        windows = series.windows(job.window_length, job.window_stride)
        seed = int(job.training["seed"])
        generator = new_generator(job.model, length=windows.length, features=windows.features, seed=seed)
        training = generator.start_training(windows, job.training, resolve_device(job.device))
        options = LoopOptions(job.training["checkpoint_every_seconds"], job.training["log_every"])
        result = train(training, run_dir, options, _stop_signal(parent), _Heartbeat(run_dir, training.phases))
        _finish(run_dir, GeneratorBundle(generator, series_info(series, job.digest)), result)
    return result


def series_info(series: PreparedSeries, digest: str) -> SeriesInfo:
    """What a registered model must know of the series that it learnt."""
    manifest = series.manifest
    return SeriesInfo(
        dataset=manifest["dataset"],
        features=series.features,
        integer=tuple(manifest["integer"]),
        scaler=manifest["scaler"],
        time=manifest["time"],
        digest=digest,
    )


def _finish(run_dir: Path, bundle: GeneratorBundle, result: LoopResult) -> None:
    temporary, final = run_dir / "model.tmp", run_dir / "model"
    for folder in (temporary, final):
        shutil.rmtree(folder, ignore_errors=True)
    temporary.mkdir()
    bundle.save(temporary)
    temporary.rename(final)
    write_json(run_dir / "result.json", asdict(result))


def _stop_signal(parent: int) -> Callable[[], bool]:
    """True once SIGTERM or SIGINT came, or the parent died: then nobody would use the result."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
        nonlocal stopped
        stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return lambda: stopped or os.getppid() != parent


class _Heartbeat:
    """Writes `progress.json` about once a second."""

    def __init__(self, run_dir: Path, phases: tuple[Phase, ...]) -> None:
        self.path = run_dir / "progress.json"
        self.before = {
            phase.name: sum(p.iterations for p in phases[:index]) for index, phase in enumerate(phases)
        }
        self.total = sum(phase.iterations for phase in phases)
        self.last = 0.0

    def __call__(self, phase: Phase, step: int) -> None:
        now = time.monotonic()
        done = self.before[phase.name] + step
        if now - self.last >= HEARTBEAT_SECONDS or done == self.total:
            write_json(self.path, {"phase": phase.name, "step": step, "done": done, "total": self.total})
            self.last = now


def check_job(job: TrainingJob, windows: int) -> None:
    """Refuse what cannot train before anything is written.

    Raises:
        ConfigError: the device is missing, or there are fewer windows than make a batch sensible.
    """
    resolve_device(job.device)
    if windows < 2:
        raise ConfigError(f"expected at least 2 windows to train on, got {windows}: bring a longer series")
