"""Scoring window files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.catalog import Expectations
from core.errors import ConfigError
from core.evaluation.comparison_report import write_comparison
from core.evaluation.evaluate import Subject, evaluate_windows
from core.evaluation.holdout import hold_out_windows
from core.evaluation.options import JudgingOptions
from core.evaluation.windows import WindowSet, judged_pair, read_windows, window_starts
from tasks.progress import progress

Scores = dict[str, float]


def evaluate_files(
    real: Path,
    synthetic: Sequence[Path],
    *,
    options: JudgingOptions,
    holdout: float = 0.0,
    expectations: Expectations | None = None,
    output: Path | None = None,
) -> dict[str, Scores]:
    """The scores of each synthetic file, by its name without ending.

    Args:
        real: Windows in the order of time.
        synthetic: One file or several; several are compared in a report of their own.
        options: How to judge.
        holdout: Share of the real rows, the latest ones, that no generator has seen.
        expectations: What rows must satisfy.
        output: Folder for report and plots, with several files a folder in it for each.

    Raises:
        ConfigError: a file is missing, two have the same name, or `output` is a file.
        DataError: a file holds no windows, or theirs do not fit.
    """
    names = [path.stem for path in synthetic]
    if len(set(names)) < len(names):
        raise ConfigError(f"synthetic files must have different names, got {', '.join(names)}")
    truth, made = read_windows(real), [read_windows(path) for path in synthetic]
    with tempfile.TemporaryDirectory(prefix="timeloom-") as scratch:
        folder = output or Path(scratch)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"-o {folder}: expected a folder, this is a file")
        places = {name: folder / name if len(names) > 1 else folder for name in names}
        scores = {
            name: _evaluate(_subject(truth, windows, holdout, expectations), options, places[name])
            for name, windows in zip(names, made, strict=True)
        }
        if len(names) > 1:
            found = [
                (name, json.loads((place / "scores.json").read_text(encoding="utf-8")))
                for name, place in places.items()
            ]
            write_comparison(folder, found)
    return scores


def _evaluate(subject: Subject, options: JudgingOptions, out: Path) -> Scores:
    with progress("evaluate") as report:
        return evaluate_windows(subject, out, options, report)


def _subject(
    real: WindowSet, synthetic: WindowSet, holdout: float, expectations: Expectations | None
) -> Subject:
    frames = (real.frame(), synthetic.frame())
    truth, made, features = judged_pair(real, synthetic)
    starts, held_out = window_starts(truth), None
    if holdout:
        truth, starts, held_out = hold_out_windows(truth, starts, holdout)
    return Subject(
        real=truth,
        synthetic=made,
        features=features,
        starts=starts,
        held_out=held_out,
        frames=frames,
        expectations=expectations,
    )
