from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.handles import SnapshotRef

FIRST_DAY = "2026-01-01T00:00:00+00:00"


def as_table(frame: pd.DataFrame) -> pa.Table:
    """As snapshots hold it: plain strings, and no NaN."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    kinds = [pa.string() if pa.types.is_large_string(kind) else kind for kind in table.schema.types]
    return table.cast(pa.schema(zip(table.column_names, kinds, strict=True)))


def lay_snapshot(
    lake: Path,
    table: pa.Table | pd.DataFrame,
    *,
    name: str = "set",
    taken: str = FIRST_DAY,
    group_rows: int = 1000,
) -> SnapshotRef:
    """A snapshot in the lake without a source."""
    table = as_table(table) if isinstance(table, pd.DataFrame) else table
    digest = hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()
    folder = lake / "snapshots" / name / digest[:16]
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "data.parquet", row_group_size=group_rows)
    manifest = {
        "dataset": name,
        "source": {"kind": "file", "path": "some-folder/x.parquet"},
        "notes": [],
        "sha256": digest,
        "rows": len(table),
        "parts": [{"file": "data.parquet", "rows": len(table)}],
        "schema": {field.name: str(field.type) for field in table.schema},
        "ingested_at": taken,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return SnapshotRef(
        path=folder, digest=digest, dataset=name, rows=len(table), columns=tuple(table.column_names)
    )
