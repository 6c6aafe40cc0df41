"""What a registered model carries so that it can be loaded where this repository is not."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

from core.lake import CORE, code_digest, content_digest, file_digest

# Everything that `core.generators.bundle` imports, and nothing of the training.
MODULES = (
    "__init__.py",
    "errors.py",
    "tensors.py",
    "networks",
    "generators/__init__.py",
    "generators/base.py",
    "generators/bundle.py",
    "generators/module.py",
    "generators/registry.py",
    "generators/timegan/__init__.py",
    "generators/timegan/model.py",
    "prepare/__init__.py",
    "prepare/encode.py",
    "prepare/layout.py",
    "prepare/scaler.py",
    "prepare/series.py",
)
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas")

MODEL_SCRIPT = Path(__file__).with_name("registered_model.py")

_CORE_IMPORT = re.compile(r"^(\s*)(from|import) core\b", re.MULTILINE)


def write_package(parent: Path) -> str:
    """Copy the sampling code under a name of its own; returns the name.

    `core` is a common name: a user's own package of that name, or another version of this one, may be
    imported already where the model is loaded. So the copy is named by the digest of its source.
    """
    name = f"timeloom_{code_digest(*MODULES)[:12]}"
    for module in MODULES:
        root = CORE / module
        for source in [root] if root.is_file() else sorted(root.rglob("*.py")):
            target = parent / name / source.relative_to(CORE)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            target.write_text(_CORE_IMPORT.sub(rf"\1\2 {name}", text), encoding="utf-8")
    return name


def packaging_digest() -> str:
    """Of everything that makes a package out of a generator's files."""
    return content_digest(
        script=file_digest(MODEL_SCRIPT), this=file_digest(Path(__file__)), code=code_digest(*MODULES)
    )


def pip_requirements() -> list[str]:
    """The packages that the model needs, as installed here; local version labels (`+cpu`) are left out."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]
