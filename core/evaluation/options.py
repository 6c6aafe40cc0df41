"""How an evaluation is done (section `evaluation` of the configuration)."""

from __future__ import annotations

from dataclasses import dataclass

from core.config import EvaluationConfig
from core.errors import ConfigError
from core.evaluation.judges.classifiers import KINDS as STRONGER
from core.evaluation.report.view import OVERLAYS


@dataclass(frozen=True)
class JudgingOptions:
    """What is computed, and how much of it; `core.config.EvaluationConfig` describes each field."""

    judges: int = 10
    discriminative_iterations: int = 2000
    predictive_iterations: int = 5000
    batch_size: int = 128
    references: bool = True
    stronger_judges: tuple[str, ...] = STRONGER
    stronger_repetitions: int = 3
    forecasters: bool = True
    distances: bool = True
    distance_windows: int = 2000
    privacy: bool = True
    overlays: tuple[str, ...] = OVERLAYS
    plot_windows: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.plot_windows < 2:
            raise ConfigError(f"plot_windows must be at least 2, got {self.plot_windows}")
        if not self.overlays or (wrong := [kind for kind in self.overlays if kind not in OVERLAYS]):
            shown = repr(wrong[0]) if self.overlays else "none"
            raise ConfigError(f"overlays: expected some of {', '.join(OVERLAYS)}, got {shown}")
        if unknown := [kind for kind in self.stronger_judges if kind not in STRONGER]:
            raise ConfigError(f"there is no judge {unknown[0]!r}: choose among {', '.join(STRONGER)}")


def judging_options(options: EvaluationConfig) -> JudgingOptions:
    """How windows are judged, without which of them."""
    return JudgingOptions(**options.model_dump(exclude={"max_windows", "stylised_facts"}))
