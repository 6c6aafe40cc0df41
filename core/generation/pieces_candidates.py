"""Pieces chosen among candidates: what any generator can do.

Each next piece is, among freshly drawn windows, the one whose first steps are nearest to the last steps of the
series so far (the mean squared difference of channels). Over these steps the old goes over into the new: of a
column of numbers

    (1 - w_j) old_j + w_j new_j,   w_j = (j + 1) / (overlap + 1),   j = 0 .. overlap - 1,

while discrete columns, and those with missing cells, switch in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.generation.pieces import Past, Piece, Pieces, Values
from core.generation.seams import REFERENCES
from core.generators.module import SAMPLE_CHUNK
from core.prepare.channels.layout import WindowArrays, concatenated, spans

CANDIDATES = 64
"""Unless asked for otherwise."""


class ByCandidates(Pieces):
    """See the module; static columns have no place, as each window has its own."""

    @property
    def most_overlap(self) -> int:
        """Half a window: no step is mixed of more than two."""
        return self.plan.length // 2

    @property
    def draws(self) -> int:
        """The candidates."""
        return self.config.candidates or CANDIDATES

    def check(self) -> None:
        """See `Pieces`."""
        layout = self.bundle.series.layout
        if own := [column.name for column in layout.own.static]:
            raise ConfigError(
                f"the generator makes up {', '.join(own)} anew for each window, but a series has one value of "
                "it: train with model.condition naming it, train a flow_matching generator with "
                "model.completion above 0, or write windows"
            )
        given = [column.name for column in layout.condition]
        if given and not self.config.condition:
            raise ConfigError(f"a series has one value of {', '.join(given)}: give it with --condition")

    def follow(self, start: int, past: Past) -> Iterator[Piece]:
        """See `Pieces`."""
        groups = self._candidates(start)
        for number in range(start, self.plan.pieces):
            if past.tail is None or past.last is None:
                firsts = [_part(next(groups), 0, 1) for _ in range(self.plan.series)]
                yield Piece(concatenated(firsts))
            else:
                yield self._best(number, groups, past.tail, past.last)

    def _best(self, number: int, groups: Iterator[WindowArrays], tails: Values, last: Values) -> Piece:
        looked_at = self.plan.looked_at(number)
        chosen: list[WindowArrays] = []
        inside: list[Values] = []
        for place, tail in enumerate(tails):
            group = next(groups)
            best = self._nearest(tail, group.values)
            window = _part(group, best, best + 1)
            mixed = self._mixed(tail, window.values[0, : self.plan.overlap])
            joined = np.concatenate([mixed, window.values[0, self.plan.overlap :]])
            chosen.append(replace(window, values=joined[None]))
            if place in looked_at:
                inside.append(self._stretches(group.values, number + place))
        windows = concatenated(chosen)
        over = np.concatenate([last[:, None], windows.values[:, : self._steps]], axis=1)
        return Piece(windows, over[looked_at], np.concatenate(inside) if inside else None)

    def _candidates(self, start: int) -> Iterator[WindowArrays]:
        """Groups of windows, one for each piece of each series, from those of piece `start` on."""
        size, config = self.draws, self.config
        skip = (first := start * self.plan.series * size) % SAMPLE_CHUNK
        waiting: list[WindowArrays] = []
        count = 0
        drawn = self.bundle.stream(
            self.plan.pieces * self.plan.series * size,
            config.seed,
            config.condition or None,
            first // SAMPLE_CHUNK,
        )
        for windows in drawn:
            self.refuse_short(windows)
            waiting.append(_part(windows, skip, len(windows)))
            count += len(waiting[-1])
            skip = 0
            if count < size:
                continue
            together = concatenated(waiting)
            for begin in range(0, count - size + 1, size):
                yield _part(together, begin, begin + size)
            waiting = [_part(together, count - count % size, count)]
            count %= size

    def _nearest(self, tail: Values, candidates: Values) -> int:
        gap = candidates[:, : self.plan.overlap].astype(np.float64) - tail
        return int(np.square(gap).mean(axis=(1, 2)).argmin())

    def _mixed(self, old: Values, new: Values) -> Values:
        share = (np.arange(1, self.plan.overlap + 1) / (self.plan.overlap + 1))[:, None]
        smooth = (1 - share) * old + share * new
        return np.where(self._smooth, smooth, np.where(share > 0.5, new, old)).astype(np.float32)

    @cached_property
    def _smooth(self) -> NDArray[np.bool_]:
        """Shape (channels,): those that go over gradually."""
        channels = self.bundle.generator.channels
        smooth = np.zeros(channels.features, dtype=bool)
        for span in spans(channels.temporal):
            smooth[span.values] = span.block.kind == "continuous" and not span.block.optional
        return smooth

    @property
    def _steps(self) -> int:
        """Changes that are looked at over a seam: into it, within it and, if a step follows, out of it."""
        return self.plan.overlap + (self.plan.stride > self.plan.overlap)

    def _stretches(self, candidates: Values, place: int) -> Values:
        """Stretches as long as a seam, from the first candidates, beginning somewhere else in each."""
        free = self.plan.length - self._steps
        return np.stack(
            [
                window[(begin := (place + number) % free) : begin + self._steps + 1]
                for number, window in enumerate(candidates[:REFERENCES])
            ]
        )


def _part(windows: WindowArrays, begin: int, end: int) -> WindowArrays:
    parts = (windows.values, windows.static, windows.condition)
    values, static, condition = (part[begin:end] for part in parts)
    return WindowArrays(values, static, condition, windows.lengths[begin:end])
