"""Long series out of windows that overlap, part by part, several side by side.

Each next window begins with the last steps so far: a generator that can complete windows draws the rest of it
(`pieces_completion`), of others the window that fits best is chosen (`pieces_candidates`). A differenced column
starts from the first window's level and adds up its differences from there; the levels of later windows are not
used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.generation.options import GenerationConfig
from core.generation.pieces import Past, Piece, Pieces, Plan, Values
from core.generation.pieces_candidates import ByCandidates
from core.generation.pieces_completion import ByCompletion, completer
from core.generation.rows import Levels, Rows
from core.generation.seams import changes
from core.generation.windows import PART_CELLS, Block
from core.generators.bundle import GeneratorBundle
from core.prepare.channels.encode import decode
from core.prepare.channels.layout import WindowArrays, width
from core.prepare.channels.transforms import is_differenced

PART_DRAWS = 262_144
"""Windows drawn for a part, at most: so much work is lost where one is cut off."""

_MOST_LOG = float(np.log(np.finfo(np.float64).max))


@dataclass(frozen=True)
class SeriesParts:
    """Series of `config.steps` rows each, the same however they are cut."""

    rows: Rows
    config: GenerationConfig

    @cached_property
    def pieces(self) -> Pieces:
        """How they go on."""
        return _pieces(self.rows.bundle, self.config)

    @property
    def plan(self) -> Plan:
        """How they lie in windows."""
        return self.pieces.plan

    def check(self) -> None:
        """Refuse what makes no series, before the work.

        Raises:
            ConfigError: see docs/generate.md.
        """
        layout, plan, most = self.rows.bundle.series.layout, self.plan, self.pieces.most_overlap
        if not 1 <= plan.overlap <= most:
            raise ConfigError(
                f"expected an overlap from 1 to {most}, of the generator's windows of {plan.length} steps, "
                f"got {plan.overlap}"
            )
        self._refuse_many()
        if levels := [column.name for column in layout.condition if column.level_of]:
            raise ConfigError(
                f"the generator is given {levels[0]!r}, the level before a window, which changes along a "
                "series: write windows, or train without it in model.condition"
            )
        if holes := [c.name for c in layout.temporal if is_differenced(c) and c.optional]:
            raise ConfigError(
                f"column {holes[0]!r} is differenced and may be missing, so a series would lose its level: "
                "write windows"
            )
        self.pieces.check()

    def _refuse_many(self) -> None:
        """Each part holds a piece of every series, and what they go on from."""
        cells = self.plan.length * self.rows.bundle.generator.channels.features
        if self.plan.series > (most := max(1, PART_CELLS // (2 * cells))):
            raise ConfigError(
                f"{self.plan.series:,} series of this generator are too many side by side: expected at most "
                f"{most:,}; call again with another seed for more"
            )

    @cached_property
    def written(self) -> Rows:
        """The rows without the levels before each window."""
        return self.rows.of_series()

    @property
    def total(self) -> int:
        """Steps of each series."""
        return self.plan.steps

    @property
    def size(self) -> int:
        """Pieces of a part, of each series."""
        cells = self.plan.stride * self.plan.series * self.rows.bundle.generator.channels.features
        draws = self.plan.series * self.pieces.draws
        return max(1, min(PART_CELLS // cells, PART_DRAWS // draws))

    @property
    def count(self) -> int:
        """Parts."""
        return -(-self.plan.pieces // self.size)

    def blocks(self, start: int, state: dict[str, Any]) -> Iterator[Block]:
        """The parts from `start` on.

        Raises:
            ConfigError: a window is shorter than the others.
            DataError: the level of a differenced column left the range of numbers.
        """
        past = Past.from_json(state)
        pieces = self.pieces.follow(start * self.size, past)
        for part in range(start, self.count):
            first = part * self.size
            yield self._block(range(first, min(first + self.size, self.plan.pieces)), pieces, past)

    def _block(self, numbers: range, pieces: Iterator[Piece], past: Past) -> Block:
        made: list[Values] = []
        found: tuple[list[Values], list[Values]] = ([], [])
        levels: Levels = past.levels
        for piece in islice(pieces, len(numbers)):
            if past.tail is None:
                self._begin(piece.windows, past)
                levels = past.levels
            values = piece.windows.values
            made.append(values[:, : self.plan.stride])
            past.tail, past.last = values[:, self.plan.stride :], made[-1][:, -1]
            past.levels = self._levels_after(made[-1], past.levels)
            for stretches, more in zip(found, (piece.seams, piece.inside), strict=True):
                stretches.extend([] if more is None else [more])
        if numbers[-1] == self.plan.pieces - 1 and past.tail is not None:
            made.append(past.tail)
            self._levels_after(past.tail, past.levels)
        begin = numbers[0] * self.plan.stride
        steps = np.concatenate(made, axis=1)[:, : self.total - begin]
        content = self.written.content(self._windows(steps, past), begin, levels)
        seams, inside = (self._changes(stretches) for stretches in found)
        rows = steps.shape[0] * steps.shape[1]
        return Block(content, steps.shape[1], rows, past.to_json(), (seams, inside))

    def _changes(self, stretches: list[Values]) -> list[Any]:
        some = [part for part in stretches if len(part)]
        columns = self.rows.bundle.series.layout.temporal
        found: list[Any] = changes(np.concatenate(some), columns).tolist() if some else []
        return found

    def _begin(self, windows: WindowArrays, past: Past) -> None:
        """Static columns, conditions and levels of the first windows."""
        past.static, past.condition = windows.static, windows.condition
        columns = self.rows.bundle.series.layout.static
        codes = decode(columns, windows.static).T
        past.levels = {c.level_of: level.copy() for c, level in zip(columns, codes, strict=True) if c.level_of}

    def _levels_after(self, values: Values, levels: Levels) -> dict[str, NDArray[np.float64]]:
        """Levels after steps of shape (series, steps, channels)."""
        columns = self.rows.bundle.series.layout.temporal
        differenced = [(place, c) for place, c in enumerate(columns) if is_differenced(c)]
        codes = decode(columns, values) if differenced else np.empty(0)
        after: dict[str, NDArray[np.float64]] = {}
        for place, column in differenced:
            path = levels[column.name][:, None] + np.cumsum(codes[..., place], axis=1)
            most = _MOST_LOG if column.transform == "log_difference" else np.finfo(np.float64).max
            if not np.abs(path).max() < most:
                raise DataError(
                    f"column {column.name!r} left the range of numbers: its differences add up to "
                    f"{path.flat[np.abs(path).argmax()]:g}; ask for fewer steps"
                )
            after[column.name] = path[:, -1].copy()
        return after

    def _windows(self, steps: Values, past: Past) -> WindowArrays:
        """A part of every series as one window each, without the levels, which stand last."""
        own = width([column.block for column in self.rows.bundle.series.layout.own.static])
        count = len(steps)
        static, condition = (
            np.zeros((count, 0), dtype=np.float32) if part is None else part
            for part in (past.static, past.condition)
        )
        return WindowArrays(steps, static[:, :own], condition, np.full(count, steps.shape[1]))


def continued(bundle: GeneratorBundle, config: GenerationConfig) -> dict[str, Any]:
    """How series are continued, for the lineage."""
    pieces = _pieces(bundle, config)
    how = {"candidates": pieces.draws} if isinstance(pieces, ByCandidates) else {"completion": True}
    return {"overlap": pieces.plan.overlap, **how}


def _pieces(bundle: GeneratorBundle, config: GenerationConfig) -> Pieces:
    able = completer(bundle.generator)
    return ByCandidates(bundle, config) if able is None else ByCompletion(bundle, config, able)
