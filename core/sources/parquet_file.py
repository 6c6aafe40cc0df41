"""Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DataError

PARQUET_ENDINGS = (".parquet", ".pq")


def read_parquet(path: Path) -> pa.Table:
    """The whole file; columns keep their types.

    Raises:
        DataError: the file is empty, cut off or no Parquet.
    """
    try:
        # ParquetFile, not read_table: the latter makes columns out of folder names such as `a=1`.
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        size = path.stat().st_size
        raise DataError(
            f"{path} ({size:,} bytes) is no intact Parquet file: {error}; bring an intact copy"
        ) from error
