"""Window files, no matter who made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import ConfigError, DataError

KEYS = ("window", "step")


@dataclass(frozen=True)
class WindowSet:
    """Equally long windows and what their columns are called."""

    values: NDArray[Any]
    """Shape (N, T, D), numbers of the file's own type."""
    features: tuple[str, ...]
    """D names; `feature 1` and so on where the file has none."""


def read_windows(path: Path) -> WindowSet:
    """The windows in a file.

    A `.npy` file holds an array (N, T, D). A Parquet file holds one row per step: integer columns `window`
    and `step`, the rest numeric features; rows may come in any order, steps of a window are consecutive.

    Raises:
        ConfigError: there is no such file.
        DataError: the file is damaged, of another kind, or holds no equally long windows of numbers.
    """
    if not path.is_file():
        raise ConfigError(f"there is no window file {path}")
    readers = {".npy": _read_npy, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: expected a window file ending in .npy or .parquet, got {path.suffix or 'none'!r}"
        )
    return reader(path)


def _read_npy(path: Path) -> WindowSet:
    try:
        values: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is no readable .npy array of numbers: {error}") from error
    if not isinstance(values, np.ndarray) or values.ndim != 3 or values.dtype.kind not in "fiu":
        found = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else "an archive"
        raise DataError(f"{path}: expected numbers of shape (windows, steps, features), got {found}")
    _refuse_empty(path, values.shape)
    return WindowSet(values, tuple(f"feature {number}" for number in range(1, values.shape[2] + 1)))


def _read_parquet(path: Path) -> WindowSet:
    try:
        # Through an open file: a path would be taken for a partitioned data set and read its folder's names.
        with path.open("rb") as file:
            frame = pq.read_table(file).to_pandas(ignore_metadata=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error
    features = _feature_columns(path, frame)
    frame = frame.sort_values(list(KEYS), kind="stable")
    windows, lengths = np.unique(frame["window"].to_numpy(), return_counts=True)
    _refuse_empty(path, (len(windows), len(frame), len(features)))
    if lengths.min() != lengths.max():
        shortest, longest = lengths.argmin(), lengths.argmax()
        raise DataError(
            f"{path}: every window must have as many steps, but window {windows[shortest]} has "
            f"{lengths[shortest]} and window {windows[longest]} has {lengths[longest]}"
        )
    shape = (len(windows), int(lengths[0]))
    steps = frame["step"].to_numpy().reshape(shape)
    broken = (np.diff(steps, axis=1) != 1).any(axis=1)
    if broken.any():
        raise DataError(
            f"{path}: the steps of a window must be consecutive and single, but those of window "
            f"{windows[broken.argmax()]} are not ({int(broken.sum()):,} windows in all)"
        )
    return WindowSet(frame[features].to_numpy().reshape(*shape, len(features)), tuple(features))


def _feature_columns(path: Path, frame: pd.DataFrame) -> list[str]:
    columns = [str(column) for column in frame.columns]
    if len(set(columns)) < len(columns):
        raise DataError(f"{path}: column names must be different, got {', '.join(columns)}")
    for key in KEYS:
        if key not in columns or frame[key].dtype.kind not in "iu":
            kind = frame[key].dtype if key in columns else "none"
            raise DataError(f"{path}: expected an integer column {key!r} without empty cells, got {kind}")
    features = [column for column in columns if column not in KEYS]
    wrong = [
        f"{column} ({frame[column].dtype})" for column in features if frame[column].dtype.kind not in "fiu"
    ]
    if wrong:
        raise DataError(f"{path}: every feature must be a number, got {', '.join(wrong)}")
    return features


def _refuse_empty(path: Path, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise DataError(f"{path}: expected at least one window, step and feature, got shape {shape}")
