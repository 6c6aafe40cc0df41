"""Scoring window files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from core.catalog import DatasetConfig
from core.config import EvaluationConfig, parse_override
from core.errors import ConfigError, DataError
from core.evaluation.evaluate import Subject, evaluate_windows
from core.evaluation.files.read import read_windows
from core.evaluation.files.subject import file_subject
from core.evaluation.options import judging_options
from core.evaluation.report.comparison import write_comparison
from core.evaluation.report.folder import replace_report, scratch_folder
from core.schema import Section, validated
from tasks.progress import progress

Scores = dict[str, float]


class _Configuration(Section):
    """What of a job's configuration says how windows are judged."""

    evaluation: EvaluationConfig


def evaluation_options(
    overrides: Iterable[str] = (), *, judges: int | None = None, seed: int | None = None
) -> EvaluationConfig:
    """The section `evaluation` from `evaluation.key=value` overrides, then what is not None of the others.

    Raises:
        ConfigError: another section, an unknown key (the nearest one is suggested), or a value out of range.
    """
    given = {name: value for name, value in (("judges", judges), ("seed", seed)) if value is not None}
    tree: dict[str, Any] = {"evaluation": {}}
    for layer in (*map(parse_override, overrides), *([{"evaluation": given}] if given else [])):
        for section, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(tree.get(section), Mapping)
            tree[section] = {**tree[section], **value} if both else value
    return validated(_Configuration, tree).evaluation


def evaluate_files(
    real: Path,
    synthetic: Sequence[Path],
    *,
    options: EvaluationConfig,
    holdout: float = 0.0,
    dataset: DatasetConfig | None = None,
    output: Path | None = None,
) -> dict[str, Scores]:
    """The scores of each synthetic file, by its name without ending.

    Everything is read, brought together and checked before the first file is judged. A report is put in its
    place as soon as it is whole; what an earlier one left there is taken away, and no other file.

    Args:
        real: Windows in the order of time.
        synthetic: One file or several; several are compared in a report of their own.
        options: How to judge.
        holdout: Share of the real rows, the latest ones, that no generator has seen.
        dataset: Whose declarations hold for the rows.
        output: Folder for report and plots, with several files a folder in it for each; without it none are
            made.

    Raises:
        ConfigError: a file is missing, two have the same name, or `output` is a file.
        DataError: a file holds no windows, or theirs do not fit.
        StorageError: `output` cannot be written to.
    """
    names = [path.stem for path in synthetic]
    if len(set(names)) < len(names):
        raise ConfigError(f"synthetic files must have different names, got {', '.join(names)}")
    subjects = _subjects(real, synthetic, options=options, holdout=holdout, dataset=dataset)
    if output is None:
        return {name: _evaluate(subject, options) for name, subject in subjects.items()}
    if len(subjects) == 1:
        with scratch_folder(output) as scratch:
            ((name, subject),) = subjects.items()
            scores = _evaluate(subject, options, scratch)
            replace_report(output, scratch)
        return {name: scores}
    return _evaluate_several(subjects, options, output)


def _subjects(real: Path, synthetic: Sequence[Path], **how: Any) -> dict[str, Subject]:
    """By name; a misfit is told with both files."""
    truth, made = read_windows(real), {path: read_windows(path) for path in synthetic}
    subjects = {}
    for path, windows in made.items():
        try:
            subjects[path.stem] = file_subject(truth, windows, **how)
        except DataError as error:
            raise DataError(f"{path} against {real}: {error}") from error
    return subjects


def _evaluate_several(
    subjects: Mapping[str, Subject], options: EvaluationConfig, output: Path
) -> dict[str, Scores]:
    scores: dict[str, Scores] = {}
    with ExitStack() as stack:
        stack.enter_context(scratch_folder(output))
        scratch = {name: stack.enter_context(scratch_folder(output / name)) for name in subjects}
        for name, subject in subjects.items():
            scores[name] = _evaluate(subject, options, scratch[name])
            replace_report(output)  # a comparison with what is replaced now
            replace_report(output / name, scratch[name])
    found = [
        (name, json.loads((output / name / "scores.json").read_text(encoding="utf-8"))) for name in subjects
    ]
    write_comparison(output, found)
    return scores


def _evaluate(subject: Subject, options: EvaluationConfig, out: Path | None = None) -> Scores:
    with progress("evaluate") as report:
        return evaluate_windows(subject, out, judging_options(options), report)
