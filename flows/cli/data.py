"""`ingest`, `validate` and `catalog`: data."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from core.errors import ConfigError
from flows.cli.common import Json, Overrides, app, err, job_of, out, settings_here, snapshot_here, write_result

if TYPE_CHECKING:
    from core.catalog import DatasetConfig
    from core.handles import SnapshotRef


@app.command
def ingest(dataset: str, *, set_: Overrides = None, json_: Json = None) -> None:
    """Copy a dataset's source into an immutable snapshot.

    Args:
        dataset: A name of the catalogue, or a path to a YAML file, a data file or a folder of Parquet files.
    """
    settings = settings_here()
    taken = snapshot_here(job_of(dataset, settings, "quick", set_, None).dataset, settings)
    write_result(json_, taken.model_dump(mode="json"))
    verb = "unchanged, reused" if taken.reused else "new snapshot"
    out.print(f"{taken.dataset}: {verb}: {taken.rows:,} rows, sha256 {taken.digest[:16]}\n{taken.path}")


@app.command
def validate(
    dataset: str,
    *,
    profile: Annotated[bool, Parameter(negative=(), help="Propose a catalogue entry from the data.")] = False,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="With --profile: the YAML file to write.")
    ] = None,
    data_docs: Annotated[
        Path | None, Parameter(name="--data-docs", help="Build Great Expectations' own pages in this folder.")
    ] = None,
    set_: Overrides = None,
    json_: Json = None,
) -> None:
    """Check a dataset and print what failed, with column, rows and counts.

    Args:
        dataset: A name of the catalogue, or a path to a YAML file, a data file or a folder of Parquet files.
    """
    from core.quality import raise_if_failed
    from core.quality import validate as check
    from tasks.progress import progress

    if output is not None and not profile:
        raise ConfigError("-o is for --profile; the report lies in the lake, --json writes a copy")
    if profile and (data_docs is not None or json_ is not None):
        raise ConfigError("--profile proposes and does not check: leave out --data-docs and --json")
    settings = settings_here()
    described = job_of(dataset, settings, "quick", set_, None).dataset
    taken = snapshot_here(described, settings)
    if profile:
        _write_profile(described, taken, output)
        return
    with progress(f"validate {described.name}") as show:
        report = check(described, taken, settings.lake, progress=partial(show, "rows"))
    write_result(json_, json.loads((report.path / "report.json").read_text(encoding="utf-8")))
    if data_docs is not None:
        _write_data_docs(described, taken, data_docs)
    raise_if_failed(report)
    passed = report.checks - report.warnings
    out.print(f"{described.name}: {passed} of {report.checks} checks passed, {report.warnings} warnings")
    if report.quarantined:
        out.print(f"{report.quarantined:,} rows left out, see quarantine.parquet beside the report")
    out.print(Text(str(report.path / "report.html")), soft_wrap=True)


def _write_profile(dataset: DatasetConfig, taken: SnapshotRef, output: Path | None) -> None:
    from core.lake import write_atomically
    from core.quality.profile import propose
    from core.sources.stored import StoredRows
    from tasks.progress import progress

    with progress("profile") as report:
        text = propose(dataset, StoredRows.open(taken), progress=partial(report, "rows"))
    if output is None:
        sys.stdout.write(text)
        return
    write_atomically(output, text)
    out.print(Text(f"{output}: look it over, then: timeloom validate {output}"), soft_wrap=True)


def _write_data_docs(dataset: DatasetConfig, taken: SnapshotRef, folder: Path) -> None:
    from core.quality.docs import build_data_docs
    from core.sources.stored import StoredRows

    rows = StoredRows.open(taken)
    shown = build_data_docs(dataset, rows, folder)
    err.print(
        Text(
            "warning: Great Expectations does not escape names and cells in its pages, which load parts from "
            "the internet: do not open or publish those of data that you do not trust",
            style="yellow",
        ),
        soft_wrap=True,
    )
    part = "all rows" if shown == len(rows) else f"the first {shown:,} of {len(rows):,} rows"
    out.print(Text(f"Data Docs of {part}: {folder / 'index.html'}"), soft_wrap=True)


@app.command
def catalog() -> None:
    """List the datasets of the catalogue."""
    from core.catalog import list_datasets, load_dataset

    settings = settings_here()
    table = Table("dataset", "source", "description")
    for name in list_datasets(settings.catalog):
        dataset = load_dataset(settings.catalog / f"{name}.yaml")
        table.add_row(name, dataset.source.kind, dataset.description)
    out.print(table)
