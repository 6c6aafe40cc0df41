"""What the numbers of a window mean: columns as the user knows them, and the channels that encode them.

A continuous column is one channel of about [0, 1] (`core.prepare.channels.scaler`), a binary one a channel that
is 0 or 1, a categorical one as many channels as it has categories, one of them 1. A column with missing cells
has one channel more, before its values: 1 where the cell is there. Where it is not, the value channels are 0.

This module is carried by registered models: it needs the standard library and NumPy alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BlockKind = Literal["continuous", "binary", "one_hot"]
ColumnKind = Literal["continuous", "binary", "categorical"]
Scaler = Literal["minmax", "standard", "robust", "quantile"]
Transform = Literal["none", "log", "difference", "log_difference"]


@dataclass(frozen=True)
class Block:
    """The channels of one column."""

    kind: BlockKind
    width: int = 1
    """Value channels."""
    optional: bool = False
    """Cells may be missing: a presence channel stands before the values."""

    @property
    def channels(self) -> int:
        """Value channels and the presence channel, if any."""
        return self.width + self.optional


@dataclass(frozen=True)
class Span:
    """Where a block lies among the channels."""

    block: Block
    values: slice
    presence: int | None
    """Channel that says whether the cell is there."""


def spans(blocks: Sequence[Block]) -> Iterator[Span]:
    """Every block with its channels, in order."""
    start = 0
    for block in blocks:
        first = start + block.optional
        yield Span(block, slice(first, first + block.width), start if block.optional else None)
        start += block.channels


def width(blocks: Sequence[Block]) -> int:
    """Channels of all blocks."""
    return sum(block.channels for block in blocks)


@dataclass(frozen=True)
class Channels:
    """What a generator must know of the windows that it learns: the blocks, without names and units."""

    temporal: tuple[Block, ...]
    """Of each step."""
    static: tuple[Block, ...] = ()
    """One value a window, generated with it."""
    condition: tuple[Block, ...] = ()
    """One value a window, given to the generator."""

    @property
    def features(self) -> int:
        """Channels of a step."""
        return width(self.temporal)

    @classmethod
    def continuous(cls, features: int) -> Channels:
        """So many continuous columns and nothing else."""
        return cls((Block("continuous"),) * features)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Channels:
        """What `to_json` gave."""
        return cls(**{part: tuple(Block(**block) for block in blocks) for part, blocks in tree.items()})


@dataclass(frozen=True)
class Column:
    """One column of the user's data."""

    name: str
    kind: ColumnKind = "continuous"
    minimum: float = 0.0
    """Continuous: the code (see `core.prepare.channels.encode`) that becomes 0."""
    maximum: float = 1.0
    """Continuous: the code that becomes 1."""
    integer: bool = False
    """Continuous: the source held whole numbers, so generated values are rounded to them."""
    categories: tuple[Any, ...] = ()
    """Binary: the values of 0 and 1; categorical: the value of each channel. Text, numbers or booleans."""
    optional: bool = False
    """Cells may be missing."""
    scaler: Scaler = "minmax"
    """Continuous: how codes become channels, see `core.prepare.channels.scaler`."""
    transform: Transform = "none"
    """Continuous: how values become codes, see `core.prepare.channels.transforms`."""
    quantiles: tuple[float, ...] = ()
    """Scaler `quantile`: the codes that become 0, 1/(n-1), ..., 1, ascending; () if the column is constant."""
    level_of: str = ""
    """Of a static column: the differenced column of a step whose level before the window this is."""

    @property
    def block(self) -> Block:
        """Its channels."""
        if self.kind == "categorical":
            return Block("one_hot", len(self.categories), self.optional)
        return Block(self.kind, 1, self.optional)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Column:
        """What `dataclasses.asdict` gave, through JSON."""
        tuples = {name: tuple(tree.get(name, ())) for name in ("categories", "quantiles")}
        return cls(**{**tree, **tuples})


@dataclass(frozen=True)
class Layout:
    """The columns of a series."""

    temporal: tuple[Column, ...]
    static: tuple[Column, ...] = ()
    """One value a series, then the level columns (see `Column.level_of`): one value a window."""
    condition: tuple[Column, ...] = ()
    """Static columns whose value is given to the generator instead of generated."""

    @property
    def channels(self) -> Channels:
        """Their blocks."""
        return Channels(
            *(tuple(column.block for column in part) for part in (self.temporal, self.static, self.condition))
        )

    @property
    def own(self) -> Layout:
        """The user's columns: without level columns, except those that are given to the generator."""
        return replace(self, static=tuple(column for column in self.static if not column.level_of))

    def conditioned_on(self, names: Sequence[str]) -> Layout:
        """The static columns `names` become conditions, in the order of the series.

        Raises:
            KeyError: one of them is no static column.
        """
        known = {column.name for column in self.static}
        if absent := [name for name in names if name not in known]:
            raise KeyError(absent[0])
        return Layout(
            self.temporal,
            tuple(column for column in self.static if column.name not in names),
            tuple(column for column in self.static if column.name in names),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists, texts and numbers, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Layout:
        """What `to_json` gave."""
        return cls(**{part: tuple(map(Column.from_json, columns)) for part, columns in tree.items()})


@dataclass(frozen=True)
class WindowArrays:
    """Encoded windows in memory, real or synthetic."""

    values: NDArray[np.float32]
    """Shape (N, length, channels); 0 past a window's end."""
    static: NDArray[np.float32]
    """Shape (N, static channels), (N, 0) without static columns."""
    condition: NDArray[np.float32]
    """Shape (N, condition channels), (N, 0) without conditions."""
    lengths: NDArray[np.int64]
    """Shape (N,): steps of each window, from 1 to length."""

    def __len__(self) -> int:
        return len(self.values)


def concatenated(parts: Sequence[WindowArrays]) -> WindowArrays:
    """The windows of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(WindowArrays)]
    return WindowArrays(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
