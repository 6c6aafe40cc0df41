"""The curves of a training, one JSON line a point, in its run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from core.lake import write_atomically


@dataclass(frozen=True)
class Point:
    """Values at one step of one phase."""

    phase: str
    step: int
    """Iterations of the phase done, from 1."""
    time_ms: int
    """When, in milliseconds since 1970."""
    values: dict[str, float]
    """By name: `loss/...`, `gradient/<network>`, `milliseconds_per_step`."""


def read_points(path: Path, offset: int = 0) -> tuple[list[Point], int]:
    """Whole lines from byte `offset` on, and the offset after them; a line being written is left."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    return [Point(**json.loads(line)) for line in whole.splitlines()], offset + len(whole)


class MetricsFile:
    """Appends points; opened again after a crash, it first drops those past the checkpoint."""

    def __init__(self, path: Path, phases: tuple[str, ...], phase: int, step: int) -> None:
        kept = [p for p in read_points(path)[0] if _before(p, phases, phase, step)]
        write_atomically(path, "".join(_line(point) for point in kept))
        self._file: TextIO = path.open("a", encoding="utf-8")

    def append(self, point: Point) -> None:
        """Write a point through to the file, for whoever follows it."""
        self._file.write(_line(point))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _before(point: Point, phases: tuple[str, ...], phase: int, step: int) -> bool:
    index = phases.index(point.phase)
    return index < phase or (index == phase and point.step <= step)


def _line(point: Point) -> str:
    return json.dumps(asdict(point)) + "\n"


def curves(points: list[Point]) -> Iterator[tuple[str, int, int, float]]:
    """Every value as (`phase/name`, step, time in ms, value)."""
    for point in points:
        for name, value in point.values.items():
            yield f"{point.phase}/{name}", point.step, point.time_ms, value
