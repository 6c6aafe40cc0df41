"""What a `watch` job may say."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from pydantic import Field, field_validator

from core.config import Dataset
from core.schema import Section


class WatchConfig(Section):
    """Everything that decides what a `watch` job looks at, and what follows."""

    dataset: Dataset = Field(
        description="A name of the catalogue, the path of a YAML or data file, or a description in place."
    )
    model: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Registered model whose champion is watched; `<dataset>-timegan` if empty.",
    )
    windows: int = Field(
        default=1000,
        ge=20,
        description="Most windows of new rows, the latest, and as many training ones. A twelfth of the "
        "training windows is another limit: they must hold twelve stretches to compare the new one with.",
    )
    fewest_windows: int = Field(
        default=50, ge=10, description="With fewer windows to judge drift is not judged, which is said."
    )
    level: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="Chance of calling a drift where nothing has changed, of all tests together.",
    )
    column_drift: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Share of the columns that may differ from the training rows by more than these among "
        "themselves.",
    )
    outside: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of the new cells of numbers that may lie outside the range the champion learnt: it "
        "cannot make them.",
    )
    score_loss: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="How much worse the champion may score on the new rows than on stretches of its training "
        "rows: of the discriminative score so much, of the predictive one such a share.",
    )
    judges: int = Field(
        default=5, ge=3, le=100, description="Judges of each score, and stretches to compare it with."
    )
    judge_iterations: int = Field(default=500, ge=1, description="Training steps of a judge.")
    max_age: str | None = Field(
        default=None,
        description="Longest time since the latest row before the data count as stale, as `3D` or `6h`; empty: "
        "not checked. Days of a trading calendar are its sessions.",
    )
    retrain: Literal["full", "sparse", "never"] = Field(
        default="sparse",
        description="What the `drift` event asks for: a training from scratch, one that moves a share of the "
        "champion's weights (from scratch all the same where the champion cannot encode or make the new "
        "values), or none.",
    )
    sparse_fraction: float = Field(default=0.1, gt=0, le=1, description="Share of each parameter that moves.")
    sparse_iterations: int = Field(default=1000, ge=1, description="Joint iterations of a sparse retraining.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Fixes the draws and the judges.")

    @field_validator("max_age")
    @classmethod
    def _is_a_length_of_time(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            length = pd.Timedelta(value)
        except ValueError as error:
            raise ValueError(f"expected a length of time such as 3D or 6h: {error}") from error
        if not length > pd.Timedelta(0):  # NaT too
            raise ValueError("expected a length of time above 0 such as 3D or 6h")
        return value

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.model or f"{self.dataset.name}-timegan"
