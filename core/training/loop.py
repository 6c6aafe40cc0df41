"""The loop that trains every generator: phases, curves, looks at held-out windows, checkpoints, stopping."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import TrainingDivergedError, TrainingInterruptedError
from core.generators.base import Phase, Training
from core.training.checkpoints import (
    KEEP,
    Position,
    load_best,
    load_latest_checkpoint,
    save_best,
    save_checkpoint,
)
from core.training.gradients import profile_due
from core.training.metrics import LinesFile, Point, Profile, read_points

logger = logging.getLogger(__name__)

MIB = 2**20


@dataclass(frozen=True)
class LoopOptions:
    """How often the loop writes, and how much of it is kept."""

    checkpoint_every_seconds: float = 30.0
    log_every: int = 10
    keep_checkpoints: int = KEEP


@dataclass(frozen=True)
class LoopResult:
    """How a training went."""

    seconds: float
    """Over all attempts."""
    resumed: bool
    """It continued from a checkpoint."""
    iterations: dict[str, int] = field(default_factory=dict)
    """By phase: done, fewer than ordered where the phase ended early."""
    best: dict[str, Any] | None = None
    """Phase (name), step, distance and replica of the best weights, if windows were held out and any passed."""
    kept: str = "last"
    """Which weights the generator ends with: `last`, `average` or `best`."""
    looks: dict[str, int] = field(default_factory=dict)
    """At the synthetic windows: all of them, and those that tripped a guard."""
    alarms: dict[str, int] = field(default_factory=dict)
    """Vanishing and exploding gradients by `kind/network`."""
    edges: dict[str, list[int]] = field(default_factory=dict)
    """By network: weights that might move, and all weights; empty if all might."""
    sparsity: dict[str, float] = field(default_factory=dict)
    """Share of exact zeros in the weights that are kept, by penalised parameter and of `all` together."""
    diverged: list[int] = field(default_factory=list)
    """Replicas that diverged, of several."""
    replica: int | None = None
    """Which of several replicas the weights are of, from 0."""


StopCheck = Callable[[], bool]
StepListener = Callable[[Phase, int], None]


def train(
    training: Training,
    run_dir: Path,
    options: LoopOptions,
    should_stop: StopCheck = lambda: False,
    on_step: StepListener = lambda _phase, _step: None,
) -> LoopResult:
    """Run every phase to its end, from the last checkpoint in `run_dir` if there is one.

    Args:
        training: A generator in training; it is changed in place and holds the weights to keep at the end.
        run_dir: Gets `metrics.jsonl`, `gradients.jsonl` and `checkpoints/`.
        options: How often to write.
        should_stop: Asked after every step.
        on_step: Told after every step: the phase and its iterations done.

    Raises:
        TrainingDivergedError: a logged value is NaN or infinite, or a gradient is not as the configuration
            allows; the last checkpoint is kept.
        TrainingInterruptedError: `should_stop` said so; a checkpoint was written.
    """
    position, resumed = Position(phase=0, step=0, seconds=0.0), False
    if found := load_latest_checkpoint(run_dir / "checkpoints"):
        position, state = found
        training.load_state(state)
        resumed = True
        logger.info("resumed in phase %s at step %d", training.phases[position.phase].name, position.step)
    runner = _Runner(training, run_dir, options, position)
    try:
        for index in range(position.phase, len(training.phases)):
            first = position.step if index == position.phase else 0
            runner.run_phase(index, first, should_stop, on_step)
    finally:
        runner.close()
    return runner.finish(resumed)


class _Runner:
    def __init__(self, training: Training, run_dir: Path, options: LoopOptions, start: Position) -> None:
        self.training = training
        self.run_dir = run_dir
        self.checkpoints = run_dir / "checkpoints"
        self.options = options
        names = tuple(phase.name for phase in training.phases)
        self.metrics = LinesFile(run_dir / "metrics.jsonl", names, start.phase, start.step)
        self.profiles = LinesFile(run_dir / "gradients.jsonl", names, start.phase, start.step)
        self.before = start.seconds
        self.started = self.saved = time.monotonic()
        self.clock = (self.started, 0)
        """When the last point was logged, and at which step of the phase."""

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def run_phase(self, index: int, first: int, should_stop: StopCheck, on_step: StepListener) -> None:
        phase, selection = self.training.phases[index], self.training.selection
        if selection is not None and first == 0:
            selection.begin_phase()
        self.clock = (time.monotonic(), first)
        last, step = phase.iterations, first
        while step < last and not (selection is not None and phase.generates and selection.over):
            step += 1
            losses = self._iterate(index, step)
            on_step(phase, step)
            if should_stop():
                self.save(index, step, losses)
                raise TrainingInterruptedError(
                    f"training was stopped in phase {phase.name} at step {step} of {last}; "
                    "run the same job again to resume"
                )
            if time.monotonic() - self.saved >= self.options.checkpoint_every_seconds:
                self.save(index, step, losses)
        if step > first:
            self.save(index, step, losses)
        if step < last:
            logger.info("phase %s ended at step %d of %d: no progress", phase.name, step, last)

    def _iterate(self, index: int, step: int) -> dict[str, Tensor]:
        phase, every = self.training.phases[index], self.options.log_every
        looked = self._look_due(phase, step)
        logged = looked or step % every == 0 or step == phase.iterations
        profiled = logged and profile_due(step, phase.iterations, every)
        losses = self.training.iterate(phase, step, logged=logged, profiled=profiled)
        if logged:
            self._log(index, step, losses, looked)
        return losses

    def save(self, index: int, step: int, losses: dict[str, Tensor]) -> None:
        _refuse_divergence(self.training.phases[index].name, step, _named(losses))
        position = Position(index, step, self.seconds)
        save_checkpoint(self.checkpoints, position, self.training.state(), self.options.keep_checkpoints)
        self.saved = time.monotonic()

    def finish(self, resumed: bool) -> LoopResult:
        """Leave the weights to keep in the generator."""
        selection, kept = self.training.selection, "average" if self.training.averages else "last"
        best = selection.best if selection is not None else None
        if selection is not None and selection.keep_best:
            if best is None:
                logger.warning(
                    "every look tripped a guard: there are no best weights, the %s ones are kept (of the "
                    "nearest replica at the last look, if there are several)",
                    kept,
                )
            else:
                kept = "best"
        self.training.finish(load_best(self.checkpoints, best) if kept == "best" and best else None)
        points, _ = read_points(self.run_dir / "metrics.jsonl")
        return LoopResult(
            seconds=self.seconds,
            resumed=resumed,
            iterations={point.phase: point.step for point in points},
            best=None if best is None else asdict(best) | {"phase": self.training.phases[best.phase].name},
            kept=kept,
            **self.training.summary(),
        )

    def close(self) -> None:
        self.metrics.close()
        self.profiles.close()

    def _look_due(self, phase: Phase, step: int) -> bool:
        selection = self.training.selection
        return selection is not None and phase.generates and selection.due(step, phase.iterations)

    def _log(self, index: int, step: int, losses: dict[str, Tensor], looked: bool) -> None:
        phase = self.training.phases[index]
        values = _named(losses)
        _refuse_divergence(phase.name, step, values)
        speed, better = self._speed(step), False
        values |= self.training.observe(phase, step)
        if looked:
            found, better = self._look(index, step)
            values |= found
        _refuse_divergence(phase.name, step, values)
        self.metrics.append(Point(phase.name, step, int(time.time() * 1000), values | speed))
        if norms := self.training.profile():
            self.profiles.append(Profile(phase.name, step, norms))
        if better:
            # Else `best.*` would be ahead: after a kill a training that finds other bits could not end with it.
            self.save(index, step, losses)
        self.clock = time.monotonic(), step

    def _speed(self, step: int) -> dict[str, float]:
        """Since the last logged point, without what logging itself takes."""
        at, before = self.clock
        seconds = (time.monotonic() - at) / (step - before)
        values = {
            "milliseconds_per_step": seconds * 1000,
            "windows_per_second": self.training.batch_size / seconds,
        }
        if self.training.device.type == "cuda":
            values["gpu_memory_mib"] = torch.cuda.max_memory_allocated(self.training.device) / MIB
        return values

    def _look(self, index: int, step: int) -> tuple[dict[str, float], bool]:
        """Metrics, and whether these weights are the best so far: they are on disk then."""
        selection = self.training.selection
        if selection is None:
            return {}, False
        values, better = selection.look(index, step, self.training.sample)
        if better and selection.best is not None:
            save_best(self.checkpoints, selection.best, self.training.weights())
        return values, better


def _named(losses: dict[str, Tensor]) -> dict[str, float]:
    return {f"loss/{name}": float(loss) for name, loss in losses.items()}


def _refuse_divergence(phase: str, step: int, values: dict[str, float]) -> None:
    """Before anything is logged or saved: the last checkpoint stays finite."""
    wrong = [f"{name}={value}" for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingDivergedError(
            f"training diverged in phase {phase} at step {step}: {', '.join(wrong)}; lower "
            "training.learning_rate or look for extreme values in the data"
        )
