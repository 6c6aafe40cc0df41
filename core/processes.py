"""How child processes of our own are started."""

from __future__ import annotations

import os

from core.lake import CORE


def child_environment() -> dict[str, str]:
    """This process's variables with our packages found first, wherever the child starts.

    Children are started with `-P`: a file `torch.py` in the user's folder must not be taken for the library.
    """
    before = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(CORE.parent), *([before] if before else [])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
