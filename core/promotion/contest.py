"""Champion and challenger brought onto the same real windows, in the same channels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.config import JobConfig
from core.errors import DataError
from core.evaluation.checks import checked_like
from core.evaluation.generated import chosen_windows, judged_channels
from core.evaluation.judges.splits import Parts, Split, block_splits, divided, random_parts
from core.generators.bundle import GeneratorBundle
from core.prepare.channels.layout import Column, Layout, WindowArrays
from core.prepare.channels.recode import recode, recode_windows
from core.prepare.channels.scaler import MinMaxScaler
from core.prepare.holdout import TRAIN_SHARE
from core.prepare.series import PreparedSeries

logger = logging.getLogger(__name__)

Windows = NDArray[np.float32]


@dataclass(frozen=True)
class Contest:
    """What both are judged on; windows are scaled by the real ones' minimum and maximum."""

    real: Windows
    """Shape (N, T, D)."""
    champion: Windows
    """Shape (N, T, D), drawn under the real windows' conditions."""
    challenger: Windows
    """Likewise, from the same seed."""
    splits: list[Split]
    """What each pair of judges is trained and tested on, the same for both."""
    held_out: bool
    """The real windows are those that are held out; otherwise those that the challenger learnt."""
    since: str | None
    """Time of the first held-out row."""

    @property
    def tested_by_trained(self) -> float:
        """Real windows that test a judge by those that train it; of blocks of rows where these are more.

        Windows that reach across the border of a block are in neither part, and more of the tested ones do: the
        windows left would make the judges look less alike than the blocks that they share make them.
        """
        split = self.splits[0]
        return max(len(split.test_real) / len(split.train_real), 1 / TRAIN_SHARE - 1)


def contest(
    job: JobConfig,
    series: PreparedSeries,
    champion: GeneratorBundle,
    challenger: GeneratorBundle,
    *,
    held_out: bool = True,
) -> Contest:
    """Draw the windows to compare two generators by: the newest held-out ones, else those that were learnt.

    Real windows are divided by blocks of rows, drawn anew for each pair of judges, so that none is tested on
    rows that it was trained on.

    Args:
        job: The challenger's; its window cuts the series, its section `evaluation` says how many windows.
        series: The newest data.
        champion: May know other ranges and categories, but the same columns.
        challenger: Trained on `series`.
        held_out: By the hold-out if there is one that can be divided.

    Raises:
        DataError: the two cannot be compared, and why.
    """
    _check_shape(job, champion, challenger)
    layout = series.conditioned(job.model.condition)
    # One that can say whatever any of the three can.
    common = common_layout(common_layout(layout, challenger.series.layout), champion.series.layout)
    windows, halves, held_out = _real(series, job, held_out)
    parts = [recode_windows(windows, layout, common)[0]]
    parts += [_drawn(bundle, windows, layout, common, job.evaluation.seed) for bundle in (champion, challenger)]
    variable = any(bool((part.lengths < job.window.length).any()) for part in parts)
    judged = [judged_channels(part, variable=variable) for part in parts]
    scaler = MinMaxScaler.fit(judged[0].astype(np.float64))
    real, old, new = (np.asarray(scaler.transform(part), dtype=np.float32) for part in judged)
    rng = np.random.default_rng(job.evaluation.seed)
    fake = random_parts(len(real), job.registry.gates.judges, rng)
    return Contest(
        real=real,
        champion=checked_like(old, real, "the champion's"),
        challenger=checked_like(new, real, "the challenger's"),
        splits=[Split(*mine, *others) for mine, others in zip(halves, fake, strict=True)],
        held_out=held_out,
        since=(series.manifest["holdout"] or {}).get("from") if held_out else None,
    )


def common_layout(one: Layout, other: Layout) -> Layout:
    """A layout into which windows of both can be recoded: all categories, missing cells where either has some.

    Raises:
        DataError: the columns differ, or a binary column has other values.
    """
    parts = {
        part: tuple(map(_common_column, *_aligned(part, getattr(one, part), getattr(other, part))))
        for part in ("temporal", "static", "condition")
    }
    return Layout(**parts)


def _aligned(
    part: str, ours: Sequence[Column], theirs: Sequence[Column]
) -> tuple[Sequence[Column], Sequence[Column]]:
    listed = [[(column.name, column.kind, column.transform) for column in side] for side in (ours, theirs)]
    if listed[0] != listed[1]:
        shown = [
            ", ".join(f"{name} ({kind}{'' if how == 'none' else f', {how}'})" for name, kind, how in side)
            for side in listed
        ]
        raise DataError(
            f"the {part} columns differ: {shown[0] or 'none'} now, {shown[1] or 'none'} in the champion"
        )
    return ours, theirs


def _common_column(ours: Column, theirs: Column) -> Column:
    more = tuple(value for value in theirs.categories if value not in ours.categories)
    if ours.kind == "binary" and more:
        raise DataError(
            f"column {ours.name!r} is one of {ours.categories} now, in the champion {theirs.categories}"
        )
    return replace(ours, categories=ours.categories + more, optional=ours.optional or theirs.optional)


def _check_shape(job: JobConfig, champion: GeneratorBundle, challenger: GeneratorBundle) -> None:
    lengths = champion.generator.length, challenger.generator.length
    if lengths[0] != lengths[1] or lengths[1] != job.window.length:
        raise DataError(f"the champion makes windows of {lengths[0]} steps, the challenger of {lengths[1]}")
    given = [[column.name for column in b.series.layout.condition] for b in (champion, challenger)]
    if given[0] != given[1]:
        named = [", ".join(names) or "nothing" for names in given]
        raise DataError(f"the champion is conditioned on {named[0]}, the challenger on {named[1]}")


def _real(series: PreparedSeries, job: JobConfig, held_out: bool) -> tuple[WindowArrays, list[Parts], bool]:
    """Real windows, how judges divide them, and whether they are held out."""
    judges, length, seed = job.registry.gates.judges, job.window.length, job.evaluation.seed
    if held_out and len(series.held_out_segments):
        windows, chosen = chosen_windows(series, job, held_out=True)
        starts = windows.starts[chosen]
        try:
            return windows.gather(chosen), block_splits(starts, length, judges, seed), True
        except DataError as reason:
            logger.warning("the hold-out cannot tell champion from challenger, training windows do: %s", reason)
    windows, chosen = chosen_windows(series, job, held_out=False)
    starts = windows.starts[chosen]
    return windows.gather(chosen), divided(len(chosen), starts, length, judges, seed), False


def _drawn(
    bundle: GeneratorBundle, real: WindowArrays, layout: Layout, common: Layout, seed: int
) -> WindowArrays:
    """As many windows as there are real ones, under their conditions."""
    own = bundle.series.layout
    given = recode(real.condition, layout, own, "condition")[0] if own.condition else None
    return recode_windows(bundle.generator.sample(len(real), seed, given), own, common)[0]
