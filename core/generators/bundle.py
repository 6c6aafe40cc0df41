"""A trained generator with what it takes to give rows in original units: what is registered and shipped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import StorageError
from core.generators.base import Generator
from core.generators.registry import load_generator
from core.prepare.scaler import MinMaxScaler


@dataclass(frozen=True)
class SeriesInfo:
    """What a generator's windows mean."""

    dataset: str
    features: tuple[str, ...]
    integer: tuple[bool, ...]
    """By feature: the source held whole numbers, so rows are rounded to them."""
    scaler: dict[str, list[float]]
    """`MinMaxScaler.to_json()`."""
    time: dict[str, Any] | None
    """Calendar or frequency of the rows, None where they carry no time."""
    digest: str
    """Of the prepared data that the generator learnt."""


@dataclass(frozen=True)
class GeneratorBundle:
    """A generator and its series."""

    generator: Generator
    series: SeriesInfo

    def sample_scaled(self, n: int, seed: int) -> NDArray[np.float32]:
        """`n` windows by the training minimum and maximum, shape (n, length, features)."""
        return self.generator.sample(n, seed)

    def sample(self, n: int, seed: int) -> NDArray[np.float64]:
        """`n` windows in original units, shape (n, length, features); integer columns hold whole numbers."""
        values = MinMaxScaler.from_json(self.series.scaler).inverse(self.generator.sample(n, seed))
        integer = np.array(self.series.integer, dtype=bool)
        values[..., integer] = np.rint(values[..., integer])
        return values

    def sample_frame(self, n: int, seed: int) -> pd.DataFrame:
        """`n` windows as rows: columns `window` and `step` (from 0), then the features in original units."""
        return self.frame(self.sample(n, seed))

    def frame(self, windows: NDArray[Any]) -> pd.DataFrame:
        """Windows of shape (n, length, features) as rows, see `sample_frame`."""
        n, length, features = windows.shape
        index = {
            "window": np.repeat(np.arange(n, dtype=np.int64), length),
            "step": np.tile(np.arange(length, dtype=np.int64), n),
        }
        columns = dict(zip(self.series.features, windows.reshape(-1, features).T, strict=True))
        return pd.DataFrame(index | columns)

    def save(self, folder: Path) -> None:
        """Write the generator's files and `series.json` into an existing folder."""
        self.generator.save(folder)
        (folder / "series.json").write_text(json.dumps(asdict(self.series), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> GeneratorBundle:
        """What `save` wrote.

        Raises:
            StorageError: a file is missing or damaged.
        """
        try:
            tree = json.loads((folder / "series.json").read_text(encoding="utf-8"))
            series = SeriesInfo(
                **{**tree, "features": tuple(tree["features"]), "integer": tuple(tree["integer"])}
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{folder} holds no trained generator: {error}") from error
        return cls(load_generator(folder), series)
