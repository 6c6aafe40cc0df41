"""Validation: the checks of a snapshot, their report in the lake, and the error that a failure becomes."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.errors import DataError, StorageError
from core.handles import SnapshotRef, ValidationRef
from core.lake import build_once, code_digest, content_digest, write_atomically, write_json
from core.prepare.rows.columns import find_time, sort_columns
from core.prepare.rows.keys import read_series, read_time
from core.quality.checks import Check, Findings, WholeRule, judged
from core.quality.drift import Drift, drifts, previous_snapshot, read_sample, write_sample
from core.quality.facts import column_facts, source_facts
from core.quality.kinds import check_kinds
from core.quality.plan import Plan
from core.quality.quarantine import Quarantine
from core.quality.report import as_html, as_markdown
from core.quality.scan import Progress, Scan
from core.quality.statistics import largest_shares
from core.quality.suite import Judge
from core.quality.timing import Timing
from core.quality.whole import Whole
from core.sources.stored import StoredRows

logger = logging.getLogger(__name__)


def validate(
    dataset: DatasetConfig, snapshot: SnapshotRef, lake: Path, *, progress: Progress | None = None
) -> ValidationRef:
    """Check a snapshot and write `report.json`, `.html` and `.md` to `lake/validations/<dataset>/<key>/`.

    The report is the result: it stays also where checks failed; `raise_if_failed` turns it into an error.
    Beside it lie `quarantine.parquet` (rows that break a rule on cells, with the reason), `excluded.npy` (those
    that are left out: `ValidationRef.excluded`) and `sample.parquet` (what the next snapshot is compared with).

    Args:
        dataset: What must hold.
        snapshot: The rows; read in chunks.
        lake: Where to write.
        progress: Takes rows checked, and all rows.

    Raises:
        ConfigError: no time column and the dataset does not say so, or an unknown calendar or frequency.
        StorageError: the snapshot cannot be read or the report not be written.
    """
    before = None if dataset.expectations.drift is None else previous_snapshot(lake, snapshot)
    key = content_digest(
        snapshot=snapshot.digest,
        before=None if before is None else before.digest,
        dataset=dataset.model_dump(
            mode="json", include={"name", "time", "series", "columns", "missing", "expectations"}
        ),
        code=code_digest("quality", "prepare", "pages.py"),
    )
    folder = lake / "validations" / dataset.name / key[:16]

    def build(temporary: Path) -> None:
        earlier = None if before is None else read_sample(lake, before)
        found = check_rows(dataset, StoredRows.open(snapshot), temporary, before=earlier, progress=progress)
        write_sample(temporary, found.sample, snapshot)
        _write(temporary, _report(dataset, snapshot, found, None if before is None else before.digest))

    reused = build_once(folder, build)
    return _handle(folder, key, _read(folder), reused=reused)


@dataclass(frozen=True)
class Found:
    """All that is known of a snapshot's rows."""

    findings: Findings
    plan: Plan
    rows: StoredRows
    scan: Scan
    timing: Timing | None
    drifts: tuple[Drift, ...]
    sample: pa.Table
    suspects: int
    """Rows that break a rule on cells, all of them."""
    kept: int
    """Of these, rows in `quarantine.parquet`."""
    excluded: NDArray[np.int64]
    """Rows of the source (from 0, ascending) to be left out."""


def check_rows(
    dataset: DatasetConfig,
    rows: StoredRows,
    folder: Path,
    *,
    before: pa.Table | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Found:
    """Every check of a snapshot's rows; bad rows go to `folder`.

    Args:
        dataset: What must hold.
        rows: The rows.
        folder: For `quarantine.parquet` and `excluded.npy`.
        before: Sample of the snapshot before.
        size: Rows of a chunk; by the number of columns if None.
        progress: Takes rows checked, and all rows.

    Raises:
        ConfigError: see `validate`.
    """
    codes, count = series_of(dataset, rows)
    several = codes if count > 1 else None
    plan = plan_of(dataset, rows, several)
    scan = Scan(plan, codes, count)
    with Quarantine(folder, rows.schema) as quarantine:
        sample = scan.run(rows, quarantine, size=size, progress=progress)
    left_out = quarantine.left_out
    excluded, too_many = _excluded(dataset, left_out, len(rows))
    timing = None if codes is None else _timing(plan, several)
    moved = () if before is None else tuple(drifts(plan, sample, before))
    checks = [
        *_whole_checks(scan, rows, moved),
        *too_many,
        *scan.checks(quarantined=bool(len(excluded))),
        *check_kinds(plan, scan.statistics, count if codes is not None else len(rows)),
        *(constancy.check() for constancy in scan.constancies),
        *([] if timing is None else timing.checks(rows, size)),
    ]
    if len(excluded):
        np.save(folder / "excluded.npy", excluded)
    return Found(
        Findings(tuple(checks)),
        plan,
        rows,
        scan,
        timing,
        moved,
        sample,
        quarantine.count,
        quarantine.written,
        excluded,
    )


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


def plan_of(dataset: DatasetConfig, rows: StoredRows, codes: NDArray[Any] | None = None) -> Plan:
    """What is to be checked of which column.

    Args:
        dataset: What must hold.
        rows: The rows.
        codes: Shape (rows,): number of each row's series; None if there is one.

    Raises:
        ConfigError: no time column, or several, and the dataset does not say so.
    """
    names, configured = rows.schema.names, dataset.time.column
    apart = {*dataset.columns, *filter(None, (dataset.series,))}
    absent = configured is not None and configured not in names
    time = None if absent else find_time(rows, dataset.time, apart)
    stamps = None if time is None else read_time(rows, time, dataset.time, codes)
    return Plan(dataset, rows.schema, sort_columns(names, dataset, time), stamps)


def series_of(dataset: DatasetConfig, rows: StoredRows) -> tuple[NDArray[Any] | None, int]:
    """Number of each row's series and of all series; None where some row names none."""
    name = dataset.series
    if name is not None and name not in rows.schema.names:
        return None, 0
    if name is not None and any(batch.column(0).null_count for batch in rows.batches([name])):
        return None, 0
    codes, names = read_series(rows, name)
    return codes, len(names)


def _timing(plan: Plan, codes: NDArray[Any] | None) -> Timing | None:
    """Nothing can be said of order and gaps where stamps are missing."""
    time, stamps = plan.roles.time, plan.stamps
    if time is None or stamps is None or len(stamps.bad_rows) or not len(stamps.ns):
        return None
    return Timing(plan.dataset, time, stamps.ns, codes, stamps.timezone)


def _whole_checks(scan: Scan, rows: StoredRows, moved: tuple[Drift, ...]) -> list[Check]:
    plan = scan.plan
    doubtful = [
        name for name in plan.features if (seen := scan.statistics[name]).there and seen.perhaps_nearly_constant
    ]
    shares = largest_shares(rows, doubtful)
    texts = [str(tally.rule.column) for tally in scan.tallies if tally.rule.name == "numbers" and tally.count]
    whole = Whole(plan, scan.statistics, len(rows), shares, texts, moved)
    rules: list[WholeRule] = whole.rules()
    outcomes = Judge(rules).judge(whole.frame())
    return [judged(rule, outcome) for rule, outcome in zip(rules, outcomes, strict=True)]


def _excluded(
    dataset: DatasetConfig, left_out: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.int64], list[Check]]:
    """Rows to be left out, and what to say if they would be too many."""
    expectations = dataset.expectations
    none = np.empty(0, dtype=np.int64)
    if expectations.bad_rows == "refuse" or not len(left_out):
        return none, []
    if len(left_out) <= expectations.max_quarantined * rows:
        return left_out, []
    share = 100 * len(left_out) / rows
    check = Check(
        "quarantine",
        None,
        "critical",
        success=False,
        expected=f"at most {100 * expectations.max_quarantined:g} % of the rows to leave out",
        found=f"{len(left_out):,} rows ({share:.3g} %)",
        unexpected=len(left_out),
        advice="mend the rows in quarantine.parquet, or raise expectations.max_quarantined",
    )
    return none, [check]


def _handle(folder: Path, key: str, report: dict[str, Any], *, reused: bool) -> ValidationRef:
    logger.info(
        "%s: %d checks, %d failed, %d warnings, %d rows left out",
        report["dataset"],
        len(report["checks"]),
        report["failed"],
        report["warnings"],
        report["quarantine"]["excluded"],
    )
    return ValidationRef(
        path=folder,
        digest=key,
        reused=reused,
        success=report["success"],
        checks=len(report["checks"]),
        failed=report["failed"],
        warnings=report["warnings"],
        quarantined=report["quarantine"]["excluded"],
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


def _report(dataset: DatasetConfig, snapshot: SnapshotRef, found: Found, before: str | None) -> dict[str, Any]:
    findings, timing = found.findings, found.timing
    return {
        "dataset": dataset.name,
        "snapshot": snapshot.digest,
        "source": source_facts(found.rows.manifest),
        "rows": len(found.rows),
        "time": None if timing is None else timing.span(),
        "success": not findings.failed,
        "failed": len(findings.failed),
        "warnings": len(findings.warnings),
        "checks": [asdict(check) for check in findings.checks],
        "columns": list(column_facts(found.plan, found.scan.statistics, found.sample)),
        "sampled": len(found.sample),
        "gaps": {"count": 0, "list": []}
        if timing is None
        else {"count": len(timing.gaps), "list": timing.gap_list()},
        "drift": {"before": before, "columns": [asdict(drift) for drift in found.drifts]},
        "quarantine": {"rows": found.suspects, "kept": found.kept, "excluded": len(found.excluded)},
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
