"""`generate`: synthetic windows, or one long series, as files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from core.errors import ConfigError
from core.generation.options import MAX_WINDOWS, GenerationConfig
from flows.cli.common import (
    Json,
    app,
    err,
    named_values,
    out,
    refuse_missing_folder,
    settings_here,
    write_result,
)

if TYPE_CHECKING:
    from core.generation.writer import Generated


@app.command
def generate(
    model: str,
    *,
    n: Annotated[int | None, Parameter(name=["-n", "--windows"], help="Windows to draw.")] = None,
    output: Annotated[
        str,
        Parameter(
            name=["-o", "--output"],
            help="A .parquet, .csv or .npy file, or a folder of Parquet parts (ends in /); a path or a URL, as "
            "s3://bucket/synthetic.parquet.",
        ),
    ],
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
    scenario: Annotated[
        list[str] | None,
        Parameter(
            name="--scenario",
            consume_multiple=False,
            negative=(),
            help="What windows shall fulfil: 'Close: -10% in 5 steps' (from the first step on) or 'Close: to "
            "120 at 23' (steps from 0); several are fulfilled at once.",
        ),
    ] = None,
    steps: int | None = None,
    overlap: int | None = None,
    series: int | None = None,
    candidates: int | None = None,
    seams: Literal["warn", "refuse"] | None = None,
    json_: Json = None,
) -> None:
    """Draw synthetic windows, or one long series, from a registered model; the same seed gives the same bytes.

    A call that was cut off goes on from its last finished part when it is made again.

    Args:
        model: `name@champion`, `name/3`, an MLflow run id, or a folder.
        seed: From 0.
        start: Stamp of each window's (or the series') first step; adds a `time` column on the dataset's
            calendar or frequency.
        scaled: Encoded channels (numbers by the training minimum and maximum), not original units.
        steps: One series of so many steps out of overlapping windows, in place of -n windows.
        overlap: Of a series: steps that neighbouring windows share; half a window if left out.
        series: So many series of --steps rows side by side, with a column `series`.
        candidates: Of a series: windows drawn for each piece, the best fit of which is kept; 64 if left out.
            Not of a generator that completes windows.
        seams: Of a series: `refuse` fails where the seams can be told from other steps.
    """
    from core.schema import validated
    from flows.environment import configure

    settings = settings_here()
    tree: dict[str, Any] = {
        "model": model,
        "output": output,
        "form": "windows" if steps is None else "series",
        "seed": seed,
        "start": start,
        "scaled": scaled,
        "condition": named_values(condition) or {},
        "scenario": scenario or [],
        "steps": steps,
        "overlap": overlap,
        "series": series,
        **{
            name: value
            for name, value in {"windows": n, "candidates": candidates, "seams": seams}.items()
            if value is not None
        },
    }
    _check(n, steps, seed)
    job = validated(GenerationConfig, tree, source="generate")
    refuse_missing_folder(json_)
    configure(settings)
    from core.generation.write import generate as write
    from core.generators.bundle import GeneratorBundle
    from tasks.generation import locate
    from tasks.progress import progress

    found = locate(model, settings)
    with progress("generate") as report:
        made = write(GeneratorBundle.load(found.path), job, found.origin, settings.lake, report)
    _show(made)
    write_result(json_, made.model_dump(mode="json"))


def _check(n: int | None, steps: int | None, seed: int) -> None:
    """In the words of the command line."""
    if (n is None) == (steps is None):
        raise ConfigError("expected -n (windows) or --steps (one series), one of them")
    if not 1 <= (1 if n is None else n) <= MAX_WINDOWS or not 0 <= seed < 2**63:
        raise ConfigError(
            f"expected -n from 1 to {MAX_WINDOWS:,} and --seed from 0 to 2^63 - 1, got {n} and {seed}"
        )


def _show(made: Generated) -> None:
    columns = len(made.columns)
    what = "a series" if made.series is None else f"{made.series:,} series"
    what = what if made.windows is None else f"{made.windows:,} windows"
    out.print(f"{what}, {made.rows:,} rows x {columns} columns: {made.address}", soft_wrap=True, markup=False)
    if made.reused:
        err.print("[dim]it was whole already: nothing was written[/dim]")
    elif made.resumed:
        err.print(f"[dim]{made.resumed:,} parts had been finished by an earlier attempt[/dim]")
    if "reached" in made.lineage:
        from core.generation.scenario import in_words

        for sentence in in_words(made.lineage["reached"]):
            err.print(sentence, markup=False, soft_wrap=True)
    if made.seams is not None:
        from core.generation.seams import seams_in_words

        err.print(seams_in_words(made.seams), markup=False, soft_wrap=True)
