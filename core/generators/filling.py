"""Empty cells of a table filled in, and rows after its last one, by a generator that completes windows.

Window after window is completed along the table, each with the rows before it known, be they from the table or
drawn before: half a window of them, if there are so many, and all later cells that are there and that it
reaches. Of a window that ends before the table's last cell the last quarter is not kept but drawn again, with
what comes after it in view. Windows without anything to draw are passed over.

This module is carried by registered models: it needs torch, NumPy and pandas alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.generators.base import Generator
from core.generators.filling_table import cell_codes, check_columns, check_given, constant_code, joined_cells
from core.generators.flow_matching import FlowMatching
from core.generators.flow_matching.guided import check
from core.prepare.channels.encode import count_outside, decode, encode
from core.prepare.channels.layout import Column, Layout, WindowArrays, spans
from core.prepare.channels.transforms import is_differenced

MOST_CELLS = 20_000_000
"""Cells of all versions of a table, at most: they are in memory, a few times over."""

KEYS = ("draw", "row")
"""Columns that filled rows have before those of the table."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Filled:
    """What became of a table."""

    frame: pd.DataFrame
    """`draw` (from 0), `row` (of the table, from 0; those after its last go on), then the table's columns."""
    cells: int
    """How many were drawn in each version, those of further rows included."""
    outside: int
    """Cells of the table beyond what the generator learnt: what is drawn beside them is a guess."""


def fill(
    generator: Generator, layout: Layout, frame: pd.DataFrame, *, draws: int, seed: int, horizon: int
) -> Filled:
    """Draw what is empty in a table of one series; see `core.generators.bundle.GeneratorBundle.fill`."""
    model = completing(generator)
    _refuse_numbers(draws, seed, horizon, (len(frame) + horizon) * model.channels.features * draws)
    if taken := [name for name in KEYS if name in frame.columns]:
        raise ConfigError(
            f"the table has a column {taken[0]!r}, as filled rows have one of their own: rename it"
        )
    known = _Known.of(layout, frame, horizon)
    drawn = _Drawing(model, layout, known, draws, seed)
    drawn.run()
    return Filled(
        frame=drawn.frame(frame),
        cells=int((~known.there).sum()) + known.unknown_static,
        outside=known.outside,
    )


def known_windows(generator: Generator, layout: Layout, frame: pd.DataFrame, n: int) -> WindowArrays:
    """`n` windows that begin as a table does, empty cells and the steps after its last row NaN.

    Of differenced columns the first row is the one before the windows.

    Raises:
        ConfigError, DataError: see `fill`; the table is longer than a window.
    """
    model = completing(generator)
    known = _Known.of(layout, frame, 0)
    if not n >= 1 or len(known.channels) - known.first > model.length:
        raise ConfigError(
            f"expected n >= 1 and at most {model.length + known.first} rows that are known, the length of the "
            f"generator's windows, got n={n} and {len(frame)} rows"
        )
    return _Drawing(model, layout, known, n, 0).windows(known.first)


def completing(generator: Generator) -> FlowMatching:
    """The generator, if it can fill in what is unknown.

    Raises:
        ConfigError: it cannot.
    """
    if not isinstance(generator, FlowMatching):
        raise ConfigError(
            f"a generator of the kind {generator.kind} cannot fill in what is unknown: train one with "
            "model.kind=flow_matching and model.completion above 0"
        )
    if not generator.options["completion"]:
        raise ConfigError(
            "this generator never learnt to fill in what is unknown: train it with model.completion above 0"
        )
    return generator


def guidable(generator: Generator) -> FlowMatching:
    """The generator, if a function can guide it.

    Raises:
        ConfigError: it cannot.
    """
    if not isinstance(generator, FlowMatching):
        raise ConfigError(
            f"a generator of the kind {generator.kind} cannot be guided: train one with "
            "model.kind=flow_matching"
        )
    check(generator)
    return generator


def _refuse_numbers(draws: int, seed: int, horizon: int, cells: int) -> None:
    if draws < 1 or not 0 <= seed < 2**63 or horizon < 0:
        raise ConfigError(
            f"expected draws >= 1, a seed from 0 to 2^63 - 1 and horizon >= 0, got {draws}, {seed} and "
            f"{horizon}"
        )
    if cells > MOST_CELLS:
        raise ConfigError(
            f"{cells:,} cells (rows x channels x draws) are too many, at most {MOST_CELLS:,}: fill a part of "
            "the table, or ask for fewer draws"
        )


@dataclass(frozen=True)
class _Known:
    """What a table says, as channels; R rows and those after them."""

    channels: NDArray[np.float32]
    """Shape (rows, channels), NaN where unknown."""
    codes: Floats
    """Shape (rows, columns), NaN where unknown: of a differenced column the logarithm or value itself."""
    there: NDArray[np.bool_]
    """Shape (rows, columns): cells of the table that are not empty."""
    static: Floats
    """Shape (static columns,): codes, NaN where unknown; levels are NaN."""
    condition: Floats
    """Shape (conditions,): codes; levels are NaN."""
    first: int
    """Row that windows begin with: 1 where a column is differenced, so that the row before is known."""
    outside: int
    """Cells beyond what was learnt."""
    unknown_static: int
    """Static columns whose value is to be drawn."""

    @classmethod
    def of(cls, layout: Layout, frame: pd.DataFrame, horizon: int) -> _Known:
        """What a table says and `horizon` rows after it leave open.

        Raises:
            ConfigError: a column is missing or none of the generator's.
            DataError: a cell is no value of its column, or empty where it must not be.
        """
        check_columns(layout, frame)
        codes = np.full((len(frame) + horizon, len(layout.temporal)), np.nan)
        for place, column in enumerate(layout.temporal):
            codes[: len(frame), place] = cell_codes(column, frame[column.name])
        there = np.isfinite(codes)
        first = int(any(map(is_differenced, layout.temporal)))
        if first:
            _check_differenced(layout.temporal, there)
        moves = codes.copy()
        for place in (place for place, column in enumerate(layout.temporal) if is_differenced(column)):
            moves[1:, place], moves[0, place] = np.diff(codes[:, place]), np.nan
        channels = _channels(layout.temporal, moves)
        if len(frame) < len(codes):  # whether a cell is there at all is drawn of further rows alone
            _forget(layout.temporal, channels[len(frame) :])
        static, condition = (
            np.array([constant_code(column, frame) for column in columns])
            for columns in (layout.static, layout.condition)
        )
        check_given(layout.condition, condition)
        own = [not column.level_of for column in layout.static]
        outside = _outside(layout.temporal, channels)
        for columns, constants in ((layout.static, static), (layout.condition, condition)):
            outside += _outside(columns, _channels(columns, _with_levels(layout, columns, constants, codes)))
        return cls(channels, codes, there, static, condition, first, outside, int(np.isnan(static[own]).sum()))


class _Drawing:
    """The versions of a table while they are drawn, side by side.

    Args:
        model: What draws.
        layout: Of its windows.
        known: The table.
        draws: Versions.
        seed: From 0.
    """

    def __init__(self, model: FlowMatching, layout: Layout, known: _Known, draws: int, seed: int) -> None:
        self.model, self.layout, self.known = model, layout, known
        self.draws, self.seed = draws, seed
        self.channels = np.repeat(known.channels[None], draws, axis=0)
        self.codes = np.repeat(known.codes[None], draws, axis=0)
        self.static = np.repeat(_channels(layout.static, known.static)[None], draws, axis=0)

    def run(self) -> None:
        """Draw everything that is unknown."""
        length, rows = self.model.length, len(self.known.channels)
        open_rows: NDArray[np.bool_] = np.asarray(np.isnan(self.known.channels).any(axis=1))
        open_rows[: self.known.first] = False
        told = np.flatnonzero(self.known.there.any(axis=1))
        last = int(told[-1]) if len(told) else -1
        row, number = self._next(open_rows, self.known.first), 0
        if row is None and self.known.unknown_static:
            row = self.known.first
        while row is not None:
            begin = max(self.known.first, min(row - length // 2, rows - length))
            stop = min(begin + length, rows)
            if last >= stop:
                stop = max(stop - length // 4, row + 1)
            self._window(begin, stop, number)
            row, number = self._next(open_rows, stop), number + 1

    @staticmethod
    def _next(open_rows: NDArray[np.bool_], start: int) -> int | None:
        found = np.flatnonzero(open_rows[start:])
        return start + int(found[0]) if len(found) else None

    def _window(self, begin: int, stop: int, number: int) -> None:
        """Draw the rows from `begin` on and keep those before `stop`."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0] >> 1)
        made = self.model.complete(self.windows(begin), seed)
        self.channels[:, begin:stop] = made.values[:, : stop - begin]
        levels = [bool(column.level_of) for column in self.layout.static]
        of = np.repeat(levels, [column.block.channels for column in self.layout.static]).astype(bool)
        self.static = np.where(of, np.nan, made.static).astype(np.float32)
        self._decode(begin, stop)

    def windows(self, begin: int) -> WindowArrays:
        """What is known of the window of each version that begins at a row, NaN for the rest."""
        length = self.model.length
        values = np.full((self.draws, length, self.channels.shape[2]), np.nan, dtype=np.float32)
        here = self.channels[:, begin : begin + length]
        values[:, : here.shape[1]] = here
        for span in (span for span in spans(self.model.channels.temporal) if span.presence is not None):
            missing = values[..., span.presence] == 0  # known as missing: of its value nothing is
            values[..., span.values][missing] = np.nan
        return WindowArrays(values, *self._constants(begin), np.full(self.draws, length))

    def _constants(self, begin: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Static channels and conditions of windows that begin at a row."""
        static = np.where(np.isnan(self.static), self._levels(self.layout.static, begin), self.static)
        given = np.repeat(self.known.condition[None], self.draws, axis=0)
        for place, column in enumerate(self.layout.condition):
            if column.level_of:
                given[:, place] = self._before(column, begin)
        conditions = encode(self.layout.condition, given)
        for column, span in zip(self.layout.condition, spans(self.model.channels.condition), strict=True):
            if column.level_of:  # as learnt, at most: a series may leave the range of its training
                conditions[:, span.values] = conditions[:, span.values].clip(0, 1)
        return static.astype(np.float32), conditions

    def _levels(self, columns: Sequence[Column], begin: int) -> NDArray[np.float32]:
        """Channels of the level columns, NaN of others; shape (draws, channels)."""
        codes = np.full((self.draws, len(columns)), np.nan)
        for place, column in enumerate(columns):
            if column.level_of:
                codes[:, place] = self._before(column, begin)
        return _channels(columns, codes).clip(0, 1)  # likewise

    def _before(self, level: Column, begin: int) -> Floats:
        """Codes of a differenced column in the row before, shape (draws,)."""
        names = [column.name for column in self.layout.temporal]
        return np.asarray(self.codes[:, begin - 1, names.index(level.level_of)])

    def _decode(self, begin: int, stop: int) -> None:
        """Codes of the cells that were drawn in some rows."""
        found = decode(self.layout.temporal, self.channels[:, begin:stop])
        for place, column in enumerate(self.layout.temporal):
            unknown = ~self.known.there[begin:stop, place]
            if is_differenced(column):
                for row in np.flatnonzero(unknown) + begin:
                    self.codes[:, row, place] = self.codes[:, row - 1, place] + found[:, row - begin, place]
            else:
                self.codes[:, begin:stop, place][:, unknown] = found[:, unknown, place]

    def frame(self, table: pd.DataFrame) -> pd.DataFrame:
        """All versions, one below the other."""
        rows = len(self.known.codes)
        keys = pd.DataFrame(
            {"draw": np.repeat(np.arange(self.draws), rows), "row": np.tile(np.arange(rows), self.draws)}
        )
        static = decode(self.layout.static, np.nan_to_num(self.static))
        made = {column.name: self.codes[..., place] for place, column in enumerate(self.layout.temporal)}
        for columns, codes in (
            (self.layout.static, static),
            (self.layout.condition, np.repeat(self.known.condition[None], self.draws, axis=0)),
        ):
            for place, column in enumerate(columns):
                made[column.name] = np.repeat(codes[:, place, None], rows, axis=1)
        own = self.layout.own
        known = {column.name: column for column in (*own.temporal, *own.static, *own.condition)}
        cells = {name: joined_cells(known[name], table[name], made[name]) for name in table.columns}
        return pd.concat([keys, pd.DataFrame(cells)], axis=1)


def _check_differenced(columns: Sequence[Column], there: NDArray[np.bool_]) -> None:
    """Levels are known up to some row: inside, a gap's differences would have to add up to what follows."""
    for place, column in enumerate(columns):
        cells = there[:, place]
        if is_differenced(column) and not cells[: int(cells.sum())].all():
            row = int(np.flatnonzero(~cells)[0]) + 1
            raise DataError(
                f"column {column.name!r} is learnt as {column.transform}, so cells can be drawn only after its "
                f"last known one, but row {row} is empty and a later one is not: train with transform none or "
                "log"
            )
    if not there[:1].all():
        name = columns[int(np.flatnonzero(~there[:1].all(axis=0))[0])].name if len(there) else columns[0].name
        raise DataError(f"row 1 of column {name!r} is empty; differences need a first row that is known")


def _channels(columns: Sequence[Column], codes: Floats) -> NDArray[np.float32]:
    """Channels of cells, NaN where a code is, but for their presence, which is 1; shape (..., channels)."""
    if not columns:
        return np.zeros((*codes.shape[:-1], 0), dtype=np.float32)
    stand_in = [column.minimum if column.kind == "continuous" else 0.0 for column in columns]
    channels = encode(columns, np.where(np.isnan(codes), stand_in, codes))
    for place, span in enumerate(spans([column.block for column in columns])):
        channels[..., span.values][np.isnan(codes[..., place])] = np.nan
    return channels


def _with_levels(layout: Layout, columns: Sequence[Column], constants: Floats, codes: Floats) -> Floats:
    """Codes of static columns or conditions, those of levels in the table's first row."""
    names = [column.name for column in layout.temporal]
    found = [
        codes[0, names.index(column.level_of)] if column.level_of and len(codes) else constant
        for column, constant in zip(columns, constants, strict=True)
    ]
    return np.array(found, dtype=np.float64)


def _outside(columns: Sequence[Column], channels: NDArray[np.float32]) -> int:
    """Cells beyond what was learnt; unknown ones are not."""
    return int(count_outside(columns, np.nan_to_num(channels)).sum())


def _forget(columns: Sequence[Column], channels: NDArray[np.float32]) -> None:
    """Whether cells are there, too, is unknown where their values are; changed in place."""
    for span in spans([column.block for column in columns]):
        if span.presence is not None:
            channels[np.isnan(channels[..., span.values.start]), span.presence] = np.nan
