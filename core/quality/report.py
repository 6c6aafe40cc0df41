"""The validation report to look at: HTML and Markdown in which cell values stay text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.pages import markdown_text, render
from core.quality.quarantine import FILE

_STATES = ("failed", "quarantined", "warning", "passed")
_BAR, _HEIGHT = 4, 20


def as_html(report: dict[str, Any]) -> str:
    """One page without scripts or anything from elsewhere; everything from the data is escaped.

    Args:
        report: What `report.json` holds.
    """
    return render(
        "core.quality",
        "report_template.html",
        report=report,
        checks=_worst_first(report["checks"]),
        state=state,
        count=_count,
        bars=bars,
        quarantine_file=FILE,
    )


def as_markdown(report: dict[str, Any]) -> str:
    """A summary and tables, for the Prefect page and MLflow.

    Args:
        report: What `report.json` holds.
    """
    verdict = "passed" if report["success"] else "failed"
    checks = [
        [
            state(check),
            check["name"],
            check["column"] or "",
            check["expected"],
            check["found"],
            "; ".join(f"{bad['row']}: {bad['value']}" for bad in check["rows"]),
            check["advice"],
        ]
        for check in _worst_first(report["checks"])
    ]
    heads = ["State", "Check", "Column", "Expected", "Found", "First rows", "What to do"]
    lines = [
        f"# Validation of {markdown_text(report['dataset'])}: {verdict}",
        "",
        f"{_count(report['rows'], 'row')}, {_count(len(report['columns']), 'column')}; "
        f"{_count(len(report['checks']), 'check')}, {report['failed']} failed, "
        f"{_count(report['warnings'], 'warning')}. Snapshot `{report['snapshot'][:16]}`.",
        *_facts(report),
        "",
        *_table(heads, checks),
        *_gaps(report["gaps"]),
        "",
        "## Columns",
        "",
        *_columns(report),
    ]
    return "\n".join(lines) + "\n"


def state(check: dict[str, Any]) -> str:
    """`passed`, `warning`, `quarantined` or `failed`."""
    if check["success"]:
        return "passed"
    if check["quarantined"]:
        return "quarantined"
    return "failed" if check["severity"] == "critical" else "warning"


def bars(counts: Sequence[int]) -> str:
    """Path of a histogram as SVG draws it, 4 wide a bar and 20 high."""
    most = max(counts)
    parts = []
    for place, count in enumerate(counts):
        # A bar of few rows among many is still to be seen.
        height = max(1.0, _HEIGHT * count / most) if count else 0.0
        parts.append(f"M{place * _BAR} {_HEIGHT}v{-height:.1f}h{_BAR - 1}v{height:.1f}z")
    return "".join(parts)


def _facts(report: dict[str, Any]) -> list[str]:
    time, quarantine = report["time"], report["quarantine"]
    lines = []
    if time is not None:
        lines.append(f"Rows from {time['from']} to {time['to']}.")
    if quarantine["rows"]:
        lines.append(
            f"{_count(quarantine['rows'], 'row')} with cells that break a rule, {quarantine['kept']:,} of them "
            f"in `{FILE}`; {quarantine['excluded']:,} left out."
        )
    return ["", *lines] if lines else []


def _gaps(gaps: dict[str, Any]) -> list[str]:
    if not gaps["count"]:
        return []
    rows = [
        [gap["from"], gap["to"], gap["length"], f"{gap['steps']:,}", str(gap["row"])] for gap in gaps["list"]
    ]
    heads = ["From", "To", "Length", "Steps missing", "After row"]
    title = f"## Gaps: {gaps['count']:,}" + f", the first {len(rows)}" * (len(rows) < gaps["count"])
    return ["", title, "", *_table(heads, rows)]


def _columns(report: dict[str, Any]) -> list[str]:
    rows = [
        [
            column["name"],
            column["type"],
            column["role"],
            f"{100 * column['missing_share']:.3g} %",
            column["minimum"],
            column["middle"],
            column["maximum"],
        ]
        for column in report["columns"]
    ]
    return _table(["Column", "Type", "Role", "Missing", "Minimum", "Median or most frequent", "Maximum"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return [*lines, *("| " + " | ".join(markdown_text(cell) for cell in row) + " |" for row in rows)]


def _worst_first(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(checks, key=lambda check: _STATES.index(state(check)))


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
