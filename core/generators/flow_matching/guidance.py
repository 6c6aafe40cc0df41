"""Windows that make a user's function small, from a flow that was trained without it.

Let L >= 0 be the function of a window x_1, and exp(-s L(x_1)) how much a window is wanted, s the strength. A
flow of straight lines from white noise to the windows so weighted has the velocity

    v(x, t) + (1 - t) / t  grad_x log E[exp(-s L(x_1)) | x_t = x]

(Zheng et al. 2023, lemma 1, for x_t = (1 - t) x_0 + t x_1; Feng et al. 2025, section 3). The expectation is not
known. Around the estimate of the end e(x) = E[x_1 | x_t = x] = x + (1 - t) v(x, t), whose covariance is
C = (1 - t)^2 / t  de/dx (Tweedie's second order, as in Pokle et al. 2023), a function that is half the square
of a straight one, L = (a . x_1 - y)^2 / 2, has

    log E[exp(-s L) | x_t] = -L(e) / (1 / s + a' C a) + constant,   a' C a = g' C g / (2 L),   g = grad L(e),

the right side of the second equation without a or y. With h = (de/dx)' g, one pass back through the network,

    velocity = v - (1 - t) / t  h / (1 / s + (1 - t)^2 / t  g'h / (2 L)).

Of several functions the parts r_i = sqrt(2 L_i) are taken together, with K_ij = g_i'h_j / (r_i r_j) for a' C a:

    velocity = v - (1 - t) / t  sum_i w_i h_i / r_i,   w = (1 / s + (1 - t)^2 / t  K)^-1 r.

For Gaussian windows and linear observations that is exact (`tests/unit/test_guidance.py`); for other functions
it is a Gauss-Newton step. At infinite strength it does not depend on the unit of L: windows with
L = 0 are sought.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from core.errors import ConfigError
from core.generators.flow_matching.columns import Columns
from core.generators.flow_matching.solvers import Field

Guide = Callable[[Columns], Tensor]
"""Losses of windows from their columns in original units, shape (windows, steps) each.

Shape (windows,) or, of several that shall all be small, (windows, losses), at least 0.
"""
Loss = Callable[[Tensor], Tensor]
"""Losses of the ends of paths, shape (batch, losses), from the ends, shape (batch, numbers)."""
Project = Callable[[Tensor], Tensor]
"""Directions, shape (..., numbers) kept, without what would move numbers that are known."""

STEPS = 50
"""Solver steps: a path that is bent needs more of them than one that is not."""
LAST = 0.05
"""Length of the last step, which goes straight to the estimate of the end. However many steps there are, a
network is best not asked later: it has learnt little of those times, and what it gets wrong shows in what is
finest."""
_STEEPEST = 0.01
"""Least cosine between the gradients at the end and at x that is believed: of a true flow it is positive."""
_RIDGE = 1e-6
"""Of losses that ask for the same."""


@dataclass(frozen=True)
class Guidance:
    """How windows are drawn towards a function.

    Args:
        guide: The function. What should be near a value goes in squared, what should not exceed one as the
            square of the excess.
        strength: Windows count exp(-strength x loss) times as much; infinite: the loss shall be 0.
        steps: Of the solver.

    Raises:
        ConfigError: a number is out of range.
    """

    guide: Guide
    strength: float = inf
    steps: int = STEPS

    def __post_init__(self) -> None:
        if not self.strength >= 0 or self.steps < 1:
            raise ConfigError(
                f"expected strength >= 0 and steps >= 1, got strength={self.strength} and steps={self.steps}"
            )

    def losses(self, columns: Columns) -> Tensor:
        """The function of windows, checked; shape (windows, losses).

        Raises:
            ConfigError: it gives something else than losses.
        """
        count = next(iter(columns.values())).shape[0] if columns else 0
        found = self.guide(columns)
        if not isinstance(found, Tensor) or found.shape[:1] != (count,) or found.ndim > 2:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(
                f"a guide gives one loss for each window, a tensor of shape ({count},), got {shape}"
            )
        if not bool((found >= 0).all()):  # NaN, too
            raise ConfigError(
                f"a guide's losses are at least 0, got {float(found.detach()[~(found >= 0)][0]):g}: square "
                "what should be near a value, and the excess of what should not exceed one"
            )
        return found if found.ndim == 2 else found[:, None]

    def follow(self, field: Field, start: Tensor, loss: Loss, free: Project | None = None) -> Tensor:
        """The end of the path that is at `start` at t = 0, bent towards small losses.

        The field's own velocities are followed as `solvers.follow` does with `adams`. Of the bend, which pulls
        the harder the nearer the end, the present one alone counts.

        Args:
            field: Velocities of states, shape (batch, numbers), which can be differentiated.
            start: Shape (batch, numbers), white noise.
            loss: Of ends.
            free: Keeps known numbers where they are; all are free if None.
        """
        h = (1 - LAST) / max(self.steps - 1, 1)
        state, before = start, None
        for step in range(self.steps - 1):
            slope, pull = self.slopes(field, state, step * h, h, loss, free)
            if before is not None:
                move = 1.5 * slope - 0.5 * before
            else:
                move = 0.5 * (slope + field(state + h * slope, h))
            before = slope
            state = torch.add(state, move + pull, alpha=h)
        slope, pull = self.slopes(field, state, 1 - LAST, LAST, loss, free)
        return torch.add(state, slope + pull, alpha=LAST)

    def slopes(
        self, field: Field, state: Tensor, time: float, step: float, loss: Loss, free: Project | None = None
    ) -> tuple[Tensor, Tensor]:
        """The field's velocities and what bends them, shape (batch, numbers) each; `step`: how far they go."""
        t = max(time, step / 2)  # at 0 every x has the same estimate
        with torch.enable_grad():
            x = state.detach().clone().requires_grad_()
            slope = field(x, t)
            found = loss(end := x + (1 - t) * slope)
            at_end, at_x = _gradients(found, end, x)
        if free is not None:
            at_end, at_x = free(at_end), free(at_x)
        pull = self._pull(found.detach().to(x), at_end, at_x, t, step)
        return slope.detach() if t == time else field(state, time), pull

    def _pull(self, loss: Tensor, at_end: Tensor, at_x: Tensor, t: float, step: float) -> Tensor:
        """What bends the velocity, shape (batch, numbers).

        Args:
            loss: Shape (batch, losses).
            at_end: Their gradients there, shape (batch, losses, numbers).
            at_x: Likewise.
            t: Time.
            step: How far the velocity goes.
        """
        if not self.strength:
            return torch.zeros_like(at_x[:, 0])
        parts = (2 * loss).sqrt()
        there = (parts > 0) & (at_x != 0).any(dim=2)
        at_end, at_x = (torch.where(there[..., None], g / parts[..., None], 0.0) for g in (at_end, at_x))
        along = at_end @ at_x.transpose(1, 2)
        least = _STEEPEST * at_end.norm(dim=2) * at_x.norm(dim=2)
        spread = (along + along.transpose(1, 2)) / 2
        spread = spread + torch.diag_embed((least - spread.diagonal(dim1=1, dim2=2)).clamp(min=0))
        system = spread * ((1 - t) ** 2 / t) + torch.diag_embed(1 / self.strength + (~there).to(spread))
        ridge = _RIDGE * (parts.shape[1] > 1) * system.diagonal(dim1=1, dim2=2).mean(dim=1)
        system = system + ridge[:, None, None] * torch.eye(parts.shape[1]).to(system)
        weights = torch.linalg.solve(system, torch.where(there, parts, 0.0)[..., None])
        pull: Tensor = (1 - t) / t * (weights * at_x).sum(1)
        # No further than twice the way to where the losses, were they straight lines' squares, are 0.
        moved = step * (at_x @ pull[..., None])[..., 0].norm(dim=1)
        share: Tensor = (2 * parts.norm(dim=1) / moved.clamp(min=1e-30)).clamp(max=1)
        return -pull * share[:, None]


def _gradients(loss: Tensor, end: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each loss, at the end and at x, shape (batch, losses, numbers) each."""
    if not loss.requires_grad:
        raise ConfigError("the guide's losses do not depend on its columns, or cannot be differentiated")
    at_end: list[Tensor] = []
    at_x: list[Tensor] = []
    for part in loss.unbind(dim=1):
        at_end += torch.autograd.grad(part.sum(), end, retain_graph=True)
        at_x += torch.autograd.grad(end, x, at_end[-1], retain_graph=True)
    found = torch.stack(at_x, dim=1)
    if not bool(found.isfinite().all()):
        raise ConfigError("the guide's gradient is not finite: square distances rather than take their root")
    return torch.stack(at_end, dim=1), found
