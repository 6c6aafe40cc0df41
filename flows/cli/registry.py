"""`models`, `promote` and `rollback`: what is registered, and which version serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from core.errors import ConfigError
from flows.cli.common import Json, app, err, out, refuse_missing_folder, settings_here, write_result

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from core.settings import Settings


@app.command
def models(name: str | None = None, *, json_: Json = None) -> None:
    """List the registered models and their versions; of one model also who was champion when.

    Args:
        name: Of a registered model.
    """
    from flows.environment import configure

    settings = settings_here()
    refuse_missing_folder(json_)
    configure(settings)
    from tasks.registry.history import history
    from tasks.registry.versions import has_model, list_versions
    from tasks.tracking import connect

    client = connect(settings)
    if name is not None and not has_model(client, name):
        raise ConfigError(f"there is no registered model {name!r}: `timeloom models` lists them")
    rows = list_versions(client, name)
    changes = [] if name is None else [change.model_dump() for change in history(client, name)]
    write_result(json_, rows if name is None else {"versions": rows, "history": changes})
    if not rows:
        out.print("no models yet: timeloom run sp500 makes one")
        return
    if name is None:
        out.print(_versions(rows))
        return
    out.print(_reasons(rows))
    out.print(_history(changes) if changes else f"{escape(name)} has had no champion")


@app.command
def promote(model: str, *, reason: str = "", json_: Json = None) -> None:
    """Make a version the champion, whatever the gates say of it.

    Args:
        model: name/version or name@alias, as in sp500-timegan@challenger.
        reason: Kept in the history of the model.
    """
    client, settings, api = _registry(json_)
    from tasks.registry.champions import find, promote_by_hand
    from tasks.registry.versions import PROMOTION_TAG

    said = find(client, model).tags.get(PROMOTION_TAG, "were not asked")
    name, version, before = promote_by_hand(client, settings.lake, model, reason)
    result = {"name": name, "version": version, "before": before, "reason": reason, "gates": said}
    write_result(json_, result)
    if before == version:
        out.print(Text(f"{name} version {version} is the champion already"), soft_wrap=True)
        return
    was = f"before it version {before}" if before else "there was none before"
    out.print(Text(f"{name} version {version} is the champion, {was}. The gates: {said}"), soft_wrap=True)
    _tell(api, result)


@app.command
def rollback(name: str, *, to: str | None = None, reason: str = "", json_: Json = None) -> None:
    """Make the champion before the present one the champion again; repeat to go further back.

    Args:
        name: Of a registered model.
        to: Go back to this version, which must have been the champion once.
        reason: Kept in the history of the model.
    """
    client, settings, api = _registry(json_)
    from tasks.registry.champions import roll_back

    before, version = roll_back(client, settings.lake, name, to, reason)
    result = {"name": name, "version": version, "before": before, "reason": reason or "rolled back by hand"}
    write_result(json_, result)
    out.print(
        Text(f"{name} version {version} is the champion again, version {before} was taken back"), soft_wrap=True
    )
    _tell(api, result)


def _registry(json_: Json) -> tuple[MlflowClient, Settings, str | None]:
    """The registry, the machine's settings, and the Prefect API that runs, if any."""
    from flows.environment import configure
    from flows.server import running_api

    settings = settings_here()
    refuse_missing_folder(json_)
    configure(settings)
    api = running_api(settings)  # before prefect is imported: it reads the address once
    from tasks.tracking import connect

    return connect(settings), settings, api


def _tell(api: str | None, result: dict[str, Any]) -> None:
    """An event, where a Prefect server runs: without one nobody would act on it."""
    if api is None:
        err.print("[dim]no Prefect server runs: no event is emitted[/dim]", soft_wrap=True)
        return
    from tasks.events import PROMOTED, emit

    emit(
        PROMOTED, "model", result["name"], {key: result[key] for key in ("name", "version", "before", "reason")}
    )


def _versions(rows: list[dict[str, Any]]) -> Table:
    table = Table("model", "version", "aliases", "dataset", "discriminative", "predictive")
    for row in rows:
        cells = (row["name"], row["version"], ", ".join(row["aliases"]), row["dataset"])
        table.add_row(*map(escape, (*cells, row["discriminative"][:6], row["predictive"][:6])))
    return table


def _reasons(rows: list[dict[str, Any]]) -> Table:
    """Versions of one model, with what was decided about each."""
    table = Table("version", "aliases", "discriminative", "predictive", "promotion", title="versions")
    for row in rows:
        cells = (row["version"], ", ".join(row["aliases"]), row["discriminative"][:6], row["predictive"][:6])
        table.add_row(*map(escape, (*cells, row["promotion"])))
    return table


def _history(changes: list[dict[str, Any]]) -> Table:
    table = Table("when, UTC", "who", "how", "from", "to", "why", title="champions")
    for change in changes:
        when = change["when"][:16].replace("T", " ")
        keys = ("who", "how", "before", "after", "why")
        table.add_row(when, *(escape(str(change[key] or "-")) for key in keys))
    return table
