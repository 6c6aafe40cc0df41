"""What Great Expectations says of chunks, added up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from core.quality.checks import (
    MAX_BAD_ROWS,
    BadRow,
    Check,
    Outcome,
    Rule,
    broken_check,
    counted,
)


@dataclass
class Tally:
    """The outcomes of one rule."""

    rule: Rule
    count: int = 0
    rows: list[BadRow] = field(default_factory=list)
    broken: str = ""

    def add(self, outcome: Outcome, bad: NDArray[np.bool_], name: Callable[[int], BadRow]) -> None:
        """Add a chunk.

        Args:
            outcome: What Great Expectations says of it.
            bad: Our own mask, shape (rows of the chunk,).
            name: Names a row of the chunk.
        """
        count = int(np.count_nonzero(bad))
        if not self.broken and outcome.broken:
            self.broken = outcome.broken
        elif not self.broken and outcome.unexpected != count:
            self.broken = (
                f"Great Expectations counts {counted(outcome.unexpected, 'row')} where there "
                f"{'is' if count == 1 else 'are'} {count:,}"
            )
        self.count += count
        if count and len(self.rows) < MAX_BAD_ROWS:
            self.rows += [name(row) for row in np.flatnonzero(bad)[: MAX_BAD_ROWS - len(self.rows)].tolist()]

    def check(self, found: str = "") -> Check:
        """The check of the rule on all rows; `found` says what was, if it does not hold."""
        rule = self.rule
        if self.broken:
            return broken_check(rule, self.broken)
        if not self.count:
            return Check(rule.name, rule.column, rule.severity, True, rule.expected, "as expected")
        return Check(
            rule.name,
            rule.column,
            rule.severity,
            success=False,
            expected=rule.expected,
            found=found or counted(self.count, "row"),
            unexpected=self.count,
            rows=tuple(self.rows),
            advice=rule.advice,
        )


def as_quarantined(check: Check) -> Check:
    """A failed check whose rows are left out."""
    return replace(
        check,
        severity="warning",
        found=f"{check.found}, left out",
        advice=f"they are in quarantine.parquet; {check.advice}" if check.advice else "see quarantine.parquet",
        quarantined=True,
    )
