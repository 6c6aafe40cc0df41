"""Machine settings: where things are kept and what they run on.

They come from the environment with the prefix `TIMELOOM_`; what a job does is in `core.config`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Settings of this machine, read from `TIMELOOM_*` variables."""

    model_config = SettingsConfigDict(env_prefix="TIMELOOM_", frozen=True)

    home: Path = Field(default=PROJECT_ROOT / "data" / "lake", description="The lake: everything derived.")
    catalog: Path = Field(default=PROJECT_ROOT / "data" / "catalog", description="Folder of dataset files.")
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads of a training on a CPU; empty: recurrent layers by Numba take the faster of one "
        "and all cores, all else takes one.",
    )
    gpu_limit: str | None = Field(
        default=None,
        pattern=r"^[\w.-]{1,100}$",
        description="Prefect concurrency limit that a training on a GPU holds; empty: the GPU's own, made with "
        "one slot; `none`: no limit.",
    )
    prefect_port: int = Field(default=4200, ge=1, le=65535, description="Of the embedded Prefect server.")
    mlflow_port: int = Field(default=5000, ge=1, le=65535, description="Of the MLflow page of `timeloom ui`.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO")

    @field_validator("home", "catalog")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        """Resolved once: workers change their working directory."""
        return path.expanduser().resolve()

    @property
    def lake(self) -> Path:
        """Everything derived lies here."""
        return self.home
