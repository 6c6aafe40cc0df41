"""How far the columns are from those of the snapshot before."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from core.errors import StorageError
from core.handles import SnapshotRef
from core.prepare.rows.columns import as_floats, is_numeric
from core.quality.checks import shown
from core.quality.plan import CATEGORIES, Plan
from core.quality.statistics import countable, sample_rows
from core.sources.stored import StoredRows

logger = logging.getLogger(__name__)

SAMPLE_FILE = "sample.parquet"
_SNAPSHOT = b"timeloom.snapshot"


@dataclass(frozen=True)
class Drift:
    """One column now against then."""

    column: str
    measure: str
    distance: float
    """Kolmogorov-Smirnov, or total variation of categories: from 0 to 1."""
    middle: str
    """What `before` and `now` are."""
    before: str
    now: str


def previous_snapshot(lake: Path, snapshot: SnapshotRef) -> SnapshotRef | None:
    """The newest snapshot of the dataset that was taken before this one and has a column in common with it."""
    own, others = _taken(snapshot.path), []
    for manifest in (lake / "snapshots" / snapshot.dataset).glob("[!.]*/manifest.json"):
        taken = _taken(manifest.parent)
        if manifest.parent.name == snapshot.path.name or taken is None or own is None:
            continue
        same = set(taken["schema"]) & set(snapshot.columns)
        if taken["ingested_at"] <= own["ingested_at"] and same:
            others.append((taken["ingested_at"], manifest.parent, taken))
    if not others:
        return None
    _, path, found = max(others, key=lambda other: (other[0], other[1].name))
    return SnapshotRef(
        path=path,
        digest=found["sha256"],
        dataset=snapshot.dataset,
        rows=found["rows"],
        columns=tuple(found["schema"]),
    )


def _taken(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if {"ingested_at", "schema", "sha256", "rows"} <= set(found) else None


def write_sample(folder: Path, sample: pa.Table, snapshot: SnapshotRef) -> None:
    """Keep the sample of a snapshot beside its validation, for the next one."""
    table = sample.replace_schema_metadata({_SNAPSHOT: snapshot.digest.encode()})
    try:
        pq.write_table(table, folder / SAMPLE_FILE)
    except OSError as error:
        raise StorageError(f"could not write {folder / SAMPLE_FILE}: {error}") from error


def read_sample(lake: Path, snapshot: SnapshotRef) -> pa.Table:
    """The sample of a snapshot: as a validation kept it, else drawn again.

    Raises:
        StorageError: the snapshot is damaged.
    """
    for path in (lake / "validations" / snapshot.dataset).glob(f"*/{SAMPLE_FILE}"):
        try:
            if (pq.read_schema(path).metadata or {}).get(_SNAPSHOT) == snapshot.digest.encode():
                return pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            logger.warning("%s cannot be read, the sample is drawn again: %s", path, error)
    rows = StoredRows.open(snapshot)
    return rows.rows_at(sample_rows(len(rows), len(rows.schema.names)))


def drifts(plan: Plan, now: pa.Table, before: pa.Table) -> Iterator[Drift]:
    """Each feature that both samples have with values of the same sort."""
    for name in plan.features:
        if name not in before.column_names:
            continue
        then, found = before[name].drop_null(), now[name].drop_null()
        numeric = is_numeric(then.type) and is_numeric(found.type)
        if not len(then) or not len(found):
            continue
        if plan.kinds[name] in CATEGORIES and (numeric or then.type == found.type):
            yield _of_categories(name, then, found)
        elif numeric:
            yield _of_numbers(name, as_floats(then), as_floats(found))


def _of_numbers(name: str, before: NDArray[np.float64], now: NDArray[np.float64]) -> Drift:
    distance = float(ks_2samp(before, now, method="asymp").statistic)
    return Drift(
        name,
        "Kolmogorov-Smirnov",
        distance,
        "median",
        f"{np.median(before):.5g}",
        f"{np.median(now):.5g}",
    )


def _of_categories(name: str, before: pa.ChunkedArray, now: pa.ChunkedArray) -> Drift:
    shares = _shares(before), _shares(now)
    distance = sum(
        abs(shares[0].get(value, 0) - shares[1].get(value, 0)) for value in {**shares[0], **shares[1]}
    )
    favourites = [shown(max(share, key=lambda value: share[value])) for share in shares]
    return Drift(name, "total variation", distance / 2, "most frequent", *favourites)


def _shares(column: pa.ChunkedArray) -> dict[Any, float]:
    counts = countable(column).value_counts().to_pylist()
    return {entry["values"]: entry["counts"] / len(column) for entry in counts}
