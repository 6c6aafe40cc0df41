"""Pieces of series: whole windows, each of which begins with the last steps of the one before."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.generation.options import GenerationConfig
from core.generation.seams import MOST_SEAMS
from core.generators.bundle import GeneratorBundle
from core.prepare.channels.layout import WindowArrays

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """How series lie in windows."""

    steps: int
    """Of each series."""
    series: int
    """Made side by side."""
    length: int
    """Steps of a window."""
    overlap: int
    """Steps that neighbours share, from 1 to length - 1."""

    @property
    def stride(self) -> int:
        """Steps that a piece adds."""
        return self.length - self.overlap

    @property
    def pieces(self) -> int:
        """Windows that make one series."""
        return 1 + max(0, -(-(self.steps - self.length) // self.stride))

    @cached_property
    def _every(self) -> int:
        """Every so many seams one is looked at."""
        return -(-self.pieces * self.series // MOST_SEAMS)

    def looked_at(self, number: int) -> NDArray[np.int64]:
        """The series whose seam before piece `number` is looked at: evenly spread over steps and series."""
        return np.flatnonzero((number + np.arange(self.series)) % self._every == 0)


@dataclass(frozen=True)
class Piece:
    """The next window of each series."""

    windows: WindowArrays
    """One for each series; their first steps are those that the series have there, or go on with."""
    seams: Values | None = None
    """Shape (seams, steps, channels): stretches of the series over some of the seams."""
    inside: Values | None = None
    """Shape (any, steps, channels): stretches as long, without a seam."""


@dataclass
class Past:
    """What the next piece goes on from."""

    tail: Values | None = None
    """Shape (series, overlap, channels): the last steps so far, not yet written; None at the beginning."""
    last: Values | None = None
    """Shape (series, channels): the last step that was written."""
    static: Values | None = None
    """Shape (series, static channels), of the first windows."""
    condition: Values | None = None
    """Shape (series, condition channels), of the first windows."""
    levels: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Codes of the levels of differenced columns before the tail, each of shape (series,)."""

    def to_json(self) -> dict[str, Any]:
        """Exact: the bytes of the numbers, as text."""
        arrays = {name: getattr(self, name) for name in ("tail", "last", "static", "condition")}
        return {
            **{name: None if array is None else _packed(array) for name, array in arrays.items()},
            "levels": {name: _packed(codes) for name, codes in self.levels.items()},
        }

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Past:
        """What `to_json` gave; of nothing the beginning."""
        ends = {name: tree.get(name) for name in ("tail", "last", "static", "condition")}
        levels = {name: _unpacked(part) for name, part in tree.get("levels", {}).items()}
        return cls(
            **{name: None if end is None else _unpacked(end) for name, end in ends.items()}, levels=levels
        )


def _packed(array: NDArray[Any]) -> dict[str, Any]:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {
        "dtype": little.dtype.str,
        "shape": little.shape,
        "base64": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def _unpacked(tree: dict[str, Any]) -> NDArray[Any]:
    flat = np.frombuffer(base64.b64decode(tree["base64"]), dtype=tree["dtype"])
    return flat.reshape(tree["shape"]).copy()


class Pieces(ABC):
    """A way to go on with series.

    Args:
        bundle: What windows are drawn from.
        config: What was asked for.
    """

    def __init__(self, bundle: GeneratorBundle, config: GenerationConfig) -> None:
        self.bundle, self.config = bundle, config
        length = bundle.generator.length
        self.plan = Plan(config.steps or 0, config.series or 1, length, overlap_of(config, length))

    @property
    @abstractmethod
    def most_overlap(self) -> int:
        """Steps that neighbours may share, at most; 1 at least."""

    @property
    @abstractmethod
    def draws(self) -> int:
        """Windows that are drawn for each piece of each series."""

    @abstractmethod
    def check(self) -> None:
        """Refuse what this way cannot do.

        Raises:
            ConfigError: see docs/generate.md.
        """

    @abstractmethod
    def follow(self, start: int, past: Past) -> Iterator[Piece]:
        """The pieces from number `start` on, the same whatever `start` is.

        Args:
            start: From 0.
            past: What the next one goes on from: looked at as a piece is asked for.

        Raises:
            ConfigError: a window is shorter than the others.
        """

    def refuse_short(self, windows: WindowArrays) -> None:
        """ConfigError for windows that end before the generator's length."""
        if (windows.lengths < self.plan.length).any():
            raise ConfigError(
                f"the generator's windows differ in length, from {windows.lengths.min()} to {self.plan.length} "
                "steps: a series needs whole ones; write windows, or train without window.min_length"
            )


def overlap_of(config: GenerationConfig, length: int) -> int:
    """Steps that neighbours share: as asked for, or half a window."""
    return config.overlap or max(1, length // 2)
