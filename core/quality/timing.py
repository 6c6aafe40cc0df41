"""Checks of time that look at neighbouring rows: order, repeated stamps, gaps, days off the calendar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.prepare.rows.order import Arrangement, arrange
from core.prepare.rows.repeats import find_repeats
from core.prepare.time.frequency import usual_step
from core.prepare.time.stamps import label
from core.prepare.time.timeline import Grid, build_grid
from core.quality.checks import (
    MAX_BAD_ROWS,
    BadRow,
    Check,
    Rule,
    broken_check,
    counted,
    severity_of,
)
from core.quality.merge import Tally
from core.quality.suite import Judge
from core.sources.stored import StoredRows

MOST_GAPS = 200
"""In the report."""
_CHUNK_ROWS = 2**20
_ORDERS = {
    "ascending": "oldest first",
    "flipped": "newest first: turned round at preparation",
    "sorted": "in no order: sorted at preparation",
}
_SERIES, _TIME, _PLACE, _MARK = "series", "time", "place", "mark"


@dataclass
class Timing:
    """The stamps of all rows and the order that they put the rows into.

    Args:
        dataset: What is expected of time.
        time: The time column.
        ns: Shape (rows,): stamps, nanoseconds since 1970 UTC, all readable.
        codes: Shape (rows,): number of each row's series; None if there is one.
        timezone: Of the stamps.

    Raises:
        ConfigError: an unknown calendar or frequency.
    """

    dataset: DatasetConfig
    time: str
    ns: NDArray[np.int64]
    codes: NDArray[Any] | None
    timezone: str | None
    arrangement: Arrangement = field(init=False)
    grid: Grid = field(init=False)
    ordered: NDArray[np.int64] = field(init=False)
    """Shape (rows,): the stamps in chronological order."""
    series: NDArray[Any] | None = field(init=False)
    """Shape (rows,): the numbers of the series in that order; None if there is one."""

    def __post_init__(self) -> None:
        self.arrangement = arrange(self.ns, self.codes)
        self.ordered = self.arrangement.arranged(self.ns)
        self.series = None if self.codes is None else self.arrangement.arranged(self.codes)
        step = np.array([usual_step(self.ordered, self.series)], dtype=np.int64)
        self.grid = build_grid(self.ordered, step, self.dataset.time, self.timezone)
        self.gap_rows: list[NDArray[np.int64]] = []
        self.gap_steps: list[NDArray[np.int64]] = []
        self.later: list[NDArray[np.int64]] = []

    def checks(self, rows: StoredRows, size: int | None = None) -> list[Check]:
        """Order, repeated stamps, gaps and rows off the calendar, judged `size` rows at a time."""
        size = size or _CHUNK_ROWS
        order = self._judge_order(size)
        tallies = self._judge_steps(size)
        checks = [self._order(order), self._repeats(tallies[0], rows), *self._gaps(tallies[1], tallies[2:-1])]
        return [*checks, tallies[-1].check()] if self.grid.marks is not None else checks

    @cached_property
    def gaps(self) -> NDArray[np.int64]:
        """Shape (G, 2): place (chronological) of the row before each gap, and steps missing there."""
        if not self.gap_rows:
            return np.empty((0, 2), dtype=np.int64)
        return np.stack([np.concatenate(self.gap_rows), np.concatenate(self.gap_steps)], axis=1)

    def gap_list(self) -> list[dict[str, Any]]:
        """The first 200 gaps, JSON-able."""
        entries = []
        for place, steps in self.gaps[:MOST_GAPS].tolist():
            start, stop = self._stamps(place)
            entries.append(
                {
                    "from": label(start, self.timezone),
                    "to": label(stop, self.timezone),
                    "row": self._row(place),
                    "length": str(pd.Timedelta(stop - start, unit="ns")).removesuffix(" 00:00:00"),
                    "steps": steps,
                }
            )
        return entries

    def span(self) -> dict[str, Any]:
        """First and last stamp, and what the steps between rows are."""
        return {
            "column": self.time,
            "from": label(int(self.ns.min()), self.timezone),
            "to": label(int(self.ns.max()), self.timezone),
            "frequency": self.grid.frequency,
            "calendar": self.grid.calendar,
            "timezone": self.timezone,
            "order": self.arrangement.order,
        }

    def _judge_order(self, size: int) -> Tally:
        """Rows that step backwards in the order of the source (forwards, if it runs newest first)."""
        flipped = self.arrangement.order == "flipped"
        rule = Rule(
            "order",
            self.time,
            severity_of(self.dataset, "order", "warning"),
            "rows by time, oldest or newest first",
            "ExpectColumnPairToBeChronological",
            {"column_A": _SERIES, "column_B": _TIME, "newest_first": flipped},
            advice="see whether rows of several series are mixed: name their column with `series: COLUMN`",
        )
        tally, judge = Tally(rule), Judge([rule])
        grouped = None if self.codes is None else np.argsort(self.codes, kind="stable")
        for start, stop in _stretches(len(self.ns), size):
            rows = slice(start, stop) if grouped is None else grouped[start:stop]
            ns, codes = self.ns[rows], _part(self.codes, rows, stop - start)
            steps = -np.diff(ns) if flipped else np.diff(ns)
            outcome = judge.judge(pd.DataFrame({_SERIES: codes, _TIME: ns}))[0]
            tally.add(outcome, _below((steps < 0) & _same(codes)), lambda row: BadRow(row, ""))
        return tally

    def _judge_steps(self, size: int) -> list[Tally]:
        """Repeated stamps, gaps, longer gaps than are allowed, rows on no mark: in chronological order."""
        rules = self._step_rules()
        tallies, judge = [Tally(rule) for rule in rules], Judge(rules)
        for start, stop in _stretches(len(self.ns), size):
            ns, codes = self.ordered[start:stop], _part(self.series, slice(start, stop), stop - start)
            same = _same(codes)
            missing = np.where(same, self.grid.missing(ns), 0)
            twice = _below((np.diff(ns) == 0) & same)
            off = self.grid.off(ns)
            off[: start > 0] = False  # the row above is in the chunk before as well
            frame = {_SERIES: codes, _TIME: ns, _PLACE: np.concatenate([[0], np.cumsum(missing + 1)])}
            frame[_MARK] = np.where(off, np.nan, 0.0)
            masks = [twice, *(_below(missing > rule.arguments["most"]) for rule in rules[1:-1]), off]
            for tally, outcome, mask in zip(tallies, judge.judge(pd.DataFrame(frame)), masks, strict=True):
                tally.add(outcome, mask, self._namer(start))
            self.later.append(np.flatnonzero(twice) + start)
            self.gap_rows.append(np.flatnonzero(missing > 0) + start)
            self.gap_steps.append(missing[missing > 0])
        return tallies

    def _step_rules(self) -> list[Rule]:
        longest = self.dataset.expectations.max_gap_steps
        keys = {"column_A": _SERIES, "column_B": _TIME}
        places = {"column_A": _SERIES, "column_B": _PLACE}
        several = self.dataset.series is not None
        gap_rule = "ExpectColumnPairGapsToBeAtMost"
        rules = [
            Rule(
                "no time stamp twice",
                self.time,
                "critical",
                "each time stamp once" + " in a series" * several,
                "ExpectColumnPairToBeChronological",
                {**keys, "strictly": True},
            ),
            Rule("gaps", self.time, "warning", "", gap_rule, {**places, "most": 0}),
        ]
        if longest is not None:
            rules.append(Rule("gaps", self.time, "warning", "", gap_rule, {**places, "most": longest}))
        place = self.grid.calendar or self.grid.frequency
        return [
            *rules,
            Rule(
                "on the calendar",
                self.time,
                severity_of(self.dataset, "on the calendar", "warning"),
                f"every row on a date of {place}",
                "ExpectColumnValuesToNotBeNull",
                {"column": _MARK},
                advice="take the rows out, or name the right calendar or frequency",
            ),
        ]

    def _namer(self, start: int) -> Callable[[int], BadRow]:
        return lambda row: BadRow(self._row(start + row), label(int(self.ordered[start + row]), self.timezone))

    def _row(self, place: int) -> int:
        """Row of the source, from 1, at a chronological place."""
        permutation = self.arrangement.permutation
        return 1 + (place if permutation is None else int(permutation[place]))

    def _order(self, tally: Tally) -> Check:
        moved = self.arrangement.moved if self.arrangement.order == "sorted" else 0
        check = tally.check(f"{_ORDERS['sorted']} ({counted(moved, 'row')} move)")
        if check.success:
            return replace(check, found=_ORDERS.get(self.arrangement.order, check.found))
        return check if tally.broken else replace(check, unexpected=moved, rows=())

    def _repeats(self, tally: Tally, rows: StoredRows) -> Check:
        check = tally.check()
        if check.success or tally.broken:
            return check
        policy = self.dataset.time.duplicates
        keys = (self.time, self.dataset.series)
        found = find_repeats(rows, self.arrangement, self.ordered, self.series, policy, keys)
        what = f"{counted(tally.count, 'row')} repeat{'s' * (tally.count == 1)} a stamp"
        if found.conflicts and policy == "equal":
            what += f", {found.conflicts:,} of them with other cells"
        kept = {"equal": "one of equal rows", "first": "the first row", "last": "the last row"}
        advice = "keep one row of each, set time.duplicates, or name the column that tells series apart with "
        return replace(
            check,
            severity="critical" if found.conflicts else "warning",
            found=what,
            rows=self._repeated_rows(),
            advice=f"{advice}`series: COLUMN`"
            if found.conflicts
            else f"preparation keeps {kept[policy]} of each (time.duplicates={policy})",
        )

    def _repeated_rows(self) -> tuple[BadRow, ...]:
        """The first rows that share a stamp, with the one that they repeat."""
        later = np.concatenate(self.later)[:MAX_BAD_ROWS]
        named = [(self._row(place), place) for place in np.union1d(later - 1, later).tolist()]
        rows = (BadRow(row, label(int(self.ordered[place]), self.timezone)) for row, place in sorted(named))
        return tuple(rows)[:MAX_BAD_ROWS]

    def _gaps(self, tally: Tally, longer: list[Tally]) -> Iterator[Check]:
        expectations = self.dataset.expectations
        if broken := next((each.broken for each in (tally, *longer) if each.broken), ""):
            yield broken_check(tally.rule, broken)
            return
        limits = []
        if expectations.max_gaps is not None:
            limits.append(f"at most {expectations.max_gaps:,} gaps")
        if expectations.max_gap_steps is not None:
            limits.append(f"none of more than {counted(expectations.max_gap_steps, 'step')}")
        over = expectations.max_gaps is not None and tally.count > expectations.max_gaps
        over = over or any(each.count for each in longer)
        steps = int(self.gaps[:, 1].sum())
        kept = bool(limits) and not over
        found = (
            f"{counted(tally.count, 'gap')}, {counted(steps, 'step')} missing" + ": within the limits" * kept
        )
        advice = "no window crosses a gap; bring the missing rows if too few windows are left"
        yield Check(
            "gaps",
            self.time,
            severity_of(self.dataset, "gaps", "critical" if over else "warning"),
            success=tally.count == 0 or kept,
            expected=", ".join(limits) or f"no {self.grid.rule.removeprefix('a ')}",
            found=found if tally.count else "as expected",
            unexpected=tally.count,
            rows=tuple(self._gap_rows()),
            advice=advice if tally.count and not kept else "",
        )

    def _gap_rows(self) -> Iterator[BadRow]:
        for place in self.gaps[:MAX_BAD_ROWS, 0].tolist():
            start, stop = self._stamps(place)
            marks = self.grid.between(start, stop, limit=5)
            lost = f" (missing {', '.join(marks)}{', …' if len(marks) == 5 else ''})" if marks else ""
            text = f"{label(start, self.timezone)} to {label(stop, self.timezone)}{lost}"
            yield BadRow(self._row(place), text)

    def _stamps(self, place: int) -> tuple[int, int]:
        return int(self.ordered[place]), int(self.ordered[place + 1])


def _part(codes: NDArray[Any] | None, rows: slice | NDArray[np.int64], count: int) -> NDArray[Any]:
    return np.zeros(count, dtype=np.int32) if codes is None else codes[rows]


def _stretches(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """[start, stop) of neighbouring stretches; each but the first starts with the last row of the other."""
    for start in range(0, rows, size):
        yield max(start - 1, 0), min(start + size, rows)


def _same(codes: NDArray[Any]) -> NDArray[np.bool_]:
    """Shape (rows - 1,): whether a row is of the series of the row above it."""
    return np.asarray(np.diff(codes) == 0)


def _below(steps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Shape (rows,) of (rows - 1,): what is said of a step is said of the row below it."""
    return np.concatenate([[False], steps])
