"""The sizes of one call of a recurrence, which every kernel derives its own from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor


@dataclass(frozen=True)
class CallShape:
    """Of one call, without padding."""

    replicas: int
    batch: int
    steps: int
    inputs: int
    hidden: int
    layers: int
    after: bool
    """The reset gate acts after the recurrent product."""

    @classmethod
    def of(cls, x: Tensor, weights: Sequence[Tensor], layers: int, reset_gate: str) -> Self:
        """Of x (replicas, batch, steps, inputs) and weights, the second (replicas, 3 hidden, hidden)."""
        replicas, batch, steps, inputs = x.shape
        return cls(replicas, batch, steps, inputs, weights[1].shape[-1], layers, reset_gate == "after")
