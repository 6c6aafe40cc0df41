"""Few steps: a solver that is fitted to its field, against closed forms and the methods it contains."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.generators.flow_matching.solvers import FittedSteps, follow

SPREAD = torch.tensor([0.05, 0.3, 1.0, 2.0])
MEAN = torch.tensor([0.0, -1.0, 0.5, 0.0])


def gaussian(x: Tensor, time: float) -> Tensor:
    """The velocity that carries N(0, 1) to N(m, s^2): see test_flow_matching.Gaussian."""
    w = (1 - time) ** 2 + time**2 * SPREAD**2
    return MEAN + (time * SPREAD**2 - (1 - time)) / w * (x - time * MEAN)


def two_heaps(x: Tensor, time: float, spread: float = 0.2) -> Tensor:
    """The velocity that carries N(0, 1) to N(+1, s^2) and N(-1, s^2), each as often.

    Given x_t, of variance w around t or -t, the end is expected at m + t s^2 / w (x - t m), m = tanh(t x / w).
    """
    w = (1 - time) ** 2 + time**2 * spread**2
    heap = torch.tanh(time * x / w)
    end = heap + time * spread**2 / w * (x - time * heap)
    start = (1 - time) / w * (x - time * heap)
    return end - start


def starts(seed: int, count: int = 128) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))


def error(x: Tensor, end: Tensor) -> float:
    return float((x - end).square().mean().sqrt())


def test_before_it_is_fitted_it_is_eulers_method() -> None:
    state = starts(0)
    torch.testing.assert_close(
        FittedSteps(5).follow(gaussian, state), follow(gaussian, state, "euler", 5), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("steps", [4, 6, 8])
def test_fitted_steps_reach_the_closed_form_where_others_need_many_more(steps: int) -> None:
    solver = FittedSteps(steps)
    solver.fit(gaussian, starts(1))
    state = starts(2)
    end = MEAN + SPREAD * state
    fitted = error(solver.follow(gaussian, state), end)
    assert fitted < error(follow(gaussian, state, "adams", 3 * steps), end)
    assert fitted < error(follow(gaussian, state, "euler", 20 * steps), end)
    assert fitted < 0.03


def test_weights_fit_paths_that_bend() -> None:
    solver, state = FittedSteps(6), starts(3)
    solver.fit(two_heaps, starts(4))
    fine = follow(two_heaps, state, "heun", 400)
    assert error(solver.follow(two_heaps, state), fine) < 0.5 * error(
        follow(two_heaps, state, "adams", 6), fine
    )


def test_times_ascend_from_the_noise_and_fitting_is_repeatable() -> None:
    solver, again = FittedSteps(7), FittedSteps(7)
    solver.fit(gaussian, starts(5))
    again.fit(gaussian, starts(5))
    assert solver.times[0] == 0
    assert (solver.times.diff() > 0).all()
    assert solver.times[-1] < 1
    assert (solver.weights.triu(diagonal=2) == 0).all()
    assert all(torch.equal(one, other) for one, other in zip(solver.buffers(), again.buffers(), strict=True))
