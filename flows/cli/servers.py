"""`serve`, `ui` and `doctor`: servers and the machine."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from core.errors import ConfigError, TimeloomError
from flows.cli.common import Json, app, err, out, resolve, settings_here, write_result


@app.command
def serve(dataset: list[str] | None = None, *, cron: str | None = None, timezone: str | None = None) -> None:
    """Serve deployments here: run by this process, one at a time, when scheduled or asked for in the UI.

    Args:
        dataset: Names of the catalogue or paths: `train/<dataset>` for each. Without any, all deployments of
            deploy/prefect.yaml, as scheduled there.
        cron: Schedule of every named dataset, e.g. "0 6 * * 1"; without it they run on demand.
        timezone: Of `--cron`, e.g. America/New_York; UTC if not given.
    """
    from core.schema import validated
    from flows.deployments import ScheduleSpec, read_deployments
    from flows.environment import configure
    from flows.server import prefect_api

    if not dataset and (cron or timezone):
        raise ConfigError(
            "--cron and --timezone are for named datasets: name some, or change deploy/prefect.yaml"
        )
    schedule = {"slug": "serve", "cron": cron, "timezone": timezone or "UTC"} if cron else None
    when = validated(ScheduleSpec, schedule, source="schedule") if schedule else None
    settings = settings_here()
    datasets = [resolve(name, settings).dataset for name in dataset or ()]
    if not datasets:
        read_deployments()  # refused before a server is started
    configure(settings)
    with prefect_api(settings) as api:
        from flows.serve import serve_all, serve_datasets

        err.print(f"Prefect: {api.removesuffix('/api')}/deployments")
        err.print(
            "One run at a time: this process runs them all, and the embedded server's SQLite is for one. "
            "For more at once, use a server of your own and workers (docs/deploy.md).",
            soft_wrap=True,
        )
        if datasets:
            serve_datasets(datasets, settings.catalog, when)
        else:
            serve_all()


@app.command
def ui() -> None:
    """Show the Prefect and MLflow pages on loopback until Ctrl-C."""
    from flows.environment import configure
    from flows.ui import serve_pages

    settings = settings_here()
    configure(settings)
    serve_pages(settings, out)


@app.command
def doctor(*, json_: Json = None) -> None:
    """Check versions, devices, servers, disk and the catalogue."""
    from flows.doctor import examine
    from flows.environment import configure

    settings = settings_here()
    configure(settings)
    findings = examine(settings)
    write_result(json_, [finding.model_dump() for finding in findings])
    table = Table("", "what", "found")
    for finding in findings:
        table.add_row("[green]ok" if finding.ok else "[red]no", finding.what, Text(finding.found))
    out.print(table)
    if not all(finding.ok for finding in findings):
        raise TimeloomError("something is wrong with this machine, see above")
