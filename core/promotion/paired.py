"""Champion and challenger before the same judges."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

from core.config import JobConfig
from core.evaluation.judges.paper_scores import Progress, discriminative_score
from core.evaluation.judges.scores import Score
from core.generators.bundle import GeneratorBundle
from core.prepare.series import PreparedSeries
from core.promotion.contest import Contest, contest
from core.promotion.statistics import PairedTest, corrected_resampled_test

logger = logging.getLogger(__name__)

CEILING = 0.49
"""Discriminative score from which judges tell windows apart every time: two such say nothing of each other."""


@dataclass(frozen=True)
class Comparison:
    """Discriminative scores of both by the same pairs of judges, and what their difference is worth."""

    champion: Score
    challenger: Score
    test: PairedTest
    windows: int
    """Real windows, and as many synthetic ones of each."""
    tested: int
    """Of them, those that test a judge."""
    held_out: bool
    """By windows that neither learnt (unless the champion's data are newer), not those of the training."""
    since: str | None
    """Time of the first held-out row."""
    drifted: bool = False
    """The hold-out told nothing: its windows were told from those of both every time."""

    def to_json(self) -> dict[str, Any]:
        """Numbers and texts."""
        return {
            "champion": {"mean": self.champion.mean, "values": list(self.champion.values)},
            "challenger": {"mean": self.challenger.mean, "values": list(self.challenger.values)},
            "test": {**asdict(self.test), "passed": self.test.passed},
            "windows": self.windows,
            "tested": self.tested,
            "held_out": self.held_out,
            "since": self.since,
            "drifted": self.drifted,
        }


def compare(
    job: JobConfig,
    series: PreparedSeries,
    champion: GeneratorBundle,
    challenger: GeneratorBundle,
    progress: Progress | None = None,
) -> Comparison:
    """Judge both on the same real windows, by judges of the same starts, batches and divisions.

    A series may have drifted so far that judges tell any generator from the hold-out: then the windows that the
    challenger learnt judge instead.

    Args:
        job: The challenger's; `registry.gates` says how many judges, how they are trained and what must be
            reached, `evaluation` how many windows and from which seed.
        series: The newest data.
        champion: What serves now.
        challenger: What may take its place.
        progress: Told how far it is.

    Raises:
        DataError: the two cannot be compared, see `core.promotion.contest`.
        TrainingDivergedError: a judge's output is not finite.
    """
    found = _judged(job, contest(job, series, champion, challenger), progress)
    if not found.held_out or min(found.champion.mean, found.challenger.mean) < CEILING:
        return found
    logger.warning(
        "judges tell both champion and challenger from the hold-out every time: the training windows judge"
    )
    both = contest(job, series, champion, challenger, held_out=False)
    return replace(_judged(job, both, progress), drifted=True)


def _judged(job: JobConfig, both: Contest, progress: Progress | None) -> Comparison:
    gates = job.registry.gates
    scores = {
        name: discriminative_score(
            both.real,
            windows,
            judges=gates.judges,
            iterations=gates.judge_iterations,
            batch_size=job.evaluation.batch_size,
            seed=job.evaluation.seed,
            splits=both.splits,
            progress=progress,
            name=name,
        )
        for name, windows in (("champion", both.champion), ("challenger", both.challenger))
    }
    old, new = scores["champion"], scores["challenger"]
    gains = [before - after for before, after in zip(old.values, new.values, strict=True)]
    test = corrected_resampled_test(
        gains, both.tested_by_trained, level=gates.level, least_gain=gates.least_gain
    )
    tested = len(both.splits[0].test_real)
    return Comparison(old, new, test, len(both.real), tested, both.held_out, both.since)
