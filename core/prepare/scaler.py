"""Min-max scaling with an exact way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MinMaxScaler:
    """`(x - minimum) / (maximum - minimum)` by feature, to [0, 1]; a constant feature becomes 0.

    The published TimeGAN code adds 1e-7 to the divisor on the way in but not on the way back and scales
    twice, so that its output never returns to the original units; here the way back is exact to float64
    rounding.
    """

    minimum: NDArray[np.float64]
    """Shape (features,), original units."""
    maximum: NDArray[np.float64]
    """Shape (features,), original units."""

    @classmethod
    def fit(cls, values: NDArray[Any]) -> MinMaxScaler:
        """The range of `values`, shape (..., features); it must be finite and not empty."""
        axes = tuple(range(values.ndim - 1))
        return cls(values.min(axis=axes).astype(np.float64), values.max(axis=axes).astype(np.float64))

    @property
    def span(self) -> NDArray[np.float64]:
        """Divisor by feature: the range, or 1 where it is zero."""
        width = self.maximum - self.minimum
        return np.where(width > 0, width, 1.0)

    def transform(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Original units to [0, 1] (outside it for values beyond the fitted range), shape kept."""
        return (values.astype(np.float64) - self.minimum) / self.span

    def inverse(self, scaled: NDArray[Any]) -> NDArray[np.float64]:
        """[0, 1] to original units, shape kept."""
        return scaled.astype(np.float64) * (self.maximum - self.minimum) + self.minimum

    def to_json(self) -> dict[str, list[float]]:
        """Plain lists, read back by `from_json` without loss."""
        return {"minimum": self.minimum.tolist(), "maximum": self.maximum.tolist()}

    @classmethod
    def from_json(cls, tree: dict[str, list[float]]) -> MinMaxScaler:
        """What `to_json` gave."""
        return cls(np.array(tree["minimum"], dtype=np.float64), np.array(tree["maximum"], dtype=np.float64))
