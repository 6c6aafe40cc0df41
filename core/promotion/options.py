"""What must hold before a new version becomes the champion."""

from __future__ import annotations

from pydantic import Field

from core.schema import Section


class GatesConfig(Section):
    """The gates between `challenger` and `champion`, of `registry.promote: if_better` (docs/registry.md)."""

    level: float = Field(
        default=0.05, gt=0, lt=0.5, description="Significance level of the paired test against the champion."
    )
    least_gain: float = Field(
        default=0.0, ge=0, le=0.5, description="How much better the discriminative score must be, at least."
    )
    judges: int = Field(default=10, ge=2, le=100, description="Pairs of judges: champion, challenger.")
    judge_iterations: int = Field(default=1000, ge=1, description="Training steps of each of these judges.")
    copies: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of synthetic windows that may be copies of training windows, beyond the share that "
        "real windows show among themselves and chance.",
    )
    broken_rules: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="Share of synthetic rows that may break a rule beyond the share of real rows that do.",
    )
    older_data: bool = Field(default=False, description="Promote a version of older data than the champion's.")
