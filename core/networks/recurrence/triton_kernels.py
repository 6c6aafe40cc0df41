"""The GRU's Triton kernels; `core.networks.recurrence.triton_gru` launches them.

A program of `gru_forward` and `gru_backward` owns ROWS windows of a replica and takes them through all layers
and steps, so that no program ever waits for another. Four columns of numbers stand for the gates throughout: r,
z and the two parts of the candidate, the input's W_n x + b_n and the recurrent one. So a product 4 WIDTH wide
has a thread for every gate of every unit, and sums stay within a thread.

Reading what other threads wrote: the products exchange numbers through shared memory, where the compiler puts
barriers. What a layer leaves in global memory for the next one (states, or gradients of them) is read by the
same program alone, after `tl.debug_barrier`: that is bar.sync, after which a block's threads see each other's
writes, and no load is moved across it. Within a loop over steps nothing is read that the loop writes; the state
is carried in registers. Nothing else is read back by the kernel that wrote it.

WIDTH is HIDDEN to the next power of two, 16 at least. Weights and biases are 0 where it pads: so n = 0 there,
and the state stays 0.

Shapes, contiguous, float32 but x, grad and grad_x, which share a type:

- x (replicas, batch, steps, INPUTS); with GIVEN its product W x, float32 (replicas, batch, steps, 3 HIDDEN)
- weights, per layer: kernel (replicas, 3 HIDDEN, inputs), recurrent kernel (replicas, 3 HIDDEN, HIDDEN), bias
  (replicas, 3 HIDDEN) and with AFTER the second bias; of any floating type
- states (slots, replicas, batch, steps, HIDDEN): those of layer l in slot l % slots
- gates (layers, replicas, batch, steps, 4 or 3, HIDDEN): r, z, n and with AFTER the recurrent part of n
- grad_gates (layers, replicas, batch, steps, 3, HIDDEN): gradients of what r, z and n are sigmoid and tanh of
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import triton
import triton.language as tl

_Jit = Callable[[Callable[..., Any]], Any]
_inline = cast("_Jit", triton.jit)
# A batch or a length that happens to be 1 or a multiple of 16 must not mean another compilation.
_kernel = cast("_Jit", triton.jit(do_not_specialize=["batch", "steps", "rows", "chunk", "size"]))


@_inline
def _sigmoid(x: tl.tensor) -> tl.tensor:
    return 1.0 / (1.0 + tl.exp(-x))


@_inline
def _tanh(x: tl.tensor) -> tl.tensor:
    """Right to 2e-7; where exp overflows it is +-1."""
    return 1.0 - 2.0 / (1.0 + tl.exp(2.0 * x))


@_inline
def _apart(columns: tl.tensor) -> tl.tensor:
    """Shape (rows, width, 4) to four of shape (rows, width)."""
    even, odd = tl.split(tl.reshape(columns, (columns.shape[0], columns.shape[1], 2, 2)))
    c0, c2 = tl.split(even)
    c1, c3 = tl.split(odd)
    return c0, c1, c2, c3


@_inline
def _together(c0: tl.tensor, c1: tl.tensor, c2: tl.tensor, c3: tl.tensor) -> tl.tensor:
    """Four of shape (rows, width) to (4, rows, width)."""
    columns = tl.join(tl.join(c0, c2), tl.join(c1, c3))
    return tl.permute(tl.reshape(columns, (c0.shape[0], c0.shape[1], 4)), (2, 0, 1))


@_inline
def _weights(
    kernel: tl.tensor,
    recurrent: tl.tensor,
    replica: tl.tensor,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    GIVEN: tl.constexpr,
) -> tl.tensor:
    """Recurrent kernel and kernel, shape (2, WIDTH, 4 WIDTH); with GIVEN the first alone, (WIDTH, 4 WIDTH)."""
    if GIVEN:
        k = tl.arange(0, WIDTH)[:, None]
        column = tl.arange(0, 4 * WIDTH)[None, :]
        side = tl.arange(0, 1)[:, None]
    else:
        k = tl.arange(0, WIDTH)[None, :, None]
        column = tl.arange(0, 4 * WIDTH)[None, None, :]
        side = tl.arange(0, 2)[:, None, None]
    gate, unit = column // WIDTH, column % WIDTH
    row = (replica * 3 + tl.minimum(gate, 2)) * HIDDEN + unit
    is_recurrent = (unit < HIDDEN) & (gate != 2) & (k < HIDDEN) & (side == 0)
    m = tl.load(recurrent + row * HIDDEN + k, mask=is_recurrent, other=0.0).to(tl.float32)
    if not GIVEN:
        is_input = (unit < HIDDEN) & (gate != 3) & (k < INPUTS) & (side == 1)
        m += tl.load(kernel + row * INPUTS + k, mask=is_input, other=0.0).to(tl.float32)
    return m


@_inline
def _bias(
    bias: tl.tensor,
    second_bias: tl.tensor,
    replica: tl.tensor,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    AFTER: tl.constexpr,
) -> tl.tensor:
    """Of the four columns, shape (1, 4 WIDTH)."""
    column = tl.arange(0, 4 * WIDTH)[None, :]
    gate, unit = column // WIDTH, column % WIDTH
    row = (replica * 3 + tl.minimum(gate, 2)) * HIDDEN + unit
    b = tl.load(bias + row, mask=(unit < HIDDEN) & (gate != 3), other=0.0).to(tl.float32)
    if AFTER:
        b += tl.load(second_bias + row, mask=(unit < HIDDEN) & (gate != 2), other=0.0).to(tl.float32)
    return b


@_inline
def _input(
    x: tl.tensor,
    at: tl.tensor,
    present: tl.tensor,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    GIVEN: tl.constexpr,
) -> tl.tensor:
    """One step of x, shape (ROWS, WIDTH), or of its product, (ROWS, 4 WIDTH); at (ROWS, 1) counts steps."""
    if GIVEN:
        column = tl.arange(0, 4 * WIDTH)[None, :]
        gate, unit = column // WIDTH, column % WIDTH
        inside = present & (unit < HIDDEN) & (gate != 3)
        value = tl.load(x + at * (3 * HIDDEN) + gate * HIDDEN + unit, mask=inside, other=0.0)
    else:
        k = tl.arange(0, WIDTH)[None, :]
        value = tl.load(x + at * INPUTS + k, mask=present & (k < INPUTS), other=0.0).to(tl.float32)
    return value


@_inline
def _products(
    h: tl.tensor, value: tl.tensor, m: tl.tensor, GIVEN: tl.constexpr, PRECISION: tl.constexpr
) -> tl.tensor:
    """Columns of the state and of the input, each of shape (ROWS, 4 WIDTH).

    Both in one product: they meet in one exchange between threads, and each fills the other's latency.
    """
    if GIVEN:
        product, input_product = tl.dot(h, m, input_precision=PRECISION), value
    else:
        both = tl.dot(tl.permute(tl.join(h, value), (2, 0, 1)), m, input_precision=PRECISION)
        product, input_product = tl.split(tl.permute(both, (1, 2, 0)))
    return product, input_product


@_inline
def _gates(columns: tl.tensor, WIDTH: tl.constexpr) -> tl.tensor:
    """Shape (ROWS, 4 WIDTH) to four of shape (ROWS, WIDTH)."""
    return _apart(tl.permute(tl.reshape(columns, (columns.shape[0], 4, WIDTH)), (0, 2, 1)))


@_inline
def _layer_forward(
    x: tl.tensor,
    kernel: tl.tensor,
    recurrent: tl.tensor,
    bias: tl.tensor,
    second_bias: tl.tensor,
    states: tl.tensor,
    gates: tl.tensor,
    replica: tl.tensor,
    first: tl.tensor,
    present: tl.tensor,
    steps: tl.tensor,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    AFTER: tl.constexpr,
    GIVEN: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """All steps of a layer; first (ROWS, 1) is where each window's steps begin."""
    m = _weights(kernel, recurrent, replica, INPUTS, HIDDEN, WIDTH, GIVEN)
    b = _bias(bias, second_bias, replica, HIDDEN, WIDTH, AFTER)
    unit = tl.arange(0, WIDTH)[None, :]
    inside = present & (unit < HIDDEN)
    KEPT: tl.constexpr = 4 if AFTER else 3
    h = tl.zeros((ROWS, WIDTH), tl.float32)
    # What does not wait for the state runs ahead of it: loads of x by two steps, products with it by one.
    value = _input(x, first, present, INPUTS, HIDDEN, WIDTH, GIVEN)
    _unused, given = _products(h, value, m, GIVEN, PRECISION)
    given += b
    value = _input(x, first + tl.minimum(1, steps - 1), present, INPUTS, HIDDEN, WIDTH, GIVEN)
    for step in tl.range(0, steps, num_stages=1):
        at = first + step
        ahead = _input(x, first + tl.minimum(step + 2, steps - 1), present, INPUTS, HIDDEN, WIDTH, GIVEN)
        columns, coming = _products(h, value, m, GIVEN, PRECISION)
        r, z, n, c = _gates(columns + given, WIDTH)
        r, z = _sigmoid(r), _sigmoid(z)
        if AFTER:
            n = _tanh(n + r * c)
        else:
            columns, _unused = _products(r * h, value, m, GIVEN, PRECISION)
            _r, _z, _n, c = _gates(columns, WIDTH)
            n = _tanh(n + c)
        h = n + z * (h - n)
        given, value = coming + b, ahead
        tl.store(states + at * HIDDEN + unit, h, mask=inside)
        if KEEP:
            gate = gates + at * (KEPT * HIDDEN) + unit
            tl.store(gate, r, mask=inside)
            tl.store(gate + HIDDEN, z, mask=inside)
            tl.store(gate + 2 * HIDDEN, n, mask=inside)
            if AFTER:
                tl.store(gate + 3 * HIDDEN, c, mask=inside)


@_kernel
def gru_forward(
    x: tl.tensor,
    weights: tl.tensor,
    states: tl.tensor,
    gates: tl.tensor,
    batch: tl.tensor,
    steps: tl.tensor,
    LAYERS: tl.constexpr,
    SLOTS: tl.constexpr,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    AFTER: tl.constexpr,
    GIVEN: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Fills states and, with KEEP, gates. Grid: (tiles of ROWS windows, replicas)."""
    EACH: tl.constexpr = 4 if AFTER else 3
    replica = tl.program_id(1)
    window = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    present = window < batch
    first = (replica * batch + window).to(tl.int64) * steps
    plane = tl.num_programs(1).to(tl.int64) * batch * steps * HIDDEN
    for layer in tl.static_range(LAYERS):
        if layer > 0:
            tl.debug_barrier()
        _layer_forward(
            states + (layer - 1) % SLOTS * plane if layer > 0 else x,
            weights[EACH * layer],
            weights[EACH * layer + 1],
            weights[EACH * layer + 2],
            weights[EACH * layer + EACH - 1],
            states + layer % SLOTS * plane,
            gates + layer * plane * EACH,
            replica,
            first,
            present,
            steps,
            HIDDEN if layer > 0 else INPUTS,
            HIDDEN,
            WIDTH,
            ROWS,
            AFTER,
            GIVEN and layer == 0,
            KEEP,
            PRECISION,
        )


@_inline
def _kept(
    grad: tl.tensor,
    states: tl.tensor,
    gates: tl.tensor,
    first: tl.tensor,
    step: tl.tensor,
    inside: tl.tensor,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    AFTER: tl.constexpr,
) -> tl.tensor:
    """Of one step: r, z, n, the recurrent part of n, the state before it and the gradient from above."""
    KEPT: tl.constexpr = 4 if AFTER else 3
    at = first + step
    unit = tl.arange(0, WIDTH)[None, :]
    gate = gates + at * (KEPT * HIDDEN) + unit
    r = tl.load(gate, mask=inside, other=0.0)
    z = tl.load(gate + HIDDEN, mask=inside, other=0.0)
    n = tl.load(gate + 2 * HIDDEN, mask=inside, other=0.0)
    c = tl.load(gate + 3 * HIDDEN, mask=inside, other=0.0) if AFTER else n
    before = tl.load(states + (at - 1) * HIDDEN + unit, mask=inside & (at > first), other=0.0)
    above = tl.load(grad + at * HIDDEN + unit, mask=inside, other=0.0).to(tl.float32)
    return r, z, n, c, before, above


@_inline
def _transposed(
    kernel: tl.tensor,
    recurrent: tl.tensor,
    replica: tl.tensor,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    WANT_X: tl.constexpr,
) -> tl.tensor:
    """What gradients of the four columns are multiplied with: shape (4, WIDTH, WIDTH), the recurrent kernel.

    With WANT_X the last axis is 2 WIDTH, the recurrent kernel's and the kernel's columns in turns.
    """
    SIDES: tl.constexpr = 2 if WANT_X else 1
    gate = tl.arange(0, 4)[:, None, None]
    unit = tl.arange(0, WIDTH)[None, :, None]
    column = tl.arange(0, SIDES * WIDTH)[None, None, :]
    k, side = column // SIDES, column % SIDES
    row = (replica * 3 + tl.minimum(gate, 2)) * HIDDEN + unit
    is_recurrent = (unit < HIDDEN) & (gate != 2) & (side == 0) & (k < HIDDEN)
    m = tl.load(recurrent + row * HIDDEN + k, mask=is_recurrent, other=0.0).to(tl.float32)
    if WANT_X:
        is_input = (unit < HIDDEN) & (gate != 3) & (side == 1) & (k < INPUTS)
        m += tl.load(kernel + row * INPUTS + k, mask=is_input, other=0.0).to(tl.float32)
    return m


@_inline
def _back(
    c0: tl.tensor, c1: tl.tensor, c2: tl.tensor, c3: tl.tensor, m: tl.tensor, PRECISION: tl.constexpr
) -> tl.tensor:
    """Gradients of the four columns through their weights: four of shape (ROWS, columns of m)."""
    product = tl.dot(_together(c0, c1, c2, c3), m, input_precision=PRECISION)
    return _apart(tl.permute(product, (1, 2, 0)))


@_inline
def _layer_backward(
    grad: tl.tensor,
    kernel: tl.tensor,
    recurrent: tl.tensor,
    states: tl.tensor,
    gates: tl.tensor,
    grad_gates: tl.tensor,
    grad_x: tl.tensor,
    replica: tl.tensor,
    first: tl.tensor,
    present: tl.tensor,
    steps: tl.tensor,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    AFTER: tl.constexpr,
    WANT_X: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """All steps of a layer, the last one first."""
    m = _transposed(kernel, recurrent, replica, INPUTS, HIDDEN, WIDTH, WANT_X)
    unit = tl.arange(0, WIDTH)[None, :]
    inside = present & (unit < HIDDEN)
    carried = tl.zeros((ROWS, WIDTH), tl.float32)
    r, z, n, c, before, above = _kept(grad, states, gates, first, steps - 1, inside, HIDDEN, WIDTH, AFTER)
    for done in tl.range(0, steps, num_stages=1):
        step = steps - 1 - done
        at = first + step
        grad_h = above + carried
        carried = grad_h * z
        grad_z = grad_h * (before - n) * z * (1.0 - z)
        grad_n = grad_h * (1.0 - z) * (1.0 - n * n)
        through = r
        slope = (c if AFTER else before) * r * (1.0 - r)
        # As in the forward pass, loads of the next step do not wait for this step's result.
        ahead = tl.maximum(step - 1, 0)
        r, z, n, c, before, above = _kept(grad, states, gates, first, ahead, inside, HIDDEN, WIDTH, AFTER)
        if AFTER:
            grad_r = grad_n * slope
            p0, p1, p2, p3 = _back(grad_r, grad_z, grad_n, grad_n * through, m, PRECISION)
            product = (p0 + p1) + (p2 + p3)
        else:
            zero = tl.zeros_like(grad_n)
            _p0, p1, p2, p3 = _back(zero, grad_z, grad_n, grad_n, m, PRECISION)
            # The candidate's kernel saw r * h.
            grad_q = tl.split(tl.reshape(p3, (ROWS, WIDTH, 2)))[0] if WANT_X else p3
            carried += grad_q * through
            grad_r = grad_q * slope
            p0, _p1, _p2, _p3 = _back(grad_r, zero, zero, zero, m, PRECISION)
            product = p0 + p1 + (p2 if WANT_X else zero)
        gate = grad_gates + at * (3 * HIDDEN) + unit
        tl.store(gate, grad_r, mask=inside)
        tl.store(gate + HIDDEN, grad_z, mask=inside)
        tl.store(gate + 2 * HIDDEN, grad_n, mask=inside)
        if WANT_X:
            product, to_x = tl.split(tl.reshape(product, (ROWS, WIDTH, 2)))
            tl.store(grad_x + at * INPUTS + unit, to_x, mask=present & (unit < INPUTS))
        carried += product


@_kernel
def gru_backward(
    grad: tl.tensor,
    weights: tl.tensor,
    states: tl.tensor,
    gates: tl.tensor,
    grad_gates: tl.tensor,
    between: tl.tensor,
    grad_x: tl.tensor,
    batch: tl.tensor,
    steps: tl.tensor,
    LAYERS: tl.constexpr,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    AFTER: tl.constexpr,
    WANT_X: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Fills grad_gates and, with WANT_X, grad_x. Grid: (tiles of ROWS windows, replicas).

    between (2 or fewer, replicas, batch, steps, HIDDEN) is where layers hand gradients down, in turns: so that
    no layer writes what it reads.
    """
    EACH: tl.constexpr = 4 if AFTER else 3
    replica = tl.program_id(1)
    window = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    present = window < batch
    first = (replica * batch + window).to(tl.int64) * steps
    plane = tl.num_programs(1).to(tl.int64) * batch * steps * HIDDEN
    for layer in tl.static_range(LAYERS - 1, -1, -1):
        if layer < LAYERS - 1:
            tl.debug_barrier()
        _layer_backward(
            between + layer % 2 * plane if layer < LAYERS - 1 else grad,
            weights[EACH * layer],
            weights[EACH * layer + 1],
            states + layer * plane,
            gates + layer * plane * EACH,
            grad_gates + layer * plane * 3,
            between + (layer - 1) % 2 * plane if layer > 0 else grad_x,
            replica,
            first,
            present,
            steps,
            HIDDEN if layer > 0 else INPUTS,
            HIDDEN,
            WIDTH,
            ROWS,
            AFTER,
            WANT_X or layer > 0,
            PRECISION,
        )


@_kernel
def gru_weight_gradients(
    x: tl.tensor,
    states: tl.tensor,
    gates: tl.tensor,
    grad_gates: tl.tensor,
    sums: tl.tensor,
    rows: tl.tensor,
    steps: tl.tensor,
    chunk: tl.tensor,
    size: tl.tensor,
    INPUTS: tl.constexpr,
    HIDDEN: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    AFTER: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Weight gradients of a layer's gate, summed over a chunk of a replica's rows (steps of windows).

    Grid: (chunks, 3 x layers, replicas). sums (chunks, size): the gradients of all weights, one after the other
    as they are given, each (replicas, ...). Without INPUTS the first layer has no kernel here.
    """
    EACH: tl.constexpr = 4 if AFTER else 3
    layer, gate = tl.program_id(1) // 3, tl.program_id(1) % 3
    replica, replicas = tl.program_id(2), tl.num_programs(2)
    # Widths of what this layer and gate read, 0 where they do not: their input is x, or the layer below.
    from_x = tl.where(layer == 0, INPUTS, 0)
    from_below = tl.where(layer == 0, 0, HIDDEN)
    from_reset = tl.where(gate == 2, HIDDEN, 0)
    inputs = from_x + from_below
    start = tl.program_id(0) * chunk
    end = tl.minimum(start + chunk, rows)
    base = (layer * replicas + replica).to(tl.int64) * rows
    base_x = replica.to(tl.int64) * rows
    base_below = base - replicas.to(tl.int64) * rows
    down = tl.arange(0, WIDTH)[:, None]
    across = tl.arange(0, WIDTH)[None, :]
    to_kernel = tl.zeros((WIDTH, WIDTH), tl.float32)
    to_recurrent = tl.zeros((WIDTH, WIDTH), tl.float32)
    to_bias = tl.zeros((WIDTH, BLOCK), tl.float32)
    to_second = tl.zeros((WIDTH, BLOCK), tl.float32)
    for block in tl.range(start, end, BLOCK, num_stages=1):
        # Units of a gradient go down, those of what it meets go across.
        right = block + tl.arange(0, BLOCK)[None, :]
        under = block + tl.arange(0, BLOCK)[:, None]
        is_grad = (right < end) & (down < HIDDEN)
        grad = tl.load(
            grad_gates + (base + right) * (3 * HIDDEN) + gate * HIDDEN + down, mask=is_grad, other=0.0
        )
        is_state = (under < end) & (across < HIDDEN) & (under % steps != 0)
        h = tl.load(states + (base + under - 1) * HIDDEN + across, mask=is_state, other=0.0)
        # The candidate's recurrent part is under the reset gate: its product, or the state that goes in.
        if AFTER:
            is_reset = (right < end) & (down < from_reset)
            through = grad * tl.load(gates + (base + right) * (4 * HIDDEN) + down, mask=is_reset, other=1.0)
        else:
            is_reset = (under < end) & (across < from_reset)
            through = grad
            h *= tl.load(gates + (base + under) * (3 * HIDDEN) + across, mask=is_reset, other=1.0)
        is_x = (under < end) & (across < from_x)
        value = tl.load(x + (base_x + under) * INPUTS + across, mask=is_x, other=0.0).to(tl.float32)
        is_below = (under < end) & (across < from_below)
        value += tl.load(states + (base_below + under) * HIDDEN + across, mask=is_below, other=0.0)
        to_kernel += tl.dot(grad, value, input_precision=PRECISION)
        to_recurrent += tl.dot(through, h, input_precision=PRECISION)
        to_bias += grad
        to_second += through
    numbers = tl.where(layer == 0, 0, INPUTS + (2 * layer - 1) * HIDDEN + layer * (EACH - 2))
    out = sums + tl.program_id(0).to(tl.int64) * size + numbers * (3 * HIDDEN) * replicas
    line = (replica * 3 + gate) * HIDDEN + down
    tl.store(out + line * inputs + across, to_kernel, mask=(down < HIDDEN) & (across < inputs))
    out += 3 * HIDDEN * inputs * replicas
    tl.store(out + line * HIDDEN + across, to_recurrent, mask=(down < HIDDEN) & (across < HIDDEN))
    out += 3 * HIDDEN * HIDDEN * replicas
    tl.store(out + line, tl.sum(to_bias, axis=1, keep_dims=True), mask=down < HIDDEN)
    if AFTER:
        out += 3 * HIDDEN * replicas
        tl.store(out + line, tl.sum(to_second, axis=1, keep_dims=True), mask=down < HIDDEN)
