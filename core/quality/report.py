"""The validation report to look at: HTML and Markdown in which cell values stay text."""

from __future__ import annotations

import html
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_MARKDOWN = re.compile(r"([\\`*_\[\]|~#!])")


def as_html(report: dict[str, Any]) -> str:
    """One page without scripts or anything from elsewhere; everything from the data is escaped.

    Args:
        report: What `report.json` holds.
    """
    environment = Environment(
        loader=PackageLoader("core.quality", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report_template.html")
    return template.render(report=report, checks=_worst_first(report["checks"]), state=state)


def as_markdown(report: dict[str, Any]) -> str:
    """A summary and a table, for the Prefect page and MLflow.

    Args:
        report: What `report.json` holds.
    """
    verdict = "passed" if report["success"] else "failed"
    lines = [
        f"# Validation of {_text(report['dataset'])}: {verdict}",
        "",
        f"{report['rows']:,} rows, {len(report['columns'])} columns; {len(report['checks'])} checks, "
        f"{report['failed']} failed, {report['warnings']} warnings. Snapshot `{report['snapshot'][:16]}`.",
        "",
        "| State | Check | Column | Expected | Found | First rows | What to do |",
        "|---|---|---|---|---|---|---|",
    ]
    for check in _worst_first(report["checks"]):
        rows = "; ".join(f"{bad['row']}: {bad['value']}" for bad in check["rows"])
        cells = [
            state(check),
            check["name"],
            check["column"] or "",
            check["expected"],
            check["found"],
            rows,
            check["advice"],
        ]
        lines.append("| " + " | ".join(_text(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def state(check: dict[str, Any]) -> str:
    """`passed`, `warning` or `failed`."""
    if check["success"]:
        return "passed"
    return "failed" if check["severity"] == "critical" else "warning"


def _worst_first(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(checks, key=lambda check: ("failed", "warning", "passed").index(state(check)))


def _text(value: str) -> str:
    """Text that Markdown and the HTML it becomes take as it is."""
    return html.escape(_MARKDOWN.sub(r"\\\1", " ".join(value.split())), quote=False)
