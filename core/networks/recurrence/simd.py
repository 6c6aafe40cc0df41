"""Vectors of a CPU for Numba: what the recurrent kernels are written in.

Numba leaves it to LLVM whether a loop becomes vector instructions and whether sums stay in registers; for
small matrix products that guess is two to five times too slow. A `Vector` is `LANES` numbers of one type, one
per window of a tile; `product` and `outer` are the two matrix products that a recurrent layer consists of, with
their sums in registers. LLVM splits a vector where the CPU's registers are shorter.

Arrays are flat and contiguous, offsets count elements. Nothing checks bounds.
"""

from __future__ import annotations

import operator
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

_WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
LANES = 16 if _WIDE else 8
"""Windows in a tile: one register of AVX-512, else two or four shorter ones."""
ROWS = 4
"""Rows of a matrix come in fours; callers pad."""
OUTER_COLUMNS = 4 if _WIDE else 2
"""Columns of an `outer` block: with `ROWS` rows it has `LANES` sums, which the registers hold."""

_INDEX = ir.IntType(64)
_SLOT = ir.IntType(32)


class Vector(types.Type):
    """`LANES` numbers of a type."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype}, {LANES})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, _ir_type(fe_type.dtype))


def _ir_type(dtype: Any) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if dtype == types.float32 else ir.DoubleType(), LANES)


class _Memory:
    """An array argument inside an intrinsic: loads and stores of vectors, a step being one vector."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> None:
        self.builder = builder
        self.type = _ir_type(kind.dtype)
        # An array of Numba's is aligned to its numbers only.
        self.align = kind.dtype.bitwidth // 8
        data = context.make_array(kind)(context, builder, array).data
        self.start = builder.gep(data, [offset])

    def _at(self, step: Any, element: ir.Type) -> Any:
        return self.builder.gep(self.builder.bitcast(self.start, element.as_pointer()), [step])

    def load(self, step: Any) -> Any:
        return self.builder.load(self._at(step, self.type), align=self.align)

    def store(self, value: Any, step: Any) -> None:
        self.builder.store(value, self._at(step, self.type), align=self.align)

    def number(self, step: Any) -> Any:
        """One number in every lane."""
        return _splat(self.builder, self.builder.load(self._at(step, self.type.element)), self.type)


def _splat(builder: Any, number: Any, vector: ir.VectorType) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, number, ir.Constant(_SLOT, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_SLOT, LANES), [0] * LANES))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    name = f"llvm.fmuladd.v{LANES}" + ("f32" if isinstance(a.type.element, ir.FloatType) else "f64")
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_INDEX, value)


def _sum_loop(builder: Any, count: Any, sums: list[Any], add: Any) -> list[Any]:
    """`sums` after `add(step, sums)` for `count` steps; they live in registers meanwhile."""
    entry = builder.block
    loop, done = (builder.append_basic_block(name) for name in ("sum", "sum.done"))
    builder.cbranch(builder.icmp_signed(">", count, _constant(0)), loop, done)
    builder.position_at_end(loop)
    step = builder.phi(_INDEX)
    inside = [builder.phi(value.type) for value in sums]
    after = add(step, inside)
    following = builder.add(step, _constant(1))
    step.add_incoming(_constant(0), entry)
    step.add_incoming(following, loop)
    for phi, first, later in zip(inside, sums, after, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(later, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
    builder.position_at_end(done)
    results = [builder.phi(value.type) for value in sums]
    for phi, first, later in zip(results, sums, after, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(later, loop)
    return results


@intrinsic
def load(_typing: Any, array: Any, _offset: Any) -> Any:
    """`LANES` numbers of `array` from `offset`."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _Memory(context, builder, array, *arguments).load(_constant(0))

    return Vector(array.dtype)(array, types.intp), generate


@intrinsic
def store(_typing: Any, array: Any, _offset: Any, value: Any) -> Any:
    """Write a vector to `array` at `offset`."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        _Memory(context, builder, array, *arguments[:2]).store(arguments[2], _constant(0))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def spread(_typing: Any, array: Any, _offset: Any) -> Any:
    """The number of `array` at `offset` in every lane."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _Memory(context, builder, array, *arguments).number(_constant(0))

    return Vector(array.dtype)(array, types.intp), generate


@intrinsic
def constant(_typing: Any, like: Any, _number: Any) -> Any:
    """`number` in every lane of a vector like `like`."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        number = context.cast(builder, arguments[1], types.float64, like.dtype)
        return _splat(builder, number, _ir_type(like.dtype))

    return like(like, types.float64), generate


@intrinsic
def fma(_typing: Any, a: Any, _b: Any, _c: Any) -> Any:
    """The sum a * b + c, rounded once where the CPU can."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _multiply_add(builder, *arguments)

    return a(a, a, a), generate


@intrinsic
def clamp(_typing: Any, x: Any, _bound: Any) -> Any:
    """x, not below -bound and not above bound; NaN stays NaN."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value, high = arguments
        low = builder.fneg(high)
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        return builder.select(builder.fcmp_ordered(">", value, high), high, value)

    return x(x, x), generate


@intrinsic
def total(_typing: Any, x: Any) -> Any:
    """The sum of the lanes, halves first."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        part, width = arguments[0], LANES
        while width > 1:
            width //= 2
            kind = ir.VectorType(_SLOT, width)
            undefined = ir.Constant(part.type, ir.Undefined)
            halves = (list(range(width)), list(range(width, 2 * width)))
            low, high = (builder.shuffle_vector(part, undefined, ir.Constant(kind, half)) for half in halves)
            part = builder.fadd(low, high)
        return builder.extract_element(part, ir.Constant(_SLOT, 0))

    return x.dtype(x), generate


def _operator(function: Any, instruction: str) -> None:
    @intrinsic
    def apply(_typing: Any, a: Any, _b: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return a(a, a), generate

    @overload(function)
    def implementation(a: Any, b: Any) -> Any:
        def vectors(a: Any, b: Any) -> Any:
            return apply(a, b)

        return vectors if isinstance(a, Vector) and a == b else None


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


def _make_product(rows: int) -> Any:
    @intrinsic
    def product(_typing: Any, out: Any, _o: Any, matrix: Any, _m: Any, x: Any, _x0: Any, _depth: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            result = _Memory(context, builder, out, *arguments[:2])
            left = _Memory(context, builder, matrix, *arguments[2:4])
            right = _Memory(context, builder, x, *arguments[4:6])

            def add(k: Any, sums: list[Any]) -> list[Any]:
                value, first = right.load(k), builder.mul(k, _constant(rows))
                numbers = [left.number(builder.add(first, _constant(row))) for row in range(rows)]
                return [_multiply_add(builder, n, value, s) for n, s in zip(numbers, sums, strict=True)]

            sums = [result.load(_constant(row)) for row in range(rows)]
            for row, value in enumerate(_sum_loop(builder, arguments[6], sums, add)):
                result.store(value, _constant(row))
            return context.get_dummy_value()

        arguments = (out, types.intp, matrix, types.intp, x, types.intp, types.intp)
        return types.void(*arguments), generate

    return product


product4, product8, product12 = (_make_product(rows) for rows in (4, 8, 12))
"""`product(out, o, matrix, m, x, x0, depth)`: `rows` vectors of `out` from `o` += matrix @ x, `depth` deep.

`matrix` from `m` has shape (depth, rows): the numbers of one step beside each other. `x` from `x0`: `depth`
vectors.
"""


@intrinsic
def outer(
    _typing: Any, out: Any, _o: Any, a: Any, _a0: Any, _a_step: Any, b: Any, _b0: Any, _b_step: Any, _steps: Any
) -> Any:
    """Add to `LANES` numbers of `out` from `o` the sums over steps and lanes of a[u] * b[v], for each u and v.

    Of step t, a[u] is `a0` + (t * `a_step` + u) vectors, u < `ROWS`; b[v] alike, v < `OUTER_COLUMNS`.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        result = _Memory(context, builder, out, *arguments[:2])
        left = _Memory(context, builder, a, *arguments[2:4])
        right = _Memory(context, builder, b, *arguments[5:7])
        a_step, b_step, steps = arguments[4], arguments[7], arguments[8]
        cells = [(u, v) for u in range(ROWS) for v in range(OUTER_COLUMNS)]

        def add(t: Any, sums: list[Any]) -> list[Any]:
            at_a, at_b = builder.mul(t, a_step), builder.mul(t, b_step)
            rows = [left.load(builder.add(at_a, _constant(u))) for u in range(ROWS)]
            columns = [right.load(builder.add(at_b, _constant(v))) for v in range(OUTER_COLUMNS)]
            return [
                _multiply_add(builder, rows[u], columns[v], s) for (u, v), s in zip(cells, sums, strict=True)
            ]

        nothing = ir.Constant(result.type, [0.0] * LANES)
        sums = _totals(builder, _sum_loop(builder, steps, [nothing] * len(cells), add))
        result.store(builder.fadd(result.load(_constant(0)), sums), _constant(0))
        return context.get_dummy_value()

    size = types.intp
    return types.void(out, size, a, size, size, b, size, size, size), generate


def _totals(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the totals of `LANES` vectors: halves are added, two vectors' to one, till one is left."""
    width = LANES
    while len(vectors) > 1:
        width //= 2
        halves = []
        for offset in (0, width):
            lanes = [first + offset + lane for first in range(0, 2 * LANES, 2 * width) for lane in range(width)]
            mask = ir.Constant(ir.VectorType(_SLOT, LANES), lanes)
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            halves.append([builder.shuffle_vector(a, b, mask) for a, b in pairs])
        vectors = [builder.fadd(a, b) for a, b in zip(*halves, strict=True)]
    return vectors[0]


@njit(inline="always")
def tanh(x: Any) -> Any:
    """Odd polynomial of degree 13 over an even one of degree 6, as in Eigen (`generic_fast_tanh_float`).

    Beyond +-7.9 it stays at the value there, 1 - 2.7e-7; the error is at most 3e-7 everywhere.
    """
    x = clamp(x, constant(x, 7.90531110763549805))
    square = x * x
    above = constant(x, -2.76076847742355e-16)
    above = fma(above, square, constant(x, 2.00018790482477e-13))
    above = fma(above, square, constant(x, -8.60467152213735e-11))
    above = fma(above, square, constant(x, 5.12229709037114e-08))
    above = fma(above, square, constant(x, 1.48572235717979e-05))
    above = fma(above, square, constant(x, 6.37261928875436e-04))
    above = fma(above, square, constant(x, 4.89352455891786e-03))
    below = constant(x, 1.19825839466702e-06)
    below = fma(below, square, constant(x, 1.18534705686654e-04))
    below = fma(below, square, constant(x, 2.26843463243900e-03))
    below = fma(below, square, constant(x, 4.89352518554385e-03))
    return x * above / below


@njit(inline="always")
def sigmoid(x: Any) -> Any:
    """(1 + tanh(x / 2)) / 2."""
    half = constant(x, 0.5)
    return fma(tanh(x * half), half, half)
