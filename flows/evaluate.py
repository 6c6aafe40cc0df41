"""Scoring two window files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from core.errors import ConfigError
from core.evaluation.evaluate import evaluate_windows
from core.evaluation.windows import read_windows
from tasks.progress import progress


def evaluate_files(
    real: Path, synthetic: Path, *, judges: int, seed: int, output: Path | None
) -> dict[str, float]:
    """The scores; report and plots are written to `output` if given.

    Raises:
        ConfigError: a file is missing.
        DataError: a file holds no windows, or theirs differ in shape.
    """
    truth, made = read_windows(real), read_windows(synthetic)
    with tempfile.TemporaryDirectory(prefix="timeloom-") as scratch, progress("evaluate") as report:
        folder = output or Path(scratch)
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"-o {folder}: expected a folder, this is a file")
        folder.mkdir(parents=True, exist_ok=True)
        return evaluate_windows(
            truth.values, made.values, truth.features, folder, judges=judges, seed=seed, progress=report
        )
