"""`serve`, `ui` and `doctor`: servers and the machine."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from core.errors import TimeloomError
from flows.cli.common import Json, app, err, job_of, out, settings_here, write_result


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

    settings = settings_here()
    jobs = [job_of(name, settings, "quick", None, None) for name in dataset or ["sp500"]]
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
