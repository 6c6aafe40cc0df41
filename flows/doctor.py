"""Is this machine fit for Timeloom?"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial

from pydantic import BaseModel

from core.catalog import list_datasets, load_dataset
from core.errors import TimeloomError
from core.settings import Settings
from flows.server import is_healthy

PACKAGES = ("prefect", "mlflow", "great_expectations", "torch", "numba", "pandas", "pyarrow", "fastapi")
FREE_GIB = 2.0
GIB = 2**30


class Finding(BaseModel):
    """One thing looked at."""

    what: str
    ok: bool
    found: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; of the lake, the folder and MLflow's empty tables are made."""
    return [
        Finding(what="Python", ok=sys.version_info >= (3, 11), found=platform.python_version()),
        *(_attempt(f"package {name}", partial(importlib.metadata.version, name)) for name in PACKAGES),
        _attempt("device", lambda: _device(settings)),
        _attempt("lake", lambda: _lake(settings)),
        *_servers(settings),
        *(
            _attempt(f"dataset {name}", partial(_dataset, settings, name))
            for name in list_datasets(settings.catalog)
        ),
    ]


def _attempt(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, ok=True, found=look())
    except (TimeloomError, OSError, ImportError) as error:
        return Finding(what=what, ok=False, found=str(error))


def _dataset(settings: Settings, name: str) -> str:
    return load_dataset(settings.catalog / f"{name}.yaml").source.kind


def _device(settings: Settings) -> str:
    import torch

    from core.training.device import resolve_device

    device = resolve_device(settings.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    threads = (
        "1 or all threads, by measurement," if settings.threads is None else f"{settings.threads} thread(s)"
    )
    return f"{device} ({name}), {os.cpu_count()} CPU cores, {threads} a training"


def _lake(settings: Settings) -> str:
    settings.lake.mkdir(parents=True, exist_ok=True)
    probe = settings.lake / f".doctor-{os.getpid()}"
    probe.touch()
    probe.unlink()
    free = shutil.disk_usage(settings.lake).free / GIB
    if free < FREE_GIB:
        raise OSError(f"{settings.lake}: {free:.1f} GiB free, expected at least {FREE_GIB:g}")
    return f"{settings.lake}: writable, {free:.0f} GiB free"


def _servers(settings: Settings) -> Iterator[Finding]:
    url = os.environ.get("PREFECT_API_URL")
    if url:
        yield Finding(what="Prefect API", ok=is_healthy(url), found=url)
    else:
        yield Finding(what="Prefect API", ok=True, found="embedded, started when needed")

    def look() -> str:
        from tasks.tracking import connect, without_password

        return without_password(str(connect(settings).tracking_uri))

    yield _attempt("MLflow", look)
