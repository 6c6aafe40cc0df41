"""`generate`: synthetic windows as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from core.errors import ConfigError
from flows.cli.common import app, named_values, out, settings_here

MAX_WINDOWS = 10_000_000
"""In one file: they are made in memory."""


@app.command
def generate(
    model: str,
    *,
    n: Annotated[int, Parameter(name=["-n", "--windows"], help="Windows to draw.")],
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="A .parquet, .csv or .npy file.")],
    seed: int = 0,
    start: str | None = None,
    scaled: bool = False,
    condition: Annotated[
        list[str] | None,
        Parameter(
            name="--condition",
            consume_multiple=False,
            negative=(),
            help="name=value for each column that the generator is conditioned on, as in group=forward.",
        ),
    ] = None,
) -> None:
    """Draw synthetic windows from a registered model; the same seed gives the same bytes.

    Args:
        model: `name@champion`, `name/3`, an MLflow run id, or a folder.
        seed: From 0.
        start: Stamp of each window's first step; adds a `time` column on the dataset's calendar or frequency.
        scaled: Encoded channels (numbers by the training minimum and maximum), not original units.
    """
    from flows.environment import configure

    settings = settings_here()
    configure(settings)
    if not 1 <= n <= MAX_WINDOWS or not 0 <= seed < 2**63:
        raise ConfigError(
            f"expected -n from 1 to {MAX_WINDOWS:,} and --seed from 0 to 2^63 - 1, got {n} and {seed}"
        )
    from core.generators.bundle import GeneratorBundle
    from core.generators.export import write_windows
    from core.prepare.time.timeline import future_stamps
    from tasks.registry.versions import resolve_model
    from tasks.tracking import connect

    if not Path(model).is_dir():
        connect(settings)  # a server that is down is told from a model that is not there
    bundle = GeneratorBundle.load(resolve_model(model))
    stamps = future_stamps(bundle.series.time, start, bundle.generator.length) if start else None
    given = named_values(condition)
    lineage = {
        "model": model,
        "seed": seed,
        "dataset": bundle.series.dataset,
        "digest": bundle.series.digest,
        **({"condition": given} if given else {}),
    }
    write_windows(
        bundle, output, n=n, seed=seed, scaled=scaled, stamps=stamps, lineage=lineage, condition=given
    )
    columns = len(bundle.series.features)
    out.print(f"{n:,} windows of {bundle.generator.length} steps x {columns} columns: {output}")
