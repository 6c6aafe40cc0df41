"""One number that says how far synthetic windows are from real ones, and what it takes to read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Better = Literal["lower", "higher", "closer"]
"""Which way a measure improves; `closer`: the nearer to `ideal`, from either side."""


@dataclass(frozen=True)
class Measure:
    """A distance, a share or a risk; what is plain of it stands in `scores.json`."""

    name: str
    """Lower case with underscores: its key in JSON and MLflow."""
    title: str
    """For people."""
    group: str
    """Under which heading it is shown."""
    value: float
    """Of the synthetic windows; finite."""
    reference: float | None
    """The same of real windows in the synthetic ones' place: what a perfect generator would get."""
    ideal: float
    """Of two identical sets; of the group `privacy`, where identical is the worst, of real windows."""
    better: Better
    meaning: str
    """One sentence for somebody who never heard of it."""
    source: str
    """Where its formula is from."""
    by_feature: dict[str, float] | None = None
    """By the feature's name, where it is a mean over features."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and words."""
        return asdict(self)
