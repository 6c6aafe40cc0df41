"""A trained generator with what it takes to give rows in original units: what is registered and shipped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError, StorageError
from core.generators.base import Generator
from core.generators.registry import load_generator
from core.prepare.channels.conditions import encode_values
from core.prepare.channels.encode import category_type, joined, joined_names, to_series
from core.prepare.channels.layout import Column, Layout, WindowArrays
from core.prepare.channels.transforms import decode_windows

Condition = Mapping[str, Any]
"""A value for each column that the generator is conditioned on, in original units."""


@dataclass(frozen=True)
class SeriesInfo:
    """What a generator's windows mean."""

    dataset: str
    layout: Layout
    """Columns, their ranges and categories, and which are given to the generator."""
    time: dict[str, Any] | None
    """Calendar or frequency of the rows, None where they carry no time."""
    digest: str
    """Of the prepared data that the generator learnt."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns of a step."""
        return tuple(column.name for column in self.layout.temporal)


@dataclass(frozen=True)
class GeneratorBundle:
    """A generator and its series.

    Each `sample` method draws `n` windows (at least 1) from `seed` (from 0): the same seed gives the same
    windows. `condition` gives every column that the generator is conditioned on a value, the same for all
    windows; without it values are drawn as often as they were in training. ConfigError is raised for numbers
    out of range, and for a condition that names no such column or value.
    """

    generator: Generator
    series: SeriesInfo

    def sample_encoded(self, n: int, seed: int, condition: Condition | None = None) -> WindowArrays:
        """Windows as channels, see `core.prepare.channels.layout`."""
        given = None if condition is None else encode_values(self.series.layout.condition, condition)
        return self.generator.sample(n, seed, given)

    def sample_scaled(self, n: int, seed: int, condition: Condition | None = None) -> NDArray[np.float32]:
        """Windows as one array, see `joined`: for continuous columns alone these by their training range.

        Returns:
            Shape (n, length, static + condition + temporal channels), 0 past a window's end.
        """
        return joined(self.sample_encoded(n, seed, condition))

    def sample(self, n: int, seed: int, condition: Condition | None = None) -> NDArray[np.float64]:
        """Windows in original units, columns of whole numbers rounded to them.

        Returns:
            Shape (n, length, columns), NaN where a cell is missing and past a window's end.

        Raises:
            ConfigError: a column is no number, or there are static columns other than levels.
        """
        return self.numbers(self.sample_encoded(n, seed, condition))

    def sample_frame(self, n: int, seed: int, condition: Condition | None = None) -> pd.DataFrame:
        """Windows as rows in original units, see `frame`."""
        return self.frame(self.sample_encoded(n, seed, condition))

    def numbers(self, windows: WindowArrays) -> NDArray[np.float64]:
        """Encoded windows as an array of numbers in original units, see `sample`."""
        layout = self.series.layout
        texts = [column.name for column in layout.temporal if category_type(column) == "text"]
        constant = [column.name for column in (*layout.static, *layout.condition) if not column.level_of]
        if texts or constant:
            raise ConfigError(
                "an array of numbers in original units has no place for the columns "
                f"{', '.join(texts + constant)}: write a .parquet file, or channels with --scaled"
            )
        cells = decode_windows(layout, windows).temporal
        for place, column in enumerate(layout.temporal):
            if column.categories:
                cells[..., place] = _values(column, cells[..., place])
        return cells

    def frame(self, windows: WindowArrays) -> pd.DataFrame:
        """Encoded windows as rows in original units and types; rows past a window's end are left out.

        Returns:
            Columns `window` and `step` (from 0), the static ones, those given, then those of a step (see
            `Layout.own`); types as `core.prepare.channels.encode.to_series` says, missing cells NaN or None.
        """
        layout, inside = self.series.layout, _inside(windows)
        decoded = decode_windows(layout, windows)
        static = decoded.static[:, [not column.level_of for column in layout.static]]
        parts = [np.repeat(part, windows.lengths, axis=0) for part in (static, decoded.condition)]
        cells = np.concatenate([*parts, decoded.temporal[inside]], axis=1).T
        own = layout.own
        columns = (*own.static, *own.condition, *own.temporal)
        series = {column.name: to_series(column, values) for column, values in zip(columns, cells, strict=True)}
        return _with_keys(inside, series)

    def scaled_frame(self, windows: WindowArrays) -> pd.DataFrame:
        """Encoded windows as rows of channels, see `joined_names`; rows past a window's end are left out.

        Raises:
            ConfigError: two channels have the same name.
        """
        inside = _inside(windows)
        names = joined_names(self.series.layout)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"several channels are called {twice[0]!r}: write a .npy file, or no --scaled")
        return _with_keys(inside, dict(zip(names, joined(windows)[inside].T, strict=True)))

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
            if "layout" not in tree:
                raise StorageError(
                    f"{folder} was made by an older version (its series.json has no layout): train it again, "
                    "or load it with mlflow.pyfunc, which runs the code that the model carries"
                )
            series = SeriesInfo(**{**tree, "layout": Layout.from_json(tree["layout"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{folder} holds no trained generator: {error}") from error
        return cls(load_generator(folder), series)


def _inside(windows: WindowArrays) -> NDArray[np.bool_]:
    """Shape (N, length): steps that belong to their window."""
    return np.asarray(np.arange(windows.values.shape[1]) < windows.lengths[:, None])


def _with_keys(inside: NDArray[np.bool_], columns: dict[str, Any]) -> pd.DataFrame:
    window, step = np.nonzero(inside)
    return pd.DataFrame({"window": window.astype(np.int64), "step": step.astype(np.int64)} | columns)


def _values(column: Column, codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers of the categories, shape kept."""
    numbers = np.array([*column.categories, np.nan], dtype=np.float64)
    places = np.where(np.isnan(codes), len(column.categories), codes)
    return numbers[places.astype(np.int64)]
