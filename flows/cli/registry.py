"""`models`: what is registered."""

from __future__ import annotations

from rich.table import Table

from flows.cli.common import Json, app, out, settings_here, write_result


@app.command
def models(*, json_: Json = None) -> None:
    """List the registered models and their versions."""
    from flows.environment import configure

    settings = settings_here()
    configure(settings)
    from tasks.registry.versions import list_versions
    from tasks.tracking import connect

    rows = list_versions(connect(settings))
    write_result(json_, rows)
    table = Table("model", "version", "aliases", "dataset", "discriminative", "predictive")
    for row in rows:
        aliases = ", ".join(row["aliases"])
        scores = (row["discriminative"][:6], row["predictive"][:6])
        table.add_row(row["name"], row["version"], aliases, row["dataset"], *scores)
    out.print(table if rows else "no models yet: timeloom run sp500 makes one")
