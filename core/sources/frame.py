"""A pandas frame as a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.catalog import DatasetConfig
from core.errors import DataError
from core.lake import workspace
from core.schema import validated
from core.sources.digest import table_digest
from core.sources.rows import plain


def dataset_from_frame(frame: pd.DataFrame, name: str, lake: Path, **options: Any) -> DatasetConfig:
    """Write a frame to `lake/frames/<digest>.parquet` and describe that file as a dataset.

    Args:
        frame: One row a time step. An index of stamps, or one with a name, becomes the first column.
        name: Of the dataset: lower-case letters, digits, - and _.
        lake: The lake's folder.
        **options: Of the dataset: `time`, `series`, `columns`, `missing` ...

    Raises:
        ConfigError: an option is none, or says what no dataset may say.
        DataError: a column is neither numbers, booleans, text, dates nor stamps.
        StorageError: the file could not be written.
    """
    table = _table(frame)
    path = (lake / "frames" / f"{table_digest(table)[:16]}.parquet").absolute()
    tree = {"name": name, "source": {"kind": "file", "path": str(path)}, **options}
    dataset = validated(DatasetConfig, tree, source="the dataset")
    if not path.is_file():
        with workspace(path.parent) as folder:
            pq.write_table(table, folder / path.name)
            (folder / path.name).replace(path)
    return dataset


def _table(frame: pd.DataFrame) -> pa.Table:
    if isinstance(frame.index, pd.DatetimeIndex) and frame.index.name is None:
        frame = frame.rename_axis(index="time")
    named = any(name is not None for name in frame.index.names)
    wrong = [name for name in frame.columns if not isinstance(name, str)]
    if wrong:
        raise DataError(f"the frame's column {wrong[0]!r} is not named by a text; rename the columns")
    try:
        frame = frame.reset_index() if named else frame
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"the frame is no table of plain columns: {error}") from error
    return plain(table, "the frame")
