"""One long series out of windows that overlap, part by part.

Each next piece is, among freshly drawn windows, the one whose first steps are nearest to the last steps of the
series so far (the mean squared difference of channels). Over these steps the old goes over into the new: of a
column of numbers

    (1 - w_j) old_j + w_j new_j,   w_j = (j + 1) / (overlap + 1),   j = 0 .. overlap - 1,

while discrete columns, and those with missing cells, switch in the middle. A differenced column starts from the
first window's level and adds up its differences from there; the levels of later windows are not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.generation.options import GenerationConfig
from core.generation.rows import Levels, Rows
from core.generation.seams import MOST_SEAMS, REFERENCES, changes
from core.generation.windows import PART_CELLS, Block
from core.generators.module import SAMPLE_CHUNK
from core.prepare.channels.encode import decode
from core.prepare.channels.layout import WindowArrays, concatenated, spans
from core.prepare.channels.transforms import is_differenced

PART_CANDIDATES = 262_144
"""Windows drawn for a part, at most: so much work is lost where one is cut off."""

_MOST_LOG = float(np.log(np.finfo(np.float64).max))

Values = NDArray[np.float32]


@dataclass
class _Past:
    """What the next piece goes on from."""

    tail: Values | None
    """Shape (overlap, channels): the last steps so far, not yet written."""
    last: Values | None
    """Shape (channels,): the last step that was written."""
    levels: dict[str, float]
    """Codes of the levels of differenced columns after the last part."""

    def to_json(self) -> dict[str, Any]:
        """Exact: a float32 is a double, and JSON keeps doubles."""
        ends = {name: None if part is None else part.tolist() for name, part in self._ends()}
        return {**ends, "levels": self.levels}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> _Past:
        """What `to_json` gave; of nothing the beginning."""
        ends = (tree.get(name) for name in ("tail", "last"))
        tail, last = (None if end is None else np.array(end, dtype=np.float32) for end in ends)
        return cls(tail, last, dict(tree.get("levels", {})))

    def _ends(self) -> tuple[tuple[str, Values | None], ...]:
        return ("tail", self.tail), ("last", self.last)


@dataclass(frozen=True)
class SeriesParts:
    """A series of `config.steps` rows, the same however it is cut."""

    rows: Rows
    config: GenerationConfig

    def check(self) -> None:
        """Refuse what makes no series, before the work.

        Raises:
            ConfigError: see docs/generate.md.
        """
        layout, length = self.rows.bundle.series.layout, self.length
        if not 1 <= self.overlap <= length // 2:
            raise ConfigError(
                f"expected an overlap from 1 to {length // 2}, half of the generator's windows of {length} "
                f"steps, got {self.overlap}"
            )
        if own := [column.name for column in layout.own.static]:
            raise ConfigError(
                f"the generator makes up {', '.join(own)} anew for each window, but a series has one value of "
                "it: train with model.condition naming it, or write windows"
            )
        given = [column.name for column in layout.condition]
        if levels := [column.name for column in layout.condition if column.level_of]:
            raise ConfigError(
                f"the generator is given {levels[0]!r}, the level before a window, which changes along a "
                "series: write windows, or train without it in model.condition"
            )
        if given and not self.config.condition:
            raise ConfigError(f"a series has one value of {', '.join(given)}: give it with --condition")
        if holes := [c.name for c in layout.temporal if is_differenced(c) and c.optional]:
            raise ConfigError(
                f"column {holes[0]!r} is differenced and may be missing, so a series would lose its level: "
                "write windows"
            )

    @cached_property
    def written(self) -> Rows:
        """The rows without the levels before each window."""
        return self.rows.of_series()

    @property
    def total(self) -> int:
        """Steps."""
        return self.config.steps or 0

    @property
    def length(self) -> int:
        """Steps of a window."""
        return self.rows.bundle.generator.length

    @property
    def overlap(self) -> int:
        """Steps that neighbours share."""
        return self.config.overlap or max(1, self.length // 2)

    @property
    def stride(self) -> int:
        """Steps that a piece adds."""
        return self.length - self.overlap

    @property
    def pieces(self) -> int:
        """Windows that make the series."""
        return 1 + max(0, -(-(self.total - self.length) // self.stride))

    @property
    def size(self) -> int:
        """Pieces of a part."""
        cells = self.stride * self.rows.bundle.generator.channels.features
        return max(1, min(PART_CELLS // cells, PART_CANDIDATES // self.config.candidates))

    @property
    def count(self) -> int:
        """Parts."""
        return -(-self.pieces // self.size)

    def blocks(self, start: int, state: dict[str, Any]) -> Iterator[Block]:
        """The parts from `start` on.

        Raises:
            ConfigError: a window is shorter than the others.
            DataError: the level of a differenced column left the range of numbers.
        """
        past = _Past.from_json(state)
        drawn = self._candidates(start * self.size)
        for part in range(start, self.count):
            first = part * self.size
            yield self._block(range(first, min(first + self.size, self.pieces)), drawn, past)

    def _block(self, numbers: range, drawn: Iterator[WindowArrays], past: _Past) -> Block:
        made: list[Values] = []
        seams: list[Values] = []
        inside: list[Values] = []
        for number in numbers:
            group = next(drawn)
            if past.tail is None:
                past.levels = self._first_levels(group)
                piece = group.values[0]
                made.append(piece[: self.stride])
            else:
                piece = group.values[self._nearest(past.tail, group.values)]
                mixed = self._mixed(past.tail, piece[: self.overlap])
                made.append(np.concatenate([mixed, piece[self.overlap : self.stride]]))
                if number % self._every == 0 and past.last is not None:
                    seams.append(np.concatenate([past.last[None], made[-1]])[: self._steps + 1])
                    inside.append(self._stretches(group.values, number))
            past.tail, past.last = piece[self.stride :], made[-1][-1]
        if numbers[-1] == self.pieces - 1 and past.tail is not None:
            made.append(past.tail)
        begin = numbers[0] * self.stride
        values = np.concatenate(made)[: self.total - begin]
        levels = {name: np.array([code]) for name, code in past.levels.items()}
        past.levels = self._levels_after(values, levels)
        content = self.written.content(self._one_window(values), begin, levels)
        columns = self.rows.bundle.series.layout.temporal
        found = [changes(np.stack(s), columns).tolist() if s else [] for s in (seams, _flat(inside))]
        return Block(content, len(values), len(values), past.to_json(), (found[0], found[1]))

    def _candidates(self, start: int) -> Iterator[WindowArrays]:
        """Groups of `candidates` windows, one for each piece, from that of piece `start` on."""
        size, config = self.config.candidates, self.config
        skip = (first := start * size) % SAMPLE_CHUNK
        waiting: list[WindowArrays] = []
        count = 0
        drawn = self.rows.bundle.stream(
            self.pieces * size, config.seed, config.condition or None, first // SAMPLE_CHUNK
        )
        for windows in drawn:
            self._refuse_short(windows)
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

    def _refuse_short(self, windows: WindowArrays) -> None:
        if (windows.lengths < self.length).any():
            raise ConfigError(
                f"the generator's windows differ in length, from {windows.lengths.min()} to {self.length} "
                "steps: a series needs whole ones; write windows, or train without window.min_length"
            )

    def _nearest(self, tail: Values, candidates: Values) -> int:
        gap = candidates[:, : self.overlap].astype(np.float64) - tail
        return int(np.square(gap).mean(axis=(1, 2)).argmin())

    def _mixed(self, old: Values, new: Values) -> Values:
        share = (np.arange(1, self.overlap + 1) / (self.overlap + 1))[:, None]
        smooth = (1 - share) * old + share * new
        return np.where(self._smooth, smooth, np.where(share > 0.5, new, old)).astype(np.float32)

    @cached_property
    def _smooth(self) -> NDArray[np.bool_]:
        """Shape (channels,): those that go over gradually."""
        blocks = self.rows.bundle.generator.channels.temporal
        smooth = np.zeros(self.rows.bundle.generator.channels.features, dtype=bool)
        for span in spans(blocks):
            smooth[span.values] = span.block.kind == "continuous" and not span.block.optional
        return smooth

    @property
    def _steps(self) -> int:
        """Changes that are looked at over a seam: into it, within it and, if a step follows, out of it."""
        return self.overlap + (self.stride > self.overlap)

    @property
    def _every(self) -> int:
        """Every so many seams one is looked at."""
        return -(-self.pieces // MOST_SEAMS)

    def _stretches(self, candidates: Values, number: int) -> Values:
        """Stretches as long as a seam, from the first candidates, beginning somewhere else in each."""
        some = candidates[:REFERENCES]
        free = self.length - self._steps
        return np.stack(
            [
                window[(begin := (number + place) % free) : begin + self._steps + 1]
                for place, window in enumerate(some)
            ]
        )

    def _first_levels(self, group: WindowArrays) -> dict[str, float]:
        static = self.rows.bundle.series.layout.static
        codes = decode(static, group.static[:1])[0].tolist()
        return {column.level_of: code for column, code in zip(static, codes, strict=True) if column.level_of}

    def _levels_after(self, values: Values, levels: Levels) -> dict[str, float]:
        columns = self.rows.bundle.series.layout.temporal
        codes = decode(columns, values)
        after: dict[str, float] = {}
        for place, column in ((place, c) for place, c in enumerate(columns) if is_differenced(c)):
            path = levels[column.name] + np.cumsum(codes[:, place])
            most = _MOST_LOG if column.transform == "log_difference" else np.finfo(np.float64).max
            if not np.abs(path).max() < most:
                raise DataError(
                    f"column {column.name!r} left the range of numbers: its differences add up to "
                    f"{path[np.abs(path).argmax()]:g}; ask for fewer steps"
                )
            after[column.name] = float(path[-1])
        return after

    def _one_window(self, values: Values) -> WindowArrays:
        given = self.rows.bundle.given(self.config.condition or None)
        condition = np.zeros((1, 0), dtype=np.float32) if given is None else given[None]
        static = np.zeros((1, 0), dtype=np.float32)
        return WindowArrays(values[None], static, condition, np.array([len(values)]))


def _part(windows: WindowArrays, begin: int, end: int) -> WindowArrays:
    parts = (windows.values, windows.static, windows.condition)
    values, static, condition = (part[begin:end] for part in parts)
    return WindowArrays(values, static, condition, windows.lengths[begin:end])


def _flat(stretches: list[Values]) -> list[Values]:
    return [stretch for group in stretches for stretch in group]
