"""What columns hold, how they become channels, and what to do about empty cells."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from core.prepare.channels.layout import ColumnKind
from core.schema import Section

Scaler = Literal["minmax", "standard", "robust", "quantile"]
Transform = Literal["none", "log", "difference", "log_difference"]


class ScalingConfig(Section):
    """How continuous columns become channels of about [0, 1]; fitted on the rows to learn from alone."""

    scaler: Scaler = Field(
        default="minmax",
        description="`standard`: mean +- 4 standard deviations become 0 and 1; `robust`: median +- 4 times the "
        "interquartile range / 1.349; `quantile`: by rank, uniform in [0, 1].",
    )
    transform: Transform = Field(
        default="none",
        description="Before it. `log` needs positive numbers. Of a column that is differenced the generator "
        "also learns the level before each window, from which generated windows go on.",
    )


class ColumnConfig(Section):
    """A column of which more is to be said than its role."""

    kind: ColumnKind = Field(description="What its cells are.")
    static: bool = Field(default=False, description="One value a series.")
    scaler: Scaler | None = Field(default=None, description="Instead of the dataset's `scaling.scaler`.")
    transform: Transform | None = Field(default=None, description="Instead of `scaling.transform`.")

    @model_validator(mode="after")
    def _scaled_if_continuous(self) -> ColumnConfig:
        if (self.scaler or self.transform) and (self.static or self.kind != "continuous"):
            raise ValueError("scaler and transform are for continuous columns that change from row to row")
        return self


def _form_of_role(value: Any) -> str:
    return "mapping" if isinstance(value, dict | ColumnConfig) else "role"


Role = Annotated[
    Annotated[Literal["continuous", "binary", "categorical", "static", "drop"], Tag("role")]
    | Annotated[ColumnConfig, Tag("mapping")],
    Discriminator(_form_of_role),
]


class MissingConfig(Section):
    """What to do with empty cells."""

    policy: Literal["refuse", "drop_row", "forward_fill", "interpolate", "mask"] = Field(
        default="refuse",
        description="`interpolate` goes straight, by time, from the last value to the next (numbers alone; "
        "other cells are carried on); `mask` keeps cells missing: the generator learns where, too.",
    )
    limit: int = Field(
        default=3, ge=1, description="Longest run of rows that `forward_fill` and `interpolate` fill."
    )
