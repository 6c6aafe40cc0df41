"""The loop that trains every generator: phases, curves, checkpoints, stopping."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from core.errors import TrainingDivergedError, TrainingInterruptedError
from core.generators.base import Phase, Training
from core.training.checkpoints import Position, load_latest_checkpoint, save_checkpoint
from core.training.metrics import MetricsFile, Point

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoopOptions:
    """How often the loop writes."""

    checkpoint_every_seconds: float = 30.0
    log_every: int = 10


@dataclass(frozen=True)
class LoopResult:
    """How a training went."""

    seconds: float
    """Over all attempts."""
    resumed: bool
    """It continued from a checkpoint."""


def train(
    training: Training,
    run_dir: Path,
    options: LoopOptions,
    should_stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[Phase, int], None] = lambda _phase, _step: None,
) -> LoopResult:
    """Run every phase to its end, from the last checkpoint in `run_dir` if there is one.

    Args:
        training: A generator in training; it is changed in place.
        run_dir: Gets `metrics.jsonl` and `checkpoints/`.
        options: How often to write.
        should_stop: Asked after every step.
        on_step: Told after every step: the phase and its iterations done.

    Raises:
        TrainingDivergedError: a logged loss is NaN or infinite; the last checkpoint is kept.
        TrainingInterruptedError: `should_stop` said so; a checkpoint was written.
    """
    position, resumed = Position(phase=0, step=0, seconds=0.0), False
    if found := load_latest_checkpoint(run_dir / "checkpoints"):
        position, state = found
        training.load_state(state)
        resumed = True
        logger.info("resumed in phase %s at step %d", training.phases[position.phase].name, position.step)
    names = tuple(phase.name for phase in training.phases)
    metrics = MetricsFile(run_dir / "metrics.jsonl", names, position.phase, position.step)
    try:
        runner = _Runner(training, run_dir, options, metrics, position.seconds)
        for index in range(position.phase, len(training.phases)):
            first = position.step if index == position.phase else 0
            runner.run_phase(index, first, should_stop, on_step)
    finally:
        metrics.close()
    return LoopResult(seconds=runner.seconds, resumed=resumed)


class _Runner:
    def __init__(
        self, training: Training, run_dir: Path, options: LoopOptions, metrics: MetricsFile, before: float
    ) -> None:
        self.training = training
        self.checkpoints = run_dir / "checkpoints"
        self.options = options
        self.metrics = metrics
        self.before = before
        self.started = self.saved = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def run_phase(
        self,
        index: int,
        first: int,
        should_stop: Callable[[], bool],
        on_step: Callable[[Phase, int], None],
    ) -> None:
        phase = self.training.phases[index]
        logged_at, logged_step = time.monotonic(), first
        for step in range(first + 1, phase.iterations + 1):
            losses = phase.step()
            if step % self.options.log_every == 0 or step == phase.iterations:
                now = time.monotonic()
                self._log(phase, step, losses, (now - logged_at) / (step - logged_step) * 1000)
                logged_at, logged_step = now, step
            on_step(phase, step)
            if should_stop():
                self.save(index, step, losses)
                raise TrainingInterruptedError(
                    f"training was stopped in phase {phase.name} at step {step} of {phase.iterations}; "
                    "run the same job again to resume"
                )
            if time.monotonic() - self.saved >= self.options.checkpoint_every_seconds:
                self.save(index, step, losses)
        if first < phase.iterations:
            self.save(index, phase.iterations, losses)

    def save(self, phase: int, step: int, losses: dict[str, Tensor]) -> None:
        _refuse_divergence(self.training.phases[phase].name, step, _named(losses))
        save_checkpoint(self.checkpoints, Position(phase, step, self.seconds), self.training.state())
        self.saved = time.monotonic()

    def _log(self, phase: Phase, step: int, losses: dict[str, Tensor], milliseconds: float) -> None:
        values = _named(losses)
        gradients = self.training.gradient_norms(phase.networks)
        values |= {f"gradient/{name}": norm for name, norm in gradients.items()}
        _refuse_divergence(phase.name, step, values)
        values["milliseconds_per_step"] = milliseconds
        self.metrics.append(Point(phase.name, step, int(time.time() * 1000), values))


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
