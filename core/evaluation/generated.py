"""Evaluation of a trained generator against the windows that it learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.config import EvaluationConfig, JobConfig
from core.evaluation.evaluate import evaluate_windows
from core.generators.bundle import GeneratorBundle
from core.handles import EvaluationRef, GeneratorRef, PreparedRef
from core.lake import build_once, code_digest, content_digest
from core.prepare.series import PreparedSeries

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
    code = code_digest("evaluation", "generators", "prepare/series.py", "prepare/scaler.py")
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
    windows = PreparedSeries.open(prepared.path).windows(job.window.length, job.window.stride)
    chosen = np.arange(len(windows))
    if len(windows) > options.max_windows:
        chosen = np.random.default_rng(options.seed).choice(len(windows), options.max_windows, replace=False)
    real = windows.gather(np.sort(chosen))
    synthetic = bundle.sample_scaled(len(real), options.seed)
    summary = evaluate_windows(
        real,
        synthetic,
        prepared.features,
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
