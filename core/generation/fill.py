"""A table with empty cells as a file without them, and with rows after its last one."""

from __future__ import annotations

import json
import time
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from core import __version__
from core.catalog import DatasetConfig, FileSource
from core.errors import ConfigError
from core.generation.fill_table import Table, read_table
from core.generation.target import Target, target_of
from core.generators.bundle import GeneratorBundle
from core.generators.filling import completing, fill
from core.schema import Section


class FillConfig(Section):
    """Everything that decides what a `fill` job writes, but the data."""

    model: str = Field(
        min_length=1, description="`name@champion`, `name/3`, an MLflow run id, or a folder with a model."
    )
    output: str = Field(min_length=1, description="A .parquet or .csv file; a path or a URL.")
    draws: int = Field(default=1, ge=1, le=100_000, description="Versions, each drawn anew.")
    horizon: int = Field(default=0, ge=0, le=10_000_000, description="Rows to draw after the last one.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="The same seed gives the same bytes.")


class FilledFile(BaseModel):
    """What was written, and where."""

    model_config = ConfigDict(frozen=True)

    address: str
    rows: int
    """Of the file: those of all versions."""
    columns: list[str]
    draws: int
    horizon: int
    cells: int
    """Drawn in each version, those of further rows included."""
    outside: int
    """Cells of the data beyond what the generator learnt."""
    bytes: int
    digest: str
    """SHA-256 of the file."""
    seconds: float
    lineage: dict[str, Any]


def fill_file(
    bundle: GeneratorBundle, job: FillConfig, dataset: DatasetConfig, origin: dict[str, Any], lake: Path
) -> FilledFile:
    """Fill a dataset's rows in and write them; the same call gives the same bytes.

    The file holds `draw` (from 0, if there are several versions), then the data's columns in their order: cells
    that are there as they are. A Parquet file has the lineage in its metadata under `timeloom`; beside a .csv
    `FILE.json` holds it.

    Args:
        bundle: What draws.
        job: What is asked for.
        dataset: Where the rows are and which column is the time.
        origin: Of the model, see `core.generation.write.lineage_of`.
        lake: Where a file behind a URL is kept meanwhile.

    Raises:
        ConfigError: an output, a generator or columns that this is not possible with; nothing is written.
        DataError: the data cannot be read, or see `GeneratorBundle.fill`.
        StorageError, TargetError: the output could not be written.
    """
    began = time.monotonic()
    target = _checked(job, lake)
    completing(bundle.generator)
    table = read_table(dataset, bundle.series, lake)
    stamps = table.continued(job.horizon)  # a calendar that ends is said before the work
    made = fill(
        bundle.generator,
        bundle.series.layout,
        table.frame,
        draws=job.draws,
        seed=job.seed,
        horizon=job.horizon,
    )
    whole = table.joined(made.frame, stamps, draws=job.draws)
    lineage = _lineage(bundle, job, dataset, table, origin)
    _write(target, whole, lineage)
    size, digest = target.place.digest(target.name or "") or (0, "")
    return FilledFile(
        address=target.address,
        rows=len(whole),
        columns=whole.schema.names,
        draws=job.draws,
        horizon=job.horizon,
        cells=made.cells,
        outside=made.outside,
        bytes=size,
        digest=digest,
        seconds=time.monotonic() - began,
        lineage=lineage,
    )


def _checked(job: FillConfig, lake: Path) -> Target:
    target = target_of(job.output, lake)
    if target.name is None or target.kind == "npy":
        raise ConfigError(f"expected an output ending in .parquet or .csv, got {job.output!r}")
    for name in (target.name, f"{target.name}.json")[: 2 if target.kind == "csv" else 1]:
        target.place.check(name)
    return target


def _lineage(
    bundle: GeneratorBundle, job: FillConfig, dataset: DatasetConfig, table: Table, origin: dict[str, Any]
) -> dict[str, Any]:
    """Where the cells come from: the same for the same call, so no times."""
    source = dataset.source
    name = PurePath(urlsplit(source.path).path).name if isinstance(source, FileSource) else dataset.name
    return {
        "model": job.model,
        **origin,
        "dataset": bundle.series.dataset,
        "data": bundle.series.digest,
        "form": "filled",
        "source": {"name": name, "rows": len(table.rows), "sha256": table.digest},
        "draws": job.draws,
        "horizon": job.horizon,
        "seed": job.seed,
        "timeloom": __version__,
    }


def _write(target: Target, table: pa.Table, lineage: dict[str, Any]) -> None:
    name = target.name or ""
    if target.kind == "parquet":
        metadata = {b"timeloom": json.dumps(lineage, sort_keys=True).encode()}
        with target.place.write(name) as file:
            pq.write_table(table.replace_schema_metadata(metadata), pa.PythonFile(file, mode="w"))
        return
    beside = f"{name}.json"
    target.place.remove(beside)  # of the file that goes now
    with target.place.write(name) as file:
        frame = table.to_pandas(types_mapper=_exact)
        frame.to_csv(file, index=False, lineterminator="\n")
    with target.place.write(beside) as file:
        facts = {"file": name, "rows": len(table), "lineage": lineage}
        file.write((json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode())


def _exact(kind: pa.DataType) -> Any:
    """Whole numbers stay whole beside empty cells."""
    return pd.ArrowDtype(kind) if pa.types.is_integer(kind) else None
