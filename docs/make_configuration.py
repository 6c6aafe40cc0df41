"""Writes docs/configuration.md from the models that read the configuration.

Run it after changing one: `python docs/make_configuration.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from core.catalog import DatasetConfig
from core.config import PRESETS, JobConfig
from core.generation.options import GenerationConfig
from core.settings import Settings
from core.watch.options import WatchConfig

PAGE = Path(__file__).with_name("configuration.md")

HEAD = """# Configuration

Made by `python docs/make_configuration.py` from `core/config.py`, `core/catalog.py` and `core/settings.py`.

A job starts from a preset (in a deployment or a file: `preset: quick`); `--set key=value` (as often as needed)
changes any key below, `--seed` both seeds. An unknown key is refused and the nearest valid one named. The whole
configuration is logged to MLflow, as parameters and as `config.yaml`.
"""


def page() -> str:
    """The page's Markdown."""
    parts = [HEAD, "## Presets\n", "| key | " + " | ".join(f"`{name}`" for name in PRESETS) + " |"]
    parts.append("|---|" + "---|" * len(PRESETS))
    leaves: dict[str, dict[str, Any]] = {}
    for preset, tree in PRESETS.items():
        for key, value in flat(tree):
            leaves.setdefault(key, {})[preset] = f"{value:,}" if isinstance(value, int) else f"`{value}`"
    parts += [
        f"| `{key}` | " + " | ".join(values.get(p, "") for p in PRESETS) + " |"
        for key, values in leaves.items()
    ]
    for section, field in JobConfig.model_fields.items():
        if section not in ("dataset", "preset"):
            kinds = [model for model in get_args(field.annotation) if is_model(model)]
            parts += ["", f"## `{section}`", *([] if kinds else ["", *table(field.annotation, f"{section}.")])]
            for model in kinds:
                kind, told = model.model_fields["kind"].default, (model.__doc__ or "").splitlines()[0]
                parts += ["", f"### `{section}` of kind `{kind}`\n", f"{told}\n", *table(model, f"{section}.")]
    parts += ["", "## Dataset files (and `dataset.`)\n", *table(DatasetConfig, "")]
    for name, job in (("generate", GenerationConfig), ("watch", WatchConfig)):
        parts += ["", f"## Jobs of the flow `{name}`\n", *own_rows(job)]
    parts += ["", "## Machine settings (environment)\n", *table(Settings, "TIMELOOM_", upper=True)]
    parts += [
        "",
        "Prefect's and MLflow's own variables win: `PREFECT_API_URL`, `MLFLOW_TRACKING_URI`, and the rest.",
    ]
    return "\n".join(parts) + "\n"


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by their dotted names."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def table(model: Any, prefix: str, *, upper: bool = False) -> list[str]:
    """Rows of a table, nested sections by their dotted names."""
    return ["| key | default | meaning |", "|---|---|---|", *rows(model, prefix, upper)]


def own_rows(model: type[BaseModel]) -> list[str]:
    """A table of a model's own fields; a dataset in it has a section of its own."""
    lines = [
        f"| `{name}` | {default(field)} | {meaning(field)} |" for name, field in model.model_fields.items()
    ]
    return ["| key | default | meaning |", "|---|---|---|", *lines]


def rows(model: type[BaseModel], prefix: str, upper: bool) -> Iterator[str]:
    """One row for each field of `model` and of the models in it."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name.upper() if upper else name}"
        inner = [m for m in (field.annotation, *get_args(field.annotation)) if is_model(m)]
        if not inner or field.description:
            yield f"| `{key}` | {default(field)} | {meaning(field)} |"
        for nested in inner:
            kind = nested.model_fields.get("kind")
            label = f" (kind `{kind.default}`)" if kind else ""
            if label:
                yield f"| `{key}`{label} | | {(nested.__doc__ or '').splitlines()[0]} |"
            yield from rows(nested, f"{key}.", upper)


def is_model(annotation: Any) -> bool:
    """Whether an annotation is a section of the configuration."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def default(field: FieldInfo) -> str:
    """The default as the page shows it."""
    if field.default is PydanticUndefined:
        return "" if field.is_required() else "none"
    if isinstance(field.default, Path):
        return f"`{'/'.join(field.default.parts[-2:])}`"
    return "" if field.default in (None, "", ()) else f"`{field.default}`"


def meaning(field: FieldInfo) -> str:
    """The description and what limits the value."""
    bounds = [f"{sign} {getattr(m, name)}" for m in field.metadata for name, sign in SIGNS if hasattr(m, name)]
    choices = [f"`{value}`" for value in get_args(field.annotation) if isinstance(value, str)]
    limits = "; ".join(part for part in (", ".join(bounds), " or ".join(choices)) if part)
    text = (field.description or "").replace("|", "\\|")
    return f"{text} ({limits})" if limits and text else text or limits


SIGNS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
