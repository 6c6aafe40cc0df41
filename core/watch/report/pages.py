"""The pages of a look: HTML and Markdown in which names from the data stay text."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from core.lake import write_atomically
from core.pages import markdown_text, render
from core.watch.drift import TITLES

SHOWN = 100
"""Columns in the tables; `report.json` has all."""
Rows = list[tuple[str, ...]]
Section = tuple[str, tuple[str, ...], Rows, str]
"""Title, header, rows and a note."""

PICTURES = {
    "timeline": (
        "Rows over time",
        "Blue: the rows up to the champion's last one. Orange: what came later. As the champion encodes them: "
        "0 to 1 is the range that it learnt, dashed where rows go beyond.",
    ),
    "columns": (
        "Old and new values",
        "Share of the values, in percent, by size: training windows filled blue, the judged new windows as an "
        "orange outline, on the same scale as above.",
    ),
}


def write_pages(out: Path, report: dict[str, Any]) -> None:
    """Write `report.html` and `report.md`.

    Args:
        out: Existing folder; pictures lie in `plots/` below it, if there are any.
        report: What `report.json` holds.
    """
    write_atomically(out / "report.html", as_html(report, out / "plots"))
    write_atomically(out / "report.md", as_markdown(report))


def as_html(report: dict[str, Any], plots: Path) -> str:
    """One page without scripts or anything from elsewhere; everything from the data is escaped."""
    pictures = [
        (title, caption, base64.b64encode(path.read_bytes()).decode("ascii"))
        for name, (title, caption) in PICTURES.items()
        if (path := plots / f"{name}.png").is_file()
    ]
    return render(
        "core.watch.report",
        "template.html",
        report=report,
        headline=headline(report),
        facts=_facts(report),
        sections=_sections(report),
        pictures=pictures,
    )


def as_markdown(report: dict[str, Any]) -> str:
    """The same tables, for the Prefect page and MLflow."""
    lines = [f"# {markdown_text(report['model'])} on new data: {headline(report)}", ""]
    lines += [f"- {markdown_text(text)}" for text in (*report["reasons"], *report["findings"])]
    lines += ["", *_table(("What", "Is"), _facts(report))]
    for title, header, rows, note in _sections(report):
        lines += ["", f"## {title}", "", *_table(header, rows), "", markdown_text(note)]
    return "\n".join(lines) + "\n"


def headline(report: dict[str, Any]) -> str:
    """The verdict in a word or two."""
    if not report["judged"]:
        return "not judged"
    return "drift" if report["drift"] else "no drift"


def _table(header: tuple[str, ...], rows: Rows) -> list[str]:
    cells = [header, ("---",) * len(header), *(tuple(map(markdown_text, row)) for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


def _facts(report: dict[str, Any]) -> Rows:
    training, new, retrain = report["training"], report["new"], report["retrain"]
    return [
        ("champion", f"{report['model']} version {report['version']}, {report['kind']}"),
        ("rows it learnt", f"{_span(training)}; {training['windows']:,} windows"),
        ("new rows", f"{_span(new)}; {new['windows']:,} windows, the latest {new['judged']:,} judged"),
        ("new cells outside the learnt range", _outside(report)),
        ("rows of the past", _past(report["restated"])),
        ("retraining", {"full": "from scratch", "sparse": "sparse", None: "none"}[retrain]),
    ]


def _span(part: dict[str, Any]) -> str:
    time = f", {part['from']} to {part['to']}" if part["from"] else ""
    return f"{part['rows']:,}{time}"


def _outside(report: dict[str, Any]) -> str:
    most = sorted(report["outside"].items(), key=lambda one: -one[1])[:5]
    names = ": " + ", ".join(f"{name} {count:,}" for name, count in most) if most else ""
    return f"{100 * report['outside_share']:.3g} %{names}"


def _past(restated: dict[str, Any] | None) -> str:
    if restated is None:
        return "not compared"
    return f"{restated['changed']:,} changed, {restated['gone']:,} gone, {restated['added']:,} added"


def _sections(report: dict[str, Any]) -> list[Section]:
    if report["stretches"] is None:
        return []
    size, disjoint = report["stretches"]["size"], report["stretches"]["disjoint"]
    level = f"{report['level']:g}"
    note = (
        f"Beside each distance stands the same one of stretches of {size:,} consecutive training windows "
        f"({int(disjoint)} side by side), each from the rest: the middle and the largest. p is the chance of a "
        f"distance as large where nothing has changed; all tests of a look together call a drift with a chance "
        f"of {level}, a third of it each for columns, columns together and scores."
    )
    head = ("Distance", "Verdict", "New rows", "Stretches, median", "Largest", "p")
    columns = sorted(report["columns"], key=lambda one: (one["adjusted"], one["column"]))
    hidden = len(columns) - SHOWN
    sections: list[Section] = [
        (
            "All columns together",
            head,
            [_test(one, one["drifted"]) for one in report["together"]],
            note,
        ),
        (
            "Columns",
            ("Column", *head, "p, all columns"),
            [_column(one) for one in columns[:SHOWN]],
            f"Of each column the distance with the smallest p; the last p is corrected for the number of "
            f"columns (Benjamini and Hochberg). Drift is called if more than {100 * report['column_drift']:g} "
            "% differ." + (f" {hidden:,} columns more are in report.json." if hidden > 0 else ""),
        ),
    ]
    if report["scores"]:
        sections.append(
            (
                "The champion's scores",
                ("Score", "Verdict", "New windows", "Training stretches", "At registration", "p"),
                [_score(one) for one in report["scores"]],
                "Lower is better. Stretches of training windows as long as the new one are judged alike; a "
                "stretch is easier to tell from a whole series than that series, so the score at registration "
                "is lower.",
            )
        )
    return sections


def _test(test: dict[str, Any], drifted: bool) -> tuple[str, ...]:
    references = test["references"]
    return (
        TITLES[test["name"]],
        "differs" if drifted else "as before",
        f"{test['value']:.3g}",
        f"{float(np.median(references)):.3g}",
        f"{max(references):.3g}",
        f"{test['p']:.2g}",
    )


def _column(column: dict[str, Any]) -> tuple[str, ...]:
    name = column["column"]
    if column["channel"] != name:
        name += f" ({column['channel']})"
    return (name, *_test(column["test"], column["drifted"]), f"{column['adjusted']:.2g}")


def _score(score: dict[str, Any]) -> tuple[str, ...]:
    def shown(values: list[float]) -> str:
        return f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.2g}"

    registered = score["registered"]
    return (
        score["name"],
        "worse" if score["lost"] else "as before",
        shown(score["new"]),
        shown(score["training"]),
        "" if registered is None else f"{registered:.3g}",
        f"{score['p']:.2g}",
    )
