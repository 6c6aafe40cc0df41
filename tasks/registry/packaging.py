"""What a registered model carries so that it can be loaded where this repository is not."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from functools import cache
from pathlib import Path

from core.lake import CORE, code_digest, content_digest, file_digest

REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas")

MAX_CELLS = 2_000_000
"""Of one answer, windows x steps x columns: 50 MB of JSON. The model's configuration may say another."""

MODEL_SCRIPT = Path(__file__).with_name("registered_model.py")

_CORE_IMPORT = re.compile(r"^(\s*)(from|import) core\b", re.MULTILINE)


@cache
def carried_modules() -> tuple[str, ...]:
    """Files of `core/` that sampling needs, sorted: what `core.generators.bundle` imports, and so on.

    Imports inside functions are left out: that is where generators import their training.
    """
    found: set[str] = set()
    left = ["core.generators.bundle"]
    while left:
        name = left.pop()
        path = _file_of(name)
        if path is None or path in found:
            continue
        found.add(path)
        left += [name.rpartition(".")[0], *_imported(path)]
    return tuple(sorted(found))


def _file_of(module: str) -> str | None:
    """`core.errors` as `errors.py`, `core.networks` as `networks/__init__.py`; None for what is no module."""
    inside = module.removeprefix("core").strip(".").replace(".", "/")
    for path in (f"{inside}.py", f"{inside}/__init__.py".lstrip("/")):
        if module and (CORE / path).is_file():
            return path
    return None


def _imported(path: str) -> list[str]:
    """Names in `core` that a file imports when it is loaded; some may be functions and classes."""
    names: list[str] = []
    for node in ast.parse((CORE / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name == "core" or name.startswith("core.")]


def write_package(parent: Path) -> str:
    """Copy the sampling code under a name of its own; returns the name.

    `core` is a common name: a user's own package of that name, or another version of this one, may be
    imported already where the model is loaded. So the copy is named by the digest of its source.
    """
    name = f"timeloom_{code_digest(*carried_modules())[:12]}"
    for module in carried_modules():
        target = parent / name / module
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (CORE / module).read_text(encoding="utf-8")
        target.write_text(_CORE_IMPORT.sub(rf"\1\2 {name}", text), encoding="utf-8")
    return name


def packaging_digest() -> str:
    """Of everything that makes a package out of a generator's files."""
    return content_digest(
        script=file_digest(MODEL_SCRIPT), this=file_digest(Path(__file__)), code=code_digest(*carried_modules())
    )


def pip_requirements() -> list[str]:
    """The packages that the model needs, as installed here; local version labels (`+cpu`) are left out."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]
