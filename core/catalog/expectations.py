"""What valid rows satisfy."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from core.schema import Section

_RELATION = re.compile(r"^\s*(?P<left>.+?)\s+(?P<operator><=|>=|<|>)\s+(?P<right>.+?)\s*$")


class Bounds(Section):
    """Closed range of valid values of a column."""

    min: float | None = None
    max: float | None = None


class Relation(Section):
    """An order between two columns that holds in every row."""

    left: str
    operator: Literal["<", "<=", ">", ">="]
    right: str

    @classmethod
    def parse(cls, text: str) -> Relation:
        """`"Low <= Adj Close"`; the operator stands between spaces."""
        match = _RELATION.match(text)
        if match is None:
            raise ValueError(f"expected 'COLUMN <= COLUMN' (or <, >, >=), got {text!r}")
        return cls.model_validate(match.groupdict())


CheckName = Literal[
    "missing values",
    "range",
    "relation",
    "types",
    "varies",
    "gaps",
    "order",
    "on the calendar",
    "exact in float64",
    "drift",
]
"""Checks whose severity a dataset may choose; all others are critical, for nothing can be made of such rows."""


class Expectations(Section):
    """What valid rows satisfy, beyond what the pipeline needs of any data."""

    ranges: dict[str, Bounds] = Field(default_factory=dict, description="By column.")
    relations: tuple[str, ...] = Field(default=(), description="For example `Low <= Close`.")
    types: dict[str, Literal["integer", "number", "text", "boolean", "time"]] = Field(
        default_factory=dict, description="By column."
    )
    min_rows: int = Field(default=1, ge=1)
    max_missing: dict[str, float] = Field(
        default_factory=dict, description="Largest share of missing cells, by column, from 0 to 1."
    )
    max_gaps: int | None = Field(default=None, ge=0, description="Most gaps.")
    max_gap_steps: int | None = Field(default=None, ge=1, description="Most steps missing in one gap.")
    drift: float | None = Field(
        default=0.2,
        gt=0,
        le=1,
        description="Largest Kolmogorov-Smirnov distance of a column from the snapshot before; null: none.",
    )
    severity: dict[CheckName, Literal["critical", "warning"]] = Field(
        default_factory=dict, description="By check, where it shall not be what it is: critical stops the job."
    )
    bad_rows: Literal["refuse", "quarantine"] = Field(
        default="refuse",
        description="Rows that break a critical rule on cells: `quarantine` takes them out and goes on.",
    )
    max_quarantined: float = Field(
        default=0.01, gt=0, le=1, description="Largest share of rows to take out; more are refused."
    )

    @field_validator("relations")
    @classmethod
    def _relations_parse(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            Relation.parse(text)
        return value
