"""Whether synthetic rows keep the rules that real rows keep."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.catalog import Bounds, Expectations, Relation

logger = logging.getLogger(__name__)

Kind = Literal["relation", "range", "category", "integer", "time"]
Test = Callable[[pd.DataFrame], NDArray[np.bool_]]
"""Of each row: whether it breaks a rule."""

_ROUNDING = 1e-6
"""Of a column's largest value: rows pass through 32-bit numbers, where equal ones of two columns come apart."""
_KEYS = ("window", "step")


@dataclass(frozen=True)
class Verdict:
    """How often a rule is broken; a missing cell breaks none."""

    rule: str
    kind: Kind
    broken: int
    of: int
    share: float
    real_share: float
    """Of the real rows: a rule that these break as often says nothing against the generator."""


def check_validity(
    real: pd.DataFrame, synthetic: pd.DataFrame, expectations: Expectations | None = None
) -> list[dict[str, Any]]:
    """Check synthetic rows in original units and types.

    The rules are the relations and ranges that the dataset declares; that categories are among those of the
    real rows; that columns hold whole numbers where the real rows do; and that the times of the synthetic
    rows rise from step to step of a window. Rounding breaks none.

    Args:
        real: Rows with the columns `window`, `step` and any others.
        synthetic: Likewise, the same columns.
        expectations: What the dataset declares; of columns that the rows do not have nothing is checked, which
            is logged.

    Returns:
        One for each rule, the most broken first: `rule`, `kind`, `broken` and `of` rows, `share` and
        `real_share`; none where nothing is declared and no column has categories or whole numbers.
    """
    verdicts = [
        Verdict(rule, kind, int(broken.sum()), len(broken), _share(broken), _share(test(real)))
        for rule, kind, test in _rules(real, synthetic, expectations or Expectations())
        for broken in [test(synthetic)]
    ]
    return [asdict(verdict) for verdict in sorted(verdicts, key=lambda verdict: -verdict.share)]


def _rules(
    real: pd.DataFrame, synthetic: pd.DataFrame, expectations: Expectations
) -> Iterator[tuple[str, Kind, Test]]:
    for text in expectations.relations:
        relation = Relation.parse(text)
        if _there(real, text, relation.left, relation.right):
            yield text, "relation", partial(_breaks, relation)
    for name, bounds in expectations.ranges.items():
        if _there(real, f"the range of {name}", name):
            yield _range_text(name, bounds), "range", partial(_outside, name, bounds)
    for name in synthetic.columns:
        if pd.api.types.is_datetime64_any_dtype(synthetic[name]):
            yield f"{name}: later at each step", "time", partial(_not_later, name)
    for name in (name for name in real.columns if name not in _KEYS):
        yield from _rules_of(name, real)


def _rules_of(name: str, real: pd.DataFrame) -> Iterator[tuple[str, Kind, Test]]:
    """What a column of the real rows says of itself."""
    column, types = real[name], pd.api.types
    if types.is_datetime64_any_dtype(column):
        return
    if not types.is_numeric_dtype(column) or types.is_bool_dtype(column):
        known = set(column.dropna())
        yield f"{name}: a category of the real rows", "category", partial(_unknown, name, known)
    elif column.notna().any() and not _fractional(name, real).any():
        yield f"{name}: whole numbers", "integer", partial(_fractional, name)


def _there(rows: pd.DataFrame, rule: str, *names: str) -> bool:
    """Whether the rows have these columns of numbers."""
    missing = [
        name for name in names if name not in rows.columns or not pd.api.types.is_numeric_dtype(rows[name])
    ]
    if missing:
        logger.warning(
            "validity: %s is not checked, the windows have no column of numbers %r", rule, missing[0]
        )
    return not missing


def _breaks(relation: Relation, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """By more than rounding; a strict relation also by two equal numbers."""
    left, right = _floats(rows[relation.left]), _floats(rows[relation.right])
    excess = left - right if relation.operator.startswith("<") else right - left
    slack = max(_rounding(left), _rounding(right))
    # A comparison with NaN is false: a missing cell breaks nothing.
    return np.asarray((excess > slack) | ((excess == 0) & (len(relation.operator) == 1)))


def _outside(name: str, bounds: Bounds, rows: pd.DataFrame) -> NDArray[np.bool_]:
    values = _floats(rows[name])
    low = -np.inf if bounds.min is None else bounds.min
    high = np.inf if bounds.max is None else bounds.max
    slack = _rounding(values)
    return np.asarray((values < low - slack) | (values > high + slack))


def _not_later(name: str, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Not later than the row before it in its window; the real rows may have no such column."""
    if name not in rows.columns:
        return np.zeros(len(rows), dtype=np.bool_)
    same = rows["window"].diff() == 0
    return np.asarray(same & (rows[name].diff() <= pd.Timedelta(0)))


def _rounding(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return _ROUNDING * float(np.abs(known).max(initial=0.0))


def _range_text(name: str, bounds: Bounds) -> str:
    if bounds.max is None:
        return f"{name} >= {bounds.min:g}" if bounds.min is not None else f"{name}: any number"
    return f"{name} <= {bounds.max:g}" if bounds.min is None else f"{bounds.min:g} <= {name} <= {bounds.max:g}"


def _unknown(name: str, known: set[Any], rows: pd.DataFrame) -> NDArray[np.bool_]:
    return np.asarray(~rows[name].isin(known) & rows[name].notna())


def _fractional(name: str, rows: pd.DataFrame) -> NDArray[np.bool_]:
    values = _floats(rows[name])
    return np.asarray(np.isfinite(values) & (values != np.round(values)))


def _floats(column: pd.Series[Any]) -> NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _share(broken: NDArray[np.bool_]) -> float:
    return float(broken.mean()) if len(broken) else 0.0
