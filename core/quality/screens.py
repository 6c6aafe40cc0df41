"""What judges many rules on cells of one sort at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.quality.checks import Screen

LARGEST = float(np.finfo(np.float64).max)
# From 2^53 on float64 no longer tells neighbouring integers apart.
EXACT = 2**53 - 1
_VALUE = ("column", "value")
THERE = Screen((("ExpectColumnValuesToNotBeNull", (_VALUE,)),))
FINITE = Screen((("ExpectColumnValuesToBeBetween", (_VALUE, ("min_value", -LARGEST), ("max_value", LARGEST))),))
WHOLE = Screen((("ExpectColumnValuesToBeBetween", (_VALUE, ("min_value", -EXACT), ("max_value", EXACT))),))


def _ordered(larger: str, smaller: str, *, equal: bool) -> tuple[str, tuple[tuple[str, Any], ...]]:
    return (
        "ExpectColumnPairValuesAToBeGreaterThanB",
        (
            ("column_A", larger),
            ("column_B", smaller),
            ("or_equal", equal),
            ("ignore_row_if", "either_value_is_missing"),
        ),
    )


BETWEEN = Screen(
    (_ordered("value", "low", equal=True), _ordered("high", "value", equal=True)), ("value", "low", "high")
)
ORDERED = {
    equal: Screen((_ordered("larger", "smaller", equal=equal),), ("larger", "smaller"))
    for equal in (False, True)
}
