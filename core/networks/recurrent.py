"""Stacks of recurrent layers with a dense layer on every step: the shape of TimeGAN's networks.

Cells, for the input x and the state h of a layer (W kernel, U recurrent kernel, b bias):

- `gru`, reset gate after the recurrent product (cuDNN, `torch.nn.GRU`):
  n = tanh(W_n x + b_n + r * (U_n h + b'_n)), h' = (1 - z) n + z h
- `gru`, reset gate before it (Cho et al. 2014, TensorFlow 1, the published TimeGAN code):
  n = tanh(W_n x + b_n + U_n (r * h)), h' = (1 - z) n + z h
- `lstm` (Hochreiter and Schmidhuber 1997, with forget gate):
  c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c')
- `lstm_ln` (Ba, Kiros and Hinton 2016, as TF1's `LayerNormBasicLSTMCell`): each gate and the new c are
  layer-normalised before they are used
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.dropout import Dropout, VariationalDropout
from core.networks.recurrence import Recurrence, gru
from core.networks.straight_through import sign

Cell = Literal["gru", "lstm", "lstm_ln"]
ResetGate = Literal["after", "before"]
State = tuple[Tensor, ...]
"""What a layer carries from step to step: (h,) or (h, c), and the mask of a recurrent dropout; each of shape
(batch, hidden)."""

_GATES = {"gru": 3, "lstm": 4, "lstm_ln": 4}


@dataclass(frozen=True)
class RecurrentOptions:
    """How a recurrent network is built, beside its sizes."""

    cell: Cell = "gru"
    reset_gate: ResetGate = "after"
    """Of the `gru` cell: where the reset gate acts, after or before the recurrent product."""
    bidirectional: bool = False
    dropout: float = 0.0
    """Share of the values between layers that is dropped."""
    recurrent_dropout: float = 0.0
    """Share of the state that is dropped, the same units at every step of a window."""
    binarize: bool = False
    """Kernels act as their sign times the mean magnitude of their row."""


class RecurrentLayer(nn.Module):
    """One layer in one direction.

    Weights are torch's: gates in the order r, z, n (GRU) or i, f, g, o (LSTM) along the first axis. The weights
    of several replicas may stand behind each other along one more axis before it; a batch then holds the
    replicas' rows behind each other.
    """

    def __init__(self, inputs: int, hidden: int, options: RecurrentOptions) -> None:
        super().__init__()
        self.inputs, self.hidden, self.options = inputs, hidden, options
        self.gates = _GATES[options.cell]
        self.weight_ih = nn.Parameter(torch.empty(self.gates * hidden, inputs))
        self.weight_hh = nn.Parameter(torch.empty(self.gates * hidden, hidden))
        if options.cell == "lstm_ln":
            self.scale = nn.Parameter(torch.ones(5, hidden))
            self.shift = nn.Parameter(torch.zeros(5, hidden))
        else:
            self.bias_ih = nn.Parameter(torch.zeros(self.gates * hidden))
        # cuDNN's cells have a second bias; only where it is inside the reset gate does it add anything.
        if options.cell == "lstm" or (options.cell == "gru" and options.reset_gate == "after"):
            self.bias_hh = nn.Parameter(torch.zeros(self.gates * hidden))
        self.state_dropout = VariationalDropout(options.recurrent_dropout)
        self.by_steps = False
        self.trained_by: Recurrence = "torch"

    @property
    def recurrence(self) -> Recurrence:
        """Of whole sequences; torch's outside training: so windows are the same wherever they are drawn."""
        return self.trained_by if self.training else "torch"

    @property
    def fused(self) -> bool:
        """There is one call for the whole sequence."""
        if self.by_steps or self.state_dropout.active:
            return False
        if self.recurrence != "torch":
            return self.options.cell == "gru"
        known = self.options.cell == "lstm" or (
            self.options.cell == "gru" and self.options.reset_gate == "after"
        )
        return known and self.weight_ih.dim() == 2

    def kernels(self) -> tuple[Tensor, Tensor]:
        """Kernel and recurrent kernel as they act."""
        if self.options.binarize:
            return binarized(self.weight_ih), binarized(self.weight_hh)
        return self.weight_ih, self.weight_hh

    def weights(self) -> list[Tensor]:
        """As torch's fused cells want them; without the second bias where there is none."""
        return [*self.kernels(), self.bias_ih, *([self.bias_hh] if hasattr(self, "bias_hh") else [])]

    def start(self, batch: int, like: Tensor) -> State:
        """The zero state and, while states are dropped, the mask that holds for all steps."""
        state = (like.new_zeros(batch, self.hidden),) * self.carried
        mask = self.state_dropout.mask(batch, self.hidden, like)
        return state if mask is None else (*state, mask)

    @property
    def carried(self) -> int:
        """Tensors of a state without the mask."""
        return 1 if self.options.cell == "gru" else 2

    def forward(self, x: Tensor) -> Tensor:
        """States of every step: shape (batch, steps, inputs) to (batch, steps, hidden)."""
        if self.fused:
            return _fused(x, [self])
        kernel, recurrent = self.kernels()
        given = linear(x, kernel, getattr(self, "bias_ih", None)).unbind(1)
        state = self.start(x.shape[0], x)
        states = []
        for step in given:
            state = self._advance(step, state, recurrent)
            states.append(state[0])
        return torch.stack(states, dim=1)

    def step(self, x: Tensor, state: State) -> State:
        """One step: shape (batch, inputs) and a state to the next state."""
        kernel, recurrent = self.kernels()
        given = linear(x, kernel, getattr(self, "bias_ih", None))
        return self._advance(given, state, recurrent)

    def _advance(self, given: Tensor, state: State, recurrent: Tensor) -> State:
        mask = state[self.carried :]
        h = state[0] * mask[0] if mask else state[0]
        if self.options.cell == "gru":
            return self._gru(given, state[0], h, recurrent), *mask
        gates = given + linear(h, recurrent, getattr(self, "bias_hh", None))
        return *self._lstm(gates, state[1]), *mask

    def _gru(self, given: Tensor, h: Tensor, seen: Tensor, recurrent: Tensor) -> Tensor:
        two = 2 * self.hidden
        if self.options.reset_gate == "after":
            kept = linear(seen, recurrent, self.bias_hh)
            r, z = (given[:, :two] + kept[:, :two]).sigmoid().chunk(2, dim=1)
            n = (given[:, two:] + r * kept[:, two:]).tanh()
        else:
            r, z = (given[:, :two] + linear(seen, recurrent[..., :two, :])).sigmoid().chunk(2, dim=1)
            n = (given[:, two:] + linear(r * seen, recurrent[..., two:, :])).tanh()
        return (1 - z) * n + z * h

    def _lstm(self, gates: Tensor, c: Tensor) -> State:
        parts = list(gates.chunk(4, dim=1))
        if self.options.cell == "lstm_ln":
            parts = [self._normed(part, index) for index, part in enumerate(parts)]
        i, f, g, o = parts
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        if self.options.cell == "lstm_ln":
            c = self._normed(c, 4)
        return o.sigmoid() * c.tanh(), c

    def _normed(self, x: Tensor, index: int) -> Tensor:
        scale, shift = self.scale.select(-2, index), self.shift.select(-2, index)
        if scale.dim() == 1:
            return functional.layer_norm(x, (self.hidden,), scale, shift, eps=1e-6)
        rows = functional.layer_norm(x, (self.hidden,), eps=1e-6).view(len(scale), -1, self.hidden)
        return torch.addcmul(shift[:, None], rows, scale[:, None]).flatten(0, 1)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Weights as TF1's cells start: Glorot uniform over input and state, gate or forget biases 1."""
        hidden = self.hidden
        fan_in = self.inputs + hidden
        if self.options.cell == "gru":
            # TF1 keeps the two gates in one kernel of 2 x hidden outputs and the candidate in another.
            limits = [(slice(0, 2 * hidden), 2 * hidden), (slice(2 * hidden, None), hidden)]
        else:
            limits = [(slice(None), 4 * hidden)]
        for weight in (self.weight_ih, self.weight_hh):
            for rows, fan_out in limits:
                glorot(weight[rows], fan_in, fan_out, rng)
        if self.options.cell == "gru":
            self.bias_ih[: 2 * hidden] = 1
        elif self.options.cell == "lstm":
            self.bias_ih[hidden : 2 * hidden] = 1
        else:
            self.shift[1] = 1


class RecurrentStack(nn.Module):
    """Layers on top of each other, in one direction or in both.

    Args:
        inputs: Features of a step going in.
        hidden: Width of every layer and direction.
        layers: At least 1.
        options: Cell, direction, dropout.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, options: RecurrentOptions | None = None) -> None:
        super().__init__()
        options = options or RecurrentOptions()
        self.inputs, self.hidden, self.options = inputs, hidden, options
        self.outputs = hidden * (2 if options.bidirectional else 1)
        widths = [inputs] + [self.outputs] * (layers - 1)
        self.layers = nn.ModuleList(RecurrentLayer(width, hidden, options) for width in widths)
        self.backward_layers = nn.ModuleList(
            RecurrentLayer(width, hidden, options) for width in widths if options.bidirectional
        )
        self.dropout = Dropout(options.dropout)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """States of the last layer.

        Args:
            x: Shape (batch, steps, inputs).
            lengths: Shape (batch,): steps of each window, all of them if None. Only the backward direction
                needs them; what stands past a window's end has no meaning.

        Returns:
            Shape (batch, steps, outputs).
        """
        forward = self._layers(self.layers)
        if not self.backward_layers:
            if forward[0].fused and not self.dropout.active:
                return _fused(x, forward)
            for index, layer in enumerate(forward):
                x = layer(self.dropout(x) if index else x)
            return x
        order = _reversal(x, lengths)
        for index, (ahead, behind) in enumerate(zip(forward, self._layers(self.backward_layers), strict=True)):
            x = self.dropout(x) if index else x
            x = torch.cat([ahead(x), _reverse(behind(_reverse(x, order)), order)], dim=-1)
        return x

    @contextmanager
    def twice_differentiable(self) -> Iterator[None]:
        """Step by step in plain operations: the fused cells of a GPU have no second derivative."""
        layers = (*self._layers(self.layers), *self._layers(self.backward_layers))
        for layer in layers:
            layer.by_steps = True
        try:
            yield
        finally:
            for layer in layers:
                layer.by_steps = False

    def use(self, recurrence: Recurrence) -> None:
        """Compute whole sequences by `recurrence` in training; by torch's if nobody says."""
        for layer in (*self._layers(self.layers), *self._layers(self.backward_layers)):
            layer.trained_by = recurrence

    def start(self, batch: int, like: Tensor) -> list[State]:
        """States of the forward layers before the first `step`."""
        return [layer.start(batch, like) for layer in self._layers(self.layers)]

    def step(self, x: Tensor, states: Sequence[State]) -> tuple[Tensor, list[State]]:
        """One step of the forward layers, shape (batch, inputs) to (batch, hidden)."""
        after: list[State] = []
        for index, (layer, state) in enumerate(zip(self._layers(self.layers), states, strict=True)):
            after.append(layer.step(self.dropout(x) if index else x, state))
            x = after[-1][0]
        return x, after

    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU."""
        for layer in (*self._layers(self.layers), *self._layers(self.backward_layers)):
            layer.reset_parameters(rng)

    @staticmethod
    def _layers(modules: Iterable[nn.Module]) -> list[RecurrentLayer]:
        return [module for module in modules if isinstance(module, RecurrentLayer)]


class RecurrentNetwork(nn.Module):
    """Recurrent layers, a dense layer per step, and what turns its numbers into outputs.

    Args:
        inputs: Features of a step going in.
        hidden: Width of every layer.
        outputs: Features of a step coming out.
        layers: Recurrent layers, at least 1.
        activation: Of the dense layer; none (logits) if None.
        options: Cell, direction, dropout.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        layers: int,
        *,
        activation: nn.Module | None = None,
        options: RecurrentOptions | None = None,
    ) -> None:
        super().__init__()
        self.recurrent = RecurrentStack(inputs, hidden, layers, options)
        self.dense = nn.Linear(self.recurrent.outputs, outputs)
        self.activation = activation

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Shape (batch, steps, inputs) to (batch, steps, outputs); `lengths` as for `RecurrentStack`."""
        y = self.raw(x, lengths)
        if self.activation is not None:
            y = self.activation(y)
        return y

    def raw(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The dense layer's numbers, before the activation."""
        y: Tensor = self._dense(self.recurrent(x, lengths))
        return y

    def step(self, x: Tensor, states: Sequence[State]) -> tuple[Tensor, list[State]]:
        """One step: shape (batch, inputs) to (batch, outputs)."""
        h, after = self.recurrent.step(x, states)
        y = self._dense(h)
        return (y if self.activation is None else self.activation(y)), after

    def _dense(self, states: Tensor) -> Tensor:
        weight = self.dense.weight
        if self.recurrent.options.binarize:
            weight = binarized(weight)
        return linear(states, weight, self.dense.bias)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU: as in TF1, Glorot uniform and dense biases 0."""
        self.recurrent.reset_parameters(rng)
        reset_linear(self.dense, rng)


class FeedForwardNetwork(nn.Module):
    """The same dense layers on every step (or on a vector), with tanh between them.

    Args:
        inputs: Width going in.
        hidden: Width of the layers between.
        outputs: Width coming out.
        layers: Layers between, at least 0.
        activation: Of the last layer; none (logits) if None.
        dropout: Share of the values between layers that is dropped.
        binarize: Weights act as their sign times the mean magnitude of their row.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        layers: int,
        *,
        activation: nn.Module | None = None,
        dropout: float = 0.0,
        binarize: bool = False,
    ) -> None:
        super().__init__()
        widths = [inputs] + [hidden] * layers
        self.between = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.dense = nn.Linear(widths[-1], outputs)
        self.dropout = Dropout(dropout)
        self.binarize = binarize
        self.activation = activation

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Shape (..., inputs) to (..., outputs); `lengths` do not matter to a step alone."""
        y = self.raw(x, lengths)
        if self.activation is not None:
            y = self.activation(y)
        return y

    def raw(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002 - as RecurrentNetwork
        """The last layer's numbers, before the activation."""
        for layer in self.between:
            x = self.dropout(self._linear(layer, x).tanh())
        return self._linear(self.dense, x)

    def _linear(self, layer: nn.Module, x: Tensor) -> Tensor:
        if not isinstance(layer, nn.Linear):
            raise TypeError(type(layer))
        return linear(x, binarized(layer.weight) if self.binarize else layer.weight, layer.bias)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU: Glorot uniform, biases 0."""
        for layer in (*self.between, self.dense):
            if isinstance(layer, nn.Linear):
                reset_linear(layer, rng)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, also with weights of replicas.

    Args:
        x: Shape (batch, ..., inputs); with replicas the batch holds their rows behind each other.
        weight: Shape (outputs, inputs), or (replicas, outputs, inputs).
        bias: Shape (outputs,), or (replicas, outputs).
    """
    if weight.dim() == 2:
        return functional.linear(x, weight, bias)
    rows = x.reshape(len(weight), -1, x.shape[-1])
    columns = weight.transpose(1, 2)
    y = rows @ columns if bias is None else torch.baddbmm(bias[:, None], rows, columns)
    return y.view(*x.shape[:-1], weight.shape[1])


def binarized(weight: Tensor) -> Tensor:
    """Its sign times the mean magnitude of its row (Rastegari et al. 2016, eq. 6), straight-through.

    Without the scale, Glorot's small weights would act as plus and minus one and saturate every gate.
    """
    return sign(weight) * weight.detach().abs().mean(dim=-1, keepdim=True)


@torch.no_grad()
def glorot(weight: Tensor, fan_in: int, fan_out: int, rng: torch.Generator) -> None:
    """Fill with U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16)."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    weight.copy_(torch.empty(weight.shape).uniform_(-limit, limit, generator=rng))


@torch.no_grad()
def reset_linear(layer: nn.Linear, rng: torch.Generator) -> None:
    """Glorot uniform weights, biases 0, as TF1's dense layers start."""
    glorot(layer.weight, layer.in_features, layer.out_features, rng)
    layer.bias.zero_()


def _fused(x: Tensor, layers: Sequence[RecurrentLayer]) -> Tensor:
    """Every step of every layer in one call."""
    first, weights = layers[0], [weight for layer in layers for weight in layer.weights()]
    if first.recurrence != "torch":
        return gru(x, weights, len(layers), first.options.reset_gate, first.recurrence)
    zero = x.new_zeros(len(layers), x.shape[0], first.hidden)
    arguments = (weights, True, len(layers), 0.0, False, False, True)
    if first.options.cell == "gru":
        states: Tensor = torch.gru(x, zero, *arguments)[0]
    else:
        states = torch.lstm(x, (zero, zero), *arguments)[0]
    return states


def _reversal(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Shape (batch, steps): for each step, the one that stands there when the window is turned round."""
    steps = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
    ends = torch.full_like(steps[:, :1], x.shape[1]) if lengths is None else lengths[:, None]
    return torch.where(steps < ends, ends - 1 - steps, steps)


def _reverse(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))
