"""Pieces that a generator completes: it is told the last steps so far and draws the rest of the window.

The steps that are told stay exactly, so nothing is mixed and nothing chosen: a series is a draw of the process
that the generator learnt, of which each step depends on the `overlap` to `length` - 1 steps before it. Told as
well are the static columns and conditions, those of the first window; a missing cell as missing; and of a
differenced column the level before the window, brought into the range that was learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from core.errors import ConfigError
from core.generation.options import GenerationConfig
from core.generation.pieces import Past, Piece, Pieces, Values
from core.generators.bundle import GeneratorBundle
from core.prepare.channels.encode import encode
from core.prepare.channels.layout import WindowArrays, concatenated, spans

_STRETCH = 4
"""Steps that are looked at over a seam: two that are told, two that are drawn."""


@runtime_checkable
class Completer(Protocol):
    """A generator that may know how to complete windows."""

    options: Mapping[str, Any]
    """`completion` above 0: it does."""

    def complete(self, windows: WindowArrays, seed: int) -> WindowArrays:
        """See `core.generators.flow_matching.FlowMatching.complete`."""
        ...


def completer(generator: object) -> Completer | None:
    """The generator, if it can complete windows."""
    if isinstance(generator, Completer) and generator.options.get("completion", 0) > 0:
        return generator
    return None


class ByCompletion(Pieces):
    """See the module; the first windows are those that the seed gives as windows.

    Args:
        bundle: Of a generator that can.
        config: See `Pieces`.
        generator: That generator.
    """

    def __init__(self, bundle: GeneratorBundle, config: GenerationConfig, generator: Completer) -> None:
        super().__init__(bundle, config)
        self.generator = generator

    @property
    def most_overlap(self) -> int:
        """So that stretches between seams are left to compare these with."""
        return max(1, self.plan.length - 3)

    @property
    def draws(self) -> int:
        """One."""
        return 1

    def check(self) -> None:
        """See `Pieces`."""
        if self.config.candidates is not None:
            raise ConfigError(
                "this generator completes windows (model.completion is above 0), so that a series goes on from "
                "its last steps without candidates to choose from: leave candidates out"
            )

    def follow(self, start: int, past: Past) -> Iterator[Piece]:
        """See `Pieces`."""
        for number in range(start, self.plan.pieces):
            if past.tail is None or past.last is None:
                yield Piece(self._first())
            else:
                yield self._next(number, past, past.tail, past.last)

    def _first(self) -> WindowArrays:
        config = self.config
        windows = concatenated(
            list(self.bundle.stream(self.plan.series, config.seed, config.condition or None))
        )
        self.refuse_short(windows)
        return windows

    def _next(self, number: int, past: Past, tail: Values, last: Values) -> Piece:
        windows = self.generator.complete(self._told(past, tail), piece_seed(self.config.seed, number))
        windows.values[:, : self.plan.overlap] = tail
        looked_at = self.plan.looked_at(number)
        seen = np.concatenate([last[looked_at, None], windows.values[looked_at]], axis=1)
        return Piece(windows, *self._stretches(seen))

    def _told(self, past: Past, tail: Values) -> WindowArrays:
        """Windows of which the first steps, static columns and conditions are known, NaN elsewhere."""
        plan, channels = self.plan, self.bundle.generator.channels
        values = np.full((plan.series, plan.length, channels.features), np.nan, dtype=np.float32)
        values[:, : plan.overlap] = tail
        for span in (span for span in spans(channels.temporal) if span.presence is not None):
            missing = values[..., span.presence] == 0  # known as missing: of its value nothing is
            values[..., span.values][missing] = np.nan
        condition = np.zeros((plan.series, 0), dtype=np.float32) if past.condition is None else past.condition
        return WindowArrays(values, self._static(past), condition, np.full(plan.series, plan.length))

    def _static(self, past: Past) -> Values:
        """Shape (series, static channels): as the first windows have them, but the levels as they are now."""
        columns = self.bundle.series.layout.static
        if past.static is None or not columns:
            return np.zeros((self.plan.series, 0), dtype=np.float32)
        static = past.static.copy()
        for column, span in zip(columns, spans([column.block for column in columns]), strict=True):
            if column.level_of:
                level = encode([column], past.levels[column.level_of][:, None])
                static[:, span.values] = level.clip(0, 1)
            elif span.presence is not None:
                static[static[:, span.presence] == 0, span.values] = np.nan
        return static

    def _stretches(self, seen: Values) -> tuple[Values | None, Values | None]:
        """Stretches over the seams, and others of the steps drawn after them in the same windows.

        The latter share no change with the former. They are of the same windows because how much a series
        changes may itself change slowly along it: stretches from elsewhere would differ without a seam.

        Args:
            seen: Shape (any, 1 + length, channels): windows after the step before them.
        """
        size = min(_STRETCH, self.plan.stride - 1)
        if size < 2 or not len(seen):
            return None, None
        drawn = self.plan.overlap + 1
        over = seen[:, (begin := drawn - (size + 1) // 2) : begin + size]
        begins = range(drawn + 1, seen.shape[1] - size + 1, size - 1)
        return over, np.concatenate([seen[:, begin : begin + size] for begin in begins])


def piece_seed(seed: int, number: int) -> int:
    """Of a piece, from 0 to 2^63 - 1: by the seed of the series and the piece's number alone."""
    drawn = np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)
    return int(drawn[0]) >> 1
