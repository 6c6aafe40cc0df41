"""When rows happened."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from core.schema import Section


class TimeConfig(Section):
    """When rows happened, and what counts as a gap between them."""

    column: str | None = Field(default=None, description="The time column; found if empty, see `none`.")
    none: bool = Field(default=False, description="The rows carry no time: their order is the time.")
    newest_first: bool = Field(default=False, description="Only without a time column: turn the rows round.")
    format: str | None = Field(
        default=None,
        max_length=100,
        description="Of stamps that are text, as strptime writes it: %d.%m.%Y %H:%M.",
    )
    unit: Literal["s", "ms", "us", "ns"] | None = Field(
        default=None, description="Of stamps that are numbers since 1970 UTC; found by their size if empty."
    )
    day_first: bool | None = Field(
        default=None, description="Whether 3/4/2019 is in April; found if empty and the column leaves no doubt."
    )
    timezone: str | None = Field(
        default=None,
        description="Zone of stamps without an offset, such as Europe/Berlin (its repeated autumn hour is told "
        "apart by the order of rows); stamps with offsets are shown in it.",
    )
    duplicates: Literal["refuse", "equal", "first", "last"] = Field(
        default="equal",
        description="Rows of the same stamp in a series: `equal` keeps one of rows that are equal in every "
        "column and refuses others, `first` and `last` keep that one, by the order of the source.",
    )
    calendar: str | None = Field(
        default=None, description="Trading calendar, e.g. XNYS: a missing session is a gap, a holiday is none."
    )
    frequency: str | None = Field(
        default=None, description="Expected step, e.g. 10min or D; inferred if empty."
    )
    max_gap: str | None = Field(
        default=None, description="A longer step is a gap, e.g. 5D; overrides the above."
    )

    @model_validator(mode="after")
    def _time_or_none(self) -> TimeConfig:
        if self.none and self.column is not None:
            raise ValueError(f"column={self.column!r} and none=true contradict one another: leave one out")
        return self
