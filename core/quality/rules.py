"""What every row must satisfy by itself, by the catalogue entry and by what the pipeline needs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import Bounds, DatasetConfig, Relation
from core.prepare.time.stamps import Stamps
from core.quality.checks import CellRule, Screen, Severity, of_cell, severity_of, shown
from core.quality.chunks import Chunk
from core.quality.plan import PRESENT, READS, Plan, as_presence
from core.quality.screens import BETWEEN, EXACT, FINITE, LARGEST, ORDERED, THERE, WHOLE

_BROKEN = {"<": operator.ge, "<=": operator.gt, ">": operator.le, ">=": operator.lt}


def cell_rules(plan: Plan) -> list[CellRule]:
    """Every rule on cells that can be checked."""
    return [
        *(_numbers(plan, name) for name in plan.not_numbers),
        *(rule for name in plan.features for rule in _of_feature(plan, name)),
        *_ranges(plan),
        *_relations(plan),
        *_keys(plan),
    ]


def _of_feature(plan: Plan, name: str) -> Iterator[CellRule]:
    yield _not_null(plan, name)
    if name in plan.numbers:
        if name not in plan.not_numbers:
            yield _finite(name)
        if plan.kinds[name] == "continuous" and pa.types.is_integer(plan.schema.field(name).type):
            yield _exact(plan, name)


def _numbers(plan: Plan, name: str) -> CellRule:
    return CellRule(
        "numbers",
        name,
        "critical",
        "a column of numbers",
        "ExpectColumnValuesToNotBeNull",
        {"column": plan.aside(name, READS)},
        screen=THERE,
        cells=lambda chunk: (as_presence(chunk.no_number(name)),),
        bad=lambda chunk: chunk.no_number(name),
        show=lambda chunk, row: shown(repr(chunk.table[name][row].as_py())),
        excludable=pa.types.is_string(plan.schema.field(name).type),
        suspect=True,
    )


def _not_null(plan: Plan, name: str) -> CellRule:
    policy = plan.dataset.missing.policy
    static = name in plan.roles.static
    refuse = policy == "refuse" or (static and policy != "mask")
    advice = "fill them in, or choose missing.policy=drop_row, forward_fill, interpolate or mask"
    if static:
        advice = "fill them in, choose missing.policy=mask, or drop the column"
    mended = f"mended at preparation by missing.policy={policy}"
    if policy == "mask":
        mended = "kept as missing (missing.policy=mask): the generator learns where cells are missing"
    return _cell_rule(
        "missing values",
        name,
        "critical" if refuse else severity_of(plan.dataset, "missing values", "warning"),
        "a value in every row",
        "ExpectColumnValuesToNotBeNull",
        {"column": plan.aside(name, PRESENT)} if name in plan.not_numbers else {},
        lambda chunk: chunk.missing(name),
        advice if refuse else mended,
        screen=THERE,
        cells=lambda chunk: (as_presence(chunk.missing(name)),),
        bad_row=refuse,
    )


def _finite(name: str) -> CellRule:
    return _cell_rule(
        "finite",
        name,
        "critical",
        "no infinite value",
        "ExpectColumnValuesToBeBetween",
        {"min_value": -LARGEST, "max_value": LARGEST},
        lambda chunk: np.isinf(chunk.floats(name)),
        "mend the cells, or leave them empty and choose a missing.policy",
        screen=FINITE,
        bad_row=True,
    )


def _exact(plan: Plan, name: str) -> CellRule:
    severity = severity_of(plan.dataset, "exact in float64", "warning")
    return _cell_rule(
        "exact in float64",
        name,
        severity,
        "integers smaller than 2^53 in size",
        "ExpectColumnValuesToBeBetween",
        {"min_value": -EXACT, "max_value": EXACT},
        lambda chunk: np.abs(chunk.floats(name)) > EXACT,
        "larger integers are rounded; subtract an offset if their last digits matter",
        screen=WHOLE,
        bad_row=severity == "critical",
    )


def _ranges(plan: Plan) -> Iterator[CellRule]:
    for name, bounds in plan.dataset.expectations.ranges.items():
        if name in plan.numbers and (bounds.min is not None or bounds.max is not None):
            yield _range(plan.dataset, name, bounds)


def _range(dataset: DatasetConfig, name: str, bounds: Bounds) -> CellRule:
    low = -np.inf if bounds.min is None else bounds.min
    high = np.inf if bounds.max is None else bounds.max
    return _cell_rule(
        "range",
        name,
        severity_of(dataset, "range", "critical"),
        _bounds_text(bounds),
        "ExpectColumnValuesToBeBetween",
        {"min_value": bounds.min, "max_value": bounds.max},
        lambda chunk: (chunk.floats(name) < low) | (chunk.floats(name) > high),
        "mend the cells or expectations.ranges",
        screen=BETWEEN,
        cells=lambda chunk: (
            chunk.floats(name),
            np.full(len(chunk), low, dtype=np.float64),
            np.full(len(chunk), high, dtype=np.float64),
        ),
        bad_row=True,
    )


def _relations(plan: Plan) -> Iterator[CellRule]:
    for text in plan.dataset.expectations.relations:
        relation = Relation.parse(text)
        if relation.left in plan.numbers and relation.right in plan.numbers:
            yield _relation(plan.dataset, text, relation)


def _relation(dataset: DatasetConfig, text: str, relation: Relation) -> CellRule:
    larger, smaller = relation.left, relation.right
    if relation.operator.startswith("<"):
        larger, smaller = smaller, larger

    def bad(chunk: Chunk) -> NDArray[np.bool_]:
        sides = chunk.floats(relation.left), chunk.floats(relation.right)
        return np.asarray(_BROKEN[relation.operator](*sides))

    return CellRule(
        "relation",
        text,
        severity_of(dataset, "relation", "critical"),
        text,
        "ExpectColumnPairValuesAToBeGreaterThanB",
        {
            "column_A": larger,
            "column_B": smaller,
            "or_equal": relation.operator.endswith("="),
            "ignore_row_if": "either_value_is_missing",
        },
        advice="mend the cells or expectations.relations",
        screen=ORDERED[relation.operator.endswith("=")],
        cells=lambda chunk: (chunk.floats(larger), chunk.floats(smaller)),
        bad=bad,
        show=lambda chunk, row: (
            f"{chunk.floats(relation.left)[row]:g} and {chunk.floats(relation.right)[row]:g}"
        ),
        excludable=True,
        suspect=True,
    )


def _keys(plan: Plan) -> Iterator[CellRule]:
    """A series' name and a readable stamp in every row: without them no row has a place."""
    series, time, stamps = plan.roles.series, plan.roles.time, plan.stamps
    if series is not None and series in plan.schema.names:
        yield CellRule(
            "series names",
            series,
            "critical",
            "the name of a series in every row",
            "ExpectColumnValuesToNotBeNull",
            {"column": series},
            advice="fill them in or take the rows out",
            screen=THERE,
            cells=lambda chunk: (as_presence(chunk.missing(series)),),
            bad=lambda chunk: chunk.missing(series),
            show=of_cell(series),
            suspect=True,
        )
    if time is not None and stamps is not None:
        yield _readable(time, stamps)


def _readable(time: str, stamps: Stamps) -> CellRule:
    def bad(chunk: Chunk) -> NDArray[np.bool_]:
        none = np.zeros(len(chunk), dtype=bool)
        return none if chunk.unreadable is None else chunk.unreadable

    def show(chunk: Chunk, row: int) -> str:
        why = stamps.bad.get(chunk.start + row, "no time stamp")
        return shown(f"{chunk.table[time][row].as_py()!r}: {why}")

    return CellRule(
        "time stamps",
        time,
        "critical",
        "a readable time stamp in every row",
        "ExpectColumnValuesToNotBeNull",
        {"column": time},
        advice="write stamps as 2019-04-09 or 2019-04-09T17:30:00+00:00, or say what they are by time.format, "
        "time.unit, time.day_first or time.timezone",
        screen=THERE,
        cells=lambda chunk: (as_presence(bad(chunk)),),
        bad=bad,
        show=show,
        suspect=True,
    )


def _cell_rule(
    name: str,
    column: str,
    severity: Severity,
    expected: str,
    expectation: str,
    arguments: dict[str, Any],
    bad: Callable[[Chunk], NDArray[np.bool_]],
    advice: str,
    *,
    screen: Screen,
    cells: Callable[[Chunk], tuple[NDArray[Any], ...]] | None = None,
    bad_row: bool,
) -> CellRule:
    """A rule on one column; `bad_row`: rows that break it go to quarantine, and may be left out."""
    return CellRule(
        name,
        column,
        severity,
        expected,
        expectation,
        {"column": column, **arguments},
        advice=advice,
        screen=screen,
        cells=cells or (lambda chunk: (chunk.floats(column),)),
        bad=bad,
        show=of_cell(column),
        excludable=bad_row,
        suspect=bad_row,
    )


def _bounds_text(bounds: Bounds) -> str:
    if bounds.max is None:
        return f"values of at least {bounds.min:g}"
    return (
        f"values of at most {bounds.max:g}"
        if bounds.min is None
        else f"values from {bounds.min:g} to {bounds.max:g}"
    )
