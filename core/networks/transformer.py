"""A transformer over the steps of a window that is told a time and a context: a velocity field."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks.levels import LevelNetwork
from core.networks.modulation import gated, modulated
from core.networks.recurrent import glorot, reset_linear

_FREQUENCIES = 64
_FASTEST = 1000.0
_LONGEST_PERIOD = 10_000.0


@dataclass(frozen=True)
class Given:
    """Cells of windows that are known, as they are read."""

    values: Tensor
    """Shape (batch, steps, channels), in the numbers that flow; what stands at other cells does not matter."""
    there: Tensor
    """Shape (batch, steps, channels): 1 where the cell is known, else 0."""
    static: Tensor
    """Shape (batch, static channels)."""
    there_static: Tensor
    """Shape (batch, static channels)."""

    def cells(self) -> Tensor:
        """Shape (batch, steps, 2 channels): what the network reads."""
        return torch.cat([self.values * self.there, self.there], dim=-1)

    def static_cells(self) -> Tensor:
        """Shape (batch, 2 static channels)."""
        return torch.cat([self.static * self.there_static, self.there_static], dim=-1)


@dataclass(frozen=True)
class Rotation:
    """Turns pairs of channels by an angle that grows with the step (Su et al. 2021, eq. 34).

    Products of queries and keys then depend on how far two steps are apart, not on where they are.
    """

    turns: Tensor
    """Complex, shape (steps, width / 2)."""

    @classmethod
    def of(cls, steps: int, width: int, device: torch.device) -> Rotation:
        """For a head of `width` channels, an even number."""
        rates = _LONGEST_PERIOD ** (-torch.arange(0, width, 2, device=device) / width)
        angles = torch.arange(steps, device=device)[:, None] * rates
        return cls(torch.polar(torch.ones_like(angles), angles))

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (..., steps, width), kept."""
        pairs = x.float().view(*x.shape[:-1], -1, 2)  # 16 bits make no complex number
        turned = torch.view_as_real(torch.view_as_complex(pairs) * self.turns)
        return turned.flatten(-2).to(x.dtype)


class TransformerBlock(nn.Module):
    """Attention and a dense layer, each scaled, shifted and gated by what is told.

    Args:
        hidden: Width of the stream.
        heads: Of the attention; divides `hidden` into even parts.
        expansion: Width of the dense layer, in multiples of `hidden`.
    """

    def __init__(self, hidden: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.up = nn.Linear(hidden, expansion * hidden)
        self.down = nn.Linear(expansion * hidden, hidden)
        self.modulation = nn.Linear(hidden, 6 * hidden)

    def forward(self, x: Tensor, told: Tensor, rotary: Rotation, mask: Tensor | None) -> Tensor:
        """Shape (batch, steps, hidden), kept.

        Args:
            x: The stream.
            told: Shape (batch, 1, hidden), or (1, 1, hidden) where all are told the same, which is cheaper.
            rotary: Of the steps and the heads' width.
            mask: Shape (batch, 1, 1, steps): True for the steps that may be looked at; every one if None.
        """
        shift_a, scale_a, gate_a, shift_d, scale_d, gate_d = self.modulation(told).chunk(6, dim=-1)
        mixed = self._attention(modulated(x, shift_a, scale_a), rotary, mask)
        x = x + gated(self.out, mixed, gate_a)
        inner = functional.gelu(self.up(modulated(x, shift_d, scale_d)))
        return x + gated(self.down, inner, gate_d)

    def _attention(self, x: Tensor, rotary: Rotation, mask: Tensor | None) -> Tensor:
        batch, steps, hidden = x.shape
        qkv = self.qkv(x).view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = rotary(qkv[:2])
        seen = functional.scaled_dot_product_attention(q, k, qkv[2], attn_mask=mask)
        return seen.transpose(1, 2).reshape(batch, steps, hidden)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU; the block starts as the identity."""
        for layer in (self.qkv, self.out, self.up, self.down):
            reset_linear(layer, rng)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)


class VelocityTransformer(nn.Module):
    """Velocities of a window's steps and of its static values, at a time, in a context.

    A static column is a token before the first step. Beside the steps' tokens a wider network looks at the
    window as a whole, see `core.networks.levels`.

    Args:
        length: Steps of the longest window.
        channels: Of a step.
        static: Channels of the window; 0: no token for them.
        context: Channels given; 0: none.
        completes: Cells of the window may be given, too.
        hidden: Width of the stream, a multiple of twice `heads`.
        layers: Blocks.
        heads: Of the attention.
        expansion: See `TransformerBlock`.
        levels: Width of the network beside it; 0: there is none.
    """

    def __init__(
        self,
        *,
        length: int,
        channels: int,
        static: int,
        context: int,
        completes: bool,
        hidden: int,
        layers: int,
        heads: int,
        expansion: int,
        levels: int,
    ) -> None:
        super().__init__()
        self.static = static
        self.places = nn.Parameter(torch.zeros(length, hidden))
        self.read = nn.Linear(channels, hidden)
        self.write = nn.Linear(hidden, channels)
        if static:
            self.read_static = nn.Linear(static, hidden)
            self.write_static = nn.Linear(hidden, static)
        if context:
            self.read_context = nn.Linear(context, hidden)
            self.unknown = nn.Parameter(torch.zeros(hidden))
        if completes:
            # Without bias: to be given nothing is the same as not to be asked.
            self.read_given = nn.Linear(2 * channels, hidden, bias=False)
            if static:
                self.read_given_static = nn.Linear(2 * static, hidden, bias=False)
        self.time_in = nn.Linear(2 * _FREQUENCIES, hidden)
        self.time_out = nn.Linear(hidden, hidden)
        self.blocks = nn.ModuleList(TransformerBlock(hidden, heads, expansion) for _ in range(layers))
        self.last = nn.Linear(hidden, 2 * hidden)
        self.width = hidden // heads
        self.levels: LevelNetwork | None = None
        if levels:
            sizes = {"length": length, "channels": channels, "static": static, "width": levels}
            self.levels = LevelNetwork(**sizes, told=hidden, word=hidden, completes=completes)

    def forward(
        self,
        x: Tensor,
        static: Tensor,
        time: Tensor,
        context: Tensor,
        known: Tensor | None = None,
        rows: Tensor | None = None,
        given: Given | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Velocities, shapes of `x` and of `static`.

        Args:
            x: Shape (batch, steps, channels).
            static: Shape (batch, static channels).
            time: Shape (batch,), from 0 (noise) to 1 (data); (1,) if it is that of all windows.
            context: Shape (batch, context channels).
            known: Shape (batch,): False where the context is not told; told to all if None.
            rows: Shape (batch, steps): True for steps inside the window; all are if None.
            given: Cells that are known; none are if None.
        """
        told = self._told(time, context, known)[:, None]
        tokens = self._tokens(x, static, given)
        slow: Tensor | float = 0.0
        if self.levels is not None:
            cells = None if given is None else (given.cells(), given.static_cells())
            inside = x if rows is None else x * rows[..., None]
            slow, word = self.levels(inside, static, told[:, 0], cells)
            tokens = tokens + word
        if self.static and rows is not None:
            rows = functional.pad(rows, (1, 0), value=True)
        mask = None if rows is None else rows[:, None, None]
        rotary = Rotation.of(tokens.shape[1], self.width, tokens.device)
        for block in self.blocks:
            tokens = block(tokens, told, rotary, mask)
        shift, scale = self.last(told).chunk(2, dim=-1)
        tokens = modulated(tokens, shift, scale)
        if not self.static:
            return self.write(tokens) + slow, static
        return self.write(tokens[:, 1:]) + slow, self.write_static(tokens[:, 0])

    def _tokens(self, x: Tensor, static: Tensor, given: Given | None) -> Tensor:
        tokens: Tensor = self.read(x) + self.places
        if given is not None:
            tokens = tokens + self.read_given(given.cells())
        if not self.static:
            return tokens
        first = self.read_static(static)
        if given is not None:
            first = first + self.read_given_static(given.static_cells())
        return torch.cat([first[:, None], tokens], dim=1)

    def _told(self, time: Tensor, context: Tensor, known: Tensor | None) -> Tensor:
        rates = torch.linspace(0, math.log(_FASTEST), _FREQUENCIES, device=time.device).exp()
        angles = time[:, None] * rates
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        told = self.time_out(functional.silu(self.time_in(waves)))
        if context.shape[1]:
            given = self.read_context(context)
            told = told + (given if known is None else torch.where(known[:, None], given, self.unknown))
        return functional.silu(told)

    @torch.no_grad()
    def reset_parameters(self, rng: torch.Generator) -> None:
        """Draw new weights from `rng`, on the CPU; the velocity starts as 0."""
        named = ("read", "time_in", "time_out", "read_static", "read_context")
        for name in (name for name in named if hasattr(self, name)):
            reset_linear(getattr(self, name), rng)
        for name in (name for name in ("read_given", "read_given_static") if hasattr(self, name)):
            layer = getattr(self, name)
            glorot(layer.weight, layer.in_features, layer.out_features, rng)
        nn.init.zeros_(self.places)
        if self.levels is not None:
            self.levels.reset_parameters(rng)
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)  # noqa: S101 - for the type checker
            block.reset_parameters(rng)
        for name in (name for name in ("last", "write", "write_static") if hasattr(self, name)):
            nn.init.zeros_(getattr(self, name).weight)
            nn.init.zeros_(getattr(self, name).bias)
        if hasattr(self, "unknown"):
            nn.init.zeros_(self.unknown)
