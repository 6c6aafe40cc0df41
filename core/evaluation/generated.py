"""Evaluation of a trained generator against the windows that it learnt."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.config import JobConfig
from core.evaluation.distances import Prices
from core.evaluation.evaluate import Subject, evaluate_windows
from core.evaluation.judges.holdout import HeldOut
from core.evaluation.judges.paper_scores import Progress
from core.evaluation.options import judging_options
from core.evaluation.report.curves import training_curves
from core.evaluation.report.published import published_scores
from core.evaluation.report.view import Training
from core.generators.bundle import GeneratorBundle
from core.handles import EvaluationRef, GeneratorRef, PreparedRef
from core.lake import build_once, code_digest, content_digest
from core.prepare.channels.encode import joined, joined_names
from core.prepare.channels.layout import Layout, WindowArrays
from core.prepare.channels.recode import recode_windows
from core.prepare.channels.transforms import decode_windows
from core.prepare.series import PreparedSeries, Windows

logger = logging.getLogger(__name__)

SAMPLE_WINDOWS = 500
"""Windows in `synthetic.parquet`."""


def evaluate_generator(
    job: JobConfig,
    prepared: PreparedRef,
    generator: GeneratorRef,
    lake: Path,
    progress: Progress | None = None,
) -> EvaluationRef:
    """Score as many synthetic windows as there are real ones, at most `evaluation.max_windows` of each.

    Args:
        job: Its section `evaluation` says how.
        prepared: The real windows, and those held out from the generator, if any.
        generator: What to judge.
        lake: Where `evaluations/<dataset>/<key>/` is written.
        progress: Told what is being done, and how much of how much.
    """
    dataset = job.dataset
    prepare = ("channels", "series.py", "holdout.py")
    training = ("distance.py", "metrics.py")
    code = code_digest(
        *("evaluation", "generators", "networks"),
        *(f"prepare/{part}" for part in prepare),
        *(f"training/{part}" for part in training),
    )
    key = content_digest(
        generator=generator.digest,
        prepared=prepared.digest,
        window=job.window.model_dump(),
        options=job.evaluation.model_dump(),
        expectations=dataset.expectations.model_dump(),
        code=code,
    )
    folder = lake / "evaluations" / dataset.name / key[:16]

    def build(out: Path) -> None:
        bundle = GeneratorBundle.load(generator.path)
        summary = _evaluate(job, prepared, bundle, training_curves(generator.run_dir), out, progress)
        (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        sample = bundle.sample_frame(SAMPLE_WINDOWS, job.evaluation.seed)
        pq.write_table(pa.Table.from_pandas(sample, preserve_index=False), out / "synthetic.parquet")

    reused = build_once(folder, build)
    scores = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return EvaluationRef(path=folder, digest=key, reused=reused, scores=scores)


def _evaluate(
    job: JobConfig,
    prepared: PreparedRef,
    bundle: GeneratorBundle,
    training: Training,
    out: Path,
    progress: Progress | None,
) -> dict[str, float]:
    options, series = job.evaluation, PreparedSeries.open(prepared.path)
    layout = series.conditioned(job.model.condition)
    windows, chosen = chosen_windows(series, job, held_out=False)
    real, synthetic = paired_windows(windows.gather(chosen), layout, bundle, options.seed)
    later = _held_out(series, job, layout, bundle)
    kinds = [real, synthetic] + ([later[0]] if later else [])
    variable = any(bool((kind.lengths < windows.length).any()) for kind in kinds)
    judged = [judged_channels(kind, variable=variable) for kind in kinds]
    held_out = None
    if later is not None:
        held_out = HeldOut(judged[2], *later[1:], series.manifest["holdout"]["from"])
    subject = Subject(
        real=judged[0],
        synthetic=judged[1],
        features=judged_names(bundle.series.layout, variable=variable),
        starts=windows.starts[chosen],
        held_out=held_out,
        frames=(bundle.frame(real), bundle.frame(synthetic)),
        expectations=job.dataset.expectations,
        training=training,
        published=_published(job),
        prices=None if variable else _prices(job, bundle.series.layout, real, synthetic),
    )
    return evaluate_windows(subject, out, judging_options(options), progress)


def _published(job: JobConfig) -> dict[str, tuple[float, float | None]]:
    found = published_scores(job.model.kind, job.dataset.name)
    return {} if found is None else {f"{job.model.kind}, the TimeGAN paper": found}


def chosen_windows(
    series: PreparedSeries, job: JobConfig, *, held_out: bool
) -> tuple[Windows, NDArray[np.int64]]:
    """Windows of the job, and which of them are judged, in the order of time."""
    window, most = job.window, job.evaluation.max_windows
    windows = series.windows(
        window.length, window.stride, window.min_length, job.model.condition, held_out=held_out
    )
    chosen = np.arange(len(windows))
    if len(windows) > most:
        logger.info("%d of %d windows are judged, drawn at random", most, len(windows))
        chosen = np.sort(np.random.default_rng(job.evaluation.seed).choice(chosen, most, replace=False))
    return windows, chosen


def _held_out(
    series: PreparedSeries, job: JobConfig, layout: Layout, bundle: GeneratorBundle
) -> tuple[WindowArrays, NDArray[np.int64], NDArray[np.int64]] | None:
    """Windows that the generator has not seen, and the stamps (or numbers) of their first and last rows."""
    if not len(series.held_out_segments):
        return None
    windows, chosen = chosen_windows(series, job, held_out=True)
    known, outside = recode_windows(windows.gather(chosen), layout, bundle.series.layout)
    if outside:
        logger.info("%d held-out values lie outside the range of the rows that were learnt", outside)
    first = windows.starts[chosen]
    last = first + known.lengths - 1
    if (stamps := series.stamps) is not None:
        first, last = stamps[first], stamps[last]
    return known, first, last


def _prices(job: JobConfig, layout: Layout, *kinds: WindowArrays) -> Prices | None:
    """Windows in original units, if stylised facts of market data are to be looked for.

    One feature a judged channel: those of levels before a window, which are no prices of a step, are NaN.
    """
    wanted = job.evaluation.stylised_facts
    if not (job.dataset.time.calendar if wanted is None else wanted):
        return None
    aside = (*layout.static, *layout.condition)
    constant = [column for column in aside if not column.level_of]
    if constant or any(c.kind != "continuous" or c.optional for c in layout.temporal):
        logger.info("stylised facts are not looked for: they are those of columns of prices alone")
        return None
    levels = ((0, 0), (0, 0), (len(aside), 0))
    cells = (decode_windows(layout, windows).temporal for windows in kinds)
    real, synthetic = (np.pad(part, levels, constant_values=np.nan) for part in cells)
    return Prices(real, synthetic)


def paired_windows(
    real: WindowArrays, layout: Layout, bundle: GeneratorBundle, seed: int
) -> tuple[WindowArrays, WindowArrays]:
    """Real windows and as many synthetic ones, drawn under the real ones' conditions, in one layout.

    That is the generator's, which differs from the series' where the training started from a model of older
    data: it may make categories that the new rows lack, but the new rows hold none that it does not know, or
    the training would have refused them. Ranges do not matter, the judges scale by the real windows.

    Args:
        real: What to compare with.
        layout: What its channels mean.
        bundle: What to draw from.
        seed: Fixes the draw.

    Raises:
        DataError: the columns differ, or a real cell holds what the generator's layout does not know.
    """
    known, outside = recode_windows(real, layout, bundle.series.layout)
    if outside:
        logger.warning(
            "%d real values lie outside the range that the generator was trained in: it cannot make them",
            outside,
        )
    given = known.condition if bundle.series.layout.condition else None
    return known, bundle.generator.sample(len(real), seed, given)


def judged_channels(windows: WindowArrays, *, variable: bool) -> NDArray[np.float32]:
    """Encoded windows as the judges see them.

    At each step: whether the row is there (if `variable`), static channels, conditions, and last the step's
    own channels, so that the last channel is the last column's, which the predictive score forecasts. Past a
    window's end all are 0, as in the published code. So a discriminative judge sees how long windows are,
    static values and presence of cells too; and the predictive error is taken over those rows as well: they
    are easy where the end can be foreseen, and count as errors where a window goes on or ends unforeseen.

    Args:
        windows: Real or synthetic.
        variable: Windows differ in length.

    Returns:
        Shape (N, length, D), named by `judged_names`.
    """
    channels = joined(windows)
    if not variable:
        return channels
    present = np.arange(channels.shape[1]) < windows.lengths[:, None]
    return np.concatenate([present[..., None], channels], axis=2, dtype=np.float32)


def judged_names(layout: Layout, *, variable: bool) -> list[str]:
    """Names of the channels of `judged_channels`."""
    return ["row present"] * variable + joined_names(layout)
