"""The curves of a training, one JSON line a point, in its run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

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
    """By name: `loss/...`, `gradient/<network>`, `milliseconds_per_step`, `validation/...` and the like, see
    docs/training.md."""


@dataclass(frozen=True)
class Profile:
    """Gradients with respect to what each recurrent network reads, at one step of one phase."""

    phase: str
    step: int
    norms: dict[str, list[float]]
    """By network: a norm for each step of the window."""


def read_points(path: Path, offset: int = 0) -> tuple[list[Point], int]:
    """Whole lines from byte `offset` on, and the offset after them; a line being written is left."""
    lines, offset = _read(path, offset)
    return [Point(**line) for line in lines], offset


def read_profiles(path: Path) -> list[Profile]:
    """Everything in a `gradients.jsonl`."""
    return [Profile(**line) for line in _read(path, 0)[0]]


class LinesFile:
    """Appends points or profiles; opened again after a crash, it first drops those past the checkpoint."""

    def __init__(self, path: Path, phases: tuple[str, ...], phase: int, step: int) -> None:
        kept = [line for line in _read(path, 0)[0] if _before(line, phases, phase, step)]
        write_atomically(path, "".join(map(_line, kept)))
        self._file: TextIO = path.open("a", encoding="utf-8")

    def append(self, what: Point | Profile) -> None:
        """Write a line through to the file, for whoever follows it."""
        self._file.write(_line(asdict(what)))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


def _before(line: dict[str, Any], phases: tuple[str, ...], phase: int, step: int) -> bool:
    index = phases.index(line["phase"])
    return index < phase or (index == phase and line["step"] <= step)


def _line(tree: dict[str, Any]) -> str:
    return json.dumps(tree) + "\n"


def curves(points: list[Point]) -> Iterator[tuple[str, int, int, float]]:
    """Every value as (`phase/name`, step, time in ms, value)."""
    for point in points:
        for name, value in point.values.items():
            yield f"{point.phase}/{name}", point.step, point.time_ms, value
