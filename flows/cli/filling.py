"""`fill`: empty cells of a table, and the rows after its last one."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.cli.common import (
    Json,
    app,
    err,
    out,
    refuse_missing_folder,
    resolve,
    settings_here,
    write_result,
)


@app.command
def fill(
    model: str,
    data: str,
    *,
    output: Annotated[
        str, Parameter(name=["-o", "--output"], help="A .parquet or .csv file; a path or a URL.")
    ],
    draws: int = 1,
    horizon: int = 0,
    seed: int = 0,
    json_: Json = None,
) -> None:
    """Fill in the empty cells of a table of one series, and forecast the rows after its last one.

    Cells that are there stay as they are. The generator is one of the kind flow_matching, trained with
    model.completion above 0; the same seed gives the same bytes.

    Args:
        model: `name@champion`, `name/3`, an MLflow run id, or a folder.
        data: A file, a URL, a dataset's YAML or its name: the generator's columns in original units, oldest row
            first.
        draws: Versions, each drawn anew, told apart by a column `draw`.
        horizon: Rows to forecast.
        seed: From 0.
    """
    from core.schema import validated
    from flows.environment import configure

    settings = settings_here()
    refuse_missing_folder(json_)
    from core.generation.fill import FillConfig, fill_file

    tree = {"model": model, "output": output, "draws": draws, "horizon": horizon, "seed": seed}
    job = validated(FillConfig, tree, source="fill")
    configure(settings)
    from core.generators.bundle import GeneratorBundle
    from tasks.generation import locate

    found = locate(model, settings)
    dataset = resolve(data, settings).dataset
    made = fill_file(GeneratorBundle.load(found.path), job, dataset, found.origin, settings.lake)
    versions = f", {made.draws:,} versions" if made.draws > 1 else ""
    out.print(f"{made.cells:,} cells drawn{versions}, {made.rows:,} rows: {made.address}", soft_wrap=True)
    if made.outside:
        err.print(
            f"{made.outside:,} cells of the data lie beyond what the generator learnt: what is drawn beside "
            "them is a guess"
        )
    write_result(json_, made.model_dump(mode="json"))
