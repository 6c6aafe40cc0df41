"""The command line: `timeloom COMMAND`. Heavy imports happen inside the commands, so that `--help` is quick."""

from __future__ import annotations

import json
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core import __version__
from core.errors import ConfigError, TimeloomError

if TYPE_CHECKING:
    from core.catalog import DatasetConfig
    from core.config import JobConfig
    from core.handles import SnapshotRef
    from core.settings import Settings
    from core.sources.resolve import Resolved

app = App(
    name="timeloom",
    version=__version__,
    help="Turn real multivariate time series into a trained, evaluated and registered generator.",
    suppress_keyboard_interrupt=False,  # main() says how it ended
)
MAX_WINDOWS = 10_000_000
"""In one file: they are made in memory."""

out = Console()
err = Console(stderr=True)

Overrides = Annotated[
    list[str] | None,
    Parameter(
        name="--set", consume_multiple=False, negative=(), help="key=value, as in training.batch_size=64."
    ),
]
Json = Annotated[Path | None, Parameter(name="--json", help="Write the result here as JSON.")]


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
        preset: `quick` (minutes on a CPU) or `paper` (the published size).
        seed: Fixes weights, batches, noise and judges.
    """
    from flows.environment import configure
    from flows.server import prefect_api

    settings = _settings()
    job = _job(dataset, settings, preset, set_, seed)
    _refuse_missing_folder(json_)
    configure(settings)
    with prefect_api(settings) as api:
        from flows.show import quiet_tracebacks, show_result
        from flows.train import TrainResult, train

        quiet_tracebacks()
        _say_where(api)
        state = train(job, return_state=True)
        if state.is_cancelled():
            raise TimeloomError(f"cancelled: {state.message}")
        result = cast("TrainResult", state.result())
    show_result(out, result)
    _write_json(json_, result.model_dump(mode="json"))


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

    settings = _settings()
    job = _job(dataset, settings, preset, set_, seed)
    kinds = comparison_jobs(job, [kind.strip() for kind in models.split(",")] if models else None)
    _refuse_missing_folder(json_)
    configure(settings)
    with prefect_api(settings) as api:
        from flows.compare import compare as compare_flow
        from flows.show import quiet_tracebacks, show_comparison

        quiet_tracebacks()
        _say_where(api)
        rows = compare_flow(job, list(kinds))
    show_comparison(out, rows)
    _write_json(json_, [row.model_dump(mode="json") for row in rows])
    if failed := [row.model for row in rows if row.error]:
        raise TimeloomError(f"{', '.join(failed)} could not be compared, see the table")


@app.command
def ingest(dataset: str, *, set_: Overrides = None, json_: Json = None) -> None:
    """Copy a dataset's source into an immutable snapshot.

    Args:
        dataset: A name of the catalogue, or a path to a YAML file, a data file or a folder of Parquet files.
    """
    settings = _settings()
    taken = _snapshot(_job(dataset, settings, "quick", set_, None).dataset, settings)
    _write_json(json_, taken.model_dump(mode="json"))
    verb = "unchanged, reused" if taken.reused else "new snapshot"
    out.print(f"{taken.dataset}: {verb}: {taken.rows:,} rows, sha256 {taken.digest[:16]}\n{taken.path}")


@app.command
def validate(
    dataset: str,
    *,
    profile: Annotated[bool, Parameter(negative=(), help="Propose a catalogue entry from the data.")] = False,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="With --profile: the YAML file to write.")
    ] = None,
    data_docs: Annotated[
        Path | None, Parameter(name="--data-docs", help="Build Great Expectations' own pages in this folder.")
    ] = None,
    set_: Overrides = None,
    json_: Json = None,
) -> None:
    """Check a dataset and print what failed, with column, rows and counts.

    Args:
        dataset: A name of the catalogue, or a path to a YAML file, a data file or a folder of Parquet files.
    """
    from core.quality import raise_if_failed
    from core.quality import validate as check
    from tasks.progress import progress

    if output is not None and not profile:
        raise ConfigError("-o is for --profile; the report lies in the lake, --json writes a copy")
    if profile and (data_docs is not None or json_ is not None):
        raise ConfigError("--profile proposes and does not check: leave out --data-docs and --json")
    settings = _settings()
    described = _job(dataset, settings, "quick", set_, None).dataset
    taken = _snapshot(described, settings)
    if profile:
        _write_profile(described, taken, output)
        return
    with progress(f"validate {described.name}") as show:
        report = check(described, taken, settings.lake, progress=partial(show, "rows"))
    _write_json(json_, json.loads((report.path / "report.json").read_text(encoding="utf-8")))
    if data_docs is not None:
        _write_data_docs(described, taken, data_docs)
    raise_if_failed(report)
    passed = report.checks - report.warnings
    out.print(f"{described.name}: {passed} of {report.checks} checks passed, {report.warnings} warnings")
    if report.quarantined:
        out.print(f"{report.quarantined:,} rows left out, see quarantine.parquet beside the report")
    out.print(Text(str(report.path / "report.html")), soft_wrap=True)


def _write_profile(dataset: DatasetConfig, taken: SnapshotRef, output: Path | None) -> None:
    from core.lake import write_atomically
    from core.quality.profile import propose
    from core.sources.stored import StoredRows
    from tasks.progress import progress

    with progress("profile") as report:
        text = propose(dataset, StoredRows.open(taken), progress=partial(report, "rows"))
    if output is None:
        sys.stdout.write(text)
        return
    write_atomically(output, text)
    out.print(Text(f"{output}: look it over, then: timeloom validate {output}"), soft_wrap=True)


def _write_data_docs(dataset: DatasetConfig, taken: SnapshotRef, folder: Path) -> None:
    from core.quality.docs import build_data_docs
    from core.sources.stored import StoredRows

    rows = StoredRows.open(taken)
    shown = build_data_docs(dataset, rows, folder)
    err.print(
        Text(
            "warning: Great Expectations does not escape names and cells in its pages, which load parts from "
            "the internet: do not open or publish those of data that you do not trust",
            style="yellow",
        ),
        soft_wrap=True,
    )
    part = "all rows" if shown == len(rows) else f"the first {shown:,} of {len(rows):,} rows"
    out.print(Text(f"Data Docs of {part}: {folder / 'index.html'}"), soft_wrap=True)


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

    settings = _settings()
    configure(settings)
    if not 1 <= n <= MAX_WINDOWS or not 0 <= seed < 2**63:
        raise ConfigError(
            f"expected -n from 1 to {MAX_WINDOWS:,} and --seed from 0 to 2^63 - 1, got {n} and {seed}"
        )
    from core.generators.bundle import GeneratorBundle
    from core.generators.export import write_windows
    from core.prepare.time.timeline import future_stamps
    from tasks.registry import resolve_model
    from tasks.tracking import connect

    if not Path(model).is_dir():
        connect(settings)  # a server that is down is told from a model that is not there
    bundle = GeneratorBundle.load(resolve_model(model))
    stamps = future_stamps(bundle.series.time, start, bundle.generator.length) if start else None
    given = _named_values(condition)
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
    _refuse_missing_folder(json_)
    scores = evaluate_files(
        real,
        synthetic,
        options=options,
        holdout=holdout if protocol == "holdout" else 0.0,
        dataset=None if dataset is None else _resolve(dataset, _settings()).dataset,
        output=output,
    )
    _write_json(json_, scores if len(scores) > 1 else next(iter(scores.values())))
    show_scores(out, scores, reported=output is not None)


@app.command
def catalog() -> None:
    """List the datasets of the catalogue."""
    from core.catalog import list_datasets, load_dataset

    settings = _settings()
    table = Table("dataset", "source", "description")
    for name in list_datasets(settings.catalog):
        dataset = load_dataset(settings.catalog / f"{name}.yaml")
        table.add_row(name, dataset.source.kind, dataset.description)
    out.print(table)


@app.command
def models(*, json_: Json = None) -> None:
    """List the registered models and their versions."""
    from flows.environment import configure

    settings = _settings()
    configure(settings)
    from tasks.registry import list_versions
    from tasks.tracking import connect

    rows = list_versions(connect(settings))
    _write_json(json_, rows)
    table = Table("model", "version", "aliases", "dataset", "discriminative", "predictive")
    for row in rows:
        aliases = ", ".join(row["aliases"])
        scores = (row["discriminative"][:6], row["predictive"][:6])
        table.add_row(row["name"], row["version"], aliases, row["dataset"], *scores)
    out.print(table if rows else "no models yet: timeloom run sp500 makes one")


@app.command
def serve(dataset: list[str] | None = None, *, cron: str | None = None, timezone: str = "UTC") -> None:
    """Serve the `train` flow here: a deployment for each dataset, run when scheduled or asked for in the UI.

    Args:
        dataset: Names of the catalogue; `sp500` if none is given.
        cron: Schedule of every deployment, e.g. "0 6 * * 1"; without it they run on demand.
        timezone: Of the schedule, e.g. America/New_York.
    """
    from flows.environment import configure
    from flows.server import prefect_api

    settings = _settings()
    jobs = [_job(name, settings, "quick", None, None) for name in dataset or ["sp500"]]
    configure(settings)
    with prefect_api(settings) as api:
        from flows.serve import serve_jobs

        err.print(f"Prefect: {api.removesuffix('/api')}/deployments")
        serve_jobs(jobs, cron, timezone)


@app.command
def ui() -> None:
    """Show the Prefect and MLflow pages on loopback until Ctrl-C."""
    from flows.environment import configure
    from flows.ui import serve_pages

    settings = _settings()
    configure(settings)
    serve_pages(settings, out)


@app.command
def doctor(*, json_: Json = None) -> None:
    """Check versions, devices, servers, disk and the catalogue."""
    from flows.doctor import examine
    from flows.environment import configure

    settings = _settings()
    configure(settings)
    findings = examine(settings)
    _write_json(json_, [finding.model_dump() for finding in findings])
    table = Table("", "what", "found")
    for finding in findings:
        table.add_row("[green]ok" if finding.ok else "[red]no", finding.what, Text(finding.found))
    out.print(table)
    if not all(finding.ok for finding in findings):
        raise TimeloomError("something is wrong with this machine, see above")


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], debug: bool = False
) -> None:
    """Run a command.

    Args:
        debug: Show the traceback of an error.
    """
    if tokens[:1] not in (("run",), ("compare",), ("serve",)):  # there Prefect sets up logging
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        app(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise SystemExit(_fail(str(error), 2)) from error
    except TimeloomError as error:
        if debug:
            err.print_exception()
        raise SystemExit(_fail(str(error), error.exit_code)) from error
    except Exception as error:
        if debug:
            err.print_exception()
        message = f"{type(error).__name__}: {error}\n(--debug shows where)"
        raise SystemExit(_fail(message, 1)) from error


def main() -> None:
    """Entry point of the script `timeloom`."""
    # So that `finally` runs and no child is left; inside a flow Prefect has a handler of its own.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app.meta()
    except KeyboardInterrupt:
        sys.exit(_fail("stopped by Ctrl-C", 1))


def _fail(message: str, code: int) -> int:
    # Not wrapped: paths in it are to be copied.
    err.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    return code


def _say_where(api: str) -> None:
    err.print(f"[dim]Prefect: {api.removesuffix('/api')} (here while this runs; later: timeloom ui)[/dim]")


def _refuse_missing_folder(json_: Path | None) -> None:
    """Before hours of work whose result could not be written."""
    if json_ is not None and not json_.absolute().parent.is_dir():
        raise ConfigError(f"--json {json_}: there is no folder {json_.absolute().parent}")


def _settings() -> Settings:
    from core.schema import validated
    from core.settings import Settings

    return validated(Settings, {}, source="environment")


def _resolve(dataset: str, settings: Settings) -> Resolved:
    from core.sources.resolve import resolve_dataset

    resolved = resolve_dataset(dataset, settings.catalog)
    for note in resolved.notes:
        err.print(Text(f"inferred: {note}", style="dim"))
    return resolved


def _snapshot(dataset: DatasetConfig, settings: Settings) -> SnapshotRef:
    from core.sources.snapshots import snapshot
    from tasks.progress import progress

    with progress(f"ingest {dataset.name}") as report:
        return snapshot(dataset, settings.lake, partial(report, "reading"))


def _job(
    dataset: str, settings: Settings, preset: str, overrides: list[str] | None, seed: int | None
) -> JobConfig:
    from core.config import build_job

    resolved = _resolve(dataset, settings)
    return build_job(resolved.dataset, preset=preset, overrides=overrides or (), seed=seed)


def _named_values(pairs: list[str] | None) -> dict[str, str] | None:
    """`["group=a"]` as `{"group": "a"}`; the generator's layout knows the types."""
    if not pairs:
        return None
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in values:
            raise ConfigError(f"--condition: expected name=value, each name once, got {pair!r}")
        values[name] = value
    return values


def _write_json(path: Path | None, value: Any) -> None:
    if path is not None:
        from core.lake import write_json

        write_json(path, value)
