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
from core.generators.bundle import GeneratorBundle

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
) -> None:
    """Draw `n` windows and write them; the same seed writes the same bytes.

    Args:
        bundle: What to draw from.
        path: `.parquet` and `.csv` hold one row per step (`window`, `step`, `time` if `stamps` are given, the
            features), `.npy` an array of shape (n, length, features).
        n: Windows.
        seed: From 0.
        scaled: By the training minimum and maximum instead of in original units.
        stamps: Times of a window's steps, the same for every window.
        lineage: Kept in the Parquet file's metadata under `timeloom`.

    Raises:
        ConfigError: an ending that is none of these.
        StorageError: the file could not be written; nothing is left behind.
    """
    if path.suffix not in ENDINGS:
        raise ConfigError(f"expected a file ending in {', '.join(ENDINGS)}, got {path.name!r}")
    windows = bundle.sample_scaled(n, seed) if scaled else bundle.sample(n, seed)
    temporary = path.with_name(f".{path.stem}.tmp-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        if path.suffix == ".npy":
            np.save(temporary, windows, allow_pickle=False)
        else:
            _write_rows(bundle, windows, temporary, stamps, lineage or {})
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_rows(
    bundle: GeneratorBundle,
    windows: np.ndarray[Any, Any],
    path: Path,
    stamps: pd.DatetimeIndex | None,
    lineage: dict[str, Any],
) -> None:
    frame = bundle.frame(windows)
    if stamps is not None:
        frame.insert(2, "time", stamps[frame["step"].to_numpy()])
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, lineterminator="\n")
        return
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), b"timeloom": json.dumps(lineage, sort_keys=True).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
