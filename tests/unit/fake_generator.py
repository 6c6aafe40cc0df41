"""A generator without networks: what comes after one is tested without training."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.generation.options import GenerationConfig
from core.generation.write import generate
from core.generation.writer import Generated
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.module import SAMPLE_CHUNK
from core.prepare.channels.encode import encode
from core.prepare.channels.layout import Channels, Column, Layout, WindowArrays


class Fake:
    """Draws random channels that are valid by the layout, of lengths 1 to `length`."""

    kind = "fake"

    def __init__(self, layout: Layout, length: int = 4, *, whole: bool = False) -> None:
        self.layout = layout
        self.length = length
        self.channels: Channels = layout.channels
        self.whole = whole

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None = None) -> WindowArrays:
        rng = np.random.default_rng(seed)
        shortest = self.length if self.whole else 1
        lengths = rng.integers(shortest, self.length + 1, size=n)
        inside = np.arange(self.length) < lengths[:, None]
        rows = self._rows(self.layout.temporal, n * self.length, rng).reshape(n, self.length, -1)
        given = self._rows(self.layout.condition, n, rng)
        if condition is not None:
            assert condition.shape in ((given.shape[1],), given.shape)
            given = np.broadcast_to(condition, given.shape).copy()
        static = self._rows(self.layout.static, n, rng)
        return WindowArrays(rows * inside[..., None].astype(np.float32), static, given, lengths)

    def stream(
        self, n: int, seed: int, condition: NDArray[np.float32] | None = None, start: int = 0
    ) -> Iterator[WindowArrays]:
        whole = self.sample(n, seed, condition)
        parts = (whole.values, whole.static, whole.condition, whole.lengths)
        for first in range(start * SAMPLE_CHUNK, n, SAMPLE_CHUNK):
            yield WindowArrays(*(part[first : first + SAMPLE_CHUNK] for part in parts))

    def _rows(self, columns: tuple[Column, ...], rows: int, rng: np.random.Generator) -> NDArray[np.float32]:
        codes = np.empty((rows, len(columns)))
        for place, column in enumerate(columns):
            if column.kind == "continuous":
                codes[:, place] = rng.uniform(column.minimum, column.maximum, rows)
            else:
                codes[:, place] = rng.integers(len(column.categories), size=rows)
            if column.optional:
                codes[rng.random(rows) < 0.3, place] = np.nan
        return encode(columns, codes)

    def save(self, folder: Path) -> None:
        (folder / "generator.json").write_text(json.dumps({"kind": "fake"}))
        (folder / "weights.safetensors").write_bytes(b"")


def write_windows(bundle: GeneratorBundle, path: Path, *, n: int, seed: int, **options: Any) -> Generated:
    """What `timeloom generate` writes, its unfinished work in a lake of its own."""
    tree = {"model": "made-up", "output": str(path), "windows": n, "seed": seed, **options}
    with tempfile.TemporaryDirectory() as lake:
        return generate(bundle, GenerationConfig.model_validate(tree), {"generator": "x"}, Path(lake))


def made(layout: Layout, **options: Any) -> GeneratorBundle:
    return GeneratorBundle(Fake(layout, **options), SeriesInfo("made-up", layout, None, "x"))  # type: ignore[arg-type]
