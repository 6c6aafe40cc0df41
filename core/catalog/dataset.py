"""One dataset, and the YAML files of `data/catalog/` that describe one each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from core.catalog.columns import MissingConfig, Role, ScalingConfig
from core.catalog.expectations import Expectations
from core.catalog.sources import FileSource, Source
from core.catalog.time import TimeConfig
from core.errors import ConfigError
from core.schema import Section, validated

SLUG = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
MAX_YAML_BYTES = 1_000_000


class DatasetConfig(Section):
    """One dataset: where it comes from, what its columns mean, what must hold."""

    name: str = Field(pattern=SLUG.pattern, description="Lower-case letters, digits, - and _.")
    description: str = ""
    source: Source
    time: TimeConfig = TimeConfig()
    series: str | None = Field(default=None, description="Column that names the series a row belongs to.")
    columns: dict[str, Role] = Field(
        default_factory=dict,
        description="Role by column: `continuous`, `binary`, `categorical`, `static` (one value a series), "
        "`drop`, or a mapping such as `{kind: categorical, static: true}` or `{kind: continuous, scaler: "
        "robust}`. A column that is not named is continuous, a boolean one binary.",
    )
    missing: MissingConfig = MissingConfig()
    scaling: ScalingConfig = ScalingConfig()
    holdout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the rows, the latest ones, that no generator sees and the evaluation judges by. "
        "The first `window.length` rows after the border belong to neither part.",
    )
    expectations: Expectations = Expectations()

    @field_validator("source", mode="before")
    @classmethod
    def _a_path_alone_is_a_file(cls, value: Any) -> Any:
        if isinstance(value, dict) and "path" in value:
            return {"kind": "file", **value}
        return value


def list_datasets(catalog: Path) -> list[str]:
    """Names in the catalogue, sorted."""
    return sorted(path.stem for path in catalog.glob("*.yaml"))


def load_dataset(path: Path) -> DatasetConfig:
    """The dataset that a YAML file describes; its name is the file's unless it gives one.

    Raises:
        ConfigError: the file is missing, too large, no YAML mapping, or says what no dataset may say.
    """
    if not _is_file(path):
        raise ConfigError(f"there is no dataset file {str(path)[:200]}")
    if path.stat().st_size > MAX_YAML_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_YAML_BYTES:,} bytes: this is no dataset file")
    try:
        tree: Any = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    # An impossible date is a ValueError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping with at least `source`, got {type(tree).__name__}")
    tree.setdefault("name", path.stem)
    dataset = validated(DatasetConfig, tree, source=str(path))
    return _with_absolute_path(dataset, path.parent)


class _Loader(yaml.SafeLoader):
    """Of a key that is there twice PyYAML keeps the last without a word; here it is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _with_absolute_path(dataset: DatasetConfig, folder: Path) -> DatasetConfig:
    source = dataset.source
    if not isinstance(source, FileSource):
        return dataset
    if "://" in source.path:
        return dataset
    try:
        absolute = str((folder / Path(source.path).expanduser()).resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"source.path={source.path[:200]!r} is no path: {error}") from error
    return dataset.model_copy(update={"source": source.model_copy(update={"path": absolute})})
