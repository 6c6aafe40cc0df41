"""Many small GRUs side by side: the cell of TensorFlow 1, batched over judges, with its own backward pass.

The cell is `tf.nn.rnn_cell.GRUCell` (Cho et al. 2014), which applies the reset gate before the recurrent
product; `torch.nn.GRU` applies it after. For input x and state h of one judge:

    r = sigmoid(W_r [x, 1] + U_r h)
    u = sigmoid(W_u [x, 1] + U_u h)
    c = tanh(W_c [x, 1] + U_c (r * h))
    h' = u * h + (1 - u) * c

Networks this small cost what their calls cost, not what their arithmetic costs: windows are the last axis of
every buffer, so that all judges share each call, buffers are kept between iterations, and the backward pass
is written out. One training iteration of ten judges of the stock data takes 0.6 of autograd's time so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class JudgeWeights:
    """Weights of J recurrent judges with H hidden units and F inputs (the last input is the constant 1)."""

    kernel: Tensor
    """Shape (J, 3H, F): inputs to reset gate, update gate and candidate; the last column is the bias."""
    recurrent_gates: Tensor
    """Shape (J, 2H, H): state to reset and update gate."""
    recurrent_candidate: Tensor
    """Shape (J, H, H): reset state to candidate."""
    dense: Tensor
    """Shape (J, 1, H): state to the one output."""
    dense_bias: Tensor
    """Shape (J, 1, 1)."""

    @classmethod
    def initial(cls, judges: int, inputs: int, hidden: int, generator: torch.Generator) -> JudgeWeights:
        """TensorFlow 1's start: Glorot-uniform kernels over [x, h], gate bias 1, other biases 0.

        Args:
            judges: J.
            inputs: Inputs without the constant one.
            hidden: H.
            generator: Source of the weights.
        """

        def uniform(rows: int, columns: int, fan: int) -> Tensor:
            limit = math.sqrt(6 / fan)
            return (torch.rand(judges, rows, columns, generator=generator) * 2 - 1) * limit

        gates = uniform(2 * hidden, inputs + hidden, fan=inputs + hidden + 2 * hidden)
        candidate = uniform(hidden, inputs + hidden, fan=inputs + hidden + hidden)
        bias = torch.tensor([1.0, 1.0, 0.0]).repeat_interleave(hidden).view(1, -1, 1).expand(judges, -1, 1)
        kernel = torch.cat((gates[..., :inputs], candidate[..., :inputs]), 1)
        weights = cls(
            kernel=torch.cat((kernel, bias), 2),
            recurrent_gates=gates[..., inputs:].contiguous(),
            recurrent_candidate=candidate[..., inputs:].contiguous(),
            dense=uniform(1, hidden, fan=hidden + 1),
            dense_bias=torch.zeros(judges, 1, 1),
        )
        for tensor in weights:
            tensor.requires_grad_()
        return weights

    def __iter__(self) -> Iterator[Tensor]:
        return (getattr(self, field.name) for field in fields(self))

    @property
    def judges(self) -> int:
        """J."""
        return self.dense.shape[0]

    @property
    def hidden(self) -> int:
        """H."""
        return self.dense.shape[2]


class Workspace:
    """Buffers of one forward and backward pass, kept between passes of the same shape."""

    def __init__(self, steps: int, weights: JudgeWeights, batch: int) -> None:
        kernel, judges, hidden = weights.kernel, weights.judges, weights.hidden

        def buffer(width: int, length: int = steps) -> Tensor:
            return torch.empty(length, judges, width, batch, dtype=kernel.dtype)

        self.shape = (steps, judges, hidden, batch)
        self.passes = 0
        self.x = torch.empty(steps, judges * batch, kernel.shape[2], dtype=kernel.dtype)
        self.inputs = buffer(3 * hidden)
        self.gates, self.reset_state, self.candidate = buffer(2 * hidden), buffer(hidden), buffer(hidden)
        self.h = buffer(hidden, steps + 1).zero_()
        self.gate_slope, self.candidate_slope = buffer(2 * hidden), buffer(hidden)
        self.d_gates, self.d_candidate = buffer(2 * hidden), buffer(hidden)
        self.d_reset_state = buffer(hidden, 1)[0]
        self.d_h = buffer(hidden, 2).unbind(0)
        # Views by step: making them anew at every pass would cost a tenth of it.
        r, u = self.gates[:, :, :hidden], self.gates[:, :, hidden:]
        self.forward_steps = _by_step(
            self.inputs[:, :, : 2 * hidden],
            self.inputs[:, :, 2 * hidden :],
            *(self.gates, r, u, self.reset_state, self.candidate, self.h[:-1], self.h[1:]),
        )
        self.backward_steps = _by_step(
            self.d_gates,
            *(self.d_gates[:, :, :hidden], self.d_gates[:, :, hidden:], self.d_candidate, self.candidate_slope),
            *(self.gate_slope[:, :, :hidden], self.gate_slope[:, :, hidden:], r, u),
        )

    def gather(self, data: Tensor, index: Tensor) -> Tensor:
        """The windows `index`, shape (J, B), of `data`, shape (steps, windows, F), as `gru` wants them."""
        steps, judges, _, batch = self.shape
        torch.index_select(data, 1, index.reshape(-1), out=self.x)
        return self.x.view(steps * judges, batch, -1)


def gru(x: Tensor, weights: JudgeWeights, workspace: Workspace, *, last: bool) -> Tensor:
    """States of all judges from a zero start.

    Args:
        x: Shape (steps * J, B, F), judges within steps, last column 1; gets no gradient.
        weights: Of J judges.
        workspace: Made for these shapes; its next use forbids this pass's backward.
        last: Give the last state only.

    Returns:
        Shape (J, H, B) if `last`, otherwise (steps, J, H, B).
    """
    states: Tensor = _GRU.apply(  # type: ignore[no-untyped-call]
        x, weights.kernel, weights.recurrent_gates, weights.recurrent_candidate, workspace, last
    )
    return states


def outputs(x: Tensor, weights: JudgeWeights, workspace: Workspace, *, last: bool) -> Tensor:
    """The dense layer over `gru`: shape (J, B) if `last`, otherwise (steps, J, B)."""
    states = gru(x, weights, workspace, last=last)
    return (torch.matmul(weights.dense, states) + weights.dense_bias).squeeze(-2)


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Tensor, gates: Tensor, candidate: Tensor, workspace: Workspace, last: bool
    ) -> Tensor:
        w = workspace
        steps, _, hidden, _ = w.shape
        w.passes += 1
        ctx.save_for_backward(x, gates, candidate)
        ctx.workspace, ctx.last, ctx.turn = w, last, w.passes
        # tanh(a) = 2 sigmoid(2a) - 1: torch's tanh takes several times as long as its sigmoid on a CPU.
        doubled = torch.cat((kernel[:, : 2 * hidden], 2 * kernel[:, 2 * hidden :]), 1)
        doubled_candidate = 2 * candidate
        torch.bmm(doubled.repeat(steps, 1, 1), x.transpose(1, 2), out=w.inputs.view(len(x), 3 * hidden, -1))
        for gates_in, candidate_in, g, r, u, reset_state, c, h, h_next in w.forward_steps:
            torch.baddbmm(gates_in, gates, h, out=g).sigmoid_()
            torch.mul(r, h, out=reset_state)
            torch.baddbmm(candidate_in, doubled_candidate, reset_state, out=c).sigmoid_().mul_(2).sub_(1)
            torch.lerp(c, h, u, out=h_next)
        return (w.h[-1] if last else w.h[1:]).clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        w: Workspace = ctx.workspace
        if ctx.turn != w.passes:
            raise RuntimeError("the workspace was used again before this pass went backward; make one for each")
        x, gates, candidate = ctx.saved_tensors
        _slopes(w)
        _backward_in_time(w, grads[0], gates.transpose(1, 2), candidate.transpose(1, 2), last=ctx.last)
        d_kernel = torch.cat((_over_steps(w.d_gates, x, w), _over_steps(w.d_candidate, x, w)), 1)
        h = w.h[:-1].flatten(0, 1).transpose(1, 2)
        reset_state = w.reset_state.flatten(0, 1).transpose(1, 2)
        d_recurrent_gates = _over_steps(w.d_gates, h, w)
        d_recurrent_candidate = _over_steps(w.d_candidate, reset_state, w)
        return None, d_kernel, d_recurrent_gates, d_recurrent_candidate, None, None


def _slopes(w: Workspace) -> None:
    """Derivatives of h' by the candidate's and the gates' sums, for all steps at once.

    `dh'/da_c = (1 - u)(1 - c^2)` and `dh'/da_u = (h - c) u (1 - u)`; what reaches the reset gate comes through
    `r * h`, so that its factor is `h r (1 - r)`.
    """
    hidden = w.shape[2]
    h, u = w.h[:-1], w.gates[:, :, hidden:]
    torch.mul(w.candidate, w.candidate, out=w.candidate_slope)
    w.candidate_slope.neg_().add_(1)
    w.candidate_slope.addcmul_(w.candidate_slope, u, value=-1)
    torch.addcmul(w.gates, w.gates, w.gates, value=-1, out=w.gate_slope)
    w.gate_slope[:, :, :hidden].mul_(h)
    w.gate_slope[:, :, hidden:].mul_(torch.sub(h, w.candidate, out=w.d_candidate))


def _backward_in_time(w: Workspace, grad: Tensor, gates: Tensor, candidate: Tensor, *, last: bool) -> None:
    """Fill `d_gates` and `d_candidate`, the gradients of the sums inside the sigmoids and the tanh."""
    d_h = grad if last else grad[-1]
    for t in reversed(range(w.shape[0])):
        d_gates, d_r, d_u, d_c, slope_c, slope_r, slope_u, r, u = w.backward_steps[t]
        torch.mul(d_h, slope_c, out=d_c)
        torch.bmm(candidate, d_c, out=w.d_reset_state)
        torch.mul(d_h, slope_u, out=d_u)
        torch.mul(w.d_reset_state, slope_r, out=d_r)
        if t == 0:
            return
        before = w.d_h[t % 2]
        if last:
            torch.mul(d_h, u, out=before)
        else:
            torch.addcmul(grad[t - 1], d_h, u, out=before)
        d_h = before.addcmul_(w.d_reset_state, r).baddbmm_(gates, d_gates)


def _over_steps(left: Tensor, right: Tensor, w: Workspace) -> Tensor:
    """Sum over steps and windows: (steps, J, A, B) with (steps * J, B, C) gives (J, A, C)."""
    steps, judges, _, _ = w.shape
    products = torch.bmm(left.flatten(0, 1), right)
    return products.view(steps, judges, *products.shape[1:]).sum(0)


def _by_step(*buffers: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(buffer.unbind(0) for buffer in buffers), strict=True))
