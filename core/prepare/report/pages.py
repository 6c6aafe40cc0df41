"""The preparation report to look at: HTML and Markdown in which names from the data stay text."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.pages import markdown_text, render

SHOWN = 200
"""Gaps and series in the report; `prepared.json` may name more."""

Rows = list[tuple[str, ...]]


def as_html(manifest: dict[str, Any]) -> str:
    """One page without scripts or anything from elsewhere; everything from the data is escaped.

    Args:
        manifest: What `prepared.json` holds.
    """
    return render("core.prepare.report", "template.html", manifest=manifest, sections=_sections(manifest))


def as_markdown(manifest: dict[str, Any]) -> str:
    """The same tables, for the Prefect page and MLflow.

    Args:
        manifest: What `prepared.json` holds.
    """
    lines = [
        f"# Preparation of {markdown_text(manifest['dataset'])}",
        "",
        f"Snapshot `{manifest['snapshot'][:16]}`.",
        "",
    ]
    for title, header, rows, note in _sections(manifest):
        lines += [f"## {title}", ""]
        if rows:
            table = [header, ("---",) * len(header), *(tuple(map(markdown_text, row)) for row in rows)]
            lines += ["| " + " | ".join(cells) + " |" for cells in table] + [""]
        lines += [markdown_text(note), ""] if note else []
    return "\n".join(lines)


def _sections(manifest: dict[str, Any]) -> list[tuple[str, tuple[str, ...], Rows, str]]:
    """Title, header, rows and a note of each table; a table without rows is its note alone."""
    sections = [
        ("Rows", ("What", "How many"), _rows(manifest), ""),
        ("Time", ("What", "Is"), _time(manifest), ""),
        ("Windows", ("What", "How many"), _windows(manifest), ""),
        ("Columns", _COLUMNS, _columns(manifest), _aside(manifest)),
        ("Gaps", _GAPS, _gaps(manifest), _rest(manifest["gap_count"], len(manifest["gaps"]), "gaps")),
    ]
    if totals := manifest["gaps_by_series"]:
        rows = [(one["series"], *(f"{one[key]:,}" for key in _GAP_TOTALS[1:])) for one in totals[:SHOWN]]
        header = tuple(name.replace("_", " ") for name in _GAP_TOTALS)
        sections.append(("Gaps by series", header, rows, ""))
    if listed := manifest["series_list"]:
        rows = [(one["name"], *(f"{one[key]:,}" for key in _SERIES[1:])) for one in listed[:SHOWN]]
        sections.append(("Series", _SERIES, rows, _rest(manifest["series_count"], len(listed), "series")))
    return [section for section in sections if section[2] or section[3]]


_COLUMNS = ("Column", "Role", "Kind", "Scaler", "Transform", "Range", "Missing cells", "Beyond the scaler")
_GAPS = ("From", "To", "Length", "Steps missing", "Rows left out", "Windows lost")
_GAP_TOTALS = ("series", "gaps", "missing_steps", "dropped_rows", "windows_lost")
_SERIES = ("name", "rows", "segments", "windows")


def _rows(manifest: dict[str, Any]) -> Rows:
    counts = [
        ("in the order of time", manifest["rows"]),
        ("moved to get there", manifest["moved_rows"]),
        ("left out: they repeat the stamp of another", manifest["repeated_rows"]),
        ("left out: quarantined by the validation", manifest["quarantined_rows"]),
        ("left out: a cell is missing", manifest["dropped_rows"]),
        ("without a row before them to differ from", manifest["rows_without_difference"]),
    ]
    return [
        ("order of the source", manifest["order"]),
        *((what, f"{count:,}") for what, count in counts),
        ("cells filled", f"{sum(manifest['filled'].values()):,} ({manifest['missing']['policy']})"),
        ("cells kept as missing", f"{sum(manifest['masked'].values()):,}"),
    ]


def _time(manifest: dict[str, Any]) -> Rows:
    time = manifest["time"]
    if time is None:
        return [("time column", "none: the order of the rows is the time")]
    names = ("column", "first", "last", "timezone", "frequency", "calendar", "gap_rule")
    facts = [(name.replace("_", " "), str(time[name])) for name in names if time[name] is not None]
    counts = [("rows on no expected stamp", time["off_grid_rows"])]
    if assumed := time["assumed_summer_time"]:
        counts.append(("stamps of a repeated autumn hour taken as summer time", assumed))
    return [*facts, *((what, f"{count:,}") for what, count in counts)]


def _windows(manifest: dict[str, Any]) -> Rows:
    window, held_out = manifest["window"], manifest["holdout"]
    counts = [
        ("length of a window", window["length"]),
        ("stride", window["stride"]),
        ("windows to learn from", manifest["windows"]),
        ("of them shorter than the length", manifest["short_windows"]),
        ("segments they lie in", len(manifest["segments"])),
        ("windows lost to gaps", manifest["windows_lost"]),
        ("series", manifest["series_count"]),
    ]
    if held_out:
        counts += [
            ("rows held out", held_out["rows"]),
            ("windows held out", held_out["windows"]),
            ("rows of the purge, in neither part", held_out["purged_rows"]),
        ]
    rows = [(what, f"{count:,}") for what, count in counts]
    return rows + ([("held out from", held_out["from"])] if held_out and held_out["from"] else [])


def _columns(manifest: dict[str, Any]) -> Rows:
    layout = manifest["layout"]
    rows: Rows = []
    for role, columns in (("each step", layout["temporal"]), ("static", layout["static"])):
        for column in columns:
            numbers = column["kind"] == "continuous"
            rows.append(
                (
                    column["name"],
                    "level before a window" if column["level_of"] else role,
                    column["kind"],
                    column["scaler"] if numbers else "",
                    column["transform"] if numbers else "",
                    _range(column),
                    _missing(manifest, column["name"]),
                    _outside(manifest, column["name"]),
                )
            )
    return rows


def _range(column: dict[str, Any]) -> str:
    """What becomes 0 and 1, in original units unless differences do; or the categories."""
    if column["kind"] != "continuous":
        shown = ", ".join(map(str, column["categories"][:10]))
        return f"{len(column['categories'])}: {shown}" + ", ..." * (len(column["categories"]) > 10)
    ends = [column["minimum"], column["maximum"]]
    if column["transform"] == "log":
        with np.errstate(over="ignore"):
            ends = np.exp(ends).tolist()
    of = {"difference": " a step", "log_difference": " a step, of the logarithm"}.get(column["transform"], "")
    return f"{ends[0]:g} to {ends[1]:g}{of}"


def _missing(manifest: dict[str, Any], name: str) -> str:
    filled, masked = manifest["filled"].get(name, 0), manifest["masked"].get(name, 0)
    return f"{filled:,} filled" if filled else f"{masked:,} kept" if masked else "0"


def _outside(manifest: dict[str, Any], name: str) -> str:
    learnt, held_out = (manifest["outside"][part].get(name, 0) for part in ("learnt", "held_out"))
    return f"{learnt:,}" + f", held out {held_out:,}" * bool(manifest["holdout"])


def _aside(manifest: dict[str, Any]) -> str:
    dropped = manifest["dropped_columns"]
    return f"Left out: {', '.join(dropped)}." if dropped else ""


def _gaps(manifest: dict[str, Any]) -> Rows:
    return [
        (
            str(gap["from"] or f"row {gap['from_row']}"),
            str(gap["to"] or f"row {gap['to_row']}"),
            str(gap.get("length") or ""),
            f"{gap['missing_steps']:,}",
            f"{gap['dropped_rows']:,}",
            f"{gap['windows_lost']:,}",
        )
        for gap in manifest["gaps"][:SHOWN]
    ]


def _rest(count: int, listed: int, what: str) -> str:
    more = count - min(listed, SHOWN)
    return f"{more:,} more {what} are not shown." if more else "" if count else f"No {what}."
