"""The pass over a snapshot's rows: rules on cells, statistics, quarantine and a sample, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.prepare.rows.columns import mend_text
from core.quality.bench import Bench
from core.quality.checks import BadRow, CellRule, Check
from core.quality.chunks import Chunk, chunk_rows, read_chunks
from core.quality.kinds import Constancy
from core.quality.merge import Tally, as_quarantined
from core.quality.plan import CATEGORIES, Plan
from core.quality.quarantine import Quarantine
from core.quality.rules import cell_rules
from core.quality.statistics import ColumnStatistics, Sample, sample_rows
from core.sources.stored import StoredRows

Progress = Callable[[int, int], None]
"""Takes rows done, and all rows."""
_TEXTS = 1000


@dataclass
class Scan:
    """What a pass over all rows finds.

    Args:
        plan: The columns.
        codes: Shape (rows,): number of each row's series; None where some row names none.
        count: Number of series.
    """

    plan: Plan
    codes: NDArray[Any] | None
    count: int
    tallies: list[Tally] = field(init=False)
    statistics: dict[str, ColumnStatistics] = field(init=False)
    constancies: list[Constancy] = field(init=False)
    texts: dict[str, list[str]] = field(default_factory=dict)
    """Of columns that should be of numbers: some cells that are none."""

    def __post_init__(self) -> None:
        plan = self.plan
        self.rules: list[CellRule] = cell_rules(plan)
        self.tallies = [Tally(rule) for rule in self.rules]
        kept = {name for name, kind in plan.kinds.items() if kind in CATEGORIES}
        self.statistics = {
            field.name: ColumnStatistics(field.name, field.type, keep_values=field.name in kept)
            for field in plan.schema
        }
        static = plan.roles.static if self.codes is not None else ()
        self.constancies = [Constancy(name, plan.roles.series, self.count) for name in static]

    def run(
        self,
        rows: StoredRows,
        quarantine: Quarantine,
        *,
        size: int | None = None,
        progress: Progress | None = None,
    ) -> pa.Table:
        """Read all rows once, `size` at a time; returns the sample."""
        bench = Bench(self.plan, self.rules)
        columns = len(rows.schema.names)
        sample = Sample(sample_rows(len(rows), columns))
        for start, table in read_chunks(rows, None, size or chunk_rows(columns)):
            chunk = chunk_of(self.plan, start, table)
            self._judge(chunk, bench, quarantine)
            sample.update(chunk)
            if progress is not None:
                progress(start + len(chunk), len(rows))
        return sample.table(rows.schema)

    def checks(self, *, quarantined: bool) -> list[Check]:
        """The checks of the rules on cells; `quarantined`: rows that break critical ones are left out."""
        checks = []
        for tally, rule in zip(self.tallies, self.rules, strict=True):
            check = tally.check(self._found(rule, tally.count))
            if rule.name == "numbers" and not tally.broken:
                if check.success:
                    continue  # then the column is judged by its type
                check = self._with_advice(check)
            leaves = quarantined and rule.excludable and check.severity == "critical" and not tally.broken
            checks.append(as_quarantined(check) if leaves and not check.success else check)
        return checks

    def _judge(self, chunk: Chunk, bench: Bench, quarantine: Quarantine) -> None:
        masks = [rule.bad(chunk) for rule in self.rules]
        outcomes = bench.judge(chunk, [bool(mask.any()) for mask in masks])
        for tally, rule, outcome, mask in zip(self.tallies, self.rules, outcomes, masks, strict=True):
            tally.add(outcome, mask, _namer(rule, chunk))
        leave = quarantine.add(chunk, self.rules, masks)
        kept = ~leave if self.plan.dataset.expectations.bad_rows == "quarantine" else None
        for statistics in self.statistics.values():
            statistics.update(chunk)
        for constancy in self.constancies:
            assert self.codes is not None  # noqa: S101  # narrows the type
            constancy.update(chunk, self.codes[chunk.start : chunk.start + len(chunk)], kept)
        for name in self.plan.not_numbers:
            self._keep_texts(chunk, name)

    def _keep_texts(self, chunk: Chunk, name: str) -> None:
        kept = self.texts.setdefault(name, [])
        if len(kept) < _TEXTS and pa.types.is_string(self.plan.schema.field(name).type):
            bad = chunk.table[name].filter(pa.array(chunk.no_number(name)))
            kept += bad.slice(0, _TEXTS - len(kept)).to_pylist()

    def _found(self, rule: CellRule, count: int) -> str:
        return f"{self.plan.schema.field(rule.column).type}, {count:,} cells" if rule.name == "numbers" else ""

    def _with_advice(self, check: Check) -> Check:
        column = self.plan.schema.field(check.column)
        sample = pa.chunked_array([pa.array(self.texts[column.name], pa.string())])
        if not pa.types.is_string(column.type):
            sample = pa.chunked_array([pa.array([], column.type)])
        return replace(check, advice=mend_text(sample, column.name))


def chunk_of(plan: Plan, start: int, table: pa.Table) -> Chunk:
    """Rows of a snapshot from row `start` (from 0) on, with their stamps."""
    stamps = plan.stamps
    if stamps is None:
        return Chunk(table, start)
    stop = start + len(table)
    unreadable = np.zeros(len(table), dtype=bool)
    low, high = np.searchsorted(stamps.bad_rows, [start, stop])
    unreadable[stamps.bad_rows[low:high] - start] = True
    return Chunk(table, start, stamps.ns[start:stop], unreadable)


def _namer(rule: CellRule, chunk: Chunk) -> Callable[[int], BadRow]:
    return lambda row: BadRow(chunk.start + row + 1, rule.show(chunk, row))
