"""Drawing windows towards a function, with or without cells that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import ConfigError
from core.generators.flow_matching.columns import Original
from core.generators.flow_matching.completion import beginning, kept, known_numbers, told, towards
from core.generators.flow_matching.guidance import Guidance
from core.generators.flow_matching.model import FlowMatching
from core.generators.module import SAMPLE_CHUNK
from core.networks.threads import one_thread
from core.prepare.channels.layout import Layout, WindowArrays, concatenated

_BATCH = 128


@dataclass(frozen=True)
class Guided:
    """Windows that a function drew to itself."""

    windows: WindowArrays
    """Encoded, all whole."""
    before: NDArray[np.float64]
    """Shape (n,): the function, of several parts the sum, of windows of the same noise without guidance."""
    after: NDArray[np.float64]
    """Shape (n,): the function of `windows` as they are: in the training range, whole numbers rounded."""


def guided(
    model: FlowMatching,
    layout: Layout,
    guidance: Guidance,
    n: int,
    seed: int,
    condition: NDArray[np.float32] | None = None,
    known: WindowArrays | None = None,
) -> Guided:
    """Draw windows towards a function.

    Args:
        model: What draws them.
        layout: Of its windows.
        guidance: The function and how.
        n: Windows, at least 1.
        seed: From 0.
        condition: See `FlowMatching.sample`.
        known: One window, `n` times, with NaN for what is unknown, see `FlowMatching.complete`; what is known
            stays.

    Raises:
        ConfigError: an argument is out of range, the function reads a column that it cannot, or gives no
            losses; windows differ in length, or the flow is one of latent states.
    """
    if known is None:
        parts = list(stream(model, layout, guidance, n, seed, condition))
    else:
        parts = list(_completed(model, layout, guidance, seed, known))
    return Guided(
        concatenated([part.windows for part in parts]),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("before", "after")),
    )


def stream(
    model: FlowMatching,
    layout: Layout,
    guidance: Guidance,
    n: int,
    seed: int,
    condition: NDArray[np.float32] | None = None,
    start: int = 0,
) -> Iterator[Guided]:
    """The windows of `guided` in chunks of SAMPLE_CHUNK, from chunk `start` on."""
    check(model)
    rng = torch.Generator().manual_seed(seed)
    plain = model.stream(n, seed, condition, start)
    for number in range(-(-n // SAMPLE_CHUNK)):
        model.margins.draw(SAMPLE_CHUNK, rng)  # as `model.stream` draws: the same noise
        noise = model.noise(SAMPLE_CHUNK, rng)
        if number >= start:
            yield _drawn(model, layout, guidance, noise, next(plain), None)


def check(model: FlowMatching) -> None:
    """Refuse a generator whose windows no function can guide.

    Raises:
        ConfigError: its windows differ in length, or it flows in a latent space.
    """
    if bool((model.margins.lengths[:-1] > 0).any()):
        raise ConfigError(
            "the generator's windows differ in length, and a guide reads whole ones: train without "
            "window.min_length"
        )
    if model.options.get("latent"):
        raise ConfigError(
            "a guide reads columns, which a latent flow does not carry: train without model.latent"
        )


def _completed(
    model: FlowMatching, layout: Layout, guidance: Guidance, seed: int, known: WindowArrays
) -> Iterator[Guided]:
    check(model)
    plain = model.complete(known, seed)
    rng = torch.Generator().manual_seed(seed)
    for first in range(0, len(known), SAMPLE_CHUNK):
        noise = model.noise(SAMPLE_CHUNK, rng)
        here = slice(first, first + SAMPLE_CHUNK)
        yield _drawn(model, layout, guidance, noise, _some(plain, here), _some(known, here))


def _drawn(
    model: FlowMatching,
    layout: Layout,
    guidance: Guidance,
    noise: Sequence[Tensor],
    plain: WindowArrays,
    known: WindowArrays | None,
) -> Guided:
    """A chunk: `plain` are the windows of the same noise that are not guided."""
    was_training = model.training
    model.eval()
    parts: list[WindowArrays] = []
    try:
        with one_thread(), torch.no_grad():
            for first in range(0, len(plain), _BATCH):
                here = slice(first, min(first + _BATCH, len(plain)))
                some = None if known is None else _some(known, here)
                parts.append(
                    _batch(model, layout, guidance, [x[here] for x in noise], _some(plain, here), some)
                )
    finally:
        model.train(was_training)
    windows = concatenated(parts)
    original = Original(model, layout)
    before, after = (
        guidance.losses(original.measured(each)).detach().double().sum(1).numpy() for each in (plain, windows)
    )
    return Guided(windows, before, after)


def _batch(
    model: FlowMatching,
    layout: Layout,
    guidance: Guidance,
    noise: Sequence[Tensor],
    plain: WindowArrays,
    known: WindowArrays | None,
) -> WindowArrays:
    device = model.scales.center.device
    condition, lengths = (torch.from_numpy(x).to(device) for x in (plain.condition, plain.lengths))
    start = torch.cat([part.to(device).flatten(1) for part in noise], dim=1)
    given = None if known is None else told(known, model.scales, model.static_scales)
    field = model.field(condition, lengths, given)
    source: _Source = _Plain(model)
    if given is not None:
        begins = beginning(model.parts(start), given, model.spectrum)
        state = torch.cat([part.flatten(1) for part in begins], dim=1)
        field, source = towards(given, state, field), _Told(model, known_numbers(given)[0])
        start = source.white(state)
    original = Original(model, layout)

    def white_field(state: Tensor, time: float) -> Tensor:
        return source.white(field(source.flowing(state), time))

    def loss(end: Tensor) -> Tensor:
        return guidance.losses(original.estimated(*model.parts(source.flowing(end)), condition))

    end = guidance.follow(white_field, start, loss, source.free)
    steps, static = model.parts(source.flowing(end))
    values, static = model.scales.channels(steps), model.static_scales.channels(static)
    if known is not None:
        return kept(known, values, static)
    return WindowArrays(values.cpu().numpy(), static.cpu().numpy(), plain.condition, plain.lengths)


class _Source(Protocol):
    """Between what flows and white noise, which guidance is derived for; shapes (batch, numbers) are kept."""

    def flowing(self, state: Tensor) -> Tensor:
        """White states as they flow."""

    def white(self, state: Tensor) -> Tensor:
        """The inverse."""

    def free(self, directions: Tensor) -> Tensor:
        """Directions of white states, without what would move known numbers."""


@dataclass(frozen=True)
class _Plain:
    """Nothing is known."""

    model: FlowMatching

    def flowing(self, state: Tensor) -> Tensor:
        return self.model.coloured_state(state)

    def white(self, state: Tensor) -> Tensor:
        steps, static = self.model.parts(state)
        return torch.cat([self.model.white(steps).flatten(1), static], dim=1)

    def free(self, directions: Tensor) -> Tensor:
        return directions


class _Told:
    """Some numbers are known, the same of all windows: noise begins as `completion.beginning` says.

    With M the map from white noise to it, and M_k its rows that make the known numbers, directions d are
    projected to d - M_k' (M_k M_k')^-1 M_k d.

    Args:
        model: Whose noise.
        known: Shape (numbers,).
    """

    def __init__(self, model: FlowMatching, known: Tensor) -> None:
        made = torch.eye(len(known), dtype=torch.float64, device=known.device)
        steps, static = model.parts(made.float())
        if model.spectrum is not None:
            like = model.spectrum.whole and bool(known[: steps[0].numel()].any())
            steps = model.spectrum.like_windows(steps) if like else model.spectrum.coloured(steps)
            made = torch.cat([steps.flatten(1), static], dim=1).double()
        self.map: Tensor = made.float()
        self.inverse: Tensor = torch.linalg.inv(made).float()
        self.basis = torch.linalg.qr(made[:, known])[0].float()  # of the span of the known numbers' rows

    def flowing(self, state: Tensor) -> Tensor:
        return torch.matmul(state, self.map)

    def white(self, state: Tensor) -> Tensor:
        return torch.matmul(state, self.inverse)

    def free(self, directions: Tensor) -> Tensor:
        return torch.sub(directions, (directions @ self.basis) @ self.basis.T)


def _some(windows: WindowArrays, here: slice) -> WindowArrays:
    return WindowArrays(
        windows.values[here], windows.static[here], windows.condition[here], windows.lengths[here]
    )
