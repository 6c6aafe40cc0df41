"""What the commands share: the app, their parameters, consoles, how a job is made of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from core import __version__
from core.errors import ConfigError

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

out = Console()
err = Console(stderr=True)

Overrides = Annotated[
    list[str] | None,
    Parameter(
        name="--set", consume_multiple=False, negative=(), help="key=value, as in training.batch_size=64."
    ),
]
Json = Annotated[Path | None, Parameter(name="--json", help="Write the result here as JSON.")]


def fail(message: str, code: int) -> int:
    """Print an error; the exit code is handed through."""
    # Not wrapped: paths in it are to be copied.
    err.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    return code


def say_where(api: str) -> None:
    """Where to watch the run."""
    err.print(f"[dim]Prefect: {api.removesuffix('/api')} (here while this runs; later: timeloom ui)[/dim]")


def refuse_missing_folder(json_: Path | None) -> None:
    """Before hours of work whose result could not be written."""
    if json_ is not None and not json_.absolute().parent.is_dir():
        raise ConfigError(f"--json {json_}: there is no folder {json_.absolute().parent}")


def settings_here() -> Settings:
    """The machine's settings, their errors readable."""
    from core.schema import validated
    from core.settings import Settings

    return validated(Settings, {}, source="environment")


def resolve(dataset: str, settings: Settings) -> Resolved:
    """The dataset that was typed; what was inferred is said."""
    from core.sources.resolve import resolve_dataset

    resolved = resolve_dataset(dataset, settings.catalog)
    for note in resolved.notes:
        err.print(Text(f"inferred: {note}", style="dim"))
    return resolved


def snapshot_here(dataset: DatasetConfig, settings: Settings) -> SnapshotRef:
    """A snapshot taken without Prefect, with a bar."""
    from core.sources.snapshots import snapshot
    from tasks.progress import progress

    with progress(f"ingest {dataset.name}") as report:
        return snapshot(dataset, settings.lake, partial(report, "reading"))


def job_of(
    dataset: str, settings: Settings, preset: str, overrides: list[str] | None, seed: int | None
) -> JobConfig:
    """The job that a dataset, a preset and `--set` describe."""
    from core.config import build_job

    resolved = resolve(dataset, settings)
    return build_job(resolved.dataset, preset=preset, overrides=overrides or (), seed=seed)


def named_values(pairs: list[str] | None) -> dict[str, str] | None:
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


def write_result(path: Path | None, value: Any) -> None:
    """Where `--json` asked for it."""
    if path is not None:
        from core.lake import write_json

        write_json(path, value)
