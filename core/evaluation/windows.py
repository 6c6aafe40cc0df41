"""Windows from files, no matter who made them, and whether two sets can be compared."""

from __future__ import annotations

import re
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
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


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
    and `step`, the rest numeric features (an unnamed pandas index is none); rows may come in any order, steps
    of a window are consecutive.

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


def checked_pair(
    real: NDArray[Any], synthetic: NDArray[Any], dtype: type[np.floating[Any]] = np.float32
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both sets as `dtype`, refused unless they can be compared.

    Raises:
        DataError: they are not two finite sets (N, T, D) and (M, T, D), N and M and T at least 2.
    """
    if real.ndim != 3 or synthetic.ndim != 3 or real.shape[1:] != synthetic.shape[1:]:
        raise DataError(
            "real and synthetic windows must have the same steps and features, shapes (N, T, D) and (M, T, D); "
            f"got {real.shape} and {synthetic.shape}: cut both alike"
        )
    if min(len(real), len(synthetic), real.shape[1]) < 2 or real.shape[2] < 1:
        raise DataError(
            "judging needs at least 2 windows of each kind, 2 steps and 1 feature; "
            f"got real {real.shape} and synthetic {synthetic.shape}: bring more"
        )
    return _finite(real, "real", dtype), _finite(synthetic, "synthetic", dtype)


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
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error
    index = [name for name in table.column_names if _PANDAS_INDEX.fullmatch(name)]
    frame = table.drop_columns(index).to_pandas(ignore_metadata=True)
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


def _finite(values: NDArray[Any], name: str, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} windows must be numbers, got {values.dtype}: encode them first")
    with np.errstate(over="ignore"):
        converted = values.astype(dtype)
    bad = ~np.isfinite(converted)
    if bad.any():
        window, step, feature = (int(place) for place in np.argwhere(bad)[0])
        raise DataError(
            f"{name} windows must be finite, got {int(bad.sum()):,} values that are NaN, infinite or too large "
            f"for {dtype.__name__}, the first {values[window, step, feature]} in window {window}, step {step}, "
            f"feature {feature}: mend or drop those windows"
        )
    return converted
