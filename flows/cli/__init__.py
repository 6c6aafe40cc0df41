"""The command line: `timeloom COMMAND`. Heavy imports happen inside the commands, so that `--help` is quick."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated

from cyclopts import CycloptsError, Parameter

from core.errors import TimeloomError
from flows.cli import data, filling, generation, jobs, judging, registry, servers, watching
from flows.cli.common import app, err, fail

__all__ = ["app", "data", "filling", "generation", "jobs", "judging", "main", "registry", "servers", "watching"]


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], debug: bool = False
) -> None:
    """Run a command.

    Args:
        debug: Show the traceback of an error.
    """
    if tokens[:1] not in (("run",), ("compare",), ("serve",), ("watch",)):  # there Prefect sets up logging
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        app(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise SystemExit(fail(str(error), 2)) from error
    except TimeloomError as error:
        if debug:
            err.print_exception()
        raise SystemExit(fail(str(error), error.exit_code)) from error
    except Exception as error:
        if debug:
            err.print_exception()
        message = f"{type(error).__name__}: {error}\n(--debug shows where)"
        raise SystemExit(fail(message, 1)) from error


def main() -> None:
    """Entry point of the script `timeloom`."""
    # So that `finally` runs and no child is left; inside a flow Prefect has a handler of its own.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app.meta()
    except KeyboardInterrupt:
        sys.exit(fail("stopped by Ctrl-C", 1))
