"""The GRU on a GPU: forward and backward of a whole stack of layers, each one launch of a Triton kernel.

At TimeGAN's sizes a GRU is no work for a GPU but a wait: 24 steps x 3 layers, each a product of a few thousand
numbers that must be there before the next can begin. What counts is the time of one such step. So a program
takes its windows through all steps of all layers, with the weights on the chip and no launch, no other program
and no trip to global memory between a state and the next. With 128 windows a program has one of them, and an
H100 a multiprocessor for each; more windows or replicas first fill each other's waits.

The first layer's product with x is the kernel's own while x is no wider than the padded layer: it hides in the
wait for the state, and a launch saved is worth microseconds. Of a wider x it is one large matrix product over
all steps, made before by cuBLAS on the whole GPU; its weights would not fit beside the recurrent ones.

Weight gradients wait for nothing, so they are no part of the backward kernel's chain but a launch of their own
over all steps and windows at once. They are summed in chunks, and the chunks in a fixed order, without atomics:
every run gives the same bits on the same kind of GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from core.networks.recurrence.shape import CallShape
from core.networks.recurrence.triton_kernels import gru_backward, gru_forward, gru_weight_gradients

Precision = Literal["ieee", "tf32x3", "tf32"]
"""Of matrix products: float32; tensor cores, three products of 11 bits (errors near float32's); one of them."""

WIDEST = 64
"""Units of a layer whose weights fit on the chip."""

_PROGRAMS = 128
"""Programs wanted before a program gets a second window; an H100 has 132 multiprocessors."""
_TILE = 16
"""Rows of a tensor core's product."""
_BLOCK = 16
"""Steps of windows that a weight gradient's product takes at a time."""
_GRADIENT_PROGRAMS = 528
"""Four to a multiprocessor: these have nothing but each other to hide their loads behind."""


class _Shape(CallShape):
    """With what the kernels derive from it."""

    @property
    def width(self) -> int:
        """Of a layer with its padding."""
        return _width(self.hidden)

    @property
    def given(self) -> bool:
        """The first layer's product with x is made outside of the kernels."""
        return self.inputs > self.width

    @property
    def rows(self) -> int:
        """Steps of windows of a replica."""
        return self.batch * self.steps

    @property
    def each(self) -> int:
        """Weights of a layer, and as many numbers kept for a unit and step."""
        return 4 if self.after else 3

    def windows(self, precision: Precision) -> int:
        """Of a program: more than these, and their sums no longer fit into its registers."""
        if precision != "ieee":
            return _TILE
        wanted = _next_power(-(-self.replicas * self.batch // _PROGRAMS))
        return min(wanted, _next_power(self.batch), 8, 256 // self.width)

    def constants(self, precision: Precision) -> dict[str, int | bool | str]:
        """What all kernels are compiled for."""
        return {
            "INPUTS": 0 if self.given else self.inputs,
            "HIDDEN": self.hidden,
            "WIDTH": self.width,
            "AFTER": self.after,
            "PRECISION": precision,
            "enable_fp_fusion": True,
        }


def supports(hidden: int, device: torch.device, precision: Precision = "ieee") -> str | None:
    """Why layers of `hidden` units cannot be had on a device; None if they can.

    Args:
        hidden: At least 1.
        device: A GPU. Of any other only the width is looked at.
        precision: As for `forward`.
    """
    if hidden > WIDEST:
        return f"layers have at most {WIDEST} units, these have {hidden}"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        there: int = properties.shared_memory_per_block_optin  # type: ignore[attr-defined]
        needed = shared_memory(hidden, precision)
        if needed > there:
            return f"layers of {hidden} units need {needed} bytes of shared memory, {device} has {there}"
    return None


def shared_memory(hidden: int, precision: Precision) -> int:
    """Bytes that a program needs at most: two matrices (width, 4 width) and a quarter for exchange."""
    return 40 * _width(hidden) ** 2 * (2 if precision == "tf32x3" else 1)


def forward(
    x: Tensor,
    weights: Sequence[Tensor],
    *,
    layers: int,
    reset_gate: str,
    keep: bool,
    precision: Precision = "ieee",
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """States of the last layer, and what `backward` needs of it (nothing without `keep`).

    Args:
        x: Shape (replicas, batch, steps, inputs), float32 or bfloat16, contiguous. States are float32 within.
        weights: Per layer kernel (replicas, 3 hidden, width), recurrent kernel (replicas, 3 hidden, hidden),
            bias (replicas, 3 hidden) and, with the reset gate after the product, the second bias; gates in
            torch's order r, z, n; contiguous.
        layers: At least 1.
        reset_gate: `after` or `before` the recurrent product.
        keep: There will be a backward pass.
        precision: Of matrix products.

    Returns:
        Shape (replicas, batch, steps, hidden), in the type of x.
    """
    shape = _Shape.of(x, weights, layers, reset_gate)
    slots = layers if keep else min(layers, 2)
    states = _floats(x, slots, *x.shape[:3], shape.hidden)
    gates = _floats(x, layers, *x.shape[:3], shape.each, shape.hidden) if keep else states
    windows = shape.windows(precision)
    with _device_of(x):
        gru_forward[(-(-shape.batch // windows), shape.replicas)](
            _product(x, weights[0]) if shape.given else x,
            tuple(weights),
            states,
            gates,
            shape.batch,
            shape.steps,
            LAYERS=layers,
            SLOTS=slots,
            ROWS=windows,
            GIVEN=shape.given,
            KEEP=keep,
            num_warps=shape.width // 8,
            **shape.constants(precision),
        )
    return states[(layers - 1) % slots].to(x.dtype), (states, gates) if keep else ()


def backward(
    grad: Tensor,
    x: Tensor,
    weights: Sequence[Tensor],
    saved: Sequence[Tensor],
    *,
    layers: int,
    reset_gate: str,
    want_x: bool,
    want_weights: bool,
    precision: Precision = "ieee",
) -> tuple[Tensor | None, list[Tensor] | None]:
    """Gradients of x and of every weight, as they were given to `forward`.

    Args:
        grad: Of the states that `forward` returned, in their type, contiguous.
        x: As for `forward`.
        weights: As for `forward`.
        saved: What `forward` returned beside the states.
        layers: As for `forward`.
        reset_gate: As for `forward`.
        want_x: Else the gradient of x is None.
        want_weights: Else the gradients of the weights are None.
        precision: Of matrix products.
    """
    shape = _Shape.of(x, weights, layers, reset_gate)
    states, gates = saved
    grad_gates = _floats(x, layers, *x.shape[:3], 3, shape.hidden)
    grad_x = torch.empty_like(x) if want_x and not shape.given else None
    windows = shape.windows(precision)
    with _device_of(x):
        gru_backward[(-(-shape.batch // windows), shape.replicas)](
            grad,
            tuple(weights),
            states,
            gates,
            grad_gates,
            _floats(x, min(layers - 1, 2), *x.shape[:3], shape.hidden),
            grad if grad_x is None else grad_x,
            shape.batch,
            shape.steps,
            LAYERS=layers,
            ROWS=windows,
            WANT_X=grad_x is not None,
            num_warps=shape.width // 8,
            **shape.constants(precision),
        )
        first = grad_gates[0].view(shape.replicas, shape.rows, -1)
        if want_x and grad_x is None:
            grad_x = torch.bmm(first, weights[0].float()).view(x.shape).to(x.dtype)
        if not want_weights:
            return grad_x, None
        grads = _weight_gradients(shape, x, weights, states, gates, grad_gates, precision)
        if shape.given:
            grads[0] = torch.bmm(first.mT, x.float().view(shape.replicas, shape.rows, -1)).to(weights[0].dtype)
    return grad_x, grads


def _weight_gradients(
    shape: _Shape,
    x: Tensor,
    weights: Sequence[Tensor],
    states: Tensor,
    gates: Tensor,
    grad_gates: Tensor,
    precision: Precision,
) -> list[Tensor]:
    """As `backward` returns them; the first kernel's is empty where its product is made outside."""
    sizes = [weight.numel() for weight in weights]
    if shape.given:
        sizes[0] = 0
    blocks = -(-shape.rows // _BLOCK)
    chunks = max(1, min(blocks, _GRADIENT_PROGRAMS // (3 * shape.layers * shape.replicas)))
    chunk = -(-blocks // chunks) * _BLOCK
    chunks = -(-shape.rows // chunk)
    sums = _floats(x, chunks, sum(sizes))
    gru_weight_gradients[(chunks, 3 * shape.layers, shape.replicas)](
        x,
        states,
        gates,
        grad_gates,
        sums,
        shape.rows,
        shape.steps,
        chunk,
        sum(sizes),
        BLOCK=_BLOCK,
        num_warps=shape.width // 8,
        **shape.constants(precision),
    )
    parts = torch.split(sums.sum(0), sizes)
    return [
        part.view(weight.shape).to(weight.dtype) if part.numel() else part
        for part, weight in zip(parts, weights, strict=True)
    ]


def _product(x: Tensor, kernel: Tensor) -> Tensor:
    """Shape (replicas, batch x steps, 3 hidden), without the bias."""
    return torch.bmm(x.float().flatten(1, 2), kernel.float().mT)


def _device_of(x: Tensor) -> AbstractContextManager[None]:
    """Triton launches on the current device, wherever its arguments are."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _floats(like: Tensor, *size: int) -> Tensor:
    return like.new_empty(size, dtype=torch.float32)


def _width(hidden: int) -> int:
    """Hidden to the next power of two, and 16 at least, for a tensor core's sake."""
    return max(16, _next_power(hidden))


def _next_power(number: int) -> int:
    return 1 << (number - 1).bit_length()
