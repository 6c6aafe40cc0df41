"""Windows that anybody made as a subject to judge."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.config import EvaluationConfig
from core.errors import DataError
from core.evaluation.distances import Prices
from core.evaluation.evaluate import Subject
from core.evaluation.files.order import window_starts
from core.evaluation.files.windows import WindowPair, WindowSet, judged_pair
from core.evaluation.judges.holdout import HeldOut, hold_out_windows

logger = logging.getLogger(__name__)


def file_subject(
    real: WindowSet,
    synthetic: WindowSet,
    options: EvaluationConfig,
    *,
    holdout: float = 0.0,
    dataset: DatasetConfig | None = None,
) -> Subject:
    """What is judged of two sets of windows: at most `evaluation.max_windows` of each kind.

    The rules are checked on the rows of all windows, those held out excepted.

    Args:
        real: Windows in the order of time.
        synthetic: In any order.
        options: Which windows, and whether stylised facts are looked for.
        holdout: Share of the real rows, the latest ones, that no generator has seen.
        dataset: Whose declarations hold for the rows: expectations, and whether they have a trading calendar.

    Raises:
        DataError: the sets do not fit each other, see `judged_pair`, or nothing can be held out of them.
    """
    pair = judged_pair(real, synthetic)
    learnt, starts, held_out = pair.real, window_starts(pair.real, pair.sets[0].lengths), None
    if holdout:
        if starts is None:
            raise DataError(
                "the real windows are not in the order of time: some hold rows of others that do not follow "
                "them, so no rows can be held out; bring them as they were cut, before they were shuffled"
            )
        learnt, starts, held_out = hold_out_windows(learnt, starts, holdout)
        held_out = _fewer(held_out, options)
    elif starts is None:
        logger.warning(
            "the real windows are not in the order of time: nobody knows which of them share rows, so real "
            "windows that are compared with each other are mostly neighbours, and their scores too good"
        )
    made_at = window_starts(pair.synthetic, pair.sets[1].lengths)
    if made_at is None:
        logger.warning(
            "the synthetic windows share rows, but are not in the order of time: judges are tested on windows "
            "that they nearly know"
        )
    judged, made = _some(len(learnt), options, "real"), _some(len(pair.synthetic), options, "synthetic")
    subject = Subject(
        real=learnt[judged],
        synthetic=pair.synthetic[made],
        features=pair.features,
        starts=None if starts is None else starts[judged],
        synthetic_starts=None if made_at is None else made_at[made],
        held_out=held_out,
        # Those that are learnt come first.
        frames=(pair.sets[0].frame(len(learnt)), pair.sets[1].frame()),
        expectations=None if dataset is None else dataset.expectations,
    )
    return replace(subject, prices=_prices(pair, subject, options, dataset))


def _some(count: int, options: EvaluationConfig, kind: str) -> NDArray[np.int64] | slice:
    """All windows, or as many as are judged."""
    if count <= options.max_windows:
        return slice(None)
    logger.warning("%d of %d %s windows are judged, drawn at random", options.max_windows, count, kind)
    return np.sort(np.random.default_rng(options.seed).choice(count, options.max_windows, replace=False))


def _fewer(held_out: HeldOut, options: EvaluationConfig) -> HeldOut:
    chosen = _some(len(held_out.windows), options, "held-out")
    parts = {name: getattr(held_out, name)[chosen] for name in ("windows", "first", "last")}
    return replace(held_out, **parts)


def _prices(
    pair: WindowPair, subject: Subject, options: EvaluationConfig, dataset: DatasetConfig | None
) -> Prices | None:
    """The windows in the files' units, if stylised facts of market data are to be looked for."""
    wanted = options.stylised_facts
    if not (dataset is not None and dataset.time.calendar if wanted is None else wanted):
        return None
    if pair.variable:
        logger.warning("stylised facts are not looked for: the windows differ in length")
        return None
    return Prices(subject.real, subject.synthetic)
