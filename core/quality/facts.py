"""What the report tells of a snapshot beside its checks: where it comes from, and each column's values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.prepare.rows.columns import as_floats, is_numeric
from core.quality.checks import shown
from core.quality.plan import Plan
from core.quality.statistics import ColumnStatistics

_BINS = 24


def source_facts(manifest: dict[str, Any]) -> dict[str, Any]:
    """Kind, file name and time of a snapshot's source; no path and no URL: they may tell too much."""
    source = manifest.get("source") or {}
    path = source.get("path") if isinstance(source, dict) else None
    return {
        "kind": source.get("kind", "") if isinstance(source, dict) else "",
        "file": PurePosixPath(str(path).split("?")[0]).name if path else "",
        "ingested_at": manifest.get("ingested_at", ""),
        "notes": list(manifest.get("notes", ())),
    }


def column_facts(
    plan: Plan, statistics: dict[str, ColumnStatistics], sample: pa.Table
) -> Iterator[dict[str, Any]]:
    """Each column: exact extremes and missing share; middle and histogram of the sample."""
    for name, seen in statistics.items():
        yield {
            "name": name,
            "type": str(seen.kind),
            "role": _role(plan, name),
            "missing": seen.missing,
            "missing_share": seen.missing / max(seen.rows, 1),
            "minimum": _number(seen.minimum),
            "middle": _middle(sample[name]),
            "maximum": _number(seen.maximum),
            "histogram": histogram(sample[name]),
        }


def histogram(column: pa.ChunkedArray) -> list[int]:
    """Counts in 24 equal steps from the least to the largest finite number; empty for other columns."""
    if not is_numeric(column.type) or pa.types.is_null(column.type):
        return []
    values = as_floats(column)
    values = values[np.isfinite(values)]
    if not len(values) or not np.isfinite(np.ptp(values)):
        return []
    # Of the way from the least to the largest: of large integers the steps themselves may not be told apart.
    places = (values - values.min()) / (np.ptp(values) or 1.0)
    counts: NDArray[np.int64] = np.histogram(places, bins=_BINS, range=(0.0, 1.0))[0]
    return [int(count) for count in counts]


def _role(plan: Plan, name: str) -> str:
    roles = plan.roles
    if name in (roles.time, roles.series):
        return "time" if name == roles.time else "series"
    kind = plan.kinds.get(name)
    if kind is None:
        return "dropped"
    return f"static, {kind}" if name in roles.static else kind


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else shown(value)


def _middle(column: pa.ChunkedArray) -> str:
    """Median of numbers, the most frequent value of others."""
    there = column.drop_null()
    if not len(there):
        return ""
    if is_numeric(column.type) and not pa.types.is_boolean(column.type):
        return f"{np.median(as_floats(there)):.6g}"
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return ""
    counts = there.value_counts()
    return shown(counts[int(pc.index(counts.field(1), pc.max(counts.field(1))).as_py())]["values"].as_py())
