"""A training as a folder: the order in `job.json`, then everything that comes of it.

Layout of a run folder: `job.json` (the order), `lock`, `metrics.jsonl`, `gradients.jsonl` (gradients by step of
the window), `progress.json` (phase and step, rewritten about once a second: the heartbeat), `checkpoints/` (the
last few, and the best weights), `training.log`, then `model/` (a `GeneratorBundle`) and, last, `result.json`;
or `error.json` when it failed.
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
from core.networks.recurrence import DEVICES, set_threads
from core.prepare.channels.layout import Layout
from core.prepare.series import PreparedSeries, Windows
from core.training.base import check_precision
from core.training.device import resolve_device
from core.training.loop import LoopOptions, LoopResult, train
from core.training.options import Options, training_options
from core.training.start import Start

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
    window_min_length: int | None
    """Shortest window, where a segment ends; only whole ones if None."""
    model: dict[str, Any]
    """Section `model` of the configuration."""
    training: dict[str, Any]
    """Section `training` of the configuration."""
    device: str
    threads: int | None
    """On a CPU, of Numba's recurrent layers or of torch; None measures for the former, is 1 for the latter."""
    start_from: str | None = None
    """Folder of the `GeneratorBundle` whose weights the training starts from."""

    @property
    def condition(self) -> tuple[str, ...]:
        """Static columns that are given to the generator."""
        return tuple(self.model.get("condition", ()))


def run_job(run_dir: Path, parent: int) -> LoopResult:
    """Do what `job.json` orders, from the last checkpoint if there is one; stop when process `parent` ends.

    Raises:
        BusyError: another process trains in this folder.
        ConfigError: an option does not fit the generator, the windows or the device.
        TrainingError: see `core.training.loop.train`.
    """
    job = TrainingJob(**json.loads((run_dir / "job.json").read_text(encoding="utf-8")))
    with exclusive(run_dir / "lock"):
        # One unless somebody says: networks this small are slower with more.
        torch.set_num_threads(job.threads or 1)
        set_threads(job.threads)
        if job.training.get("deterministic"):
            be_deterministic()
        series = PreparedSeries.open(Path(job.prepared))
        start = Start(Path(job.start_from)) if job.start_from is not None else None
        windows, layout = _windows(series, job, start)
        seed = int(job.training["seed"])
        generator = new_generator(job.model, length=windows.length, channels=windows.channels, seed=seed)
        if start is not None:
            start.give_weights(generator)
        training = generator.start_training(windows, job.training, resolve_device(job.device))
        options, heartbeat = training_options(job.training), _Heartbeat(run_dir, training.phases)
        result = train(training, run_dir, _loop_options(options), _stop_signal(parent), heartbeat)
        heartbeat.end()
        _finish(run_dir, GeneratorBundle(generator, series_info(series, layout, job.digest)), result)
    return result


def _windows(series: PreparedSeries, job: TrainingJob, start: Start | None) -> tuple[Windows, Layout]:
    """What is trained on, and what its channels mean."""
    windows = series.windows(job.window_length, job.window_stride, job.window_min_length, job.condition)
    layout = series.conditioned(job.condition)
    return (windows, layout) if start is None else (start.encode(windows, layout), start.layout)


def _loop_options(options: Options) -> LoopOptions:
    return LoopOptions(
        checkpoint_every_seconds=float(options["checkpoint_every_seconds"]),
        log_every=int(options["log_every"]),
        keep_checkpoints=int(options["keep_checkpoints"]),
    )


def be_deterministic() -> None:
    """From now on torch refuses what does not give the same bits every time.

    cuBLAS is told by its variable, which `core.training.child` sets before the process starts.
    """
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def series_info(series: PreparedSeries, layout: Layout, digest: str) -> SeriesInfo:
    """What a registered model must know of the series that it learnt."""
    manifest = series.manifest
    return SeriesInfo(dataset=manifest["dataset"], layout=layout, time=manifest["time"], digest=digest)


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
        self.at = (phases[-1].name, phases[-1].iterations)
        """Phase and step of the last iteration done; the end, if there was nothing left to do."""

    def __call__(self, phase: Phase, step: int) -> None:
        self.at = (phase.name, step)
        now = time.monotonic()
        if now - self.last >= HEARTBEAT_SECONDS:
            self._write(self.before[phase.name] + step)
            self.last = now

    def end(self) -> None:
        """All is done, also where a phase ended early."""
        self._write(self.total)

    def _write(self, done: int) -> None:
        phase, step = self.at
        write_json(self.path, {"phase": phase, "step": step, "done": done, "total": self.total})


def check_job(job: TrainingJob, windows: int) -> None:
    """Refuse what cannot train before anything is written.

    Raises:
        ConfigError: the device is missing or not meant for the precision or the recurrence, or there are fewer
            windows than make a batch sensible.
    """
    device = resolve_device(job.device)
    check_precision(job.training, device)
    if (wanted := job.training.get("recurrence")) in DEVICES and DEVICES[wanted] != device.type:
        where = DEVICES[wanted]
        raise ConfigError(f"training.recurrence={wanted} runs on {where}, this is {device.type}; leave it out")
    if windows < 2:
        raise ConfigError(f"expected at least 2 windows to train on, got {windows}: bring a longer series")
