"""Tables that need no file: price tables of the package `arch`, and simulated sine waves."""

from __future__ import annotations

import importlib
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
