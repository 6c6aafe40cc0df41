"""Windows on their own, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from core.generation.options import GenerationConfig
from core.generation.rows import Content, Rows
from core.generation.scenario import Scenario, tally
from core.generators.module import SAMPLE_CHUNK
from core.prepare.channels.layout import WindowArrays, concatenated, width

PART_CELLS = 2_000_000
"""Numbers in a part, about: it is in memory, a few times over."""
MOST_CHUNKS = 64


@dataclass(frozen=True)
class Block:
    """A part that was made."""

    content: Content
    count: int
    """Windows, of a series steps."""
    rows: int
    state: dict[str, Any] = field(default_factory=dict)
    """What the next part goes on from, JSON-able and exact."""
    seams: tuple[list[Any], list[Any]] = field(default_factory=lambda: ([], []))
    """What `core.generation.seams.changes` says of seams, and of stretches inside windows."""


@dataclass(frozen=True)
class WindowParts:
    """All windows of an order, the same however they are cut."""

    rows: Rows
    config: GenerationConfig

    def check(self) -> None:
        """Refuse a scenario that windows cannot be guided by, before the work.

        Raises:
            ConfigError: the generator is of another kind, or a text asks for what its windows do not have.
        """
        if self.config.scenario:
            self._scenario.check(self.rows.bundle)

    @property
    def _scenario(self) -> Scenario:
        return Scenario.of(self.config.scenario, self.rows.bundle.generator.length)

    @property
    def written(self) -> Rows:
        """How they are written."""
        return self.rows

    @property
    def total(self) -> int:
        """Windows."""
        return self.config.windows

    @property
    def size(self) -> int:
        """Windows of a part: whole chunks, so that any part can be the first to be drawn."""
        return SAMPLE_CHUNK * chunks_in_part(self.rows)

    @property
    def count(self) -> int:
        """Parts."""
        return -(-self.total // self.size)

    def blocks(self, start: int, state: dict[str, Any]) -> Iterator[Block]:  # noqa: ARG002 - a series has one
        """The parts from `start` on."""
        chunks = self.size // SAMPLE_CHUNK
        drawn = self._drawn(start * chunks)
        for part in range(start, self.count):
            wanted = min(chunks, -(-(self.total - part * self.size) // SAMPLE_CHUNK))
            windows = concatenated([next(drawn) for _ in range(wanted)])
            content = self.rows.content(windows, part * self.size)
            rows = int(windows.lengths.sum()) if self.rows.kind != "npy" else len(windows)
            yield Block(content, len(windows), rows, self._reached(windows))

    def _drawn(self, start: int) -> Iterator[WindowArrays]:
        """Chunks from `start` on."""
        bundle, condition = self.rows.bundle, self.config.condition or None
        if not self.config.scenario:
            return bundle.stream(self.total, self.config.seed, condition, start)
        guided = bundle.stream_guided(self.total, self.config.seed, self._scenario.loss, condition, start)
        return (part.windows for part in guided)

    def _reached(self, windows: WindowArrays) -> dict[str, Any]:
        """What windows make of a scenario: nothing that the next part goes on from, but kept with this one."""
        if not self.config.scenario:
            return {}
        return {"scenario": tally(self._scenario, self.rows.bundle.columns(windows))}


def chunks_in_part(rows: Rows) -> int:
    """Chunks of windows whose numbers make a part."""
    channels = rows.bundle.generator.channels
    each = channels.features + width(channels.static) + width(channels.condition)
    cells = SAMPLE_CHUNK * rows.bundle.generator.length * each
    return max(1, min(MOST_CHUNKS, PART_CELLS // cells))
