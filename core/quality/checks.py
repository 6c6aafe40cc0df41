"""What is checked of a snapshot, and what a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Rule:
    """A check to be made by Great Expectations, and how to name the rows that break it."""

    name: str
    column: str | None
    severity: Severity
    expected: str
    expectation: str
    """Class in `great_expectations.expectations`."""
    arguments: dict[str, Any]
    bad: NDArray[np.bool_] | None = None
    """Shape (rows,): our own mask of the rows that break it; Great Expectations' lists of rows cost
    gigabytes on large failures."""
    cells: Any = None
    """By row: what to show of it."""
    advice: str = ""


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


def shown(value: Any) -> str:
    """A cell's value on one line, cut to 80 characters; control characters become U+FFFD."""
    text = "missing" if value is None else str(value)
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def first_rows(bad: NDArray[np.bool_] | Iterable[int], cells: Any) -> tuple[BadRow, ...]:
    """The first rows of a mask, or of rows from 0, with their cells."""
    rows = np.flatnonzero(bad) if isinstance(bad, np.ndarray) else list(bad)
    return tuple(BadRow(int(row) + 1, shown(cells(int(row)))) for row in rows[:MAX_BAD_ROWS])


def judged(rule: Rule, outcome: Outcome) -> Check:
    """The check of a rule; a check that could not run has failed, critically."""
    if outcome.broken:
        return Check(
            rule.name,
            rule.column,
            "critical",
            success=False,
            expected=rule.expected,
            found=f"the check could not run: {outcome.broken}",
            advice="report this: the check is broken, not necessarily the data",
        )
    count = outcome.unexpected
    if not outcome.success and rule.bad is not None:
        # For a column's type Great Expectations gives no count.
        count = count or int(rule.bad.sum())
    return Check(
        rule.name,
        rule.column,
        rule.severity,
        success=outcome.success,
        expected=rule.expected,
        found="as expected" if outcome.success else _found(count, outcome.observed),
        unexpected=0 if outcome.success else count,
        rows=() if outcome.success or rule.bad is None else first_rows(rule.bad, rule.cells),
        advice="" if outcome.success else rule.advice,
    )


def _found(count: int, observed: str) -> str:
    rows = f"{count:,} row{'s' * (count != 1)}" if count else ""
    return ", ".join(filter(None, (observed, rows))) or "it is not"
