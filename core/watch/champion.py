"""What a look must know of the generator that is watched."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from core.config import JobConfig


class Champion(BaseModel):
    """A registered version, its files here."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    path: Path
    """Folder of its `GeneratorBundle`."""
    digest: str
    """Of the files in it."""
    job: JobConfig
    """By which it was trained."""
    first_job: JobConfig
    """By which the version was trained that it goes back to, the last one not to start from another."""
    rows: int | None = None
    """How many its data had, if MLflow knows."""
    scores: dict[str, float] = {}
    """At registration."""
