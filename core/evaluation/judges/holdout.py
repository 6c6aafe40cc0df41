"""The hold-out protocol: scores against rows that the generator has never seen.

A series drifts, so even windows of the rows that it was trained on can be told from later ones. Every score of
the synthetic windows therefore stands beside the same score of the real training windows: what these get is
drift, and what the synthetic ones get beyond it is the generator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.evaluation.judges.paper import Array32, PaperJudges
from core.evaluation.judges.splits import Split, block_splits, divided, divided_alike, nearest_real
from core.prepare.holdout import parts_by_time


@dataclass(frozen=True)
class HeldOut:
    """Windows of rows that come later than those that were learnt, and share none with them."""

    windows: NDArray[Any]
    """Shape (K, T, D), original units."""
    first: NDArray[np.int64]
    """Shape (K,): stamp of each one's first row, or its number."""
    last: NDArray[np.int64]
    """Shape (K,): likewise of its last row."""
    since: str | None = None
    """Time of the first row of all."""


def hold_out_windows(
    windows: NDArray[Any], starts: NDArray[np.int64], share: float
) -> tuple[NDArray[Any], NDArray[np.int64], HeldOut]:
    """Divide windows in the order of time, a window's length between the last learnt and the first judged row.

    Args:
        windows: Shape (N, T, D).
        starts: Shape (N,): first row of each, ascending.
        share: Of the rows, in (0, 1).

    Returns:
        The windows to learn from, their first rows, and what is held out.

    Raises:
        DataError: fewer than two windows are left on a side.
    """
    length = windows.shape[1]
    begin, stop = int(starts[0]), int(starts[-1]) + length
    border = stop - max(1, round(share * (stop - begin)))
    learnt, later = starts + length <= border, starts >= border + length
    if min(int(learnt.sum()), int(later.sum())) < 2:
        raise DataError(
            f"a hold-out of {share:g} leaves {int(learnt.sum())} windows before and {int(later.sum())} after a "
            f"purge of {length} rows; the windows must stand in the order of time, choose another share"
        )
    first = starts[later]
    return windows[learnt], starts[learnt], HeldOut(windows[later], first, first + length - 1)


@dataclass(frozen=True)
class HoldOutJudging:
    """What is compared; windows are scaled by the training windows' minimum and maximum."""

    training: Array32
    training_starts: NDArray[np.int64]
    """Shape (N,): first row of each training window, ascending."""
    held_out: Array32
    first: NDArray[np.int64]
    """See `HeldOut`."""
    last: NDArray[np.int64]
    synthetic: Array32
    synthetic_starts: NDArray[np.int64] | None = None
    """Shape (M,): likewise of the synthetic ones; None: they share no row."""

    def splits(self, judges: int, seed: int) -> dict[str, list[Split]]:
        """Of judges of the synthetic windows, and of judges of the training windows in their place.

        Held-out windows are divided by time: judges are tested on later ones than they were trained on. The
        others stand for the time before: training windows are divided at random, by blocks of rows, and
        synthetic windows as the training windows are that they are nearest to. (Divided by time, only the
        latest of them would be tested, which are nearest to the hold-out, and drift would look smaller than it
        is; divided at random, synthetic windows would be tested near to ones that were learnt, and would be
        easier to know again than training windows are.)

        Raises:
            DataError: there are too few windows to divide.
        """
        train, test = parts_by_time(self.first, self.last)
        if not len(train) or not len(test):
            raise DataError(
                f"{len(self.held_out)} held-out windows cannot be split by time into windows that share no "
                "row; hold out more rows"
            )
        length = self.held_out.shape[1]
        blocks = block_splits(self.training_starts, length, judges, seed)
        if self.synthetic_starts is None:
            drawn = divided_alike(self._nearest, len(self.training), blocks, seed)
        else:
            drawn = divided(len(self.synthetic), self.synthetic_starts, length, judges, seed)
        return {
            "synthetic": [Split(train, test, *parts) for parts in drawn],
            "training": [Split(train, test, *parts) for parts in blocks],
        }

    @cached_property
    def _nearest(self) -> NDArray[np.int64]:
        return nearest_real(self.synthetic, self.training)

    def kinds(self) -> Mapping[str, Array32]:
        """What is judged against the hold-out."""
        return {"synthetic": self.synthetic, "training": self.training}

    def paper(self, paper: PaperJudges) -> dict[str, Any]:
        """The paper's two scores of both kinds."""
        splits = self.splits(paper.judges, paper.seed)
        return {
            "discriminative": {
                kind: paper.discriminative(self.held_out, windows, f"hold-out, {kind}", splits[kind])
                for kind, windows in self.kinds().items()
            },
            "predictive": {
                kind: paper.predictive(self.held_out, windows, f"hold-out, {kind}, predictive")
                for kind, windows in self.kinds().items()
            },
        }
