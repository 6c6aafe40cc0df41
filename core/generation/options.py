"""What a `generate` job may say."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from core.schema import Section

MAX_WINDOWS = 100_000_000
MAX_STEPS = 1_000_000_000
MAX_SERIES = 1024
"""As many as are drawn at a time."""


class GenerationConfig(Section):
    """Everything that decides what a `generate` job writes."""

    model: str = Field(
        min_length=1, description="`name@champion`, `name/3`, an MLflow run id, or a folder with a model."
    )
    output: str = Field(
        min_length=1,
        description="A .parquet, .csv or .npy file, or a folder of Parquet parts (ends in /); a path or a URL, "
        "as s3://bucket/synthetic.parquet.",
    )
    form: Literal["windows", "series"] = Field(
        default="windows", description="Windows on their own, or one long series of overlapping windows."
    )
    windows: int = Field(default=1000, ge=1, le=MAX_WINDOWS, description="How many, of form `windows`.")
    steps: int | None = Field(
        default=None, ge=2, le=MAX_STEPS, description="Rows of the series, of form `series`."
    )
    overlap: int | None = Field(
        default=None, ge=1, description="Steps that neighbours in a series share; half a window if empty."
    )
    series: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SERIES,
        description="How many series of `steps` rows, side by side, with a column `series`; one without it if "
        "empty.",
    )
    candidates: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Windows drawn for each next piece of a series, the best fit of which is kept; 64 if "
        "empty. Not of a generator that completes windows.",
    )
    seams: Literal["warn", "refuse"] = Field(
        default="warn", description="What to do where the seams of a series can be told from its other steps."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="The same seed gives the same bytes.")
    start: str | None = Field(
        default=None,
        description="Stamp of the first step; adds a column `time` on the dataset's calendar or frequency.",
    )
    scaled: bool = Field(default=False, description="Encoded channels, not original units.")
    scenario: tuple[str, ...] = Field(
        default=(),
        description="What windows shall fulfil, as `Close: -10% in 5 steps` (from the first step on) or "
        "`Close: to 120 at 23` (steps from 0); of form `windows` and a generator of the kind flow_matching.",
    )
    condition: dict[str, Any] = Field(
        default_factory=dict, description="A value for each column that the generator is conditioned on."
    )

    @model_validator(mode="after")
    def _the_form_is_whole(self) -> Self:
        if self.form == "series" and self.steps is None:
            raise ValueError("a series needs its length: set steps")
        names = ("steps", "overlap", "series", "candidates")
        if self.form == "windows" and (given := [name for name in names if getattr(self, name) is not None]):
            raise ValueError(f"{given[0]} is of form `series`: leave it out, or set form=series")
        if self.form == "series" and self.scenario:
            raise ValueError("a scenario is of form `windows`: leave it out, or steps")
        return self
