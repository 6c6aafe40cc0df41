"""From noise at t = 0 to a window at t = 1 along a velocity field, with few looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Solver = Literal["fitted", "adams", "heun", "euler"]
Field = Callable[[Tensor, float], Tensor]
"""Velocities of states, shape (batch, numbers) kept, at a time."""

_FINE = 32
"""Steps of Heun's method that a fitted solver is measured by."""
_TRIES = 24
"""Grids that are tried beside those of `_grids`."""
_RIDGE = 1e-7
"""Of the least squares, a share of the mean square of what is weighted."""


def follow(field: Field, state: Tensor, solver: Solver, steps: int) -> Tensor:
    """The state at t = 1 of the path that is at `state` at t = 0, in equally long steps.

    Args:
        field: What to follow.
        state: Shape (batch, numbers).
        solver: `euler` and `adams` (Adams-Bashforth of second order, its first step Heun's) look at the field
            once a step, `heun` twice.
        steps: At least 1.
    """
    for now in path(field, state, solver, steps):
        state = now
    return state


def path(field: Field, state: Tensor, solver: Solver, steps: int) -> Iterator[Tensor]:
    """The states after each step, see `follow`."""
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
        yield state


class FittedSteps(nn.Module):
    """A solver with as many weights as it can use, fitted to one field (Shaul et al. 2024, section 3).

    The state after step i is a weighted sum of the start and of every velocity seen so far,

        x_i = w_i0 x_0 + sum over j < i of w_i,j+1 v(x_j, t_j),

    which all linear multistep and Runge-Kutta methods of one look a step are cases of. Shaul et al. descend a
    gradient; here each step's weights are the least squares to the fine path, one step after the other, and
    the times are the grid whose last step comes nearest. Before `fit` steps are Euler's.

    Args:
        steps: Looks at the field.
    """

    times: Tensor
    weights: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        weights = torch.tril(torch.full((steps, steps + 1), 1 / steps), diagonal=1)
        weights[:, 0] = 1
        self.register_buffer("times", torch.arange(steps) / steps)
        self.register_buffer("weights", weights)

    def follow(self, field: Field, state: Tensor) -> Tensor:
        """As the function `follow`."""
        seen = [state]
        times, weights = self.times.tolist(), self.weights.tolist()
        for step in range(self.steps):
            seen.append(field(state, times[step]))
            state = _weighted(seen, weights[step])
        return state

    @torch.no_grad()
    def fit(self, field: Field, state: Tensor) -> None:
        """Learn times and weights from the paths that begin at these states, shape (batch, numbers)."""
        fine = max(_FINE, 4 * self.steps)
        paths = [state, *path(field, state, "heun", fine)]
        found = min((_fitted(field, paths, grid) for grid in _grids(self.steps, fine)), key=lambda fit: fit[0])
        _, grid, weights = _searched(field, paths, found)
        self.times.copy_(torch.tensor(grid[:-1]) / fine)
        self.weights.zero_()
        for step, row in enumerate(weights):
            self.weights[step, : len(row)] = row


_Fit = tuple[float, tuple[int, ...], list[Tensor]]
"""Mean square of the error at t = 1, places of the times on the fine path, weights by step."""


def _fitted(field: Field, paths: Sequence[Tensor], grid: tuple[int, ...]) -> _Fit:
    """The weights of a grid, each step's from where the steps before it came to."""
    state, weights = paths[0], []
    seen = [state]
    for here, there in pairwise(grid):
        seen.append(field(state, here / (len(paths) - 1)))
        columns = torch.stack([each.double().flatten() for each in seen], dim=1)
        products = columns.T @ columns
        ridge = _RIDGE * products.diagonal().mean() * torch.eye(len(seen), dtype=torch.float64).to(products)
        row = torch.linalg.solve(products + ridge, columns.T @ paths[there].double().flatten())
        weights.append(row.float())
        state = _weighted(seen, row.tolist())
    return float((state - paths[-1]).double().square().mean()), grid, weights


def _searched(field: Field, paths: Sequence[Tensor], best: _Fit) -> _Fit:
    """A grid is left for a neighbour, one of its times one place earlier or later, while that is better."""
    left, better = _TRIES, True
    while better:
        better = False
        for place in range(1, len(best[1]) - 1):
            for move in (-1, 1):
                grid = (*best[1][:place], best[1][place] + move, *best[1][place + 1 :])
                if not left or not grid[place - 1] < grid[place] < grid[place + 1]:
                    continue
                left -= 1
                tried = _fitted(field, paths, grid)
                if tried[0] < best[0]:
                    best, better = tried, True
    return best


def _grids(steps: int, fine: int) -> Iterator[tuple[int, ...]]:
    """Places of the times on the fine path: more of them early, or at both ends, to different degrees."""
    even = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    for power in (1.0, 1.2, 1.4, 1.6):
        for ends in (0.0, 2.0):
            times = even**power
            if ends:
                curve = torch.sigmoid(ends * (torch.cat([times, even.new_tensor([0, 1])]) - 0.5))
                times = (curve[:-2] - curve[-2]) / (curve[-1] - curve[-2])
            grid = tuple((times * fine).round().int().tolist())
            if len(set(grid)) == len(grid):
                yield grid


def _weighted(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = weights[0] * parts[0]
    for part, weight in zip(parts[1:], weights[1:], strict=False):
        total = torch.add(total, part, alpha=weight)
    return total
