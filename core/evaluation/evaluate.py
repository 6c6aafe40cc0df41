"""The evaluation of synthetic windows against real ones: everything that is computed, and the report of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.catalog import Expectations
from core.errors import DataError
from core.evaluation.checks import checked_like, checked_pair
from core.evaluation.distances import Prices, measure_distances
from core.evaluation.judges.classifiers import WINDOWS, stronger_judges
from core.evaluation.judges.forecasters import forecast_error
from core.evaluation.judges.holdout import HeldOut, HoldOutJudging
from core.evaluation.judges.paper import Array32, PaperJudges, constant_error, judged
from core.evaluation.judges.paper_scores import Progress
from core.evaluation.judges.scores import Score, chance_floor
from core.evaluation.judges.splits import (
    Parts,
    Split,
    divided,
    divided_alike,
    halves_alike,
    nearest_real,
    random_parts,
)
from core.evaluation.options import JudgingOptions
from core.evaluation.privacy import measure_privacy
from core.evaluation.report.figures import interactive_figures
from core.evaluation.report.pages import write_reports
from core.evaluation.report.plots import draw_plots
from core.evaluation.report.view import Training, view_windows
from core.evaluation.validity import check_validity
from core.lake import write_json
from core.prepare.channels.scaler import MinMaxScaler

logger = logging.getLogger(__name__)

SCHEMA = 2
"""Of `scores.json`."""
TITLES = {
    "lstm": "two-layer LSTM",
    "cnn": "1-D CNN",
    "rocket": "ROCKET",
    "tcn_transformer": "TCN + Transformer",
}
_FEWEST_TO_HALVE = 4
_FEWEST_FORECAST = 2
"""Windows that a forecaster is trained on or tested with."""


@dataclass(frozen=True)
class Subject:
    """What is judged, and what is known of it beside the windows."""

    real: NDArray[Any]
    """Shape (N, T, D), any units, N and T at least 2: windows that the generator learnt from."""
    synthetic: NDArray[Any]
    """Shape (M, T, D), the same units."""
    features: Sequence[str]
    """D names, any text."""
    starts: NDArray[np.int64] | None = None
    """Shape (N,): the first row of each real window, ascending; None: nobody knows which of them overlap."""
    synthetic_starts: NDArray[np.int64] | None = None
    """Shape (M,): likewise of synthetic windows that were cut out of longer series; None: they share no row."""
    held_out: HeldOut | None = None
    frames: tuple[pd.DataFrame, pd.DataFrame] | None = None
    """Real and synthetic rows in original units and types, with `window` and `step`."""
    expectations: Expectations | None = None
    """What the dataset declares."""
    prices: Prices | None = None
    """Market data in original units, see `core.evaluation.distances`."""
    training: Training | None = None
    """What was scored while the generator was trained."""
    published: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    """Discriminative and predictive score on these data by who reports them."""


def evaluate_windows(
    subject: Subject, out: Path | None, options: JudgingOptions | None = None, progress: Progress | None = None
) -> dict[str, float]:
    """Judge synthetic windows and write what was found into a folder.

    Everything is scaled by the real set's minimum and maximum of each feature, so the scores do not depend on
    units. `out` receives `scores.json`, `report.html` (one file), `report.md` and `plots/*.png`; the same
    arguments give the same scores.

    Args:
        subject: What to judge.
        out: Folder, made if missing; files there are replaced. None: nothing is drawn or written.
        options: How.
        progress: Told what is being done, and how much of how much.

    Returns:
        What to track, all finite; docs/evaluation.md says what each is.

    Raises:
        ConfigError: an option is out of range.
        DataError: the sets do not fit each other or their names, are too small, or hold NaN or infinity.
        TrainingDivergedError: a judge's output is not finite.
    """
    evaluation = _Evaluation(subject, options or JudgingOptions(), progress)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    scores = evaluation.scores()
    if out is not None:
        write_json(out / "scores.json", scores)
        evaluation.report(scores, out)
    return tracked(scores)


class _Evaluation:
    def __init__(self, subject: Subject, options: JudgingOptions, progress: Progress | None) -> None:
        self.subject, self.options, self.progress = subject, options, progress
        self.real, self.synthetic = checked_pair(subject.real, subject.synthetic, np.float64)
        if len(subject.features) != self.real.shape[2]:
            raise DataError(
                f"expected a name for each of the {self.real.shape[2]} features, got {len(subject.features)}: "
                f"{subject.features}"
            )
        if options.references and len(self.real) < _FEWEST_TO_HALVE:
            raise DataError(
                f"references need at least {_FEWEST_TO_HALVE} real windows to halve, got {len(self.real)}: "
                "bring more, or set evaluation.references=false"
            )
        self.scaler = MinMaxScaler.fit(self.real)
        self.scaled = checked_pair(self.scaler.transform(self.real), self.scaler.transform(self.synthetic))
        self.held_out = self._held_out()
        self.paper = PaperJudges(
            judges=options.judges,
            discriminative_iterations=options.discriminative_iterations,
            predictive_iterations=options.predictive_iterations,
            batch_size=options.batch_size,
            seed=options.seed,
            progress=progress,
        )

    def _held_out(self) -> HoldOutJudging | None:
        held_out, starts = self.subject.held_out, self.subject.starts
        if held_out is None:
            return None
        if starts is None:
            raise DataError("a hold-out needs to know where each real window starts")
        windows = checked_like(self.scaler.transform(held_out.windows), self.scaled[0], "hold-out")
        judging = HoldOutJudging(
            *(self.scaled[0], starts, windows, held_out.first, held_out.last),
            *(self.scaled[1], self.subject.synthetic_starts),
        )
        # Refused before anything is judged.
        judging.splits(max(self.options.judges, self.options.stronger_repetitions), self.options.seed)
        return judging

    def scores(self) -> dict[str, Any]:
        """What `scores.json` holds."""
        real, synthetic = self.scaled
        options, subject = self.options, self.subject
        return {
            "schema": SCHEMA,
            "digest": hashlib.sha256(np.ascontiguousarray(real).tobytes()).hexdigest(),
            "protocol": self.paper.described(real.shape[2]),
            "windows": {
                "real": len(real),
                "synthetic": len(synthetic),
                "steps": real.shape[1],
                "features": real.shape[2],
            },
            "discriminative": self.paper.discriminative(real, synthetic),
            "predictive": self.paper.predictive(real, synthetic) | {"constant": constant_error(real)},
            "references": self.paper.references(real) if options.references else None,
            "features": self._by_feature(),
            "judges": self._stronger(),
            "forecasters": self._forecasters() if options.forecasters else [],
            "distances": self._distances() if options.distances else [],
            "privacy": self._privacy() if options.privacy else None,
            "validity": check_validity(*subject.frames, subject.expectations) if subject.frames else [],
            "holdout": self._holdout_scores(self.held_out) if self.held_out else None,
        }

    def _stronger(self) -> list[dict[str, Any]]:
        real, synthetic = self.scaled
        count, seed = self.options.stronger_repetitions, self.options.seed
        parts, starts = self._divided(count), self.subject.synthetic_starts
        if starts is not None:
            drawn = divided(len(synthetic), starts, real.shape[1], count, seed)
        elif self.subject.starts is not None:
            drawn = divided_alike(nearest_real(synthetic, real), len(real), parts, seed)
        else:
            drawn = random_parts(len(synthetic), count, np.random.default_rng(seed))
        splits = [Split(*one, *other) for one, other in zip(parts, drawn, strict=True)]
        references = self._references(parts[0])
        return [
            {"name": kind, "title": TITLES[kind]}
            | _against_luck(score, splits[0])
            | {"reference": judged(references[kind]) if kind in references else None}
            for kind, score in self._judge(real, synthetic, splits).items()
        ]

    def _divided(self, count: int) -> list[Parts]:
        """Real windows to train on and to test on, which share no row where it is known which windows do.

        A judge that has nearly seen what it is tested on knows the series, not what tells real from synthetic.
        """
        return divided(len(self.real), self.subject.starts, self.real.shape[1], count, self.options.seed)

    def _references(self, parts: Parts) -> dict[str, Score]:
        """One half of the real windows against the other, by the first of the judges' divisions."""
        if not self.options.references:
            return {}
        if min(map(len, parts)) < 2:
            logger.warning("no real halves beside the stronger judges: a part of the real windows has only one")
            return {}
        return self._judge(self.scaled[0], self.scaled[0], [halves_alike(parts, self.options.seed)])

    def _judge(self, real: Array32, fake: Array32, splits: Sequence[Split]) -> dict[str, Score]:
        kinds = self.options.stronger_judges
        return stronger_judges(real, fake, splits, kinds=kinds, seed=self.options.seed, progress=self.progress)

    def _forecasters(self) -> list[dict[str, Any]]:
        """Trained on synthetic windows and on a part of the real ones, tested on the rest of these."""
        real, synthetic = self.scaled
        ((train, test),) = self._divided(1)
        if min(len(train), len(test)) < _FEWEST_FORECAST:
            logger.warning("no stronger forecasters: %d real windows are too few to divide", len(real))
            return []
        return [self._forecast({"synthetic": synthetic, "real": real[train]}, real[test])]

    def _forecast(self, kinds: dict[str, Array32], test: Array32) -> dict[str, Any]:
        found = {
            kind: judged(
                forecast_error(
                    windows, test, seed=self.options.seed, progress=self.progress, name=f"forecaster, {kind}"
                )
            )
            for kind, windows in kinds.items()
        }
        constant = float(np.abs(test[:, 1:] - np.median(test[:, 1:], axis=(0, 1))).mean())
        return {"name": "tcn_transformer", "title": TITLES["tcn_transformer"], **found, "constant": constant}

    def _distances(self, held_out: bool = False) -> list[dict[str, Any]]:
        real, synthetic = self.scaled
        measures = measure_distances(
            self.held_out.held_out if held_out and self.held_out else real,
            synthetic,
            self.subject.features,
            starts=None if held_out else self.subject.starts,
            reference=real if held_out else None,
            windows=self.options.distance_windows,
            prices=None if held_out else self.subject.prices,
            seed=self.options.seed,
            progress=self.progress,
        )
        return [measure.to_json() for measure in measures]

    def _privacy(self) -> dict[str, Any]:
        real, synthetic = self.scaled
        privacy = measure_privacy(
            real,
            synthetic,
            holdout=self.held_out.held_out if self.held_out else None,
            starts=self.subject.starts,
            windows=self.options.distance_windows,
            seed=self.options.seed,
        )
        self._tell("privacy")
        return asdict(privacy)

    def _holdout_scores(self, judging: HoldOutJudging) -> dict[str, Any]:
        options, held_out = self.options, self.subject.held_out
        return {
            "windows": {"training": len(judging.training), "holdout": len(judging.held_out)},
            "from": held_out.since if held_out else None,
            **judging.paper(self.paper),
            "judges": self._stronger_holdout(judging),
            "forecasters": [
                self._forecast({"synthetic": judging.synthetic, "training": judging.training}, judging.held_out)
            ]
            if options.forecasters
            else [],
            "distances": self._distances(held_out=True) if options.distances else [],
        }

    def _stronger_holdout(self, judging: HoldOutJudging) -> list[dict[str, Any]]:
        splits = judging.splits(self.options.stronger_repetitions, self.options.seed)
        found = {
            kind: self._judge(judging.held_out, windows, splits[kind])
            for kind, windows in judging.kinds().items()
        }
        return [
            {"name": name, "title": TITLES[name]}
            | {kind: _against_luck(found[kind][name], splits[kind][0]) for kind in found}
            for name in found["synthetic"]
        ]

    def _by_feature(self) -> list[dict[str, Any]]:
        """Mean and spread of each feature, and what share of the synthetic values the real ones never reach."""
        rows = []
        for number, name in enumerate(self.subject.features):
            pair = self.real[..., number], self.synthetic[..., number]
            low, high = self.scaler.minimum[number], self.scaler.maximum[number]
            row: dict[str, Any] = {"name": str(name), "constant": bool(low == high)}
            for kind, values in zip(("real", "synthetic"), pair, strict=True):
                row[kind] = {"mean": float(values.mean()), "std": float(values.std())}
            row["outside_real_range"] = float(((pair[1] < low) | (pair[1] > high)).mean())
            rows.append(row)
            if row["constant"]:
                logger.warning("feature %r is constant in the real windows: it is not scaled", name)
        return rows

    def report(self, scores: dict[str, Any], out: Path) -> None:
        """Pictures and pages."""
        subject, options = self.subject, self.options
        view = view_windows(
            self.real,
            self.synthetic,
            self.scaled,
            [str(name) for name in subject.features],
            windows=options.plot_windows,
            seed=options.seed,
            overlays=options.overlays,
            training=subject.training,
        )
        self._tell("overlays")
        plots = draw_plots(view, out / "plots", progress=self.progress)
        write_reports(out, scores, plots, interactive_figures(view), published=subject.published)

    def _tell(self, done: str) -> None:
        """Of a part that does not say itself how far it is."""
        if self.progress is not None:
            self.progress(done, 1, 1)


def _against_luck(score: Score, split: Split) -> dict[str, Any]:
    """A stronger judge's score beside what luck gives a perfect generator on so many windows."""
    tested = (min(len(part), WINDOWS) for part in (split.test_real, split.test_fake))
    return judged(score) | {"chance_floor": chance_floor(*tested)}


def tracked(scores: dict[str, Any]) -> dict[str, float]:
    """The numbers of `scores.json` to follow from run to run, by a flat name."""
    flat = {
        f"{kind}_{part}": scores[kind][part]
        for kind in ("discriminative", "predictive")
        for part in ("mean", "std", "median")
    }
    flat["discriminative_auc"] = scores["discriminative"]["auc"]
    flat["discriminative_floor"] = scores["discriminative"]["chance_floor"]
    for name, score in (scores["references"] or {}).items():
        flat[name] = score["mean"]
    flat |= {f"judge_{judge['name']}": judge["mean"] for judge in scores["judges"]}
    for forecaster in scores["forecasters"]:
        flat |= {f"forecast_{kind}": forecaster[kind]["mean"] for kind in ("synthetic", "real")}
    flat |= {f"distance_{measure['name']}": measure["value"] for measure in scores["distances"]}
    if privacy := scores["privacy"]:
        flat |= {f"privacy_{measure['name']}": measure["value"] for measure in privacy["measures"]}
        flat |= {f"privacy_{count}": float(privacy[count]) for count in ("exact_copies", "near_copies")}
    if scores["validity"]:
        flat["validity_worst_share"] = max(rule["share"] for rule in scores["validity"])
    return flat | _tracked_holdout(scores["holdout"])


def _tracked_holdout(holdout: dict[str, Any] | None) -> dict[str, float]:
    if holdout is None:
        return {}
    flat = {
        f"holdout_{score}_{kind}": holdout[score][kind]["mean"]
        for score in ("discriminative", "predictive")
        for kind in ("synthetic", "training")
    }
    for part, name in (("judges", "judge_{}"), ("forecasters", "forecast")):
        for row in holdout[part]:
            flat |= {
                f"holdout_{name.format(row['name'])}_{kind}": row[kind]["mean"]
                for kind in ("synthetic", "training")
            }
    return flat | {f"holdout_distance_{measure['name']}": measure["value"] for measure in holdout["distances"]}
