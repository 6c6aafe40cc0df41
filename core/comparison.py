"""The jobs of a comparison, one for each kind of generator, checked before the first takes hours; a report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from core.config import JobConfig, checked_kinds, with_model
from core.evaluation.report.comparison import write_comparison
from core.evaluation.report.published import published_scores
from core.lake import content_digest
from core.training.check import check_names


def comparison_jobs(job: JobConfig, kinds: Iterable[str] | None = None) -> dict[str, JobConfig]:
    """By kind, every one if none is asked for.

    Raises:
        ConfigError: an unknown kind, or one without a network or parameter that the section `training` names.
    """
    jobs = {kind: with_model(job, kind) for kind in checked_kinds(kinds)}
    for each in jobs.values():
        check_names(each.model.model_dump(), each.training.model_dump(), length=each.window.length)
    return jobs


def write_report(dataset: str, evaluations: Mapping[str, Path], lake: Path) -> Path:
    """One page about several generators, in `lake/comparisons/<dataset>/<key>/`.

    Args:
        dataset: Its name.
        evaluations: Folder of each generator's evaluation, by kind.
        lake: Where to write.

    Returns:
        The folder, with `comparison.html` and `comparison.md`.
    """
    scores = {
        kind: json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        for kind, folder in evaluations.items()
    }
    published = {
        f"{kind}, the TimeGAN paper": pair for kind in scores if (pair := published_scores(kind, dataset))
    }
    folder = lake / "comparisons" / dataset / content_digest(scores=scores)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    write_comparison(folder, list(scores.items()), published=published)
    return folder
