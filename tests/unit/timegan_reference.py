"""TimeGAN in NumPy, written from its equations and not from the project's code.

Everything is float64 and works on complex numbers too, so that gradients are exact without a backward pass:
for an analytic f, Im f(x + ih) / h is f'(x) to rounding (complex-step differentiation, Squire and Trapp 1998).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = dict[str, Array]
STEP = 1e-30


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softplus(x: Array) -> Array:
    return np.log(1 + np.exp(x))


def absolute(x: Array) -> Array:
    """|x| for a real x, analytic beside 0."""
    return x * np.sign(np.real(x))


def mean(x: Array, weight: Array | None = None) -> Any:
    if weight is None:
        return x.mean()
    weight = np.broadcast_to(weight, x.shape)
    return (x * weight).sum() / weight.sum()


@dataclass
class Data:
    """A batch: B windows of T steps."""

    X: Array
    static: Array
    condition: Array
    lengths: Array | None
    observed: Array | None
    observed_static: Array | None = None

    @property
    def rows(self) -> Array | None:
        if self.lengths is None:
            return None
        return (np.arange(self.X.shape[1]) < self.lengths[:, None])[..., None].astype(float)


@dataclass
class Reference:
    """The networks by their weights, and what the configuration chose."""

    W: Weights
    cell: str = "gru"
    reset_gate: str = "after"
    variant: str = "code"
    static_kinds: bool = False
    losses: dict[str, float] = field(default_factory=dict)

    def layer(self, name: str, x: Array) -> Array:
        W = self.W
        kernel, recurrent = W[f"{name}.weight_ih"], W[f"{name}.weight_hh"]
        H = recurrent.shape[1]
        a, b = (W.get(f"{name}.bias_{kind}", np.zeros(len(kernel))) for kind in ("ih", "hh"))
        h = c = np.zeros((len(x), H))
        states = []
        for t in range(x.shape[1]):
            given, kept = x[:, t] @ kernel.T + a, h @ recurrent.T + b
            if self.cell == "gru":
                r, z = sigmoid(given[:, :H] + kept[:, :H]), sigmoid(given[:, H : 2 * H] + kept[:, H : 2 * H])
                if self.reset_gate == "after":
                    n = np.tanh(given[:, 2 * H :] + r * kept[:, 2 * H :])
                else:
                    n = np.tanh(given[:, 2 * H :] + (r * h) @ recurrent[2 * H :].T)
                h = (1 - z) * n + z * h
            else:
                gates = [(given + kept)[:, k * H : (k + 1) * H] for k in range(4)]
                if self.cell == "lstm_ln":
                    gates = [self.normed(name, gate, k) for k, gate in enumerate(gates)]
                i, f, g, o = gates
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                if self.cell == "lstm_ln":
                    c = self.normed(name, c, 4)
                h = sigmoid(o) * np.tanh(c)
            states.append(h)
        return np.stack(states, axis=1)

    def normed(self, name: str, x: Array, k: int) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return centred / spread * self.W[f"{name}.scale"][k] + self.W[f"{name}.shift"][k]

    def network(self, name: str, x: Array, lengths: Array | None = None) -> Array:
        """The dense layer's numbers."""
        W, k = self.W, 0
        while f"{name}.recurrent.layers.{k}.weight_ih" in W:
            ahead = self.layer(f"{name}.recurrent.layers.{k}", x)
            if f"{name}.recurrent.backward_layers.{k}.weight_ih" in W:
                rows = []
                for row in range(len(x)):  # each window turned round at its own end
                    end = x.shape[1] if lengths is None else lengths[row]
                    back = self.layer(f"{name}.recurrent.backward_layers.{k}", x[row : row + 1, :end][:, ::-1])
                    rows.append(np.pad(back[0, ::-1], [(0, x.shape[1] - end), (0, 0)]))
                ahead = np.concatenate([ahead, np.stack(rows)], axis=-1)
            x, k = ahead, k + 1
        k = 0
        while f"{name}.between.{k}.weight" in W:
            x, k = np.tanh(x @ W[f"{name}.between.{k}.weight"].T + W[f"{name}.between.{k}.bias"]), k + 1
        return x @ W[f"{name}.dense.weight"].T + W[f"{name}.dense.bias"]

    def embed(self, data: Data) -> tuple[Array, Array]:
        h_S = sigmoid(self.network("static_embedder", data.static)) if self.static_kinds else data.static
        return sigmoid(self.network("embedder", self.given(data.X, h_S, data.condition))), h_S

    def given(self, x: Array, h_S: Array, condition: Array) -> Array:
        context = np.concatenate([h_S, condition], axis=1)
        return np.concatenate([x, np.repeat(context[:, None], x.shape[1], axis=1)], axis=2)

    def generate(self, noise: tuple[Array, ...], condition: Array) -> tuple[Array, Array, Array]:
        h_S = condition[:, :0]
        if self.static_kinds:
            h_S = sigmoid(self.network("static_generator", np.concatenate([noise[1], condition], axis=1)))
        given = self.given(noise[0], h_S, condition)
        if self.variant == "paper":
            # g(h_S, h_{t-1}, z_t): the whole past is run again at every step, which needs no carried state.
            H = np.zeros((len(given), 0, self.hidden))
            for t in range(given.shape[1]):
                before = np.concatenate([np.zeros((len(given), 1, self.hidden)), H], axis=1)
                y = sigmoid(self.network("generator", np.concatenate([given[:, : t + 1], before], axis=2)))
                H = np.concatenate([H, y[:, -1:]], axis=1)
            return H, H, h_S
        E_hat = sigmoid(self.network("generator", given))
        return E_hat, sigmoid(self.network("supervisor", self.given(E_hat, h_S, condition))), h_S

    @property
    def hidden(self) -> int:
        return len(self.W["embedder.dense.bias"])

    # Losses: equations 7 to 11 of the paper, and lines of the published code.

    def reconstruction(self, data: Data) -> Any:
        H, h_S = self.embed(data)
        error = self.error(data.X, sigmoid(self.network("recovery", H)), data.observed)
        if self.static_kinds:
            error = error + self.error(
                data.static, sigmoid(self.network("static_recovery", h_S)), data.observed_static
            )
        return error

    def supervised(self, data: Data, noise: tuple[Array, ...]) -> Any:
        H, h_S = self.embed(data)
        if self.variant == "paper":
            before = np.concatenate([np.zeros_like(H[:, :1]), H[:, :-1]], axis=1)
            given = np.concatenate([self.given(noise[0], h_S, data.condition), before], axis=2)
            return self.error(H, sigmoid(self.network("generator", given)), data.rows)
        next_ = sigmoid(self.network("supervisor", self.given(H, h_S, data.condition)))
        rows = None if data.rows is None else data.rows[:, 1:]
        return self.error(H[:, 1:], next_[:, :-1], rows)

    def error(self, target: Array, prediction: Array, weight: Array | None) -> Any:
        square = (prediction - target) ** 2
        if self.variant == "code":
            return mean(square, weight)
        if weight is None:
            return np.sqrt(square.sum(-1)).mean()
        weight = np.broadcast_to(weight, square.shape)
        inside = weight.max(-1) > 0
        return np.sqrt((square * weight).sum(-1)[inside]).mean()

    def root(self, x: Any) -> Any:
        return np.sqrt(x) if self.variant == "code" else x

    def embedding_loss(self, data: Data, noise: tuple[Array, ...]) -> Any:  # noqa: ARG002
        return (10 if self.variant == "code" else 1) * self.root(self.reconstruction(data))

    def embedder_loss(self, data: Data, noise: tuple[Array, ...]) -> Any:
        weight = 0.1 if self.variant == "code" else 1
        return self.embedding_loss(data, noise) + weight * self.supervised(data, noise)

    def judged(self, latents: Array, h_S: Array, data: Data) -> Array:
        return self.network("discriminator", self.given(latents, h_S, data.condition), data.lengths)

    def judged_static(self, h_S: Array, data: Data) -> Array:
        return self.network("static_discriminator", np.concatenate([h_S, data.condition], axis=1))

    def generator_loss(self, data: Data, noise: tuple[Array, ...]) -> Any:
        E_hat, H_hat, h_S = self.generate(noise, data.condition)
        loss = mean(softplus(-self.judged(H_hat, h_S, data)), data.rows)
        eta = 100 if self.variant == "code" else 10
        loss = loss + eta * self.root(self.supervised(data, noise))
        if self.static_kinds:
            loss = loss + mean(softplus(-self.judged_static(h_S, data)))
        if self.variant == "paper":
            return loss
        loss = loss + mean(softplus(-self.judged(E_hat, h_S, data)), data.rows)
        return loss + 100 * self.moments(data, H_hat, h_S)

    def moments(self, data: Data, H_hat: Array, h_S: Array) -> Any:
        X_hat = sigmoid(self.network("recovery", H_hat))
        error = moment_distance(data.X, X_hat, data.lengths)
        if self.static_kinds:
            static = sigmoid(self.network("static_recovery", h_S))
            error = error + moment_distance(data.static[:, None], static[:, None], None)
        return error

    def discriminator_loss(self, data: Data, noise: tuple[Array, ...]) -> Any:
        H, real_S = self.embed(data)
        E_hat, H_hat, fake_S = self.generate(noise, data.condition)
        loss = mean(softplus(-self.judged(H, real_S, data)), data.rows)
        loss = loss + mean(softplus(self.judged(H_hat, fake_S, data)), data.rows)
        if self.static_kinds:
            loss = loss + mean(softplus(-self.judged_static(real_S, data)))
            loss = loss + mean(softplus(self.judged_static(fake_S, data)))
        if self.variant == "code":
            loss = loss + mean(softplus(self.judged(E_hat, fake_S, data)), data.rows)
        return loss

    def gradient(self, loss: Callable[[], Any], names: list[str]) -> Weights:
        """Of `loss` by the weights `names`, by complex steps."""
        gradients = {}
        for name in names:
            whole = self.W[name]
            flat = np.zeros(whole.size)
            for k in range(whole.size):
                moved = whole.astype(complex)
                moved.flat[k] += 1j * STEP
                self.W[name] = moved
                flat[k] = np.imag(loss()) / STEP
            self.W[name] = whole
            gradients[name] = flat.reshape(whole.shape)
        return gradients


def moment_distance(X: Array, X_hat: Array, lengths: Array | None) -> Any:
    """By step and channel, over the windows that have that step."""
    spread, centre = [], []
    for t in range(X.shape[1]):
        there = np.ones(len(X), dtype=bool) if lengths is None else lengths > t
        (m, s), (m_hat, s_hat) = (
            (x[there, t].mean(0), np.sqrt(x[there, t].var(0) + 1e-6))
            if not np.iscomplexobj(x)
            else complex_moments(x[there, t])
            for x in (X, X_hat)
        )
        spread.append(absolute(s_hat - s))
        centre.append(absolute(m_hat - m))
    return np.mean(spread) + np.mean(centre)


def complex_moments(x: Array) -> tuple[Array, Array]:
    m = x.mean(0)
    return m, np.sqrt(((x - m) ** 2).mean(0) + 1e-6)  # np.var takes the modulus, which is not analytic


@dataclass
class Adam:
    """Kingma and Ba 2015, algorithm 1, with TF1's and torch's defaults."""

    rate: float = 1e-3
    moments: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    steps: int = 0

    def step(self, W: Weights, gradients: Weights) -> None:
        self.steps += 1
        for name, g in gradients.items():
            m, v = self.moments.get(name, (np.zeros_like(g), np.zeros_like(g)))
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            self.moments[name] = m, v
            m_hat, v_hat = m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)
            W[name] = W[name] - self.rate * m_hat / (np.sqrt(v_hat) + 1e-8)
