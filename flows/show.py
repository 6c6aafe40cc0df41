"""What `timeloom run` and `timeloom compare` print at their end."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.errors import TimeloomError
from flows.compare import Comparison
from flows.train import TrainResult


def quiet_tracebacks() -> None:
    """On the console, errors that Timeloom raises on purpose are one line; the Prefect UI keeps tracebacks."""
    for handler in [*logging.getLogger().handlers, *logging.getLogger("prefect").handlers]:
        handler.setFormatter(_Brief(handler.formatter))


class _Brief(logging.Formatter):
    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self.inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info and isinstance(record.exc_info[1], TimeloomError | KeyboardInterrupt):
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        return self.inner.format(record)


def show_comparison(console: Console, rows: list[Comparison]) -> None:
    """A line a generator; what the paper reports stands beside where its dataset is meant."""
    published = any(row.paper_discriminative is not None for row in rows)
    columns = ["model", "discriminative", "predictive"]
    table = Table()
    for name in (*columns, *(["paper"] if published else []), "training, s"):
        table.add_column(name, no_wrap=True)
    table.add_column("note")
    for row in rows:
        scores = (
            ("", "")
            if row.discriminative is None
            else (
                f"{row.discriminative:.3f} +/- {row.discriminative_std:.3f}",
                f"{row.predictive:.4f} +/- {row.predictive_std:.4f}",
            )
        )
        numbers = (row.paper_discriminative, row.paper_predictive)
        reported = " / ".join("-" if number is None else f"{number:g}" for number in numbers)
        paper = [reported] if published else []
        seconds = "" if row.train_seconds is None else f"{row.train_seconds:,.0f}"
        table.add_row(row.model, *scores, *paper, seconds, Text(row.error or "", style="red"))
    console.print(table)
    real = next((row for row in rows if row.real_discriminative is not None), None)
    if real is not None:
        console.print(
            f"real windows: discriminative {real.real_discriminative:.3f} (halves against each other), "
            f"predictive {real.real_predictive:.4f}",
            soft_wrap=True,
        )


def show_scores(console: Console, found: Mapping[str, Mapping[str, float]], *, reported: bool) -> None:
    """A line a score, a column a set of windows.

    Args:
        console: Where to.
        found: Scores by name, by what their column is called.
        reported: There is a report: what is read beside a reference alone is left to it.
    """
    names = list(dict.fromkeys(name for scores in found.values() for name in scores))
    shown = [name for name in names if not (reported and any(part in name for part in _DETAILS))]
    table = Table("score", *found, title="Scores", title_justify="left")
    for name in shown:
        table.add_row(name, *(f"{scores[name]:.4f}" if name in scores else "" for scores in found.values()))
    console.print(table)
    if len(shown) < len(names):
        console.print(f"and {len(names) - len(shown)} more in the report: distances, memorisation, validity")


_DETAILS = ("distance_", "privacy_", "validity_")


def show_result(console: Console, result: TrainResult) -> None:
    """Steps with their times, scores, and where to look."""
    steps = Table("step", "seconds", "peak MiB", "note", title="Steps", title_justify="left")
    for name, peak in result.peak_memory_mib.items():
        note = "reused" if name in result.cached else ""
        steps.add_row(name, f"{result.seconds[name]:.1f}", f"{peak:,.0f}", note)
    steps.add_row("total", f"{result.seconds['total']:.1f}", "", "")
    console.print(steps)
    show_scores(console, {"value": result.scores}, reported=True)
    where = {
        "model": f"models:/{result.model_name}@{result.alias} (version {result.model_version})",
        "promotion": result.promotion or "",
        "report": result.report,
        "MLflow run": result.mlflow_url,
        "next": "timeloom ui shows the Prefect and MLflow pages",
    }
    for name, text in where.items():
        if text and (name != "model" or result.model_name):
            console.print(Text(f"{name:<11}{text}"), soft_wrap=True)
