"""A prepared series on disk and the windows over it, which are never copied out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, StorageError
from core.prepare.layout import Channels, WindowArrays
from core.prepare.scaler import MinMaxScaler


def window_starts(segments: NDArray[np.int64], length: int, stride: int = 1) -> NDArray[np.int64]:
    """First row of every window that lies inside one segment.

    Args:
        segments: Shape (S, 2), rows [start, stop) between gaps, ascending.
        length: Steps in a window.
        stride: Steps between the starts of neighbouring windows of a segment.

    Returns:
        Shape (N,), ascending.
    """
    parts = [np.arange(start, stop - length + 1, stride, dtype=np.int64) for start, stop in segments]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


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

    def only(self, index: NDArray[np.int64]) -> Windows:
        """The windows `index`, over the same array."""
        parts = ("starts", "lengths", "static", "condition")
        return replace(self, **{part: getattr(self, part)[index] for part in parts})

    def gather(self, index: NDArray[np.int64]) -> WindowArrays:
        """Copies of the windows `index`."""
        steps = np.arange(self.length)
        lengths = self.lengths[index]
        rows = self.starts[index, None] + np.minimum(steps, lengths[:, None] - 1)
        values = np.where(steps[:, None] < lengths[:, None, None], self.values[rows], np.float32(0))
        return WindowArrays(values, self.static[index], self.condition[index], lengths)


@dataclass(frozen=True)
class PreparedSeries:
    """A chronological, scaled series and what is needed to undo the preparation.

    Folder layout: `values.npy` (float32, shape (rows, features), scaled to [0, 1]), `time.npy` (int64
    nanoseconds since 1970 UTC, absent if the rows carry no time) and `prepared.json` (everything else).
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
        """Names of the columns."""
        return tuple(self.manifest["features"])

    @property
    def scaler(self) -> MinMaxScaler:
        """Scaled to original units and back."""
        return MinMaxScaler.from_json(self.manifest["scaler"])

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """Shape (rows, features), memory-mapped, read-only."""
        try:
            array: NDArray[np.float32] = np.load(self.path / "values.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.path / 'values.npy'} cannot be read: {error}") from error
        return array

    @property
    def segments(self) -> NDArray[np.int64]:
        """Shape (S, 2): rows [start, stop) between gaps."""
        return np.array(self.manifest["segments"], dtype=np.int64).reshape(-1, 2)

    def windows(self, length: int, stride: int = 1) -> Windows:
        """Every window of `length` steps that crosses no gap.

        Raises:
            ConfigError: no segment is long enough.
        """
        starts = window_starts(self.segments, length, stride)
        if len(starts) == 0:
            longest = int((self.segments[:, 1] - self.segments[:, 0]).max(initial=0))
            raise ConfigError(
                f"window.length={length} is longer than the longest stretch without a gap: {longest} rows of "
                f"{self.manifest['dataset']!r}; choose window.length<={longest} or bring a longer series"
            )
        return Windows.of(self.values, starts, length)
