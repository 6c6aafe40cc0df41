"""A prepared series on disk and the windows over it, which are never copied out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, StorageError
from core.prepare.channels.layout import Channels, Layout, WindowArrays
from core.prepare.channels.recode import recode


@dataclass(frozen=True)
class WindowIndex:
    """Where windows lie in a series."""

    starts: NDArray[np.int64]
    """Shape (N,): first row of each window, ascending."""
    lengths: NDArray[np.int64]
    """Shape (N,): steps of each window."""
    segments: NDArray[np.int64]
    """Shape (N,): number of the segment that each window lies in."""


def window_index(
    segments: NDArray[np.int64], length: int, stride: int = 1, min_length: int | None = None
) -> WindowIndex:
    """Every window that lies inside one segment.

    Windows start every `stride` rows from the segment's first row. With `min_length` the window that starts
    next after the whole ones, and so ends with the segment before it is `length` long, is one too if it has
    at least `min_length` steps and holds a row that no whole window does: all of a segment that is shorter
    than `length`, or the rest that the stride leaves over.

    Args:
        segments: Shape (S, 2), rows [start, stop) between gaps, ascending.
        length: Steps in a whole window.
        stride: Steps between the starts of neighbouring windows of a segment.
        min_length: Fewest steps in a window; whole windows alone if None.
    """
    counts = window_counts(segments, length, stride, min_length)
    there = np.flatnonzero(counts)
    counts, first, stops = counts[there], segments[there, 0], segments[there, 1]
    ends = np.cumsum(counts)
    # Added up in place: of 10 million windows nothing but the index itself is in memory.
    starts = np.full(counts.sum(), stride, dtype=np.int64)
    starts[ends - counts] = np.diff(first, prepend=0)
    starts[(ends - counts)[1:]] -= (counts[:-1] - 1) * stride
    np.cumsum(starts, out=starts)
    lengths = np.full(len(starts), length, dtype=np.int64)
    lengths[ends - 1] = np.minimum(length, stops - starts[ends - 1])
    return WindowIndex(starts, lengths, np.repeat(there, counts))


def window_counts(
    segments: NDArray[np.int64], length: int, stride: int = 1, min_length: int | None = None
) -> NDArray[np.int64]:
    """How many windows `window_index` finds in each segment, shape (S,); at most one of them is not whole."""
    rows = segments[:, 1] - segments[:, 0]
    counts = np.maximum((rows - length) // stride + 1, 0)
    if min_length is not None:
        covered = np.where(counts > 0, (counts - 1) * stride + length, 0)
        counts += (covered < rows) & (rows - counts * stride >= min_length)
    return np.asarray(counts)


@dataclass(frozen=True)
class Windows:
    """All windows of a series, as an index over its array.

    A window that is shorter than `length` runs to the end of its segment; what `gather` gives past it is 0.
    """

    values: NDArray[np.float32]
    """Shape (rows, channels), memory-mapped."""
    starts: NDArray[np.int64]
    """Shape (N,): first row of each window."""
    length: int
    """Steps of the longest window."""
    channels: Channels
    lengths: NDArray[np.int64]
    """Shape (N,): steps of each window."""
    static: NDArray[np.float32]
    """Shape (N, static channels)."""
    condition: NDArray[np.float32]
    """Shape (N, condition channels)."""

    @classmethod
    def of(cls, values: NDArray[np.float32], starts: NDArray[np.int64], length: int) -> Windows:
        """Windows of continuous columns alone, all of them whole."""
        none = np.empty((len(starts), 0), dtype=np.float32)
        lengths = np.full(len(starts), length, dtype=np.int64)
        return cls(values, starts, length, Channels.continuous(values.shape[1]), lengths, none, none)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def features(self) -> int:
        """Channels of a step."""
        return int(self.values.shape[1])

    @property
    def variable(self) -> bool:
        """Some windows are shorter than `length`."""
        return bool((self.lengths < self.length).any())

    def recoded(self, old: Layout, new: Layout) -> tuple[Windows, int]:
        """The same windows with channels of another layout, in memory, see `core.prepare.channels.recode`.

        Returns:
            The windows, and how many values of the series (and static ones of its windows) lie outside [0, 1].

        Raises:
            DataError: the columns differ, or a cell holds what `new` does not know.
        """
        values, outside = recode(self.values, old, new)
        static, outside_static = recode(self.static, old, new, "static")
        condition, outside_condition = recode(self.condition, old, new, "condition")
        windows = replace(self, values=values, static=static, condition=condition, channels=new.channels)
        return windows, outside + outside_static + outside_condition

    def only(self, index: NDArray[np.int64]) -> Windows:
        """The windows `index`, over the same array."""
        parts = ("starts", "lengths", "static", "condition")
        return replace(self, **{part: getattr(self, part)[index] for part in parts})

    def gather(self, index: NDArray[np.int64]) -> WindowArrays:
        """Copies of the windows `index`."""
        steps = np.arange(self.length)
        lengths = self.lengths[index]
        rows = self.starts[index, None] + np.minimum(steps, lengths[:, None] - 1)
        # Seven times as fast as indexing the memory map itself.
        values = np.take(np.asarray(self.values), rows, axis=0)
        values[steps >= lengths[:, None]] = 0
        return WindowArrays(values, self.static[index], self.condition[index], lengths)


@dataclass(frozen=True)
class PreparedSeries:
    """A chronological, encoded series and what is needed to undo the preparation.

    Folder layout: `values.npy` (float32, shape (rows, channels): `core.prepare.channels.layout`), `static.npy`
    (float32, shape (segments, static channels), absent without static columns), `levels.npy` (float32, shape
    (rows, level columns): the level before each row, encoded; absent without differenced columns), `time.npy`
    (int64 nanoseconds since 1970 UTC, absent if the rows carry no time) and `prepared.json` (everything else).
    """

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> PreparedSeries:
        """The series in a folder.

        Raises:
            StorageError: the folder is missing or damaged.
        """
        try:
            manifest = json.loads((path / "prepared.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(f"{path} holds no prepared series: {error}") from error
        return cls(path, manifest)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns of a step."""
        return tuple(self.manifest["features"])

    @cached_property
    def layout(self) -> Layout:
        """What the channels mean; all static columns are generated, see `conditioned`."""
        return Layout.from_json(self.manifest["layout"])

    def conditioned(self, condition: Sequence[str]) -> Layout:
        """The layout in which the static columns `condition` are given to the generator.

        Raises:
            ConfigError: one of them is no static column, or is named twice.
        """
        known = [column.name for column in self.layout.static]
        wrong = [name for place, name in enumerate(condition) if name not in known or name in condition[:place]]
        if wrong:
            raise ConfigError(
                f"model.condition: {wrong[0]!r} is no static column of {self.manifest['dataset']!r}, or is "
                f"named twice; static columns: {', '.join(known) or 'none, see `columns` in docs/datasets.md'}"
            )
        return self.layout.conditioned_on(condition)

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """Shape (rows, channels), memory-mapped, read-only."""
        return self._array("values.npy")

    @cached_property
    def static(self) -> NDArray[np.float32]:
        """Shape (segments, static channels), memory-mapped, read-only; held-out segments are the last.

        Without the level columns, see `levels`.
        """
        if all(column.level_of for column in self.layout.static):
            return np.empty((len(self.segments) + len(self.held_out_segments), 0), dtype=np.float32)
        return self._array("static.npy")

    @cached_property
    def levels(self) -> NDArray[np.float32]:
        """Shape (rows, level columns), memory-mapped, read-only: the level before each row, encoded.

        The level columns are the last ones of the layout's static part, see `core.prepare.channels.transforms`.
        """
        if not any(column.level_of for column in self.layout.static):
            return np.empty((len(self.values), 0), dtype=np.float32)
        return self._array("levels.npy")

    @cached_property
    def stamps(self) -> NDArray[np.int64] | None:
        """Shape (rows,): nanoseconds since 1970 UTC, ascending within a series; None without time."""
        return None if self.manifest["time"] is None else self._array("time.npy")

    @cached_property
    def segments(self) -> NDArray[np.int64]:
        """Shape (S, 2): rows [start, stop) between gaps, to learn from."""
        return np.array(self.manifest["segments"], dtype=np.int64).reshape(-1, 2)

    @cached_property
    def held_out_segments(self) -> NDArray[np.int64]:
        """Shape (H, 2): likewise of the rows that no generator sees, (0, 2) without a hold-out."""
        held_out = self.manifest.get("holdout") or {"segments": []}
        return np.array(held_out["segments"], dtype=np.int64).reshape(-1, 2)

    def windows(
        self,
        length: int,
        stride: int = 1,
        min_length: int | None = None,
        condition: Sequence[str] = (),
        *,
        held_out: bool = False,
    ) -> Windows:
        """Every window that crosses no gap, see `window_index`.

        Args:
            length: Steps in a whole window.
            stride: Steps between the starts of neighbouring windows of a segment.
            min_length: Fewest steps in a window; whole windows alone if None.
            condition: Static columns whose values are given to the generator.
            held_out: Of the rows that no generator sees, instead of those to learn from.

        Raises:
            ConfigError: no segment is long enough, or `condition` names no static columns.
        """
        layout = self.conditioned(condition)
        segments = self.held_out_segments if held_out else self.segments
        index = window_index(segments, length, stride, min_length)
        if len(index.starts) == 0:
            longest = int((segments[:, 1] - segments[:, 0]).max(initial=0))
            key, least = ("length", length) if min_length is None else ("min_length", min_length)
            raise ConfigError(
                f"window.{key}={least} is longer than the longest stretch without a gap: {longest} rows of "
                f"{self.manifest['dataset']!r}; choose window.{key}<={longest} or bring a longer series"
            )
        static = self._constant(index, held_out=held_out)
        given = np.repeat(
            [column.name in condition for column in self.layout.static],
            [column.block.channels for column in self.layout.static],
        ).astype(bool)
        return Windows(
            values=self.values,
            starts=index.starts,
            length=length,
            channels=layout.channels,
            lengths=index.lengths,
            static=static[:, ~given],
            condition=static[:, given],
        )

    def _constant(self, index: WindowIndex, *, held_out: bool) -> NDArray[np.float32]:
        """Shape (N, static channels) of windows, levels included."""
        segments = self.static[len(self.segments) :] if held_out else self.static
        parts = [(segments, index.segments), (self.levels, index.starts)]
        # `take` on no column walks through all windows.
        found = [np.take(np.asarray(part), rows, axis=0) for part, rows in parts if part.shape[1]]
        return np.concatenate(found, axis=1) if found else np.empty((len(index.starts), 0), dtype=np.float32)

    def _array(self, name: str) -> NDArray[Any]:
        try:
            array: NDArray[Any] = np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.path / name} cannot be read: {error}") from error
        return array
