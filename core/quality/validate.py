"""Validation: the checks of a snapshot, their report in the lake, and the error that a failure becomes."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.catalog import DatasetConfig
from core.errors import DataError, StorageError
from core.handles import SnapshotRef, ValidationRef
from core.lake import build_once, code_digest, content_digest, write_atomically, write_json
from core.prepare.columns import find_time, sort_columns
from core.prepare.stamps import read_stamps
from core.quality.checks import Findings, judged
from core.quality.kinds import check_kinds
from core.quality.report import as_html, as_markdown
from core.quality.rules import Suite, needed_columns
from core.quality.suite import run_rules
from core.quality.timing import check_timing
from core.sources.snapshots import table_from_snapshot

logger = logging.getLogger(__name__)


def validate(dataset: DatasetConfig, snapshot: SnapshotRef, lake: Path) -> ValidationRef:
    """Check a snapshot and write `report.json`, `.html` and `.md` to `lake/validations/<dataset>/<key>/`.

    The report is the result: it stays also where checks failed; `raise_if_failed` turns it into an error.

    Raises:
        ConfigError: no time column and the dataset does not say so, or an unknown calendar or frequency.
        StorageError: the snapshot cannot be read or the report not be written.
    """
    key = content_digest(
        snapshot=snapshot.digest,
        dataset=dataset.model_dump(
            mode="json", include={"name", "time", "series", "columns", "missing", "expectations"}
        ),
        code=code_digest("quality", "prepare"),
    )
    folder = lake / "validations" / dataset.name / key[:16]
    reused = folder.is_dir()
    if not reused:
        table = table_from_snapshot(snapshot)
        report = _report(dataset, snapshot, table, check_table(dataset, table))
        reused = build_once(folder, lambda temporary: _write(temporary, report))
    report = _read(folder)
    logger.info(
        "%s: %d checks, %d failed, %d warnings",
        dataset.name,
        len(report["checks"]),
        report["failed"],
        report["warnings"],
    )
    return ValidationRef(
        path=folder,
        digest=key,
        reused=reused,
        success=report["success"],
        checks=len(report["checks"]),
        failed=report["failed"],
        warnings=report["warnings"],
    )


def check_table(dataset: DatasetConfig, table: pa.Table) -> Findings:
    """Every check of a table, nothing written; for the errors see `validate`."""
    names = table.column_names
    configured = dataset.time.column
    time = None if configured is not None and configured not in names else find_time(table, dataset.time)
    absent = sorted(set(needed_columns(dataset, time)) - set(names))
    stamps = None if time is None else read_stamps(table[time])
    roles = sort_columns(names, dataset, time)
    suite = Suite(dataset, table, time, stamps, roles)
    rules = suite.rules(absent)
    outcomes = run_rules(dataset.name, suite.frame(), rules)
    checks = [judged(rule, outcome) for rule, outcome in zip(rules, outcomes, strict=True)]
    checks += check_kinds(dataset, table, roles)
    if time is not None and stamps is not None and dataset.series not in absent:
        checks += check_timing(dataset, table, time, stamps)
    return Findings(tuple(checks))


def raise_if_failed(ref: ValidationRef) -> None:
    """Raise what a failed validation found, one line a check.

    Raises:
        DataError: a critical check failed; the message names column, rows and what to do.
    """
    if ref.success:
        return
    report = _read(ref.path)
    failed = [check for check in report["checks"] if not check["success"] and check["severity"] == "critical"]
    lines = "\n".join(f"  {_line(check)}" for check in failed)
    raise DataError(
        f"{report['dataset']}: {len(failed)} of {len(report['checks'])} checks failed\n{lines}\n"
        f"  report: {ref.path / 'report.html'}"
    )


def _line(check: dict[str, Any]) -> str:
    rows = ", ".join(f"{bad['row']} ({bad['value']})" for bad in check["rows"])
    parts = [
        f"{check['name']}: expected {check['expected']}, found {check['found']}",
        f"rows {rows}" if rows else "",
        check["advice"],
    ]
    text = "; ".join(part for part in parts if part)
    return f"{check['column']}: {text}" if check["column"] else text


def _report(
    dataset: DatasetConfig, snapshot: SnapshotRef, table: pa.Table, findings: Findings
) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "snapshot": snapshot.digest,
        "rows": table.num_rows,
        "columns": {field.name: str(field.type) for field in table.schema},
        "success": not findings.failed,
        "failed": len(findings.failed),
        "warnings": len(findings.warnings),
        "checks": [asdict(check) for check in findings.checks],
    }


def _write(folder: Path, report: dict[str, Any]) -> None:
    write_json(folder / "report.json", report)
    write_atomically(folder / "report.md", as_markdown(report))
    write_atomically(folder / "report.html", as_html(report))


def _read(folder: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{folder} holds no validation report: {error}; remove it and validate again"
        ) from error
    return report
