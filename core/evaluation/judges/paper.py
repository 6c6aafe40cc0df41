"""The protocol of the TimeGAN paper, as its published code judges, and what real windows would score in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.evaluation.judges.paper_scores import Progress, discriminative_score, predictive_score
from core.evaluation.judges.scores import Score, chance_floor, held_out
from core.evaluation.judges.splits import Split

NAME = "TimeGAN (Yoon et al. 2019), judges of the published code"
Array32 = NDArray[np.float32]


@dataclass(frozen=True)
class PaperJudges:
    """How many judges, and how they are trained; windows are (N, T, D), scaled to about [0, 1]."""

    judges: int
    discriminative_iterations: int
    predictive_iterations: int
    batch_size: int
    seed: int
    progress: Progress | None

    def discriminative(
        self,
        real: Array32,
        synthetic: Array32,
        name: str = "discriminative",
        splits: Sequence[Split] | None = None,
    ) -> dict[str, Any]:
        """The score, its AUC, the windows it was tested on, and what luck gives at that number."""
        score = discriminative_score(
            real,
            synthetic,
            judges=self.judges,
            iterations=self.discriminative_iterations,
            batch_size=self.batch_size,
            seed=self.seed,
            splits=splits,
            progress=self.progress,
            name=name,
        )
        tested = {"real": held_out(len(real)), "synthetic": held_out(len(synthetic))}
        if splits is not None:
            tested = {"real": len(splits[0].test_real), "synthetic": len(splits[0].test_fake)}
        return judged(score) | {"held_out": tested, "chance_floor": chance_floor(**tested)}

    def predictive(self, real: Array32, synthetic: Array32, name: str = "predictive") -> dict[str, Any]:
        """The score of forecasters that saw synthetic windows; real ones in their place give a reference."""
        score = predictive_score(
            real,
            synthetic,
            judges=self.judges,
            iterations=self.predictive_iterations,
            batch_size=self.batch_size,
            seed=self.seed,
            progress=self.progress,
            name=name,
        )
        return judged(score)

    def references(self, real: Array32) -> dict[str, Any]:
        """What a perfect generator would reach: real windows in the synthetic ones' place."""
        order = np.random.default_rng(self.seed).permutation(len(real))
        halves = real[order[: len(real) // 2]], real[order[len(real) // 2 :]]
        return {
            "discriminative_real_halves": self.discriminative(*halves, "discriminative, real halves"),
            "predictive_real": self.predictive(real, real, "predictive, real"),
        }

    def described(self, features: int) -> dict[str, Any]:
        """What must be said beside the scores."""
        return {
            "name": NAME,
            "scaling": "minimum and maximum of the real windows, by feature",
            "judges": self.judges,
            "hidden": max(1, features // 2),
            "discriminative_iterations": self.discriminative_iterations,
            "predictive_iterations": self.predictive_iterations,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }


def judged(score: Score) -> dict[str, Any]:
    """A score as it stands in `scores.json`."""
    interval = score.interval()
    detail = {
        "mean": score.mean,
        "std": score.std,
        "median": score.median,
        "interval": None if interval is None else list(interval),
        "values": list(score.values),
    }
    return detail | ({"auc": score.auc, "aucs": list(score.aucs)} if score.aucs else {})


def constant_error(scaled: Array32) -> float:
    """Mean absolute error of always predicting the median of what a forecaster predicts."""
    targets = scaled[:, 1:, -1].astype(np.float64)
    return float(np.abs(targets - np.median(targets)).mean())
