"""The GRU on a CPU: forward and backward of a whole stack of layers, each one call.

Windows are worked on in tiles of `LANES`, a lane to a window, so that every number of a tile's step is one
vector: a layer runs all steps of a tile before the next tile begins, which keeps weights and states in the
fastest cache. Widths are padded to multiples of `ROWS` with zeros. A buffer "of tiles" has the layout
(tiles, steps, pitch, lanes), its pitch an odd multiple of `ROWS`: with an even one the steps of a unit would
fall into the same few lines of the cache. Per step and unit the forward pass keeps the gates r, z, n and c, c
being the recurrent part of the candidate, U_n h + b'_n (reset gate after the product; else c is not used).

Sums of weight gradients are made per group of tiles, and groups do not depend on the number of threads: so
neither does any bit of the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from core.networks.recurrence.shape import CallShape
from core.networks.recurrence.simd import (
    LANES,
    OUTER_COLUMNS,
    ROWS,
    constant,
    fma,
    load,
    outer,
    product4,
    product8,
    product12,
    sigmoid,
    spread,
    store,
    tanh,
    total,
)

Array = NDArray[Any]

_MOST_GROUPS = 16
_TILES_OF_GROUP = 2
_inline = njit(inline="always")
_pools: dict[int, ThreadPoolExecutor] = {}


def _cache_folder() -> str:
    """Where Numba keeps compiled kernels, a folder for each version of this code.

    By itself it looks for changes in the file of a kernel alone: an edited `simd.py` would change nothing.
    """
    here = Path(__file__).parent
    code = b"".join((here / name).read_bytes() for name in ("simd.py", Path(__file__).name))
    base = numba.config.CACHE_DIR or here / "__pycache__"
    return str(Path(base) / hashlib.sha256(code).hexdigest()[:16])


def _kernel(function: Callable[..., Any]) -> Any:
    """Compiled at its first call, or read from the cache; other threads of Python run meanwhile."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _CACHE
    try:
        return njit(nogil=True, cache=True)(function)
    finally:
        numba.config.CACHE_DIR = before


_CACHE = _cache_folder()


class _Shape(CallShape):
    """With what the kernels derive from it."""

    @property
    def tiles(self) -> int:
        """Of a replica."""
        return -(-self.batch // LANES)

    @property
    def groups(self) -> int:
        """Of a replica, at least two where there are two tiles: a thread works on whole groups."""
        return min(self.tiles, _MOST_GROUPS, max(2, self.tiles // _TILES_OF_GROUP))

    def width(self, layer: int) -> int:
        """Of what goes into a layer."""
        return self.inputs if layer == 0 else self.hidden

    def floats(self, features: int) -> int:
        """Of `features` numbers a step and window."""
        return self.replicas * self.tiles * self.steps * features * LANES

    @cached_property
    def spans(self) -> Array:
        """Shape (replicas x groups, 4), a group's replica, first tile, tile after its last, and number."""
        borders = [self.tiles * group // self.groups for group in range(self.groups + 1)]
        return np.array(
            [
                (
                    replica,
                    replica * self.tiles + first,
                    replica * self.tiles + last,
                    replica * self.groups + group,
                )
                for replica in range(self.replicas)
                for group, (first, last) in enumerate(pairwise(borders))
            ]
        )


def padded(features: int) -> int:
    """The next multiple of `ROWS`."""
    return -(-features // ROWS) * ROWS


def forward(
    x: Tensor, weights: Sequence[Tensor], *, layers: int, reset_gate: str, keep: bool, threads: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """States of the last layer, and what `backward` needs of it (nothing without `keep`).

    Args:
        x: Shape (replicas, batch, steps, inputs), float32 or float64, contiguous.
        weights: Per layer kernel (replicas, 3 hidden, width), recurrent kernel (replicas, 3 hidden, hidden),
            bias (replicas, 3 hidden) and, with the reset gate after the product, the second bias; gates in
            torch's order r, z, n.
        layers: At least 1.
        reset_gate: `after` or `before` the recurrent product.
        keep: There will be a backward pass.
        threads: At most that many.

    Returns:
        Shape (replicas, batch, steps, hidden).
    """
    shape = _Shape.of(x, weights, layers, reset_gate)
    packed = [_packed(shape, layer, _of_layer(weights, layer, shape)) for layer in range(layers)]
    wide = padded(shape.hidden)
    tiles = [x.new_empty(shape.floats(padded(shape.inputs) | ROWS))]
    tiles += [x.new_empty(shape.floats(wide | ROWS)) for _ in range(layers)]
    gates = [x.new_empty(shape.floats(4 * wide) if keep else 0) for _ in range(layers)]
    states = x.new_empty(shape.replicas, shape.batch, shape.steps, shape.hidden)
    flat, out = _flat(x), _flat(states)
    buffers, kept = [_flat(part) for part in tiles], [_flat(part) for part in gates]
    layer_forward = _forward_after if shape.after else _forward_before

    def work(first: int, last: int) -> None:
        span = (shape.spans[first:last], shape.steps)
        _to_tiles(flat, buffers[0], *span, shape.batch, shape.inputs, padded(shape.inputs))
        for layer in range(layers):
            width = padded(shape.width(layer))
            layer_forward(
                buffers[layer], *packed[layer], buffers[layer + 1], kept[layer], *span, width, wide, keep
            )
        _from_tiles(buffers[-1], out, *span, shape.batch, shape.hidden, wide)

    _spread_work(work, len(shape.spans), threads)
    return states, (*tiles, *gates) if keep else ()


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
    threads: int,
) -> tuple[Tensor | None, list[Tensor] | None]:
    """Gradients of x and of every weight, as they were given to `forward`.

    Args:
        grad: Of the states that `forward` returned, contiguous.
        x: As for `forward`.
        weights: As for `forward`.
        saved: What `forward` returned beside the states.
        layers: As for `forward`.
        reset_gate: As for `forward`.
        want_x: Else the gradient of x is None.
        want_weights: Else the gradients of the weights are None.
        threads: At most that many.
    """
    shape = _Shape.of(x, weights, layers, reset_gate)
    wide = padded(shape.hidden)
    transposed = [_transposed(shape, layer, _of_layer(weights, layer, shape)) for layer in range(layers)]
    tiles, gates = [_flat(part) for part in saved[: layers + 1]], [_flat(part) for part in saved[layers + 1 :]]
    flow = [_flat(x.new_empty(shape.floats(wide | ROWS))) for _ in range(layers)]
    flow.insert(0, _flat(x.new_empty(shape.floats(padded(shape.inputs) | ROWS) if want_x else 0)))
    sums = [_sums(shape, layer, tiles[0].dtype, want_weights) for layer in range(layers)]
    grad_x = torch.empty_like(x) if want_x else None
    given, out = _flat(grad), _flat(x.new_empty(0) if grad_x is None else grad_x)
    layer_backward = _backward_after if shape.after else _backward_before

    def work(first: int, last: int) -> None:
        span = (shape.spans[first:last], shape.steps)
        _to_tiles(given, flow[-1], *span, shape.batch, shape.hidden, wide)
        for layer in reversed(range(layers)):
            width = padded(shape.width(layer))
            wanted = (want_x or layer > 0, want_weights)
            layer_backward(
                flow[layer + 1], tiles[layer], tiles[layer + 1], gates[layer], *transposed[layer], flow[layer],
                *sums[layer], *span, width, wide, *wanted,
            )  # fmt: skip
        if want_x:
            _from_tiles(flow[0], out, *span, shape.batch, shape.inputs, padded(shape.inputs))

    _spread_work(work, len(shape.spans), threads)
    if not want_weights:
        return grad_x, None
    return grad_x, [part for layer in range(layers) for part in _collected(shape, layer, x, sums[layer])]


def _spread_work(work: Callable[[int, int], None], groups: int, threads: int) -> None:
    """`work(first, last)` over all groups, a share to each thread; this one takes the last share."""
    threads = min(threads, groups)
    if threads <= 1:
        work(0, groups)
        return
    pool = _pools.get(threads)
    if pool is None:
        pool = _pools[threads] = ThreadPoolExecutor(threads - 1, "recurrence")
    bounds = [groups * part // threads for part in range(threads + 1)]
    others = [pool.submit(work, bounds[part], bounds[part + 1]) for part in range(threads - 1)]
    work(bounds[-2], groups)
    for other in others:
        other.result()


def _of_layer(weights: Sequence[Tensor], layer: int, shape: _Shape) -> list[Array]:
    each = len(weights) // shape.layers
    return [part.detach().numpy() for part in weights[layer * each : (layer + 1) * each]]


def _flat(tensor: Tensor) -> Array:
    flat: Array = tensor.detach().numpy().reshape(-1)
    return flat


def _packed(shape: _Shape, layer: int, weights: list[Array]) -> tuple[Array, Array, Array]:
    """Kernel, recurrent kernel and biases in the order in which the forward pass reads them."""
    wide, width, dtype = padded(shape.hidden), padded(shape.width(layer)), weights[0].dtype
    kernel = np.zeros((shape.replicas, 3 * wide * width), dtype)
    recurrent = np.zeros((shape.replicas, 3 * wide * wide), dtype)
    bias = np.zeros((shape.replicas, 4 * wide), dtype)
    second = weights[3] if shape.after else np.zeros_like(weights[2])
    _pack_forward(kernel, recurrent, bias, weights[0], weights[1], weights[2], second, wide, width, shape.after)
    return kernel.reshape(-1), recurrent.reshape(-1), bias.reshape(-1)


def _transposed(shape: _Shape, layer: int, weights: list[Array]) -> tuple[Array, Array]:
    """Kernel and recurrent kernel in the order in which the backward pass reads them."""
    wide, width, dtype = padded(shape.hidden), padded(shape.width(layer)), weights[0].dtype
    kernel = np.zeros((shape.replicas, 3 * wide * width), dtype)
    recurrent = np.zeros((shape.replicas, 3 * wide * wide), dtype)
    _pack_backward(kernel, recurrent, weights[0], weights[1], wide, width, shape.after)
    return kernel.reshape(-1), recurrent.reshape(-1)


def _sums(shape: _Shape, layer: int, dtype: Any, wanted: bool) -> tuple[Array, Array, Array]:
    """By group: gradients of kernel (n, r, z), recurrent kernel (r, z, n) and, by lane, biases (n, r, z, c)."""
    wide, width = padded(shape.hidden), padded(shape.width(layer))
    groups = len(shape.spans) if wanted else 0
    sizes = (3 * wide * width, 3 * wide * wide, 4 * wide * LANES)
    kernel, recurrent, bias = (np.zeros(groups * size, dtype) for size in sizes)
    return kernel, recurrent, bias


def _collected(shape: _Shape, layer: int, x: Tensor, sums: tuple[Array, Array, Array]) -> list[Tensor]:
    """Gradients of a layer's weights, as torch orders them."""
    replicas, hidden, width = shape.replicas, shape.hidden, shape.width(layer)
    kernel, recurrent = (x.new_empty(replicas, 3 * hidden, columns) for columns in (width, hidden))
    biases = [x.new_empty(replicas, 3 * hidden) for _ in range(2)]
    parts = [part.numpy() for part in (kernel, recurrent, *biases)]
    _collect(*sums, *parts, shape.groups, padded(width), padded(hidden))
    return [kernel, recurrent, *biases[: 2 if shape.after else 1]]


# Loops over numbers.


@_kernel
def _pack_forward(
    kernel: Array, recurrent: Array, bias: Array,
    w: Array, u: Array, b: Array, b2: Array, wide: int, width: int, after: bool,
) -> None:  # fmt: skip
    """Blocks of `ROWS` units; in a block (depth, gate, unit), the kernel's gates n, r, z.

    The recurrent kernel's gates are r, z, n; with the reset gate before the product r, z and then, for all
    blocks, n. A block's biases are n, r, z and c.
    """
    replicas, hidden = w.shape[0], w.shape[1] // 3
    for replica in range(replicas):
        for unit in range(hidden):
            block, row = unit // ROWS, unit % ROWS
            for gate in range(3):
                line, order = gate * hidden + unit, (gate + 1) % 3
                for k in range(w.shape[2]):
                    kernel[replica, ((block * width + k) * 3 + order) * ROWS + row] = w[replica, line, k]
                for k in range(hidden):
                    at = ((block * wide + k) * 3 + gate) * ROWS + row
                    if not after and gate < 2:
                        at = ((block * wide + k) * 2 + gate) * ROWS + row
                    elif not after:
                        at = 2 * wide * wide + (block * wide + k) * ROWS + row
                    recurrent[replica, at] = u[replica, line, k]
                first = b[replica, line] + (b2[replica, line] if gate < 2 else 0)
                bias[replica, (block * 4 + order) * ROWS + row] = first
            bias[replica, (block * 4 + 3) * ROWS + row] = b2[replica, 2 * hidden + unit]


@_inline
def _place(row: int, rows: int, k: int, depth: int) -> int:
    """Of (row, k) in a matrix of `rows` that `_multiply` reads: blocks of 8 rows, perhaps 4 at the end."""
    block = row // 8 * 8
    size = 8 if block + 8 <= rows else 4
    return block * depth + k * size + row - block


@_kernel
def _pack_backward(
    kernel: Array, recurrent: Array, w: Array, u: Array, wide: int, width: int, after: bool
) -> None:
    """Transposed: the kernel's depth is (n, r, z), the recurrent kernel's (r, z, n), or (r, z) and apart n."""
    replicas, hidden = w.shape[0], w.shape[1] // 3
    deep = 3 * wide if after else 2 * wide
    for replica in range(replicas):
        for gate in range(3):
            order = (gate + 1) % 3
            for unit in range(hidden):
                line = gate * hidden + unit
                for k in range(w.shape[2]):
                    kernel[replica, _place(k, width, order * wide + unit, 3 * wide)] = w[replica, line, k]
                for k in range(hidden):
                    if after or gate < 2:
                        at = _place(k, wide, gate * wide + unit, deep)
                    else:
                        at = 2 * wide * wide + _place(k, wide, unit, wide)
                    recurrent[replica, at] = u[replica, line, k]


@_kernel
def _to_tiles(x: Array, tiles: Array, spans: Array, steps: int, batch: int, width: int, wide: int) -> None:
    """Windows of shape (replicas, batch, steps, width) to tiles; zeros past the batch and past the width."""
    for replica, first, last, _ in spans:
        for tile in range(first, last):
            window = (tile - replica * (-(-batch // LANES))) * LANES
            present = min(LANES, batch - window)
            for t in range(steps):
                to = (tile * steps + t) * (wide | ROWS) * LANES
                if present < LANES or width < wide:
                    tiles[to : to + wide * LANES] = 0
                for lane in range(present):
                    at = ((replica * batch + window + lane) * steps + t) * width
                    for k in range(width):
                        tiles[to + k * LANES + lane] = x[at + k]


@_kernel
def _from_tiles(tiles: Array, x: Array, spans: Array, steps: int, batch: int, width: int, wide: int) -> None:
    """The other way round."""
    for replica, first, last, _ in spans:
        for tile in range(first, last):
            window = (tile - replica * (-(-batch // LANES))) * LANES
            for t in range(steps):
                at = (tile * steps + t) * (wide | ROWS) * LANES
                for lane in range(min(LANES, batch - window)):
                    to = ((replica * batch + window + lane) * steps + t) * width
                    for k in range(width):
                        x[to + k] = tiles[at + k * LANES + lane]


@_kernel
def _forward_after(
    x: Array, kernel: Array, recurrent: Array, bias: Array, states: Array, gates: Array,
    spans: Array, steps: int, width: int, wide: int, keep: bool,
) -> None:  # fmt: skip
    sums = np.empty(4 * ROWS * LANES, x.dtype)
    zero = np.zeros(LANES, x.dtype)
    pitch = (wide | ROWS) * LANES
    for replica, first_tile, last_tile, _ in spans:
        for row in range(first_tile * steps, last_tile * steps):
            first = row % steps == 0
            for unit in range(0, wide, ROWS):
                at = 3 * (replica * wide + unit)
                _start(sums, bias, 4 * (replica * wide + unit))
                product12(sums, 0, kernel, at * width, x, row * (width | ROWS) * LANES, width)
                if not first:
                    product12(sums, ROWS * LANES, recurrent, at * wide, states, (row - 1) * pitch, wide)
                for u in range(ROWS):
                    now = row * pitch + (unit + u) * LANES
                    r = sigmoid(load(sums, (ROWS + u) * LANES))
                    z = sigmoid(load(sums, (2 * ROWS + u) * LANES))
                    c = load(sums, (3 * ROWS + u) * LANES)
                    n = tanh(fma(r, c, load(sums, u * LANES)))
                    h = load(zero, 0) if first else load(states, now - pitch)
                    store(states, now, fma(z, h - n, n))
                    if keep:
                        _keep(gates, 4 * (row * wide + unit + u) * LANES, r, z, n, c)


@_kernel
def _forward_before(
    x: Array, kernel: Array, recurrent: Array, bias: Array, states: Array, gates: Array,
    spans: Array, steps: int, width: int, wide: int, keep: bool,
) -> None:  # fmt: skip
    block = 4 * ROWS * LANES
    sums = np.empty(wide // ROWS * block, x.dtype)
    zero = np.zeros(wide * LANES, x.dtype)
    seen = np.zeros(wide * LANES, x.dtype)
    pitch = (wide | ROWS) * LANES
    for replica, first_tile, last_tile, _ in spans:
        for row in range(first_tile * steps, last_tile * steps):
            first = row % steps == 0
            for unit in range(0, wide, ROWS):
                mine, at = unit // ROWS * block, replica * wide + unit
                _start(sums[mine:], bias, 4 * at)
                product12(sums, mine, kernel, 3 * at * width, x, row * (width | ROWS) * LANES, width)
                if not first:
                    _gates_before(
                        sums, mine, recurrent, 3 * replica * wide, states, (row - 1) * pitch, seen, unit, wide
                    )
            for unit in range(0, wide, ROWS):
                mine = unit // ROWS * block
                if not first:
                    product4(sums, mine, recurrent, ((3 * replica + 2) * wide + unit) * wide, seen, 0, wide)
                for u in range(ROWS):
                    now = row * pitch + (unit + u) * LANES
                    r = sigmoid(load(sums, mine + (ROWS + u) * LANES))
                    z = sigmoid(load(sums, mine + (2 * ROWS + u) * LANES))
                    n = tanh(load(sums, mine + u * LANES))
                    h = load(zero, 0) if first else load(states, now - pitch)
                    store(states, now, fma(z, h - n, n))
                    if keep:
                        _keep(gates, 4 * (row * wide + unit + u) * LANES, r, z, n, load(zero, 0))


@_inline
def _gates_before(
    sums: Array, mine: int, recurrent: Array, at: int, states: Array, before: int, seen: Array,
    unit: int, wide: int,
) -> None:  # fmt: skip
    """The recurrent part of r and z, and what the reset gate leaves of the states of the step before."""
    product8(sums, mine + ROWS * LANES, recurrent, (at + 2 * unit) * wide, states, before, wide)
    for u in range(ROWS):
        r, h = sigmoid(load(sums, mine + (ROWS + u) * LANES)), load(states, before + (unit + u) * LANES)
        store(seen, (unit + u) * LANES, r * h)


@_inline
def _start(sums: Array, bias: Array, at: int) -> None:
    for row in range(4 * ROWS):
        store(sums, row * LANES, spread(bias, at + row))


@_inline
def _keep(gates: Array, at: int, r: Any, z: Any, n: Any, c: Any) -> None:
    store(gates, at, r)
    store(gates, at + LANES, z)
    store(gates, at + 2 * LANES, n)
    store(gates, at + 3 * LANES, c)


@_inline
def _multiply(out: Array, o: int, rows: int, matrix: Array, m: int, x: Array, x0: int, depth: int) -> None:
    """`rows` vectors of `out` += matrix @ x, the matrix as `_pack_backward` makes it."""
    row = 0
    while row + 8 <= rows:
        product8(out, o + row * LANES, matrix, m + row * depth, x, x0, depth)
        row += 8
    if row < rows:
        product4(out, o + row * LANES, matrix, m + row * depth, x, x0, depth)


@_kernel
def _backward_after(
    grad: Array, x: Array, states: Array, gates: Array, kernel: Array, recurrent: Array, grad_x: Array,
    sum_kernel: Array, sum_recurrent: Array, sum_bias: Array,
    spans: Array, steps: int, width: int, wide: int, want_x: bool, want_weights: bool,
) -> None:  # fmt: skip
    # Of a tile: gradients of what is inside the activations of n, r and z, and of c, by step.
    step = 4 * wide | ROWS
    deltas = np.empty(steps * step * LANES, x.dtype)
    carried = np.zeros(wide * LANES, x.dtype)
    for replica, first_tile, last_tile, group in spans:
        for tile in range(first_tile, last_tile):
            carried[:] = 0
            for t in range(steps - 1, -1, -1):
                row, d = tile * steps + t, t * step * LANES
                for k in range(wide):
                    g, o = 4 * (row * wide + k) * LANES, d + k * LANES
                    dn = _through_state(grad, states, gates, row, wide, t, deltas, o, carried, k)
                    r, c = load(gates, g), load(gates, g + 3 * LANES)
                    one = constant(r, 1.0)
                    store(deltas, o + wide * LANES, dn * c * r * (one - r))
                    store(deltas, o + 3 * wide * LANES, dn * r)
                if t:
                    at = 3 * replica * wide * wide
                    _multiply(carried, 0, wide, recurrent, at, deltas, d + wide * LANES, 3 * wide)
                if want_x:
                    _to_input(grad_x, row, kernel, 3 * replica * wide * width, deltas, d, width, wide)
            if want_weights:
                x0, h0 = tile * steps * (width | ROWS) * LANES, tile * steps * (wide | ROWS) * LANES
                _add_biases(sum_bias, group, deltas, steps, wide)
                _add_outer(sum_kernel, 3 * group * wide, deltas, 0, x, x0, 3 * wide, width, step, steps)
                # A step's states go with the next step's gradients: those of r, z, c lie beside each other.
                later = (step + wide) * LANES
                _add_outer(
                    sum_recurrent, 3 * group * wide, deltas, later, states, h0, 3 * wide, wide, step, steps - 1
                )


@_kernel
def _backward_before(
    grad: Array, x: Array, states: Array, gates: Array, kernel: Array, recurrent: Array, grad_x: Array,
    sum_kernel: Array, sum_recurrent: Array, sum_bias: Array,
    spans: Array, steps: int, width: int, wide: int, want_x: bool, want_weights: bool,
) -> None:  # fmt: skip
    # Of a tile: gradients of what is inside the activations of n, r and z, and no fourth, by step.
    step = 4 * wide | ROWS
    deltas = np.zeros(steps * step * LANES, x.dtype)
    carried = np.zeros(wide * LANES, x.dtype)
    seen, of_seen = np.zeros(steps * (wide | ROWS) * LANES, x.dtype), np.zeros(wide * LANES, x.dtype)
    for replica, first_tile, last_tile, group in spans:
        at = 3 * replica * wide * wide
        for tile in range(first_tile, last_tile):
            carried[:] = 0
            for t in range(steps - 1, -1, -1):
                row, d = tile * steps + t, t * step * LANES
                for k in range(wide):
                    _through_state(grad, states, gates, row, wide, t, deltas, d + k * LANES, carried, k)
                of_seen[:] = 0
                if t:
                    _multiply(of_seen, 0, wide, recurrent, at + 2 * wide * wide, deltas, d, wide)
                    _through_reset(states, gates, row, wide, deltas, d, carried, seen, t, of_seen)
                    _multiply(carried, 0, wide, recurrent, at, deltas, d + wide * LANES, 2 * wide)
                if want_x:
                    _to_input(grad_x, row, kernel, 3 * replica * wide * width, deltas, d, width, wide)
            if want_weights:
                x0, h0 = tile * steps * (width | ROWS) * LANES, tile * steps * (wide | ROWS) * LANES
                _add_biases(sum_bias, group, deltas, steps, wide)
                _add_outer(sum_kernel, 3 * group * wide, deltas, 0, x, x0, 3 * wide, width, step, steps)
                later = (step + wide) * LANES
                _add_outer(
                    sum_recurrent, 3 * group * wide, deltas, later, states, h0, 2 * wide, wide, step, steps - 1
                )
                of_n = (3 * group + 2) * wide
                _add_outer(sum_recurrent, of_n, deltas, 0, seen, 0, wide, wide, step, steps)


@_inline
def _through_state(
    grad: Array, states: Array, gates: Array, row: int, wide: int, t: int,
    deltas: Array, o: int, carried: Array, k: int,
) -> Any:  # fmt: skip
    """Back through h' = (1 - z) n + z h: what goes to n (returned, and kept) and z, and to h past the gates."""
    now, g = (row * (wide | ROWS) + k) * LANES, 4 * (row * wide + k) * LANES
    dh, z, n = load(grad, now) + load(carried, k * LANES), load(gates, g + LANES), load(gates, g + 2 * LANES)
    h, one = load(states, now - (wide | ROWS) * LANES) if t else constant(z, 0.0), constant(z, 1.0)
    dn = dh * (one - z) * (one - n * n)
    store(deltas, o, dn)
    store(deltas, o + 2 * wide * LANES, dh * (h - n) * z * (one - z))
    store(carried, k * LANES, dh * z)
    return dn


@_inline
def _through_reset(
    states: Array, gates: Array, row: int, wide: int,
    deltas: Array, d: int, carried: Array, seen: Array, t: int, of_seen: Array,
) -> None:  # fmt: skip
    """Back through r * h, of which `of_seen` is the gradient; at the first step all of it is 0, as h is."""
    for k in range(wide):
        r, gradient = load(gates, 4 * (row * wide + k) * LANES), load(of_seen, k * LANES)
        h = load(states, ((row - 1) * (wide | ROWS) + k) * LANES)
        store(deltas, d + (wide + k) * LANES, gradient * h * r * (constant(r, 1.0) - r))
        store(carried, k * LANES, fma(gradient, r, load(carried, k * LANES)))
        store(seen, (t * (wide | ROWS) + k) * LANES, r * h)


@_inline
def _to_input(
    grad_x: Array, row: int, kernel: Array, at: int, deltas: Array, d: int, width: int, wide: int
) -> None:
    """Gradient of what the layer reads at a step, from those of n, r, z."""
    o = row * (width | ROWS) * LANES
    for k in range(width):
        store(grad_x, o + k * LANES, constant(load(deltas, d), 0.0))
    _multiply(grad_x, o, width, kernel, at, deltas, d, 3 * wide)


@_inline
def _add_outer(
    sums: Array, first: int, deltas: Array, d: int, x: Array, x0: int,
    rows: int, width: int, step: int, steps: int,
) -> None:  # fmt: skip
    """Add a tile's weight gradient: `rows` rows from `first`, sums over the steps of deltas times x."""
    for j in range(0, rows, ROWS):
        for k in range(0, width, OUTER_COLUMNS):
            o = (first + j) * width + ROWS * k
            outer(sums, o, deltas, d + j * LANES, step, x, x0 + k * LANES, width | ROWS, steps)


@_inline
def _add_biases(sum_bias: Array, group: int, deltas: Array, steps: int, wide: int) -> None:
    for j in range(4 * wide):
        at = (4 * group * wide + j) * LANES
        value = load(sum_bias, at)
        for t in range(steps):
            value = value + load(deltas, (t * (4 * wide | ROWS) + j) * LANES)
        store(sum_bias, at, value)


@_kernel
def _collect(
    sum_kernel: Array, sum_recurrent: Array, sum_bias: Array,
    kernel: Array, recurrent: Array, bias: Array, second: Array, groups: int, width: int, wide: int,
) -> None:  # fmt: skip
    """Sum over groups, of biases also over lanes; from the order n, r, z (c) to torch's r, z, n."""
    replicas, hidden = kernel.shape[0], kernel.shape[1] // 3
    for replica in range(replicas):
        first = replica * groups
        for gate in range(3):
            order = (gate + 1) % 3
            for unit in range(hidden):
                line = gate * hidden + unit
                for k in range(kernel.shape[2]):
                    at = _cell(3 * first * wide + order * wide + unit, k, width)
                    kernel[replica, line, k] = _over_groups(sum_kernel, at, groups, 3 * wide * width)
                for k in range(hidden):
                    at = _cell(3 * first * wide + gate * wide + unit, k, wide)
                    recurrent[replica, line, k] = _over_groups(sum_recurrent, at, groups, 3 * wide * wide)
                at = 4 * first * wide + unit
                bias[replica, line] = _over_lanes(sum_bias, at + order * wide, groups, 4 * wide)
                again = order if gate < 2 else 3
                second[replica, line] = _over_lanes(sum_bias, at + again * wide, groups, 4 * wide)


@_inline
def _cell(row: int, k: int, width: int) -> int:
    """Where `_add_outer` adds the gradient of a row's entry k."""
    block = row // ROWS * ROWS * width + k // OUTER_COLUMNS * OUTER_COLUMNS * ROWS
    return block + row % ROWS * OUTER_COLUMNS + k % OUTER_COLUMNS


@_inline
def _over_groups(sums: Array, at: int, groups: int, pitch: int) -> Any:
    value = sums[at]
    for group in range(1, groups):
        value += sums[at + group * pitch]
    return value


@_inline
def _over_lanes(sums: Array, at: int, groups: int, pitch: int) -> Any:
    value = load(sums, at * LANES)
    for group in range(1, groups):
        value = value + load(sums, (at + group * pitch) * LANES)
    return total(value)
