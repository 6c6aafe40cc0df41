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
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from core.errors import ConfigError

logger = logging.getLogger(__name__)

Recurrence = Literal["torch", "numba", "triton"]
DEVICES: dict[str, str] = {"numba": "cpu", "triton": "cuda"}
"""Where a recurrence runs; torch's does everywhere."""

_threads: int | None = None


def choose(
    wanted: str | None, device: torch.device, cell: str, hidden: int, dtype: torch.dtype = torch.float32
) -> Recurrence:
    """What `training.recurrence` comes to on a device.

    Nothing wanted is Numba's for GRUs of 32 bits on a CPU, else torch's. What is wanted is taken or refused.

    Args:
        wanted: One of `Recurrence`, or None.
        device: Where to train.
        cell: Of the networks.
        hidden: Width of their layers.
        dtype: Of the weights. The kernels' tanh is right to 3e-7: no use to who asks for 64 bits.

    Raises:
        ConfigError: the package is not installed, or does not compute such layers, or not on the device.
    """
    if wanted is None:
        return _best(device, cell, dtype)
    if wanted == "torch":
        return "torch"
    chosen: Recurrence = "numba" if wanted == "numba" else "triton"
    name = f"training.recurrence={chosen}"
    if cell != "gru":
        raise ConfigError(
            f"{name} computes model.cell=gru alone, this is {cell}: use training.recurrence=torch"
        )
    if device.type != DEVICES[chosen]:
        raise ConfigError(f"{name} runs on {DEVICES[chosen]}, the training is on {device.type}: leave it out")
    if find_spec(chosen) is None:
        raise ConfigError(f"{name}: the package {chosen} is not installed; install it, or leave the option out")
    if chosen == "triton":
        from core.networks.recurrence import triton_gru

        if reason := triton_gru.supports(hidden, device):
            raise ConfigError(f"{name}: {reason}; leave it out, or choose a narrower model.hidden")
    return chosen


def _best(device: torch.device, cell: str, dtype: torch.dtype) -> Recurrence:
    if device.type != "cpu" or cell != "gru" or dtype != torch.float32:
        return "torch"
    if find_spec("numba") is None:
        logger.warning("numba is not installed: recurrent layers are torch's, about four times slower on a CPU")
        return "torch"
    return "numba"


def prepare(recurrence: Recurrence, reset_gate: str, shape: tuple[int, int, int, int]) -> None:
    """Compile what is not in Numba's cache, and settle on a number of threads if nobody did.

    Args:
        recurrence: Of the training; only Numba's needs preparation.
        reset_gate: Of the networks.
        shape: Batch, steps, hidden, layers of a typical call.
    """
    if recurrence != "numba":
        return
    batch, steps, hidden, layers = shape
    started = time.perf_counter()
    logger.info("preparing the recurrent layers for this CPU: seconds when they are first compiled")
    _timed(reset_gate, (1, 1, 1, 1), 1)
    logger.info("recurrent layers ready after %.1f s", time.perf_counter() - started)
    if _threads is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        alone, together = (_timed(reset_gate, (batch, steps, hidden, layers), n, 20) for n in (1, cores))
        set_threads(cores if together < alone else 1)
        logger.info(
            "a recurrent network takes %.2f ms on one thread, %.2f ms on %d: training on %d",
            1000 * alone, 1000 * together, cores, _threads,
        )  # fmt: skip


def set_threads(threads: int | None) -> None:
    """Of Numba's recurrence, in this process; None lets `prepare` measure. They change no bit."""
    global _threads  # noqa: PLW0603 - like torch.set_num_threads, which it stands beside
    _threads = threads


def _timed(reset_gate: str, shape: tuple[int, int, int, int], threads: int, times: int = 1) -> float:
    """Median seconds of a forward and a backward pass."""
    from core.networks.recurrence import numba_gru

    batch, steps, hidden, layers = shape
    each = (3 * hidden, hidden), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)
    weights = [torch.zeros(1, *size) for size in each[: 4 if reset_gate == "after" else 3]] * layers
    x = torch.zeros(1, batch, steps, hidden)
    how: dict[str, Any] = {"layers": layers, "reset_gate": reset_gate, "threads": threads}
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        states, saved = numba_gru.forward(x, weights, keep=True, **how)
        numba_gru.backward(states, x, weights, saved, want_x=True, want_weights=True, **how)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


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
