"""A trained generator with what it takes to give rows in original units: what is registered and shipped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError, StorageError
from core.generators.base import Generator
from core.generators.filling import fill, guidable, known_windows
from core.generators.flow_matching.columns import Columns, Original
from core.generators.flow_matching.guidance import STEPS, Guidance, Guide
from core.generators.flow_matching.guided import Guided, guided
from core.generators.flow_matching.guided import stream as guided_stream
from core.generators.integrity import verify, write_manifest
from core.generators.limits import check_layout
from core.generators.registry import load_generator
from core.prepare.channels.conditions import encode_values
from core.prepare.channels.encode import category_type, joined, joined_names, to_series
from core.prepare.channels.layout import Column, Layout, WindowArrays
from core.prepare.channels.transforms import decode_windows
from core.strict_json import read_json

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
        return self.generator.sample(n, seed, self.given(condition))

    def stream(
        self, n: int, seed: int, condition: Condition | None = None, start: int = 0
    ) -> Iterator[WindowArrays]:
        """The windows of `sample_encoded` in chunks, from chunk `start` on: see `core.generators.base`."""
        return self.generator.stream(n, seed, self.given(condition), start)

    def given(self, condition: Condition | None) -> NDArray[np.float32] | None:
        """A condition as channels, shape (condition channels,)."""
        return None if condition is None else encode_values(self.series.layout.condition, condition)

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

    def fill(self, frame: pd.DataFrame, draws: int = 1, seed: int = 0, horizon: int = 0) -> pd.DataFrame:
        """Fill in what is empty in a table of one series and, after its last row, go on.

        Args:
            frame: Rows in original units and in order of time, the columns of `Layout.own`; NaN or None where a
                cell is empty. Static columns and conditions hold the same value in every row.
            draws: Versions, each drawn anew.
            seed: From 0; the same seed gives the same cells.
            horizon: Rows to draw after the last one.

        Returns:
            `draw` (from 0), `row` (from 0), then the table's columns: the table's cells as they are, and drawn
            ones where it has none.

        Raises:
            ConfigError: the generator is of another kind or never learnt it (`model.completion`), a number is
                out of range, or the columns are not the generator's.
            DataError: a cell is no value of its column; a condition is empty; or a differenced column has an
                empty cell before one that is not.
        """
        return fill(self.generator, self.series.layout, frame, draws=draws, seed=seed, horizon=horizon).frame

    def sample_guided(
        self,
        n: int,
        seed: int,
        guide: Guide,
        *,
        strength: float = inf,
        steps: int = STEPS,
        condition: Condition | None = None,
        known: pd.DataFrame | None = None,
    ) -> Guided:
        """Windows that make a function of their columns small, see `core.generators.flow_matching.guidance`.

        Args:
            n: At least 1.
            seed: From 0.
            guide: Losses of windows, shape (n,) or (n, parts), at least 0, from their columns in original
                units (shape (n, length) each, float64 tensors, by name): columns of numbers that always have a
                value.
            strength: Windows count exp(-strength x loss) times as much as without; infinite: the loss shall
                be 0, whatever its unit.
            steps: Of the solver.
            condition: As in `sample`; with `known` its columns are in there.
            known: At most as many rows as a window has, with which every window begins; as in `fill`.

        Returns:
            Encoded windows (`frame` makes rows of them) and the function of them before and after.

        Raises:
            ConfigError: the generator is of another kind; an argument is out of range; the function reads a
                column that it cannot, or gives no losses.
        """
        model, layout = guidable(self.generator), self.series.layout
        told = None if known is None else known_windows(model, layout, known, n)
        return guided(model, layout, Guidance(guide, strength, steps), n, seed, self.given(condition), told)

    def stream_guided(
        self, n: int, seed: int, guide: Guide, condition: Condition | None = None, start: int = 0
    ) -> Iterator[Guided]:
        """The windows of `sample_guided` in chunks, from chunk `start` on."""
        model = guidable(self.generator)
        return guided_stream(model, self.series.layout, Guidance(guide), n, seed, self.given(condition), start)

    def columns(self, windows: WindowArrays) -> Columns:
        """What a guide reads of encoded windows.

        Raises:
            ConfigError: the generator cannot be guided.
        """
        return Original(guidable(self.generator), self.series.layout).measured(windows)

    def refuse_numbers(self) -> None:
        """Refuse what `numbers` cannot hold.

        Raises:
            ConfigError: a column is no number, or there are static columns other than levels.
        """
        layout = self.series.layout
        texts = [column.name for column in layout.temporal if category_type(column) == "text"]
        constant = [column.name for column in (*layout.static, *layout.condition) if not column.level_of]
        if texts or constant:
            raise ConfigError(
                "an array of numbers in original units has no place for the columns "
                f"{', '.join(texts + constant)}: write a .parquet file, or channels with --scaled"
            )

    def numbers(
        self, windows: WindowArrays, levels: Mapping[str, NDArray[np.float64]] | None = None
    ) -> NDArray[np.float64]:
        """Encoded windows as an array of numbers in original units, see `sample`; `levels`: see `frame`."""
        self.refuse_numbers()
        layout = self.series.layout
        cells = decode_windows(layout, windows, levels).temporal
        for place, column in enumerate(layout.temporal):
            if column.categories:
                cells[..., place] = _values(column, cells[..., place])
        return cells

    def frame(
        self, windows: WindowArrays, levels: Mapping[str, NDArray[np.float64]] | None = None
    ) -> pd.DataFrame:
        """Encoded windows as rows in original units and types; rows past a window's end are left out.

        Args:
            windows: Encoded.
            levels: Where differenced columns start from, see `core.prepare.channels.transforms`.

        Returns:
            Columns `window` and `step` (from 0), the static ones, those given, then those of a step (see
            `Layout.own`); types as `core.prepare.channels.encode.to_series` says, missing cells NaN or None.
        """
        layout, inside = self.series.layout, _inside(windows)
        decoded = decode_windows(layout, windows, levels)
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
        """Write the generator's files, `series.json` and `files.json` into an existing folder."""
        self.generator.save(folder)
        text = json.dumps(asdict(self.series), indent=2, allow_nan=False)
        (folder / "series.json").write_text(text + "\n", encoding="utf-8")
        write_manifest(folder)

    @classmethod
    def load(cls, folder: Path) -> GeneratorBundle:
        """What `save` wrote.

        Raises:
            StorageError: a file is missing, truncated, changed or says something impossible.
        """
        verify(folder)
        try:
            tree = read_json(folder / "series.json")
            series = SeriesInfo(**{**tree, "layout": Layout.from_json(tree["layout"])})
            check_layout(series.layout)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{folder} holds no trained generator: {error!r:.300}") from error
        generator = load_generator(folder)
        if generator.channels != series.layout.channels:
            raise StorageError(f"{folder} holds no trained generator: its series.json is another generator's")
        return cls(generator, series)


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
