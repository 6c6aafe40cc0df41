"""Scenarios in words, as functions that guide a generator: `Close: -10% in 5`, `Close: to 120 at 23`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import ConfigError
from core.generators.bundle import GeneratorBundle
from core.generators.flow_matching.columns import Columns
from core.prepare.channels.layout import WindowArrays, width

_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_CHANGE = re.compile(rf"(?P<column>.+?)\s*:\s*(?P<percent>{_NUMBER})\s*%\s+in\s+(?P<steps>\d+)(?:\s+steps?)?")
_LEAST = 1e-12
"""What a value is at least that others are compared with."""
_VALUE = re.compile(rf"(?P<column>.+?)\s*:\s*to\s+(?P<value>{_NUMBER})\s+at\s+(?:step\s+)?(?P<step>\d+)")


@dataclass(frozen=True)
class Change:
    """A column changes by a share from the first step of a window to a later one."""

    text: str
    column: str
    share: float
    """-0.1: falls by a tenth."""
    step: int

    def distance(self, columns: Columns) -> Tensor:
        """How far windows are from it, in parts of the first step's value; shape (windows,)."""
        values = columns[self.column]
        first = values[:, 0]
        # Of the ratio itself: of values minus a share of the first, the level would seem to matter.
        return values[:, self.step] / torch.where(first.abs() < _LEAST, _LEAST, first) - (1 + self.share)

    def reached(self, columns: Columns) -> Tensor:
        """What changes there are, in percent; shape (windows,)."""
        return 100 * (self.share + self.distance(columns))


@dataclass(frozen=True)
class Value:
    """A column has a value at a step."""

    text: str
    column: str
    value: float
    step: int

    def distance(self, columns: Columns) -> Tensor:
        """How far windows are from it, in parts of the value (of 1, if it is 0); shape (windows,)."""
        return (columns[self.column][:, self.step] - self.value) / (abs(self.value) or 1.0)

    def reached(self, columns: Columns) -> Tensor:
        """What values there are; shape (windows,)."""
        return columns[self.column][:, self.step]


@dataclass(frozen=True)
class Scenario:
    """What windows shall fulfil at once."""

    parts: tuple[Change | Value, ...]

    @classmethod
    def of(cls, texts: Sequence[str], length: int) -> Scenario:
        """What texts ask of windows of `length` steps, which are counted from 0.

        Raises:
            ConfigError: a text says nothing that is known, or names a step that no window has.
        """
        return cls(tuple(_part(text, length) for text in texts))

    def check(self, bundle: GeneratorBundle) -> None:
        """Refuse a generator that this cannot guide.

        Raises:
            ConfigError: it is of another kind, its windows differ in length, or it has no such columns of
                numbers.
        """
        channels = bundle.series.layout.channels
        none = WindowArrays(
            np.zeros((0, bundle.generator.length, channels.features), dtype=np.float32),
            np.zeros((0, width(channels.static)), dtype=np.float32),
            np.zeros((0, width(channels.condition)), dtype=np.float32),
            np.zeros(0, dtype=np.int64),
        )
        readable = bundle.columns(none)
        for part in self.parts:
            readable[part.column]

    def loss(self, columns: Columns) -> Tensor:
        """Half the squared distances, shape (windows, parts)."""
        return torch.stack([part.distance(columns).square() / 2 for part in self.parts], dim=1)

    def reached(self, columns: Columns) -> NDArray[np.float64]:
        """Shape (parts, windows): see `Change.reached`, `Value.reached`."""
        return torch.stack([part.reached(columns) for part in self.parts]).detach().double().numpy()


def tally(scenario: Scenario, columns: Columns) -> list[dict[str, Any]]:
    """Of each part what some windows reached: counts, sums and extremes, which add up (`added`)."""
    found = scenario.reached(columns)
    far = torch.stack([part.distance(columns).abs() for part in scenario.parts]).detach().double().numpy()
    return [
        {
            "scenario": part.text,
            "windows": len(values),
            "sum": float(values.sum()),
            "least": float(values.min()),
            "most": float(values.max()),
            "distance": float(distances.max()),
        }
        for part, values, distances in zip(scenario.parts, found, far, strict=True)
    ]


def added(parts: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Tallies of several sets of windows as one, with means for sums."""
    merged = []
    for tallies in zip(*parts, strict=True):
        count = sum(each["windows"] for each in tallies)
        merged.append(
            {
                "scenario": tallies[0]["scenario"],
                "mean": sum(each["sum"] for each in tallies) / count,
                "least": min(each["least"] for each in tallies),
                "most": max(each["most"] for each in tallies),
                "distance": max(each["distance"] for each in tallies),
            }
        )
    return merged


def in_words(reached: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each part: what was reached, and whether that is what was asked for."""
    return [
        f"{each['scenario']}: reached {each['mean']:.4g} on average ({each['least']:.4g} to {each['most']:.4g})"
        + (f"; the farthest window misses it by {each['distance']:.1%}" if each["distance"] > MISSED else "")
        for each in reached
    ]


MISSED = 0.01
"""Distance, in parts of what was asked for, from which on a window counts as missing it."""


def _part(text: str, length: int) -> Change | Value:
    words = " ".join(text.split())
    if found := _CHANGE.fullmatch(words):
        part: Change | Value = Change(
            words, found["column"], float(found["percent"]) / 100, int(found["steps"])
        )
    elif found := _VALUE.fullmatch(words):
        part = Value(words, found["column"], float(found["value"]), int(found["step"]))
    else:
        raise ConfigError(
            f"a scenario reads `COLUMN: -10% in 5 steps` or `COLUMN: to 120 at 23`, got {text[:200]!r}"
        )
    if (not isinstance(part, Value) and not 1 <= part.step < length) or part.step >= length:
        raise ConfigError(
            f"{words!r}: the generator's windows have the steps 0 to {length - 1}, and a change begins at the "
            "first"
        )
    return part
