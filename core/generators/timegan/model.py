"""The networks of TimeGAN and drawing windows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from core.errors import ConfigError
from core.generators.base import Training
from core.generators.module import TorchGenerator
from core.networks.context import beside
from core.networks.heads import OutputHead
from core.networks.recurrent import (
    Cell,
    FeedForwardNetwork,
    RecurrentNetwork,
    RecurrentOptions,
    ResetGate,
)
from core.networks.straight_through import Gradient
from core.prepare.channels.layout import Channels, width
from core.prepare.series import Windows

NoiseKind = Literal["uniform", "gaussian", "wiener"]

# What the paper and its published code do differently in the networks; docs/timegan.md lists it all.
VARIANTS: dict[str, dict[str, Any]] = {
    "code": {
        "noise_kind": "uniform",
        "supervision": "supervisor",
        "recovery": "recurrent",
        "bidirectional": False,
        "discrete": "likeliest",
    },
    "paper": {
        "noise_kind": "wiener",
        "supervision": "generator",
        "recovery": "feedforward",
        "bidirectional": True,
        "discrete": "drawn",
    },
}


@dataclass(frozen=True)
class Latents:
    """What the generator makes of noise."""

    E_hat: Tensor
    """Shape (batch, steps, hidden): as it comes from the generator."""
    H_hat: Tensor
    """As the supervisor corrects it; the same without a supervisor."""
    static: Tensor
    """Shape (batch, static latent width), (batch, 0) without static columns."""
    X_hat: Tensor | None = None
    """Shape (batch, steps, channels): what was drawn on the way, None where nothing is drawn."""


class TimeGAN(TorchGenerator):
    """Embedder, recovery, generator, supervisor and discriminator over a latent space in (0, 1).

    With static columns each but the supervisor has a feed-forward network for them beside it (paper, section
    4), whose latent every temporal network reads at each step, and so it does the condition.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        variant: Where `code` and `paper` differ, the default of what is None below (`VARIANTS`).
        hidden: Width of the latent space and of every layer.
        layers: Recurrent layers; the supervisor has one less (at least one).
        cell: See `core.networks.recurrent`.
        reset_gate: Of the `gru` cell. Default `after`, unlike TF1's: torch then has one call for a whole
            network, the only fused one where no kernel of ours runs; the cells are as expressive.
        noise: Width of the noise at each step; as many as channels if None, as in the code.
        noise_kind: U[0, 1] or N(0, 1) at each step, or a Wiener process that ends with variance 1.
        noise_constant: Width of further noise, drawn once a window and read at each step: what stays the same
            in a window (a level, a frequency) need not be made of what changes. Neither in the paper, whose
            z_S serves static columns alone, nor in its code.
        supervision: `supervisor`, a network that predicts the next latent from the last ones and corrects
            what the generator makes; or `generator`, one autoregressive network g(h_S, h_{t-1}, z_t).
        recovery: `recurrent`, or `feedforward`: the same layers at each step.
        bidirectional: The discriminator reads both ways.
        discrete: What becomes of discrete columns: the `likeliest` choice is decoded from the latents at the
            end; or a choice is `drawn` at each step by its probability, and what was drawn is embedded before
            the next one. The latter needs `supervision: generator` and `recovery: feedforward`. Without
            discrete columns there is no difference.
        latent_static: Width of the static latent; `hidden` if None.
        one_hot_gradient: See `core.networks.straight_through.one_hot`.
        dropout: Between layers, in training.
        recurrent_dropout: Of recurrent states, in training.
        binarize: Networks whose weights act by their sign.
        seed: Fixes the initial weights.
    """

    kind: ClassVar[str] = "timegan"

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        variant: str = "code",
        hidden: int = 24,
        layers: int = 3,
        cell: Cell = "gru",
        reset_gate: ResetGate = "after",
        noise: int | None = None,
        noise_kind: NoiseKind | None = None,
        noise_constant: int = 0,
        supervision: str | None = None,
        recovery: str | None = None,
        bidirectional: bool | None = None,
        discrete: str | None = None,
        latent_static: int | None = None,
        one_hot_gradient: Gradient = "soft",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        binarize: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        chosen: dict[str, Any] = {
            "noise_kind": noise_kind,
            "supervision": supervision,
            "recovery": recovery,
            "bidirectional": bidirectional,
            "discrete": discrete,
        }
        chosen = VARIANTS[variant] | {name: value for name, value in chosen.items() if value is not None}
        self.static_channels = width(channels.static)
        options: dict[str, Any] = {
            "variant": variant,
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "reset_gate": reset_gate,
            "noise": noise or channels.features,
            "noise_constant": noise_constant,
            **chosen,
            "latent_static": latent_static or hidden,
            "one_hot_gradient": one_hot_gradient,
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
            "binarize": list(binarize),
        }
        super().__init__(length, channels, options)
        self.variant = variant
        self.noise_width: int = options["noise"]
        self.noise_kind: NoiseKind = chosen["noise_kind"]
        self.noise_constant = noise_constant
        self.supervised_generator = chosen["supervision"] == "generator"
        self.head = OutputHead(channels.temporal, one_hot_gradient)
        self.draws = chosen["discrete"] == "drawn" and self.head.discrete
        if self.draws and (chosen["supervision"], chosen["recovery"]) != ("generator", "feedforward"):
            raise ConfigError(
                "model.discrete=drawn needs model.supervision=generator and model.recovery=feedforward: a step "
                "is decoded before the next one is generated"
            )
        self.static_head = OutputHead(channels.static, one_hot_gradient)
        self.static_width = options["latent_static"] if channels.static else 0
        self.context_width = self.static_width + width(channels.condition)
        self._build_temporal(binarize)
        if channels.static:
            self._build_static()
        if idle := [name for name in binarize if name not in self.networks]:
            raise ConfigError(
                f"model.binarize: this TimeGAN has no {idle[0]}; it has {', '.join(self.networks)}"
            )
        rng = torch.Generator().manual_seed(seed)
        for name in self.networks:
            self.network(name).reset_parameters(rng)

    def _build_temporal(self, binarize: Sequence[str]) -> None:
        hidden, layers, features = self.options["hidden"], self.options["layers"], self.channels.features

        def recurrent(
            name: str, inputs: int, outputs: int, depth: int, activation: nn.Module | None = None
        ) -> RecurrentNetwork:
            options = RecurrentOptions(
                cell=self.options["cell"],
                reset_gate=self.options["reset_gate"],
                bidirectional=name == "discriminator" and self.options["bidirectional"],
                dropout=self.options["dropout"],
                recurrent_dropout=self.options["recurrent_dropout"],
                binarize=name in binarize,
            )
            return RecurrentNetwork(inputs, hidden, outputs, depth, activation=activation, options=options)

        context = self.context_width
        self.embedder = recurrent("embedder", features + context, hidden, layers, nn.Sigmoid())
        self.recovery: RecurrentNetwork | FeedForwardNetwork
        if self.options["recovery"] == "recurrent":
            self.recovery = recurrent("recovery", hidden, features, layers)
        else:
            dropout = self.options["dropout"]
            self.recovery = FeedForwardNetwork(
                hidden, hidden, features, layers, dropout=dropout, binarize="recovery" in binarize
            )
        given = self.noise_width + self.noise_constant + context + (hidden if self.supervised_generator else 0)
        self.generator = recurrent("generator", given, hidden, layers, nn.Sigmoid())
        self.networks = ("embedder", "recovery", "generator", "discriminator")
        if not self.supervised_generator:
            depth = max(1, layers - 1)
            self.supervisor = recurrent("supervisor", hidden + context, hidden, depth, nn.Sigmoid())
            self.networks = ("embedder", "recovery", "generator", "supervisor", "discriminator")
        self.discriminator = recurrent("discriminator", hidden + context, 1, layers)

    def _build_static(self) -> None:
        hidden, given = self.options["hidden"], width(self.channels.condition)
        wide = self.static_width

        def feedforward(inputs: int, outputs: int, activation: nn.Module | None = None) -> FeedForwardNetwork:
            dropout = self.options["dropout"]
            return FeedForwardNetwork(inputs, hidden, outputs, 1, activation=activation, dropout=dropout)

        self.static_embedder = feedforward(self.static_channels, wide, nn.Sigmoid())
        self.static_recovery = feedforward(wide, self.static_channels)
        self.static_generator = feedforward(wide + given, wide, nn.Sigmoid())
        self.static_discriminator = feedforward(wide + given, 1)
        self.networks += ("static_embedder", "static_recovery", "static_generator", "static_discriminator")

    def network(self, name: str) -> RecurrentNetwork | FeedForwardNetwork:
        """One of `networks`."""
        network: RecurrentNetwork | FeedForwardNetwork = getattr(self, name)
        return network

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.timegan.training import TimeGANTraining

        return TimeGANTraining(self, windows, options, device)

    def embed_static(self, static: Tensor) -> Tensor:
        """h_S = e_S(s): shape (batch, static channels) to (batch, static latent width)."""
        return self.static_embedder(static) if self.static_width else static

    def embed(self, X: Tensor, context: Tensor) -> Tensor:
        """h_t = e_X(h_S, h_{t-1}, x_t): windows to latents."""
        H: Tensor = self.embedder(beside(X, context))
        return H

    def context(self, static_latent: Tensor, condition: Tensor) -> Tensor:
        """What every temporal network reads at each step, shape (batch, context width)."""
        if not self.static_width:
            return condition
        return torch.cat([static_latent, condition], dim=1) if condition.shape[1] else static_latent

    def generate(self, noise: tuple[Tensor, ...], condition: Tensor) -> Latents:
        """Latents from noise: E_hat = g(h_S, z), H_hat = supervisor(E_hat)."""
        static = self.generate_static(noise, condition)
        context = self.context(static, condition)
        if self.draws:
            return self._drawn_loop(beside(noise[0], context), context, noise[-1], static)
        if self.supervised_generator:
            H_hat = self._open_loop(beside(noise[0], context))
            return Latents(H_hat, H_hat, static)
        E_hat: Tensor = self.generator(beside(noise[0], context))
        return Latents(E_hat, self.supervisor(beside(E_hat, context)), static)

    def generate_static(self, noise: tuple[Tensor, ...], condition: Tensor) -> Tensor:
        """h_S = g_S(z_S), shape (batch, static latent width)."""
        if not self.static_width:
            return condition[:, :0]
        static: Tensor = self.static_generator(torch.cat([noise[1], condition], dim=1))
        return static

    def supervise(self, H: Tensor, context: Tensor, Z: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and one-step predictions of real latents, each of shape (batch, steps predicted, hidden).

        A supervisor predicts h_{t+1} from h_1..h_t; the autoregressive generator h_t from h_{t-1} and z_t, the
        first from 0 (eq. 9).
        """
        if self.supervised_generator:
            before = torch.cat([torch.zeros_like(H[:, :1]), H[:, :-1]], dim=1)
            return H, self.generator(torch.cat([beside(Z, context), before], dim=2))
        return H[:, 1:], self.supervisor(beside(H, context))[:, :-1]

    def discriminate(self, latents: Tensor, context: Tensor, lengths: Tensor | None) -> Tensor:
        """Logits y_t of each step, shape (batch, steps, 1)."""
        logits: Tensor = self.discriminator(beside(latents, context), lengths)
        return logits

    def discriminate_static(self, static_latent: Tensor, condition: Tensor) -> Tensor:
        """Logits y_S, shape (batch, 1)."""
        logits: Tensor = self.static_discriminator(torch.cat([static_latent, condition], dim=1))
        return logits

    def decode(self, noise: tuple[Tensor, ...], condition: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - no network of the generator looks back from the end
        """See `core.generators.module.TorchGenerator`."""
        latents = self.generate(noise, condition)
        static = self.static_head(self.static_recovery(latents.static)) if self.static_width else latents.static
        return self.decoded(latents), static

    def decoded(self, latents: Latents) -> Tensor:
        """X_hat = r_X(H_hat), with valid choices."""
        X_hat: Tensor = self.head(self.recovery(latents.H_hat)) if latents.X_hat is None else latents.X_hat
        return X_hat

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """What a window is made from.

        Z, shape (n, length, noise + noise_constant); with static columns Z_S, shape (n, static latent width);
        where choices are drawn what they are drawn by, U[0, 1) of shape (n, length, channels).
        """
        shape = (n, self.length, self.noise_width)
        draw = torch.rand if self.noise_kind == "uniform" else torch.randn
        Z = draw(shape, generator=rng, device=rng.device)
        if self.noise_kind == "wiener":
            Z = Z.cumsum(dim=1) / self.length**0.5
        if self.noise_constant:
            constant = draw((n, 1, self.noise_constant), generator=rng, device=rng.device)
            Z = torch.cat([Z, constant.expand(-1, self.length, -1)], dim=2)
        parts = [Z]
        if self.static_width:
            parts.append(draw((n, self.static_width), generator=rng, device=rng.device))
        if self.draws:
            shape = (n, self.length, self.channels.features)
            parts.append(torch.rand(shape, generator=rng, device=rng.device))
        return tuple(parts)

    def _drawn_loop(self, given: Tensor, context: Tensor, uniform: Tensor, static: Tensor) -> Latents:
        """h_{t-1} is the embedding of what was drawn, as it is of what was real in the supervised loss."""
        moves = self.generator.recurrent.start(len(given), given)
        embeds = self.embedder.recurrent.start(len(given), given)
        h = given.new_zeros(len(given), self.options["hidden"])
        made: list[tuple[Tensor, Tensor, Tensor]] = []
        for step, u in zip(given.unbind(1), uniform.unbind(1), strict=True):
            e, moves = self.generator.step(torch.cat([step, h], dim=1), moves)
            x = self.head.drawn(self.recovery(e), u)
            h, embeds = self.embedder.step(torch.cat([x, context], dim=1), embeds)
            made.append((e, h, x))
        E_hat, H_hat, X_hat = (torch.stack(part, dim=1) for part in zip(*made, strict=True))
        return Latents(E_hat, H_hat, static, X_hat)

    def _open_loop(self, given: Tensor) -> Tensor:
        states = self.generator.recurrent.start(len(given), given)
        h = given.new_zeros(len(given), self.options["hidden"])
        latents = []
        for step in given.unbind(1):
            h, states = self.generator.step(torch.cat([step, h], dim=1), states)
            latents.append(h)
        return torch.stack(latents, dim=1)
