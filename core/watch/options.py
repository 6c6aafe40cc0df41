"""What a `watch` job may say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.config import Dataset
from core.schema import Section


class WatchConfig(Section):
    """Everything that decides what a `watch` job looks at, and what follows."""

    dataset: Dataset = Field(
        description="A name of the catalogue, the path of a YAML or data file, or a description in place."
    )
    model: str | None = Field(
        default=None, description="Registered model whose champion is watched; `<dataset>-timegan` if empty."
    )
    windows: int = Field(
        default=1000,
        ge=20,
        description="Most windows of new rows, the latest, and as many training ones.",
    )
    fewest_windows: int = Field(
        default=50, ge=10, description="With fewer windows of new rows drift is not judged, which is said."
    )
    column_drift: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="Share of the columns that may differ from the training rows by more than these among "
        "themselves.",
    )
    level: float = Field(default=0.01, gt=0, lt=0.5, description="Significance level of each test of drift.")
    score_loss: float = Field(
        default=0.1, gt=0, le=0.5, description="How much worse the champion may score on the new rows."
    )
    judges: int = Field(default=5, ge=2, le=100, description="Judges of the champion's scores.")
    judge_iterations: int = Field(default=500, ge=1, description="Training steps of a judge.")
    max_age: str | None = Field(
        default=None,
        description="Longest time since the latest row before the data count as stale, as `3D` or `6h`; empty: "
        "not checked. Days of a trading calendar are its sessions.",
    )
    retrain: Literal["full", "sparse", "never"] = Field(
        default="sparse",
        description="What the `drift` event asks for: a training from scratch, one that moves a share of the "
        "champion's weights, or none.",
    )
    sparse_fraction: float = Field(default=0.1, gt=0, le=1, description="Share of each parameter that moves.")
    sparse_iterations: int = Field(default=1000, ge=1, description="Joint iterations of a sparse retraining.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Fixes the draws and the judges.")
