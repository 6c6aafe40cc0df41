"""What is checked of a snapshot, and what a check found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.quality.chunks import Chunk

Severity = Literal["critical", "warning"]

MAX_BAD_ROWS = 20
_MAX_SHOWN = 80


@dataclass(frozen=True)
class BadRow:
    """A row that broke a check."""

    row: int
    """Row of the data, from 1."""
    value: str
    """What the cell holds, cut to 80 characters."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check."""

    name: str
    column: str | None
    severity: Severity
    success: bool
    expected: str
    found: str
    unexpected: int = 0
    """Rows that broke it; 0 where rows are not what it counts."""
    rows: tuple[BadRow, ...] = ()
    """The first of them, at most 20."""
    advice: str = ""
    """What to do."""
    quarantined: bool = False
    """The rows that broke it are left out, as the dataset's `expectations.bad_rows` says."""


@dataclass(frozen=True)
class Rule:
    """A check to be made by Great Expectations."""

    name: str
    column: str | None
    severity: Severity
    expected: str
    expectation: str
    """Class in `great_expectations.expectations`, or of `core.quality.expectations`."""
    arguments: dict[str, Any]
    advice: str = ""


@dataclass(frozen=True)
class Screen:
    """What judges many rules of one sort at once, on the cells of all of them in one long column (or some)."""

    expectations: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
    """Class and arguments of each."""
    columns: tuple[str, ...] = ("value",)


@dataclass(frozen=True)
class CellRule(Rule):
    """A rule that every row keeps or breaks by itself: its chunks are judged one by one and added up."""

    screen: Screen = field(kw_only=True)
    """Great Expectations spends some 8 ms on each rule: those that a chunk keeps are judged by this at once."""
    cells: Callable[[Chunk], tuple[NDArray[Any], ...]] = field(kw_only=True)
    """The rule's part of each of the screen's columns, shape (rows of the chunk,)."""

    bad: Callable[[Chunk], NDArray[np.bool_]] = field(kw_only=True)
    """Our own mask, shape (rows of the chunk,), of the rows that break it. It names them (Great Expectations'
    lists of rows cost gigabytes on large failures) and must count what Great Expectations counts."""
    show: Callable[[Chunk, int], str] = field(kw_only=True)
    """What a row of the chunk (from 0) holds."""
    excludable: bool = False
    """Without such rows the others can be used: `expectations.bad_rows: quarantine` may take them out."""
    suspect: bool = False
    """Such rows are put into quarantine to be looked at."""


@dataclass(frozen=True)
class WholeRule(Rule):
    """A rule on the statistics of all rows."""

    found: str = ""
    """What to say where it does not hold; what Great Expectations observed if empty."""
    unexpected: int = 0
    rows: tuple[BadRow, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What Great Expectations says of a rule."""

    success: bool
    unexpected: int = 0
    observed: str = ""
    broken: str = ""
    """The error, if the check itself could not run."""


@dataclass(frozen=True)
class Findings:
    """All checks of a snapshot."""

    checks: tuple[Check, ...] = field(default_factory=tuple)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Critical checks that did not hold."""
        return tuple(check for check in self.checks if not check.success and check.severity == "critical")

    @property
    def warnings(self) -> tuple[Check, ...]:
        """Other checks that did not hold."""
        return tuple(check for check in self.checks if not check.success and check.severity == "warning")


def severity_of(dataset: DatasetConfig, name: str, default: Severity) -> Severity:
    """How bad it is to break the check `name`: as the dataset says, else `default`."""
    chosen: Mapping[Any, Severity] = dataset.expectations.severity
    return chosen.get(name, default)


def shown(value: Any) -> str:
    """A cell's value on one line, cut to 80 characters; control characters become U+FFFD."""
    text = "missing" if value is None else str(value)
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def of_cell(name: str) -> Callable[[Chunk, int], str]:
    """Shows the cell of the column `name`."""
    return lambda chunk, row: shown(chunk.table[name][row].as_py())


def counted(count: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def broken_check(rule: Rule, why: str) -> Check:
    """A check that could not run has failed, critically."""
    return Check(
        rule.name,
        rule.column,
        "critical",
        success=False,
        expected=rule.expected,
        found=f"the check could not run: {why}",
        advice="report this: the check is broken, not necessarily the data",
    )


def judged(rule: WholeRule, outcome: Outcome) -> Check:
    """The check of a rule on all rows."""
    if outcome.broken:
        return broken_check(rule, outcome.broken)
    if outcome.success:
        return Check(rule.name, rule.column, rule.severity, True, rule.expected, "as expected")
    return Check(
        rule.name,
        rule.column,
        rule.severity,
        success=False,
        expected=rule.expected,
        found=rule.found or outcome.observed or "it is not",
        unexpected=rule.unexpected,
        rows=rule.rows,
        advice=rule.advice,
    )
