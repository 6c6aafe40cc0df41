"""The generator: a velocity field over windows, and how windows are drawn with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError
from core.generators.base import Training
from core.generators.flow_matching.completion import beginning, kept, told, towards
from core.generators.flow_matching.latent import Translator, latent_scales, refuse_beside_latent
from core.generators.flow_matching.scales import Scales
from core.generators.flow_matching.solvers import Field, FittedSteps, Solver, follow
from core.generators.flow_matching.spectrum import Spectrum
from core.generators.module import SAMPLE_CHUNK, TorchGenerator
from core.networks.threads import one_thread
from core.networks.transformer import Given, VelocityTransformer
from core.prepare.channels.layout import Channels, WindowArrays, concatenated, width
from core.prepare.series import Windows

logger = logging.getLogger(__name__)

_BATCH = 128
"""Windows that go through the network at once: what it keeps of more does not fit a core's cache."""
_STEPS_GIVEN = 20
"""Of a path to windows that are known in parts, where others have a fitted solver."""
_FEWEST_FITTED, _NUMBERS = 32, 1_000_000
"""Windows that a solver is fitted with, at least; and numbers of all of them, at most, if they are more."""
_SPECTRUM = 20_000
"""Windows that the spectrum is learnt from, at most."""
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
        levels: Width of a dense network beside the transformer, on the windows' levels alone, in multiples of
            the numbers that flow; 0: there is none.
        solver: `fitted` (to this generator, when it is trained), `adams` (Adams-Bashforth, two steps) and
            `euler` ask the network once a step, `heun` twice.
        sampling_steps: From noise to window.
        whitening: Noise and network get the windows' spectrum, see `core.generators.flow_matching.spectrum`;
            in a latent space, and of windows that differ in length, it is left as it is.
        condition_dropout: Share of training windows whose condition is not told, for `guidance`.
        completion: Share of training windows that are told some of their cells, for `complete`; 0: none.
        fourier: Weight of the loss in training, see `core.generators.flow_matching.losses`.
        fourier_form: See there.
        correlation: As `fourier`.
        moments: As `fourier`.
        latent: Numbers of a step that flow, made of a window's by an autoencoder that is trained first; the
            window's own channels flow if None.
        guidance: Velocities are v(no condition) + guidance (v(condition) - v(no condition)), Ho and Salimans
            2022; 1: plainly the condition's.
        seed: Fixes the initial weights.

    Raises:
        ConfigError: `hidden` is no multiple of twice `heads`, or `latent` stands beside what needs a window's
            own channels.
    """

    kind: ClassVar[str] = "flow_matching"
    networks: tuple[str, ...] = ("velocity",)

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 4,
        expansion: int = 4,
        levels: int = 8,
        solver: Solver = "fitted",
        sampling_steps: int = 6,
        whitening: bool = True,
        condition_dropout: float = 0.1,
        guidance: float = 1.0,
        completion: float = 0.0,
        fourier: float = 0.0,
        fourier_form: Literal["absolute", "square"] = "absolute",
        correlation: float = 0.0,
        moments: float = 0.0,
        latent: int | None = None,
        seed: int = 0,
    ) -> None:
        if hidden % (2 * heads):
            raise ConfigError(f"model.hidden: expected a multiple of twice heads ({2 * heads}), got {hidden}")
        options = {
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "expansion": expansion,
            "levels": levels,
            "solver": solver,
            "sampling_steps": sampling_steps,
            "whitening": whitening,
            "condition_dropout": condition_dropout,
            "guidance": guidance,
            "completion": completion,
            "fourier": fourier,
            "fourier_form": fourier_form,
            "correlation": correlation,
            "moments": moments,
            "latent": latent,
        }
        refuse_beside_latent(options)
        super().__init__(length, channels, options)
        self.static_width = width(channels.static)
        self.scales = Scales(channels.temporal)
        self.static_scales = Scales(channels.static)
        self.flowing = channels.features if latent is None else latent
        """Numbers of a step that flow."""
        self.steps = FittedSteps(sampling_steps) if solver == "fitted" else None
        self.spectrum: Spectrum | None = None
        if whitening and latent is None:
            self.spectrum = Spectrum(length, channels.temporal, whole=completion > 0)
        self.velocity = VelocityTransformer(
            length=length,
            channels=self.flowing,
            static=self.static_width,
            context=width(channels.condition),
            completes=completion > 0,
            hidden=hidden,
            layers=layers,
            heads=heads,
            expansion=expansion,
            levels=levels * self.flowing,
        )
        rng = torch.Generator().manual_seed(seed)
        self.velocity.reset_parameters(rng)
        if latent is not None:
            sizes = {"hidden": hidden, "heads": heads, "expansion": expansion}
            self.embedder = Translator(channels.features, latent, **sizes)
            self.recovery = Translator(latent, channels.features, **sizes)
            self.latents = latent_scales(latent)
            self.networks = ("embedder", "recovery", "velocity")
            self.embedder.reset_parameters(rng)
            self.recovery.reset_parameters(rng)

    def fit_scales(self, windows: Windows) -> None:
        """Learn the scales of the rows that windows are cut from."""
        self.scales.fit(_rows(windows))
        self.static_scales.fit([torch.from_numpy(windows.static)])
        if self.spectrum is None:
            return
        if windows.variable:
            logger.info("model.whitening: windows differ in length, their spectrum is not looked at")
            return
        self.spectrum.fit(map(self.scales.flowing, _some(windows)))

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.flow_matching.training import FlowMatchingTraining

        return FlowMatchingTraining(self, windows, options, device)

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """N(0, 1) of shapes (n, length, numbers that flow) and (n, static channels)."""
        shapes = ((n, self.length, self.flowing), (n, self.static_width))
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
        start = self.coloured_state(torch.cat([x.flatten(1), static], dim=1))
        field = self.field(condition, lengths, given)
        if given is not None:
            start = torch.cat([p.flatten(1) for p in beginning((x, static), given, self.spectrum)], dim=1)
            field = towards(given, start, field)
        x, static = self.parts(self._followed(field, start, given))
        if self.options["latent"] is not None:
            x = self.recovery(self.latents.channels(x), self.rows(lengths))
        return self.scales.channels(x), self.static_scales.channels(static)

    def _followed(self, field: Field, start: Tensor, given: Given | None) -> Tensor:
        if self.steps is None:
            return follow(field, start, self.options["solver"], int(self.options["sampling_steps"]))
        if given is not None:  # another field than the one that was fitted
            return follow(field, start, "adams", _STEPS_GIVEN)
        return self.steps.follow(field, start)

    @torch.no_grad()
    def fit_steps(self) -> None:
        """Fit the solver to the weights as they are, if it is one that is fitted; the same each time."""
        if self.steps is None:
            return
        rng = torch.Generator().manual_seed(0)
        numbers = self.length * self.flowing + self.static_width
        count = max(_FEWEST_FITTED, min(_BATCH, _NUMBERS // numbers))
        lengths, condition = self.margins.draw(count, rng)
        noise = self.noise(count, rng)
        device = self.scales.center.device
        field = self.field(condition.to(device), lengths.to(device))

        def white(state: Tensor, time: float) -> Tensor:
            # What hardly moves counts as much as what moves most; the weights of steps are the same for all.
            x, static = self.parts(field(self.coloured_state(state), time))
            return torch.cat([self.white(x).flatten(1), static], dim=1)

        was_training = self.training
        self.eval()
        try:
            with one_thread():
                self.steps.fit(white, torch.cat([noise[0].flatten(1), noise[1]], dim=1).to(device))
        finally:
            self.train(was_training)

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
        condition, lengths = (
            torch.from_numpy(part).to(device) for part in (windows.condition, windows.lengths)
        )
        given = told(windows, self.scales, self.static_scales)
        noise = tuple(part[: len(windows)].to(device) for part in noise)
        split = [torch.split(each, _BATCH) for each in (*noise, condition, lengths, *vars(given).values())]
        was_training = self.training
        self.eval()
        try:
            with one_thread():
                drawn = [self._drawn(part[:4], Given(*part[4:])) for part in zip(*split, strict=True)]
        finally:
            self.train(was_training)
        values, static = (torch.cat(each) for each in zip(*drawn, strict=True))
        return kept(windows, values, static)

    def coloured(self, z: Tensor) -> Tensor:
        """White noise as it flows, shape (batch, length, numbers that flow) kept."""
        return z if self.spectrum is None else self.spectrum.coloured(z)

    def white(self, x: Tensor) -> Tensor:
        """The inverse of `coloured`."""
        return x if self.spectrum is None else self.spectrum.white(x)

    def weighed(self, error: Tensor) -> Tensor:
        """Errors of velocities as the loss counts their squares, shape (batch, length, numbers) kept."""
        return error if self.spectrum is None else self.spectrum.weighed(error)

    def coloured_state(self, state: Tensor) -> Tensor:
        """`coloured` of states, shape (batch, numbers) kept; static values stay."""
        x, static = self.parts(state)
        return torch.cat([self.coloured(x).flatten(1), static], dim=1)

    def slopes(
        self,
        x: Tensor,
        static: Tensor,
        time: Tensor,
        context: Tensor,
        known: Tensor | None = None,
        rows: Tensor | None = None,
        given: Given | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Velocities of what flows; arguments and shapes are those of `VelocityTransformer.forward`.

        The network adds to those of Gaussian windows, where they are known; of windows of which cells are
        given, which begin elsewhere (`completion.beginning`), it says all.
        """
        if rows is not None:
            x = x * rows[..., None]  # the spectrum's transforms go over all steps
        slopes, static = self.velocity(self.white(x), static, time, context, known, rows, given)
        if self.spectrum is None:
            return slopes, static
        alone = None if given is None else given.there.flatten(1).any(dim=1)
        return self.spectrum.velocity(slopes, x, time, alone), static

    def parts(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Steps, shape (batch, length, numbers that flow), and static values, of states (batch, numbers)."""
        size = self.length * self.flowing
        return state[:, :size].view(len(state), self.length, -1), state[:, size:]

    def rows(self, lengths: Tensor) -> Tensor | None:
        """Shape (batch, length): True for steps inside windows of these lengths; None if all are."""
        if not bool((lengths < self.length).any()):
            return None
        return torch.arange(self.length, device=lengths.device) < lengths[:, None]

    def field(self, condition: Tensor, lengths: Tensor, given: Given | None = None) -> Field:
        """Velocities of states: windows' steps and static values, as they flow, side by side.

        Args:
            condition: Shape (batch, condition channels).
            lengths: Shape (batch,).
            given: Cells that are known.
        """
        rows = self.rows(lengths)
        guidance = float(self.options["guidance"])
        nobody = torch.zeros(len(lengths), dtype=torch.bool, device=lengths.device)

        def velocity(state: Tensor, time: float) -> Tensor:
            x, static = self.parts(state)
            at = torch.full((1,), time, device=state.device)

            def slope(known: Tensor | None) -> Tensor:
                steps, values = self.slopes(x, static, at, condition, known, rows, given)
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


def _some(windows: Windows) -> Iterator[Tensor]:
    """Windows, evenly spaced, each part of shape (windows, length, channels)."""
    count = min(len(windows), _SPECTRUM)
    chosen = np.linspace(0, len(windows) - 1, count).round().astype(np.int64)
    for part in np.array_split(chosen, -(-count // SAMPLE_CHUNK)):
        yield torch.from_numpy(windows.gather(part).values)


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
