"""Flow matching: noise becomes a window along the velocities that a transformer learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError
from core.generators.base import Training
from core.generators.module import TorchGenerator
from core.networks.transformer import VelocityTransformer
from core.prepare.channels.layout import Block, Channels, spans, width
from core.prepare.series import Windows

Solver = Literal["euler", "heun", "adams"]

_BATCH = 128
"""Windows that go through the network at once: what it keeps of more does not fit a core's cache."""


class Scales(torch.nn.Module):
    """Between channels and the numbers that flow: continuous ones standardised, all others -1 or 1.

    Discrete channels flow as analog bits (Chen, Zhang and Hinton 2023) and are decided at the end. Continuous
    ones end within the range of the training windows. It is part of the generator's files.

    Args:
        blocks: Of the channels, in order.
    """

    center: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, blocks: tuple[Block, ...]) -> None:
        super().__init__()
        self.spans = tuple(spans(blocks))
        count = width(blocks)
        for name, value in (("center", 0.5), ("spread", 0.5), ("low", 0.0), ("high", 1.0)):
            self.register_buffer(name, torch.full((count,), value))

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Learn centre, spread and range of continuous channels, shape (rows, channels); no missing cells."""
        for span in (span for span in self.spans if span.block.kind == "continuous"):
            channel = span.values.start
            there = values[:, channel].double()
            if span.presence is not None:
                there = there[values[:, span.presence] > 0.5]
            if not len(there):
                continue
            deviation = float(there.std(correction=0))
            self.center[channel] = float(there.mean())
            self.spread[channel] = deviation if deviation > 0 else 1.0
            self.low[channel], self.high[channel] = float(there.min()), float(there.max())

    def flowing(self, values: Tensor) -> Tensor:
        """Channels to what flows, shape (..., channels) kept."""
        return (values - self.center) / self.spread

    def channels(self, x: Tensor) -> Tensor:
        """What flowed to valid channels, shape kept."""
        raw = x * self.spread + self.center
        out = torch.empty_like(raw)
        for span in self.spans:
            values = raw[..., span.values]
            if span.block.kind == "continuous":
                values = values.clamp(self.low[span.values], self.high[span.values])
            elif span.block.kind == "binary":
                values = (values > 0.5).to(raw.dtype)
            else:
                values = torch.nn.functional.one_hot(values.argmax(-1), span.block.width).to(raw.dtype)
            if span.presence is not None:
                there = (raw[..., span.presence] > 0.5).to(raw.dtype)
                out[..., span.presence] = there
                values = values * there[..., None]
            out[..., span.values] = values
        return out


class FlowMatching(TorchGenerator):
    """Rectified flow over windows (Liu, Gong and Liu 2023; Lipman et al. 2023), no paper's code.

    A network v(x, t) is trained to give the straight line's velocity x_1 - x_0 at x_t = (1 - t) x_0 + t x_1,
    x_0 noise and x_1 a window; a window is drawn by following v from noise at t = 0 to t = 1.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        hidden: Width of the transformer, a multiple of twice `heads`.
        layers: Blocks of the transformer.
        heads: Of its attention.
        expansion: Width of a block's dense layer, in multiples of `hidden`.
        solver: `euler` and `adams` (Adams-Bashforth, two steps) ask the network once a step, `heun` twice.
        sampling_steps: From noise to window.
        condition_dropout: Share of training windows whose condition is not told, for `guidance`.
        guidance: Velocities are v(no condition) + guidance (v(condition) - v(no condition)), Ho and Salimans
            2022; 1: plainly the condition's.
        seed: Fixes the initial weights.

    Raises:
        ConfigError: `hidden` is no multiple of twice `heads`.
    """

    kind: ClassVar[str] = "flow_matching"
    networks = ("velocity",)

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 4,
        expansion: int = 4,
        solver: Solver = "adams",
        sampling_steps: int = 20,
        condition_dropout: float = 0.1,
        guidance: float = 1.0,
        seed: int = 0,
    ) -> None:
        if hidden % (2 * heads):
            raise ConfigError(f"model.hidden: expected a multiple of twice heads ({2 * heads}), got {hidden}")
        options = {
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "expansion": expansion,
            "solver": solver,
            "sampling_steps": sampling_steps,
            "condition_dropout": condition_dropout,
            "guidance": guidance,
        }
        super().__init__(length, channels, options)
        self.static_width = width(channels.static)
        self.scales = Scales(channels.temporal)
        self.static_scales = Scales(channels.static)
        self.velocity = VelocityTransformer(
            channels=channels.features,
            static=self.static_width,
            context=width(channels.condition),
            hidden=hidden,
            layers=layers,
            heads=heads,
            expansion=expansion,
        )
        self.velocity.reset_parameters(torch.Generator().manual_seed(seed))

    def fit_scales(self, windows: Windows) -> None:
        """Learn the scales of the rows that windows are cut from."""
        rows = np.concatenate([windows.values[a:b] for a, b in _stretches(windows)])
        self.scales.fit(torch.from_numpy(rows))
        self.static_scales.fit(torch.from_numpy(windows.static))

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.training.flow_matching import FlowMatchingTraining

        return FlowMatchingTraining(self, windows, options, device)

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """N(0, 1) of shapes (n, length, channels) and (n, static channels)."""
        shapes = ((n, self.length, self.channels.features), (n, self.static_width))
        return tuple(torch.randn(shape, generator=rng, device=rng.device) for shape in shapes)

    def decode(self, noise: tuple[Tensor, ...], condition: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `core.generators.module.TorchGenerator`."""
        split = (torch.split(each, _BATCH) for each in (*noise, condition, lengths))
        parts = [self._integrate(*part) for part in zip(*split, strict=True)]
        x, static = (torch.cat(each) for each in zip(*parts, strict=True))
        return self.scales.channels(x), self.static_scales.channels(static)

    def _integrate(
        self, x: Tensor, static: Tensor, condition: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """From t = 0 to t = 1."""
        rows = None
        if bool((lengths < self.length).any()):
            rows = torch.arange(self.length, device=x.device) < lengths[:, None]
        steps, solver = int(self.options["sampling_steps"]), self.options["solver"]
        h = 1 / steps
        before: tuple[Tensor, Tensor] | None = None
        state = (x, static)
        for step in range(steps):
            slope = self._slope(state, step * h, condition, rows)
            move = slope
            if solver == "adams" and before is not None:
                move = _combined(1.5, slope, -0.5, before)
            elif solver != "euler":  # also the first step of Adams
                ahead = self._slope(_combined(1.0, state, h, slope), (step + 1) * h, condition, rows)
                move = _combined(0.5, slope, 0.5, ahead)
            before = slope
            state = _combined(1.0, state, h, move)
        return state

    def _slope(
        self, state: tuple[Tensor, Tensor], time: float, condition: Tensor, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        at = torch.full((len(state[0]),), time, device=state[0].device)
        slope: tuple[Tensor, Tensor] = self.velocity(*state, at, condition, None, rows)
        guidance = float(self.options["guidance"])
        if guidance == 1 or not condition.shape[1]:
            return slope
        nobody = torch.zeros(len(at), dtype=torch.bool, device=at.device)
        free = self.velocity(*state, at, condition, nobody, rows)
        return _combined(guidance, slope, 1 - guidance, free)


def _combined(
    a: float, left: tuple[Tensor, Tensor], b: float, right: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """The sum a left + b right, part by part."""
    return a * left[0] + b * right[0], a * left[1] + b * right[1]


def _stretches(windows: Windows) -> list[tuple[int, int]]:
    """Rows from the first to the last window that touches its neighbour, each row once."""
    found: list[tuple[int, int]] = []
    for start, length in zip(windows.starts.tolist(), windows.lengths.tolist(), strict=True):
        stop = start + length
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found
