"""Judge what a generator makes."""

from __future__ import annotations

from pathlib import Path

from core.config import JobConfig
from core.evaluation.generated import evaluate_generator
from core.evaluation.report.pages import without_pictures
from core.handles import EvaluationRef, GeneratorRef, PreparedRef
from tasks.artifacts import show_markdown, show_plots, show_scores
from tasks.factory import outcome, task
from tasks.progress import progress
from tasks.tracking import TrackedRun

STEP_SECONDS = 4 * 3600


@task("evaluate", timeout_seconds=STEP_SECONDS)
def evaluate(
    job: JobConfig, prepared: PreparedRef, generator: GeneratorRef, lake: Path, run: TrackedRun
) -> EvaluationRef:
    """Score and plot synthetic windows against the real ones; report, plots and a sample are logged."""
    with progress("evaluate") as report:
        evaluation = evaluate_generator(job, prepared, generator, lake, report)
    run.log_metrics({f"score/{name}": value for name, value in evaluation.scores.items()})
    run.log_folder(evaluation.path, "evaluation")
    show_scores(evaluation.scores)
    text = (evaluation.path / "report.md").read_text(encoding="utf-8")
    show_markdown("evaluation-report", without_pictures(text), "Evaluation")
    show_plots(evaluation.path / "plots")
    return outcome(evaluation)
