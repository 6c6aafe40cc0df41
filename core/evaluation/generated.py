"""Evaluation of a trained generator against the windows that it learnt."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.config import EvaluationConfig, JobConfig
from core.evaluation.evaluate import evaluate_windows
from core.generators.bundle import GeneratorBundle
from core.handles import EvaluationRef, GeneratorRef, PreparedRef
from core.lake import build_once, code_digest, content_digest
from core.prepare.encode import joined, joined_names, recode_windows
from core.prepare.layout import Layout, WindowArrays
from core.prepare.series import PreparedSeries

logger = logging.getLogger(__name__)

SAMPLE_WINDOWS = 500
"""Windows in `synthetic.parquet`."""


def evaluate_generator(
    job: JobConfig,
    prepared: PreparedRef,
    generator: GeneratorRef,
    lake: Path,
    progress: Callable[[str, int, int], None] | None = None,
) -> EvaluationRef:
    """Score as many synthetic windows as there are real ones, at most `evaluation.max_windows` of each.

    Args:
        job: Its section `evaluation` says how.
        prepared: The real windows.
        generator: What to judge.
        lake: Where `evaluations/<dataset>/<key>/` is written.
        progress: Told what is being done, and how much of how much.
    """
    options = job.evaluation
    parts = ("series.py", "scaler.py", "layout.py", "encode.py")
    code = code_digest("evaluation", "generators", *(f"prepare/{part}" for part in parts))
    key = content_digest(
        generator=generator.digest, window=job.window.model_dump(), options=options.model_dump(), code=code
    )
    folder = lake / "evaluations" / job.dataset.name / key[:16]

    def build(out: Path) -> None:
        _evaluate(job, prepared, GeneratorBundle.load(generator.path), options, out, progress)

    reused = build_once(folder, build)
    scores = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return EvaluationRef(path=folder, digest=key, reused=reused, scores=scores)


def _evaluate(
    job: JobConfig,
    prepared: PreparedRef,
    bundle: GeneratorBundle,
    options: EvaluationConfig,
    out: Path,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    window = job.window
    series = PreparedSeries.open(prepared.path)
    windows = series.windows(window.length, window.stride, window.min_length, job.model.condition)
    layout = series.conditioned(job.model.condition)
    chosen = np.arange(len(windows))
    if len(windows) > options.max_windows:
        chosen = np.random.default_rng(options.seed).choice(len(windows), options.max_windows, replace=False)
    real, synthetic = paired_windows(windows.gather(np.sort(chosen)), layout, bundle, options.seed)
    variable = any(bool((kind.lengths < windows.length).any()) for kind in (real, synthetic))
    summary = evaluate_windows(
        judged_channels(real, variable=variable),
        judged_channels(synthetic, variable=variable),
        judged_names(bundle.series.layout, variable=variable),
        out,
        judges=options.judges,
        discriminative_iterations=options.discriminative_iterations,
        predictive_iterations=options.predictive_iterations,
        batch_size=options.batch_size,
        plot_windows=options.plot_windows,
        seed=options.seed,
        progress=progress,
        references=options.references,
    )
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    sample = bundle.sample_frame(min(SAMPLE_WINDOWS, len(real)), options.seed)
    pq.write_table(pa.Table.from_pandas(sample, preserve_index=False), out / "synthetic.parquet")


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
