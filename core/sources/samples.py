"""Tables that need no file: those that packages carry, and simulated sine waves."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import SineSource


def arch_table(name: str) -> pa.Table:
    """A daily price table of `arch.data`: `Date`, then Open, High, Low, Close, Adj Close, Volume."""
    frame: pd.DataFrame = importlib.import_module(f"arch.data.{name}").load()
    frame = frame.rename_axis(index="Date").reset_index()
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def sample_table(name: str) -> pa.Table:
    """A real multivariate table that a package carries.

    Returns:
        `motions`, `vowels`: `series` (int64, training series first), `activity` or `speaker` (text, one value a
        series), and the sensor's columns, one row per step; `macro`: `quarter` (its first day), then rates and
        amounts.
    """
    if name == "macro":
        return _macro()
    folder, label = {"motions": ("BasicMotions", "activity"), "vowels": ("JapaneseVowels", "speaker")}[name]
    sktime = Path(importlib.import_module("sktime").__file__ or "")
    files = [sktime.parent / "datasets" / "data" / folder / f"{folder}_{part}.ts" for part in ("TRAIN", "TEST")]
    return _time_series(files, label)


def _macro() -> pa.Table:
    frame: pd.DataFrame = importlib.import_module("statsmodels.datasets").macrodata.load_pandas().data
    months = frame.pop("quarter").astype(int) * 3 - 2
    years = frame.pop("year").astype(int)
    quarter = pd.to_datetime({"year": years, "month": months, "day": 1}).dt.date
    frame.insert(0, "quarter", quarter)
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _time_series(files: list[Path], label: str) -> pa.Table:
    """Series of `.ts` files: a line each, dimensions and at last the label between colons."""
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    below = (line for line in lines if line and not line.startswith(("@", "#")))
    split = [line.strip().split(":") for line in below]
    values = [np.array([dimension.split(",") for dimension in parts[:-1]], dtype=np.float64) for parts in split]
    lengths = [series.shape[1] for series in values]
    cells = np.concatenate(values, axis=1)
    return pa.table(
        {
            "series": np.repeat(np.arange(len(values), dtype=np.int64), lengths),
            label: pa.array(np.repeat([parts[-1] for parts in split], lengths).tolist(), pa.string()),
            **{f"dim_{position}": column for position, column in enumerate(cells)},
        }
    )


def sine_table(source: SineSource) -> pa.Table:
    """Simulated sine waves, one row per step, the series below one another.

    `code` (jsyoon0823/TimeGAN, `data_loading.py`): `(sin(f j + p) + 1) / 2` with f, p ~ U[0, 0.1];
    `paper` (TimeGAN, section 5.1): `sin(2 pi eta j + theta)` with eta ~ U[0, 1], theta ~ U[-pi, pi];
    for each series and feature, steps j = 0 .. length - 1.

    Returns:
        Columns `series` (int64) and `sine_0` .. `sine_{features-1}` (float64), series x length rows.
    """
    waves = _waves(source)
    columns: dict[str, NDArray[Any]] = {
        "series": np.repeat(np.arange(source.series, dtype=np.int64), source.length)
    }
    for feature in range(source.features):
        columns[f"sine_{feature}"] = waves[:, feature, :].reshape(-1)
    return pa.table(columns)


def _waves(source: SineSource) -> NDArray[np.float64]:
    """Shape (series, features, length)."""
    rng = np.random.default_rng(source.seed)
    shape = (source.series, source.features, 1)
    step = np.arange(source.length, dtype=np.float64)
    if source.variant == "code":
        frequency, phase = rng.uniform(0, 0.1, shape), rng.uniform(0, 0.1, shape)
        return np.asarray((np.sin(frequency * step + phase) + 1) / 2)
    eta, theta = rng.uniform(0, 1, shape), rng.uniform(-np.pi, np.pi, shape)
    return np.asarray(np.sin(2 * np.pi * eta * step + theta))
