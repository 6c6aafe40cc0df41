"""The evaluation of synthetic windows against real ones: scores, pictures, report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.evaluation.judges import Progress, discriminative_score, predictive_score
from core.evaluation.plots import Plot, plot_autocorrelations, plot_distributions, plot_overlays, plot_paths
from core.evaluation.report import write_reports
from core.evaluation.scores import Score, chance_floor, held_out
from core.evaluation.windows import checked_pair
from core.lake import write_json
from core.prepare.scaler import MinMaxScaler

logger = logging.getLogger(__name__)

PROTOCOL = "TimeGAN (Yoon et al. 2019), judges of the published code"
Array32 = NDArray[np.float32]


@dataclass(frozen=True)
class _Judging:
    """How to judge, see `evaluate_windows`."""

    judges: int
    discriminative_iterations: int
    predictive_iterations: int
    batch_size: int
    seed: int
    progress: Progress | None

    def discriminative(self, real: Array32, synthetic: Array32, name: str = "discriminative") -> dict[str, Any]:
        score = discriminative_score(
            real,
            synthetic,
            judges=self.judges,
            iterations=self.discriminative_iterations,
            batch_size=self.batch_size,
            seed=self.seed,
            progress=self.progress,
            name=name,
        )
        tested = {"real": held_out(len(real)), "synthetic": held_out(len(synthetic))}
        detail = {"auc": score.auc, "aucs": list(score.aucs)}
        return _detail(score) | detail | {"held_out": tested, "chance_floor": chance_floor(**tested)}

    def predictive(
        self, real: Array32, synthetic: Array32, name: str = "predictive", *, reference: bool = False
    ) -> dict[str, Any]:
        score = predictive_score(
            real,
            synthetic,
            judges=self.judges,
            iterations=self.predictive_iterations,
            batch_size=self.batch_size,
            seed=self.seed,
            progress=self.progress,
            reference=reference,
            name=name,
        )
        return _detail(score)

    def references(self, real: Array32) -> dict[str, Any]:
        """What a perfect generator would reach: real windows in the synthetic ones' place."""
        if len(real) < 4:
            raise DataError(f"references need at least 4 real windows to halve, got {len(real)}")
        order = np.random.default_rng(self.seed).permutation(len(real))
        halves = real[order[: len(real) // 2]], real[order[len(real) // 2 :]]
        return {
            "discriminative_real_halves": self.discriminative(*halves, "discriminative, real halves"),
            "predictive_real": self.predictive(real, real, "predictive, real", reference=True),
        }


def evaluate_windows(
    real: NDArray[Any],
    synthetic: NDArray[Any],
    features: Sequence[str],
    out: Path,
    *,
    judges: int = 10,
    discriminative_iterations: int = 2000,
    predictive_iterations: int = 5000,
    batch_size: int = 128,
    plot_windows: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    references: bool = False,
) -> dict[str, float]:
    """Score synthetic windows by the paper's protocol and write what was found into a folder.

    Both sets are scaled by the real set's minimum and maximum of each feature, so the scores do not depend on
    units. `out` receives `scores.json`, `report.html` (one file), `report.md` and `plots/*.png`; the same
    arguments give the same scores.

    Args:
        real: Shape (N, T, D), any units, N and T at least 2.
        synthetic: Shape (M, T, D), the same units.
        features: D names, any text.
        out: Folder, made if missing; files there are replaced.
        judges: Of each score.
        discriminative_iterations: Training steps of a classifier.
        predictive_iterations: Training steps of a forecaster.
        batch_size: Windows (of each kind) in a batch.
        plot_windows: At most so many of each kind in PCA and t-SNE.
        seed: Fixes judges and pictures.
        progress: Told what is being done, and how much of how much.
        references: Judge real windows against real ones too, which doubles the time.

    Returns:
        What to track, all finite: `discriminative_mean`, `_std`, `_median`, `_auc` and `_floor` (of a perfect
        generator, see `chance_floor`), `predictive_mean`, `_std` and `_median`; with `references` also
        `discriminative_real_halves` and `predictive_real`, both means.

    Raises:
        ConfigError: an argument is out of range.
        DataError: the sets do not fit each other or their names, are too small, or hold NaN or infinity.
        TrainingDivergedError: a judge's output is not finite.
    """
    real, synthetic = checked_pair(real, synthetic, np.float64)
    _check_names(features, real.shape[2], plot_windows)
    scaler = MinMaxScaler.fit(real)
    scaled, scaled_synthetic = checked_pair(scaler.transform(real), scaler.transform(synthetic))
    judging = _Judging(judges, discriminative_iterations, predictive_iterations, batch_size, seed, progress)
    scores: dict[str, Any] = {
        "protocol": _protocol(judging, real.shape[2]),
        "windows": {
            "real": len(real),
            "synthetic": len(synthetic),
            "steps": real.shape[1],
            "features": real.shape[2],
        },
        "discriminative": judging.discriminative(scaled, scaled_synthetic),
        "predictive": judging.predictive(scaled, scaled_synthetic) | {"constant": _constant_error(scaled)},
        "references": judging.references(scaled) if references else None,
        "features": _by_feature(real, synthetic, features, scaler),
    }
    out.mkdir(parents=True, exist_ok=True)
    plots = _draw(real, synthetic, (scaled, scaled_synthetic), features, out / "plots", judging, plot_windows)
    write_json(out / "scores.json", scores)
    write_reports(out, scores, plots)
    return _flat(scores)


def _draw(
    real: NDArray[Any],
    synthetic: NDArray[Any],
    scaled: tuple[Array32, Array32],
    features: Sequence[str],
    folder: Path,
    judging: _Judging,
    windows: int,
) -> list[Plot]:
    folder.mkdir(exist_ok=True)
    plots = []
    seed = judging.seed
    drawings: tuple[Callable[[], Plot], ...] = (
        partial(plot_overlays, *scaled, folder / "overlays.png", windows=windows, seed=seed),
        partial(plot_distributions, real, synthetic, features, folder / "distributions.png"),
        partial(plot_autocorrelations, real, synthetic, features, folder / "autocorrelations.png"),
        partial(plot_paths, real, synthetic, features, folder / "paths.png", seed=seed),
    )
    for done, draw in enumerate(drawings, 1):
        plots.append(draw())
        if judging.progress is not None:
            judging.progress("plots", done, len(drawings))
    return plots


def _check_names(features: Sequence[str], width: int, plot_windows: int) -> None:
    if len(features) != width:
        raise DataError(f"expected a name for each of the {width} features, got {len(features)}: {features}")
    if plot_windows < 2:
        raise ConfigError(f"plot_windows must be at least 2, got {plot_windows}")


def _protocol(judging: _Judging, features: int) -> dict[str, Any]:
    return {
        "name": PROTOCOL,
        "scaling": "minimum and maximum of the real windows, by feature",
        "judges": judging.judges,
        "hidden": max(1, features // 2),
        "discriminative_iterations": judging.discriminative_iterations,
        "predictive_iterations": judging.predictive_iterations,
        "batch_size": judging.batch_size,
        "seed": judging.seed,
    }


def _detail(score: Score) -> dict[str, Any]:
    interval = score.interval()
    return {
        "mean": score.mean,
        "std": score.std,
        "median": score.median,
        "interval": None if interval is None else list(interval),
        "values": list(score.values),
    }


def _constant_error(scaled: Array32) -> float:
    """Mean absolute error of always predicting the median of what a forecaster predicts."""
    targets = scaled[:, 1:, -1].astype(np.float64)
    return float(np.abs(targets - np.median(targets)).mean())


def _by_feature(
    real: NDArray[Any], synthetic: NDArray[Any], features: Sequence[str], scaler: MinMaxScaler
) -> list[dict[str, Any]]:
    """Mean and spread of each feature, and what share of the synthetic values the real ones never reach."""
    rows = []
    for number, name in enumerate(features):
        pair = real[..., number], synthetic[..., number]
        low, high = scaler.minimum[number], scaler.maximum[number]
        row: dict[str, Any] = {"name": str(name), "constant": bool(low == high)}
        for kind, values in zip(("real", "synthetic"), pair, strict=True):
            row[kind] = {"mean": float(values.mean()), "std": float(values.std())}
        row["outside_real_range"] = float(((pair[1] < low) | (pair[1] > high)).mean())
        rows.append(row)
        if row["constant"]:
            logger.warning("feature %r is constant in the real windows: it is not scaled", name)
    return rows


def _flat(scores: dict[str, Any]) -> dict[str, float]:
    flat = {
        f"{kind}_{part}": scores[kind][part]
        for kind in ("discriminative", "predictive")
        for part in ("mean", "std", "median")
    }
    flat["discriminative_auc"] = scores["discriminative"]["auc"]
    flat["discriminative_floor"] = scores["discriminative"]["chance_floor"]
    for name, score in (scores["references"] or {}).items():
        flat[name] = score["mean"]
    return flat
