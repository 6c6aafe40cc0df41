"""Orders between columns that hold in every row, found in a sample and verified on all rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import Relation
from core.prepare.rows.columns import as_floats
from core.quality.statistics import ColumnStatistics
from core.sources.stored import StoredRows

MOST_RELATIONS = 20
_FEWEST_ROWS = 20
"""An order that holds in fewer rows may be chance: 20 coins show one side in one case of a million."""
_MOST_CANDIDATES = 400

Pair = tuple[str, str]


def find_relations(rows: StoredRows, statistics: Sequence[ColumnStatistics], sample: pa.Table) -> list[str]:
    """`LEFT <= RIGHT` of columns whose ranges overlap, without those that follow from others; at most 20.

    Args:
        rows: All rows.
        statistics: Of the columns to look at, all of numbers.
        sample: Some of the rows.
    """
    candidates = list(_candidates(statistics, sample))[:_MOST_CANDIDATES]
    holding = _verified(rows, candidates)
    return [f"{left} <= {right}" for left, right in _reduced(holding)][:MOST_RELATIONS]


def _candidates(statistics: Sequence[ColumnStatistics], sample: pa.Table) -> Iterator[Pair]:
    values = {each.name: as_floats(sample[each.name]) for each in statistics}
    by_name = {each.name: each for each in statistics}
    for left, right in permutations(values, 2):
        lower, higher = by_name[left], by_name[right]
        overlap = lower.maximum > higher.minimum and higher.maximum > lower.minimum
        if overlap and _parses(left, right) and _holds(values[left], values[right]):
            yield left, right


def _parses(left: str, right: str) -> bool:
    try:
        relation = Relation.parse(f"{left} <= {right}")
    except ValueError:
        return False
    return (relation.left, relation.right) == (left, right)


def _holds(left: NDArray[np.float64], right: NDArray[np.float64]) -> bool:
    """In all of enough rows, and in some of them strictly: equal columns have no order."""
    both = ~(np.isnan(left) | np.isnan(right))
    return bool(
        both.sum() >= _FEWEST_ROWS and (left[both] <= right[both]).all() and (left[both] < right[both]).any()
    )


def _verified(rows: StoredRows, candidates: list[Pair]) -> list[Pair]:
    holding = list(candidates)
    names = sorted({name for pair in candidates for name in pair})
    for batch in rows.batches(names) if names else ():
        values = {name: as_floats(batch[name]) for name in names}
        holding = [pair for pair in holding if not (values[pair[0]] > values[pair[1]]).any()]
        if not holding:
            break
    return holding


def _reduced(pairs: list[Pair]) -> list[Pair]:
    """Less those that follow from two others."""
    known = set(pairs)
    names = {name for pair in pairs for name in pair}
    return [
        (left, right)
        for left, right in pairs
        if not any((left, other) in known and (other, right) in known for other in names)
    ]
