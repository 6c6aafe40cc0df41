"""`run` and `compare`: whole jobs."""

from __future__ import annotations

from typing import cast

from core.errors import TimeloomError
from flows.cli.common import (
    Json,
    Overrides,
    app,
    job_of,
    out,
    refuse_missing_folder,
    say_where,
    settings_here,
    write_result,
)


@app.command
def run(
    dataset: str,
    *,
    preset: str = "quick",
    set_: Overrides = None,
    seed: int | None = None,
    json_: Json = None,
) -> None:
    """Do the main job, whole: ingest, validate, prepare, train, evaluate, register.

    Args:
        dataset: A name of the catalogue, or a path to a YAML file, a data file or a folder of Parquet files.
        preset: `quick` (minutes on a CPU), `paper` (the published size) or `best` (flow matching).
        seed: Fixes weights, batches, noise and judges.
    """
    from flows.environment import configure
    from flows.server import prefect_api

    settings = settings_here()
    job = job_of(dataset, settings, preset, set_, seed)
    refuse_missing_folder(json_)
    configure(settings)
    with prefect_api(settings) as api:
        from flows.show import quiet_tracebacks, show_result
        from flows.train import TrainResult, train

        quiet_tracebacks()
        say_where(api)
        state = train(job, return_state=True)
        if state.is_cancelled():
            raise TimeloomError(f"cancelled: {state.message}")
        result = cast("TrainResult", state.result())
    show_result(out, result)
    write_result(json_, result.model_dump(mode="json"))


@app.command
def compare(
    dataset: str,
    *,
    models: str | None = None,
    preset: str = "quick",
    set_: Overrides = None,
    seed: int | None = None,
    json_: Json = None,
) -> None:
    """Train and judge several generators on one dataset, with the same training and judges; a table.

    Args:
        dataset: A name of the catalogue, or a path to a YAML file, a data file or a folder of Parquet files.
        models: Kinds with commas between, e.g. timegan,rcgan; every one if left out.
        preset: `quick` (minutes each on a CPU) or `paper` (the published size).
        seed: Fixes weights, batches, noise and judges.
    """
    from core.comparison import comparison_jobs
    from flows.environment import configure
    from flows.server import prefect_api

    settings = settings_here()
    job = job_of(dataset, settings, preset, set_, seed)
    kinds = comparison_jobs(job, [kind.strip() for kind in models.split(",")] if models else None)
    refuse_missing_folder(json_)
    configure(settings)
    with prefect_api(settings) as api:
        from flows.compare import compare as compare_flow
        from flows.show import quiet_tracebacks, show_comparison

        quiet_tracebacks()
        say_where(api)
        rows = compare_flow(job, list(kinds))
    show_comparison(out, rows)
    write_result(json_, [row.model_dump(mode="json") for row in rows])
    if failed := [row.model for row in rows if row.error]:
        raise TimeloomError(f"{', '.join(failed)} could not be compared, see the table")
