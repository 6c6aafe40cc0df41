"""From noise at t = 0 to a window at t = 1 along a velocity field, with few looks at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Solver = Literal["euler", "heun", "adams"]
Field = Callable[[Tensor, float], Tensor]
"""Velocities of states, shape (batch, numbers) kept, at a time."""


def follow(field: Field, state: Tensor, solver: Solver, steps: int) -> Tensor:
    """The state at t = 1 of the path that is at `state` at t = 0.

    Args:
        field: What to follow.
        state: Shape (batch, numbers).
        solver: `euler` and `adams` (Adams-Bashforth of second order, its first step Heun's) look at the field
            once a step, `heun` twice.
        steps: At least 1, equally long.
    """
    h = 1 / steps
    before: Tensor | None = None
    for step in range(steps):
        slope = field(state, step * h)
        if solver == "adams" and before is not None:
            move = 1.5 * slope - 0.5 * before
        elif solver == "euler":
            move = slope
        else:
            move = 0.5 * (slope + field(state + h * slope, (step + 1) * h))
        before = slope
        state = torch.add(state, move, alpha=h)
    return state
