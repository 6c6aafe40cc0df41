"""What steps hand each other: where an artefact lies and what is in it, never the arrays themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from core.errors import StorageError


class Handle(BaseModel):
    """An artefact in the lake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    digest: str
    """SHA-256 in hex of what made it (of the content itself for a snapshot)."""
    reused: bool = False
    """It was in the lake already."""


class SnapshotRef(Handle):
    """An immutable copy of a source: `data.parquet` and `manifest.json`."""

    dataset: str
    rows: int
    columns: tuple[str, ...]


class ValidationRef(Handle):
    """What validation found: `report.json`, `report.html`, `report.md`, and perhaps `quarantine.parquet`."""

    success: bool
    """No critical check failed."""
    checks: int
    failed: int
    warnings: int
    quarantined: int = 0
    """Rows to be left out, see `excluded`."""

    def excluded(self) -> NDArray[np.int64] | None:
        """Rows of the source (from 0, ascending) to be left out, for they break a rule; None without.

        Raises:
            StorageError: the file that lists them is missing or damaged.
        """
        if not self.quarantined:
            return None
        try:
            rows = np.load(self.path / "excluded.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.path} is damaged: {error}; remove it and validate again") from error
        return np.asarray(rows, dtype=np.int64)


class PreparedRef(Handle):
    """A scaled series ready for windows: see `core.prepare.series.PreparedSeries`."""

    rows: int
    features: tuple[str, ...]
    segments: int
    windows: int
    window_length: int


class GeneratorRef(Handle):
    """A trained generator's folder and where its training left metrics and checkpoints."""

    run_dir: Path
    resumed: bool = False
    seconds: float
    """Of training, summed over every attempt."""


class EvaluationRef(Handle):
    """Scores and the report: `scores.json`, `report.html`, `report.md`, `plots/*.png`, `synthetic.parquet`."""

    scores: dict[str, float]
