"""Synthetic windows as a file: Parquet or CSV rows, or a NumPy array."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import ConfigError, StorageError
from core.generators.bundle import Condition, GeneratorBundle
from core.prepare.channels.encode import joined

ENDINGS = (".parquet", ".csv", ".npy")


def write_windows(
    bundle: GeneratorBundle,
    path: Path,
    *,
    n: int,
    seed: int,
    scaled: bool = False,
    stamps: pd.DatetimeIndex | None = None,
    lineage: dict[str, Any] | None = None,
    condition: Condition | None = None,
) -> None:
    """Draw `n` windows and write them; the same seed writes the same bytes.

    Args:
        bundle: What to draw from.
        path: `.parquet` and `.csv` hold one row per step (`window`, `step`, `time` if `stamps` are given,
            static columns and conditions, then the columns of a step); `.npy` an array of shape (n, length,
            columns), NaN where a cell is missing and past a window's end: numbers alone, no static columns.
        n: Windows.
        seed: From 0.
        scaled: Encoded channels (static ones and conditions first, at every step; in `.npy` 0 past a window's
            end) instead of original units.
        stamps: Times of a window's steps, the same for every window.
        lineage: Kept in the Parquet file's metadata under `timeloom`.
        condition: What is given to the generator, see `GeneratorBundle`.

    Raises:
        ConfigError: an ending that is none of these, columns that an array has no place for, stamps beside a
            column `time`, or an unknown condition.
        StorageError: the file could not be written; nothing is left behind.
    """
    if path.suffix not in ENDINGS:
        raise ConfigError(f"expected a file ending in {', '.join(ENDINGS)}, got {path.name!r}")
    windows = bundle.sample_encoded(n, seed, condition)
    content: Any
    if path.suffix == ".npy":
        content = joined(windows) if scaled else bundle.numbers(windows)
    else:
        content = bundle.scaled_frame(windows) if scaled else bundle.frame(windows)
    temporary = path.with_name(f".{path.stem}.tmp-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        if path.suffix == ".npy":
            np.save(temporary, content, allow_pickle=False)
        else:
            _write_rows(content, temporary, stamps, lineage or {})
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_rows(
    frame: pd.DataFrame, path: Path, stamps: pd.DatetimeIndex | None, lineage: dict[str, Any]
) -> None:
    if stamps is not None:
        if "time" in frame:
            raise ConfigError("the series has a column 'time' of its own: leave the stamps (--start) out")
        frame.insert(2, "time", stamps[frame["step"].to_numpy()])
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, lineterminator="\n")
        return
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"timeloom": json.dumps(lineage, sort_keys=True).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
