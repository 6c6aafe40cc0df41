"""GRUs whose forward and backward are one call each: on a CPU by Numba, on a GPU by Triton.

`torch.nn.GRU`'s own call is the third way, and the one that runs everywhere. All three compute the same
formulas; sums differ in the last bits.
"""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from core.errors import ConfigError

logger = logging.getLogger(__name__)

Recurrence = Literal["torch", "numba", "triton"]
DEVICES: dict[str, str] = {"numba": "cpu", "triton": "cuda"}
"""Where a recurrence runs; torch's does everywhere."""

MEASURED_SECONDS = 0.5
"""Of each number of threads that is tried."""

_threads: int | None = None


@dataclass(frozen=True)
class Layers:
    """What decides which recurrence can compute layers."""

    cell: str
    hidden: int
    dtype: torch.dtype
    recurrent_dropout: float
    device: torch.device

    @property
    def only_torch(self) -> str | None:
        """Why the kernels cannot compute them, if so; their device aside."""
        if self.cell != "gru":
            return f"it computes model.cell=gru alone, this is {self.cell}"
        if self.recurrent_dropout:
            return "it computes no model.recurrent_dropout"
        return None


def choose(wanted: str | None, layers: Layers) -> Recurrence:
    """What `training.recurrence` comes to.

    Nothing wanted is Numba's for GRUs of 32 bits on a CPU, else torch's: the kernels' tanh is right to 3e-7, no
    use to who asks for 64 bits. What is wanted is taken or refused.

    Args:
        wanted: One of `Recurrence`, or None.
        layers: Of all networks.

    Raises:
        ConfigError: the package is not installed, or does not compute such layers, or not on the device.
    """
    if wanted is None:
        return _best(layers)
    if wanted == "torch":
        return "torch"
    chosen: Recurrence = "numba" if wanted == "numba" else "triton"
    if reason := _refusal(chosen, layers):
        raise ConfigError(f"training.recurrence={chosen}: {reason}; leave it out, or take torch")
    return chosen


def _refusal(chosen: Recurrence, layers: Layers) -> str | None:
    if layers.only_torch:
        return layers.only_torch
    if layers.device.type != DEVICES[chosen]:
        return f"it runs on {DEVICES[chosen]}, the training is on {layers.device.type}"
    if find_spec(chosen) is None:
        return f"the package {chosen} is not installed"
    if chosen == "triton":
        from core.networks.recurrence import triton_gru

        return triton_gru.supports(layers.hidden, layers.device)
    return None


def _best(layers: Layers) -> Recurrence:
    if layers.device.type != "cpu" or layers.only_torch or layers.dtype != torch.float32:
        return "torch"
    if find_spec("numba") is None:
        logger.warning("numba is not installed: recurrent layers are torch's, about four times slower on a CPU")
        return "torch"
    return "numba"


def prepare(reset_gate: str, shape: tuple[int, int, int, int]) -> None:
    """Compile what is not in Numba's cache, and settle on a number of threads if nobody did.

    Args:
        reset_gate: Of the networks.
        shape: Batch, steps, hidden, layers of a typical call.
    """
    logger.info("preparing the recurrent layers for this CPU: seconds, if they are not compiled yet")
    started = time.perf_counter()
    _timed(reset_gate, (1, 1, 1, 1), 1)
    logger.info("recurrent layers ready after %.1f s", time.perf_counter() - started)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if _threads is not None or cores == 1:
        return
    # In turns, so that a machine that is busy for a moment is busy for both.
    taken: dict[int, list[float]] = {1: [], cores: []}
    while not taken[cores] or sum(taken[1]) + sum(taken[cores]) < 2 * MEASURED_SECONDS:
        for threads, seconds in taken.items():
            seconds.append(_timed(reset_gate, shape, threads))
    alone, together = (1000 * statistics.median(seconds) for seconds in taken.values())
    set_threads(cores if together < alone else 1)
    logger.info(
        "a recurrent network takes %.2f ms on one thread, %.2f ms on %d: training on %d",
        alone, together, cores, _threads,
    )  # fmt: skip


def set_threads(threads: int | None) -> None:
    """Of Numba's recurrence, in this process; None lets `prepare` measure. They change no bit."""
    global _threads  # noqa: PLW0603 - like torch.set_num_threads, which it stands beside
    _threads = threads


def _timed(reset_gate: str, shape: tuple[int, int, int, int], threads: int) -> float:
    """Seconds of a forward and a backward pass."""
    from core.networks.recurrence import numba_gru

    batch, steps, hidden, layers = shape
    each = (3 * hidden, hidden), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)
    weights = [torch.zeros(1, *size) for size in each[: 4 if reset_gate == "after" else 3]] * layers
    x = torch.zeros(1, batch, steps, hidden)
    how: dict[str, Any] = {"layers": layers, "reset_gate": reset_gate, "threads": threads}
    started = time.perf_counter()
    states, saved = numba_gru.forward(x, weights, keep=True, **how)
    numba_gru.backward(states, x, weights, saved, want_x=True, want_weights=True, **how)
    return time.perf_counter() - started


def gru(x: Tensor, weights: Sequence[Tensor], layers: int, reset_gate: str, recurrence: Recurrence) -> Tensor:
    """States of the last of `layers` layers.

    Args:
        x: Shape (batch, steps, inputs), of (replicas x batch) rows with weights of replicas.
        weights: Per layer kernel, recurrent kernel, bias and, with the reset gate after the product, the second
            bias; as `core.networks.recurrent.RecurrentLayer` has them, or all with a leading dimension of
            replicas.
        layers: At least 1.
        reset_gate: `after` or `before`.
        recurrence: `numba` or `triton`.

    Returns:
        Shape (batch, steps, hidden), in the weights' type.
    """
    stacked = weights[0].dim() == 3
    given = list(weights) if stacked else [weight[None] for weight in weights]
    rows = x.to(given[0].dtype).reshape(len(given[0]), -1, *x.shape[1:])
    states: Tensor = _Gru.apply(layers, reset_gate, recurrence, rows, *given)  # type: ignore[no-untyped-call]
    return states.flatten(0, 1)


class _Gru(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layers: int, reset_gate: str, recurrence: Recurrence, x: Tensor, *weights: Tensor
    ) -> Tensor:
        ctx.how = {"layers": layers, "reset_gate": reset_gate}
        ctx.recurrence = recurrence
        x, weights = x.contiguous(), tuple(weight.contiguous() for weight in weights)
        call, more = _calls(recurrence, "forward")
        keep = any(ctx.needs_input_grad)
        states: Tensor
        states, saved = call(x, weights, keep=keep, **ctx.how, **more)
        if keep:
            ctx.save_for_backward(x, *weights, *saved)
            ctx.count = len(weights)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # it is where the caller wants to differentiate the gradient
            raise RuntimeError(
                "this recurrence has no second derivative: see RecurrentStack.twice_differentiable"
            )
        x, *rest = ctx.saved_tensors
        weights, saved = rest[: ctx.count], rest[ctx.count :]
        call, more = _calls(ctx.recurrence, "backward")
        grad_x, grad_weights = call(
            grad.contiguous(),
            x,
            weights,
            saved,
            want_x=ctx.needs_input_grad[3],
            want_weights=any(ctx.needs_input_grad[4:]),
            **ctx.how,
            **more,
        )
        return None, None, None, grad_x, *(grad_weights or [None] * ctx.count)


def _calls(recurrence: Recurrence, name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Imported here because neither package is everywhere."""
    if recurrence == "numba":
        from core.networks.recurrence import numba_gru

        return getattr(numba_gru, name), {"threads": _threads or 1}
    from core.networks.recurrence import triton_gru

    return getattr(triton_gru, name), {}
