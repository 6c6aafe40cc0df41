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
    """Windows and what their columns are called."""

    values: NDArray[Any]
    """Shape (N, T, D), numbers of the file's own type; 0 past the end of a window shorter than T."""
    features: tuple[str, ...]
    """D names; `feature 1` and so on where the file has none."""
    lengths: NDArray[np.int64]
    """Shape (N,): steps of each window."""
    named: bool = True
    """The names are the file's own."""

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Shape (N, T): steps that belong to their window."""
        return np.asarray(np.arange(self.values.shape[1]) < self.lengths[:, None])

    def frame(self) -> pd.DataFrame:
        """Rows with the columns `window` and `step`, from 0, and the features."""
        window, step = np.nonzero(self.inside)
        rows = self.values[window, step]
        columns = {name: rows[:, place] for place, name in enumerate(self.features)}
        return pd.DataFrame({**columns, "window": window, "step": step})


def read_windows(path: Path) -> WindowSet:
    """The windows in a file.

    A `.npy` file holds an array (N, T, D). A Parquet file holds one row per step: integer columns `window`
    and `step`, the rest numeric features (an unnamed pandas index is none); rows may come in any order, steps
    of a window are consecutive, windows may differ in length.

    Raises:
        ConfigError: there is no such file.
        DataError: the file is damaged, of another kind, or holds no windows of numbers.
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


def window_starts(values: NDArray[Any]) -> NDArray[np.int64]:
    """The row that each window starts at, as far as the windows tell.

    Where a window goes on with what the one before it holds, `k` rows later, it starts `k` rows after it (the
    smallest such `k`); else it shares no row with it.

    Args:
        values: Shape (N, T, D), in the order of time.

    Returns:
        Shape (N,), from 0, ascending.
    """
    steps = values.shape[1]
    moved = np.full(max(len(values) - 1, 0), steps, dtype=np.int64)
    for shift in range(steps - 1, 0, -1):
        moved[(values[:-1, shift:] == values[1:, :-shift]).all(axis=(1, 2))] = shift
    return np.concatenate([np.zeros(min(len(values), 1), dtype=np.int64), np.cumsum(moved)])


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
    names = tuple(f"feature {number}" for number in range(1, values.shape[2] + 1))
    lengths = np.full(len(values), values.shape[1], dtype=np.int64)
    return WindowSet(values, names, lengths, named=False)


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
    ends = np.cumsum(lengths)
    follows = np.diff(frame["step"].to_numpy(), prepend=0) == 1
    follows[ends - lengths] = True
    if not follows.all():
        broken = np.searchsorted(ends, np.flatnonzero(~follows), side="right")
        raise DataError(
            f"{path}: the steps of a window must be consecutive and single, but those of window "
            f"{windows[broken[0]]} are not ({len(np.unique(broken)):,} windows in all)"
        )
    rows = frame[features].to_numpy()
    values = np.zeros((len(windows), int(lengths.max()), len(features)), dtype=rows.dtype)
    values[np.arange(values.shape[1]) < lengths[:, None]] = rows
    return WindowSet(values, tuple(features), lengths.astype(np.int64))


def judged_pair(real: WindowSet, synthetic: WindowSet) -> tuple[NDArray[Any], NDArray[Any], tuple[str, ...]]:
    """Two sets as arrays that can be judged, and the names of their features.

    Where windows of a set differ in length, whether a row is there is a feature of its own before the others,
    and all are 0 past a window's end.

    Raises:
        DataError: the features are not the same.
    """
    synthetic = _in_order(real, synthetic)
    sets = (real, synthetic)
    if all(len(np.unique(kind.lengths)) < 2 for kind in sets):
        return real.values, synthetic.values, real.features
    steps = max(kind.values.shape[1] for kind in sets)
    first, second = (
        np.pad(
            np.concatenate([kind.inside[..., None], kind.values], axis=2),
            ((0, 0), (0, steps - kind.values.shape[1]), (0, 0)),
        )
        for kind in sets
    )
    return first, second, ("row present", *real.features)


def _in_order(real: WindowSet, synthetic: WindowSet) -> WindowSet:
    """The synthetic windows with their features in the order of the real ones'."""
    if not (real.named and synthetic.named):
        return synthetic
    if sorted(real.features) != sorted(synthetic.features):
        raise DataError(
            "real and synthetic windows must have the same features, got "
            f"{', '.join(real.features)} and {', '.join(synthetic.features)}"
        )
    places = [synthetic.features.index(name) for name in real.features]
    return WindowSet(synthetic.values[..., places], real.features, synthetic.lengths)


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
