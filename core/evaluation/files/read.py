"""Windows from files, no matter who made them."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.evaluation.files.windows import WindowSet

logger = logging.getLogger(__name__)

KEYS = ("window", "step")
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read_windows(path: Path) -> WindowSet:
    """The windows in a file.

    A `.npy` file holds an array (N, T, D); rows of NaN at a window's end are not there: it is shorter. A
    Parquet file holds one row per step: integer columns `window` and `step`, the rest features, which are
    numbers, text or booleans (an unnamed pandas index is none, nor are columns of dates and times); rows may
    come in any order, steps of a window are consecutive, windows may differ in length. So the files that
    `core.generation` writes can be read.

    Raises:
        ConfigError: there is no such file.
        DataError: the file is damaged, of another kind, or holds no windows of such features.
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
    lengths = _lengths(path, values)
    names = [f"feature {number}" for number in range(1, values.shape[2] + 1)]
    rows = values[np.arange(values.shape[1]) < lengths[:, None]]
    return WindowSet(pd.DataFrame(rows, columns=names, copy=False), lengths, named=False)


def _lengths(path: Path, values: NDArray[Any]) -> NDArray[np.int64]:
    """Steps of each window up to its last row that is not NaN throughout, shape (N,)."""
    there = ~np.isnan(values).all(axis=2)
    lengths = np.where(there.any(axis=1), there.shape[1] - there[:, ::-1].argmax(axis=1), 0)
    if not lengths.all():
        raise DataError(
            f"{path}: window {lengths.argmin()} holds nothing but NaN ({(lengths == 0).sum():,} such windows): "
            "mend or drop those windows"
        )
    if short := int((lengths < there.shape[1]).sum()):
        logger.warning("%s: %d of %d windows are shorter, they end in rows of NaN", path, short, len(lengths))
    return lengths.astype(np.int64)


def _read_parquet(path: Path) -> WindowSet:
    try:
        # Through an open file: a path would be taken for a partitioned data set and read its folder's names.
        with path.open("rb") as file:
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no readable Parquet file: {error}") from error
    table = _known_columns(path, table)
    times = [field.name for field in table.schema if _is_time(field.type)]
    if times:
        logger.info("%s: times are no features, only their order is checked: %s", path, ", ".join(times))
    frame = table.to_pandas(ignore_metadata=True, date_as_object=False)
    frame = frame.sort_values(list(KEYS), kind="stable", ignore_index=True)
    windows, lengths = np.unique(frame["window"].to_numpy(), return_counts=True)
    rows = frame.drop(columns=[*KEYS, *times])
    _refuse_empty(path, (len(windows), len(frame), rows.shape[1]))
    ends = np.cumsum(lengths)
    follows = np.diff(frame["step"].to_numpy(), prepend=0) == 1
    follows[ends - lengths] = True
    if not follows.all():
        broken = np.searchsorted(ends, np.flatnonzero(~follows), side="right")
        raise DataError(
            f"{path}: the steps of a window must be consecutive and single, but those of window "
            f"{windows[broken[0]]} are not ({len(np.unique(broken)):,} windows in all)"
        )
    return WindowSet(rows, lengths.astype(np.int64), times=frame[times] if times else None)


def _known_columns(path: Path, table: pa.Table) -> pa.Table:
    """The columns that count, without dictionaries."""
    table = table.drop_columns([name for name in table.column_names if _PANDAS_INDEX.fullmatch(name)])
    names = table.column_names
    if len(set(names)) < len(names):
        raise DataError(f"{path}: column names must be different, got {', '.join(names)}")
    for key in KEYS:
        kind = table.schema.field(key).type if key in names else "none"
        if key not in names or not pa.types.is_integer(kind) or table[key].null_count:
            found = f"{kind} with {table[key].null_count:,} of them" if key in names else kind
            raise DataError(f"{path}: expected an integer column {key!r} without empty cells, got {found}")
    plain = pa.schema([(field.name, _plain(field.type)) for field in table.schema])
    wrong = [f"{field.name} ({field.type})" for field in plain if not _is_known(field.type)]
    if wrong:
        raise DataError(f"{path}: every feature must be a number, text or a boolean, got {', '.join(wrong)}")
    return table.cast(plain)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _is_known(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or _is_time(kind)
    )


def _refuse_empty(path: Path, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise DataError(f"{path}: expected at least one window, step and feature, got shape {shape}")
