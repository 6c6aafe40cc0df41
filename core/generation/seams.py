"""Whether the seams of a series can be told from its other steps.

Of each seam and each column three numbers are taken over the steps from before it to after it: the largest
one-step change, the mean one, and the largest turn, that is, how much a change differs from the one before it
(of a discrete column: whether it changed in any step, in how many, and nothing). The same numbers are taken of
as many steps inside windows as the generator draws them. Where both come from the same distribution a seam
looks like any other stretch. A jump makes the first larger; mixing two windows that do not fit makes the second
smaller; a kink in a smooth column makes the third larger.

The distance between both samples is that of Kolmogorov and Smirnov, D = sup |F - G|, from 0 to 1. A seam counts
as visible if, in any column, D exceeds

    TOLERANCE + sqrt(-ln(a / 2) / 2) sqrt((n + m) / (n m)),   a = LEVEL / (3 columns),

the second term being what chance reaches with probability a for n seams and m other stretches (Smirnov 1939),
shared out among all comparisons (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from core.prepare.channels.layout import Column, spans

LEVEL = 0.05
"""Share of seamless series that are called visible, at most."""
TOLERANCE = 0.1
"""What is too small to matter, however many seams there are."""
MOST_SEAMS = 500
"""Seams that are looked at, about: evenly spread over the series."""
REFERENCES = 4
"""Stretches of the generator's own windows for each seam."""
MEASURES = ("largest change", "mean change", "largest turn")


def changes(stretches: NDArray[np.floating[Any]], columns: Sequence[Column]) -> NDArray[np.float64]:
    """The `MEASURES` of stretches.

    Args:
        stretches: Shape (S, steps, channels), encoded, at least two steps.
        columns: Of a step.

    Returns:
        Shape (S, columns, 3), in units of the channels; without a third step nothing turns.
    """
    steps = np.diff(stretches.astype(np.float64), axis=1)
    turns = np.abs(np.diff(steps, axis=1))
    found = np.zeros((len(stretches), len(columns), len(MEASURES)))
    for place, (column, span) in enumerate(zip(columns, spans([c.block for c in columns]), strict=True)):
        moved = np.abs(steps[..., span.values]).max(axis=-1)
        if column.kind != "continuous":
            moved = (moved > 0).astype(np.float64)
        elif turns.shape[1]:
            found[:, place, 2] = turns[..., span.values].max(axis=(1, 2))
        found[:, place, 0], found[:, place, 1] = moved.max(axis=1), moved.mean(axis=1)
    return found


def compare_seams(
    seams: NDArray[np.float64], inside: NDArray[np.float64], names: Sequence[str]
) -> dict[str, Any]:
    """The verdict.

    Args:
        seams: Shape (seams, columns, 3): see `changes`.
        inside: Shape (stretches, columns, 3): likewise, of stretches without a seam.
        names: Of the columns.

    Returns:
        `visible`; `judged`, False with too few seams to tell; `seams` looked at; and, if judged, the
        `threshold`, the largest `distance` with its `column` and `measure`, and the larger distance of each
        column, `distances`.
    """
    n, m = len(seams), len(inside)
    share = LEVEL / (len(MEASURES) * len(names))
    threshold = TOLERANCE + sqrt(-log(share / 2) / 2) * sqrt((n + m) / (n * m)) if n and m else inf
    if threshold >= 1:  # no distance is larger
        return {"visible": False, "judged": False, "seams": n}
    table = np.array(
        [
            [ks_2samp(seams[:, c, k], inside[:, c, k], method="asymp").statistic for k in range(len(MEASURES))]
            for c in range(len(names))
        ]
    )
    column, measure = divmod(int(table.argmax()), len(MEASURES))
    return {
        "visible": bool(table.max() > threshold),
        "judged": True,
        "seams": n,
        "threshold": round(threshold, 4),
        "distance": round(float(table.max()), 4),
        "column": names[column],
        "measure": MEASURES[measure],
        "distances": {name: round(float(row.max()), 4) for name, row in zip(names, table, strict=True)},
    }


def seams_in_words(verdict: dict[str, Any]) -> str:
    """What `compare_seams` found, in a sentence."""
    if not verdict["judged"]:
        return f"{verdict['seams']} seams are too few to tell whether they show"
    where = f"{verdict['measure']} of {verdict['column']}"
    distance, threshold = verdict["distance"], verdict["threshold"]
    numbers = f"distance {distance:.2f}, threshold {threshold:.2f}, {verdict['seams']} seams"
    if verdict["visible"]:
        return f"the seams can be told from other steps, most by the {where} ({numbers})"
    return f"the seams cannot be told from other steps; nearest to it is the {where} ({numbers})"
