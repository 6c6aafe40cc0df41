"""The generator: a velocity field over windows, and how windows are drawn with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError
from core.generators.base import Training
from core.generators.flow_matching.scales import Scales
from core.generators.flow_matching.solvers import Field, Solver, follow
from core.generators.module import SAMPLE_CHUNK, TorchGenerator
from core.networks.threads import one_thread
from core.networks.transformer import Given, VelocityTransformer
from core.prepare.channels.layout import Channels, WindowArrays, concatenated, width
from core.prepare.series import Windows

_BATCH = 128
"""Windows that go through the network at once: what it keeps of more does not fit a core's cache."""
_ROWS = 65_536
"""Rows that the scales are learnt from at a time."""


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
        completion: Share of training windows that are told some of their cells, for `complete`; 0: none.
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
        completion: float = 0.25,
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
            "completion": completion,
        }
        super().__init__(length, channels, options)
        self.static_width = width(channels.static)
        self.scales = Scales(channels.temporal)
        self.static_scales = Scales(channels.static)
        self.velocity = VelocityTransformer(
            channels=channels.features,
            static=self.static_width,
            context=width(channels.condition),
            completes=completion > 0,
            hidden=hidden,
            layers=layers,
            heads=heads,
            expansion=expansion,
        )
        self.velocity.reset_parameters(torch.Generator().manual_seed(seed))

    def fit_scales(self, windows: Windows) -> None:
        """Learn the scales of the rows that windows are cut from."""
        self.scales.fit(_rows(windows))
        self.static_scales.fit([torch.from_numpy(windows.static)])

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.flow_matching.training import FlowMatchingTraining

        return FlowMatchingTraining(self, windows, options, device)

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """N(0, 1) of shapes (n, length, channels) and (n, static channels)."""
        shapes = ((n, self.length, self.channels.features), (n, self.static_width))
        return tuple(torch.randn(shape, generator=rng, device=rng.device) for shape in shapes)

    def decode(self, noise: tuple[Tensor, ...], condition: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `core.generators.module.TorchGenerator`."""
        split = (torch.split(each, _BATCH) for each in (*noise, condition, lengths))
        parts = [self._drawn(part, None) for part in zip(*split, strict=True)]
        values, static = (torch.cat(each) for each in zip(*parts, strict=True))
        return values, static

    def _drawn(self, part: tuple[Tensor, ...], given: Given | None) -> tuple[Tensor, Tensor]:
        """Channels of windows from noise, condition and lengths."""
        x, static, condition, lengths = part
        start = torch.cat([x.flatten(1), static], dim=1)
        end = follow(
            self.field(condition, lengths, given),
            start,
            self.options["solver"],
            int(self.options["sampling_steps"]),
        )
        x, static = self.parts(end)
        return self.scales.channels(x), self.static_scales.channels(static)

    def complete(self, windows: WindowArrays, seed: int) -> WindowArrays:
        """Draw what is unknown of windows so that it fits what is known of them, which stays as it is.

        Args:
            windows: N of them, N at least 1: channels, NaN where unknown. The channels of a cell are known
                together or not at all; only the presence of a cell may be known by itself. Lengths and
                conditions are known.
            seed: From 0; the same seed gives the same windows.

        Raises:
            ConfigError: an argument is out of range or of another shape, or the generator was trained without
                `completion`.
        """
        self._refuse_incomplete(windows, seed)
        rng = torch.Generator().manual_seed(seed)
        parts: list[WindowArrays] = []
        for first in range(0, len(windows), SAMPLE_CHUNK):
            noise = self.noise(SAMPLE_CHUNK, rng)  # by whole chunks, as windows without known cells are drawn
            parts.append(self._completed(_part(windows, first), noise))
        return concatenated(parts)

    def _refuse_incomplete(self, windows: WindowArrays, seed: int) -> None:
        if not self.options["completion"]:
            raise ConfigError(
                "this generator never learnt to fill in what is unknown: train it with model.completion above 0"
            )
        found = (windows.values.shape[1:], windows.static.shape[1:], windows.condition.shape[1:])
        features, given = self.channels.features, width(self.channels.condition)
        expected = ((self.length, features), (self.static_width,), (given,))
        if seed < 0 or not len(windows) or found != expected:
            raise ConfigError(
                f"expected windows of shapes {expected} and seed >= 0, got {len(windows)} of {found} and {seed}"
            )

    @torch.inference_mode()
    def _completed(self, windows: WindowArrays, noise: tuple[Tensor, ...]) -> WindowArrays:
        device = self.scales.center.device
        known, known_static, condition, lengths = (
            torch.from_numpy(part).to(device)
            for part in (windows.values, windows.static, windows.condition, windows.lengths)
        )
        inside = (torch.arange(self.length, device=device) < lengths[:, None])[..., None]
        there, there_static = known.isfinite() & inside, known_static.isfinite()
        given = (
            self.scales.flowing(known.nan_to_num()),
            there.to(known.dtype),
            self.static_scales.flowing(known_static.nan_to_num()),
            there_static.to(known.dtype),
        )
        noise = tuple(part[: len(windows)].to(device) for part in noise)
        split = [torch.split(each, _BATCH) for each in (*noise, condition, lengths, *given)]
        was_training = self.training
        self.eval()
        try:
            with one_thread():
                drawn = [self._drawn(part[:4], Given(*part[4:])) for part in zip(*split, strict=True)]
        finally:
            self.train(was_training)
        values, static = (torch.cat(each) for each in zip(*drawn, strict=True))
        values = torch.where(there, known, values) * inside
        static = torch.where(there_static, known_static, static)
        return WindowArrays(values.cpu().numpy(), static.cpu().numpy(), windows.condition, windows.lengths)

    def parts(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Steps, shape (batch, length, channels), and static values, of states (batch, numbers)."""
        size = self.length * self.channels.features
        return state[:, :size].view(len(state), self.length, -1), state[:, size:]

    def field(self, condition: Tensor, lengths: Tensor, given: Given | None = None) -> Field:
        """Velocities of states: windows' steps and static values, as they flow, side by side.

        Args:
            condition: Shape (batch, condition channels).
            lengths: Shape (batch,).
            given: Cells that are known.
        """
        rows = None
        if bool((lengths < self.length).any()):
            rows = torch.arange(self.length, device=lengths.device) < lengths[:, None]
        guidance = float(self.options["guidance"])
        nobody = torch.zeros(len(lengths), dtype=torch.bool, device=lengths.device)

        def velocity(state: Tensor, time: float) -> Tensor:
            x, static = self.parts(state)
            at = torch.full((1,), time, device=state.device)

            def slope(known: Tensor | None) -> Tensor:
                steps, values = self.velocity(x, static, at, condition, known, rows, given)
                return torch.cat([steps.flatten(1), values], dim=1)

            told = slope(None)
            if guidance == 1 or not condition.shape[1]:
                return told
            return guidance * told + (1 - guidance) * slope(nobody)

        return velocity


def _part(windows: WindowArrays, first: int) -> WindowArrays:
    """A chunk of windows."""
    here = slice(first, first + SAMPLE_CHUNK)
    return WindowArrays(
        windows.values[here], windows.static[here], windows.condition[here], windows.lengths[here]
    )


def _rows(windows: Windows) -> Iterator[Tensor]:
    """The rows of all windows, each once, some at a time."""
    for first, stop in _stretches(windows):
        for begin in range(first, stop, _ROWS):
            yield torch.from_numpy(np.array(windows.values[begin : min(begin + _ROWS, stop)]))


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
