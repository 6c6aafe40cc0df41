"""`evaluate`: scores of window files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from core.errors import ConfigError
from flows.cli.common import Json, app, out, refuse_missing_folder, resolve, settings_here, write_result


@app.command
def evaluate(
    real: Path,
    synthetic: list[Path],
    /,
    *,
    protocol: Literal["paper", "holdout"] = "paper",
    holdout: float = 0.2,
    dataset: str | None = None,
    set_: Annotated[
        list[str] | None,
        Parameter(
            name="--set",
            consume_multiple=False,
            negative=(),
            help="evaluation.key=value, as in evaluation.distances=false.",
        ),
    ] = None,
    judges: int | None = None,
    seed: int | None = None,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="Keep report and plots here.")
    ] = None,
    json_: Json = None,
) -> None:
    """Score window files against real windows, no matter who made them.

    Args:
        real: `.npy` of shape (N, T, D), or Parquet with columns `window` and `step`, in the order of time.
        synthetic: Likewise, any order; several files are compared.
        protocol: The TimeGAN paper's judges, as in its published code; or these, and scores against the latest
            real windows, which the generator must not have seen.
        holdout: With the protocol `holdout`: the share of the rows that is the latest.
        dataset: Whose declared ranges and relations the rows must keep; if it has a trading calendar, stylised
            facts of markets are looked for.
        judges: Independent judges of each score; short for `--set evaluation.judges=...`.
        seed: Fixes the judges; short for `--set evaluation.seed=...`.
    """
    from flows.evaluate import evaluate_files, evaluation_options
    from flows.show import show_scores

    if not 0 < holdout < 1:
        raise ConfigError(f"--holdout: expected a share between 0 and 1, got {holdout:g}")
    options = evaluation_options(set_ or (), judges=judges, seed=seed)
    refuse_missing_folder(json_)
    scores = evaluate_files(
        real,
        synthetic,
        options=options,
        holdout=holdout if protocol == "holdout" else 0.0,
        dataset=None if dataset is None else resolve(dataset, settings_here()).dataset,
        output=output,
    )
    write_result(json_, scores if len(scores) > 1 else next(iter(scores.values())))
    show_scores(out, scores, reported=output is not None)
