"""Datasets by name: the YAML files of `data/catalog/` and what they may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from core.errors import ConfigError
from core.prepare.layout import ColumnKind
from core.schema import Section, validated

SLUG = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
MAX_YAML_BYTES = 1_000_000
_RELATION = re.compile(r"^\s*(?P<left>.+?)\s+(?P<operator><=|>=|<|>)\s+(?P<right>.+?)\s*$")


class FileSource(Section):
    """A CSV or Parquet file."""

    kind: Literal["file"] = "file"
    path: str = Field(min_length=1, description="The file; a relative path starts at the YAML file's folder.")
    format: Literal["auto", "csv", "parquet"] = Field(default="auto", description="`auto`: by the ending.")
    delimiter: str | None = Field(default=None, min_length=1, max_length=1, description="Detected if empty.")
    decimal: Literal[".", ","] = Field(default=".", description="Decimal mark of a CSV.")


class ArchSource(Section):
    """A daily price table that the package `arch` carries."""

    kind: Literal["arch"] = "arch"
    table: Literal["sp500", "nasdaq"]


class SineSource(Section):
    """The TimeGAN paper's sine waves, simulated: `sin(2 pi eta t + theta)` (section 5.1).

    `variant: paper` draws eta from U[0, 1] and theta from U[-pi, pi]; `variant: code` is what the published
    code does instead, `sin(f t + p)` with f and p from U[0, 0.1], scaled from [-1, 1] to [0, 1].
    """

    kind: Literal["sine"] = "sine"
    variant: Literal["code", "paper"] = "code"
    series: int = Field(default=10_000, ge=1, le=10_000_000, description="Independent series.")
    length: int = Field(default=24, ge=2, le=4096, description="Steps of each series.")
    features: int = Field(default=5, ge=1, le=1000, description="Columns.")
    seed: int = Field(default=0, ge=0, lt=2**63)


class EventsSource(Section):
    """Simulated event sequences of mixed types and lengths, in place of the TimeGAN paper's private Events.

    The equations stand in `core.sources.events` and docs/datasets.md.
    """

    kind: Literal["events"] = "events"
    series: int = Field(default=5000, ge=1, le=1_000_000, description="Independent sequences.")
    min_length: int = Field(default=8, ge=1, le=4096, description="Fewest events of a sequence.")
    length: int = Field(default=24, ge=2, le=4096, description="Most events of a sequence.")
    types: int = Field(default=6, ge=2, le=12, description="Event types.")
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _shortest_first(self) -> EventsSource:
        if self.min_length > self.length:
            raise ValueError(f"min_length={self.min_length} is more than length={self.length}")
        return self


Source = Annotated[FileSource | ArchSource | SineSource | EventsSource, Field(discriminator="kind")]


class TimeConfig(Section):
    """When rows happened, and what counts as a gap between them."""

    column: str | None = Field(default=None, description="The time column; found if empty, see `none`.")
    none: bool = Field(default=False, description="The rows carry no time: their order is the time.")
    newest_first: bool = Field(default=False, description="Only without a time column: turn the rows round.")
    calendar: str | None = Field(
        default=None, description="Trading calendar, e.g. XNYS: a missing session is a gap, a holiday is none."
    )
    frequency: str | None = Field(
        default=None, description="Expected step, e.g. 10min or D; inferred if empty."
    )
    max_gap: str | None = Field(
        default=None, description="A longer step is a gap, e.g. 5D; overrides the above."
    )


class MissingConfig(Section):
    """What to do with empty cells."""

    policy: Literal["refuse", "drop_row", "forward_fill", "mask"] = Field(
        default="refuse",
        description="`mask` keeps them missing: the generator learns where cells are missing, too.",
    )
    limit: int = Field(default=3, ge=1, description="Longest run of rows that `forward_fill` fills.")


class StaticColumn(Section):
    """A static column whose kind must be said, such as the integer codes of groups."""

    static: Literal[True]
    kind: ColumnKind


def _form_of_role(value: Any) -> str:
    return "mapping" if isinstance(value, dict | StaticColumn) else "role"


Role = Annotated[
    Annotated[Literal["continuous", "binary", "categorical", "static", "drop"], Tag("role")]
    | Annotated[StaticColumn, Tag("mapping")],
    Discriminator(_form_of_role),
]


class Bounds(Section):
    """Closed range of valid values of a column."""

    min: float | None = None
    max: float | None = None


class Relation(Section):
    """An order between two columns that holds in every row."""

    left: str
    operator: Literal["<", "<=", ">", ">="]
    right: str

    @classmethod
    def parse(cls, text: str) -> Relation:
        """`"Low <= Adj Close"`; the operator stands between spaces."""
        match = _RELATION.match(text)
        if match is None:
            raise ValueError(f"expected 'COLUMN <= COLUMN' (or <, >, >=), got {text!r}")
        return cls.model_validate(match.groupdict())


class Expectations(Section):
    """What valid rows satisfy, beyond what the pipeline needs of any data."""

    ranges: dict[str, Bounds] = Field(default_factory=dict, description="By column.")
    relations: tuple[str, ...] = Field(default=(), description="For example `Low <= Close`.")
    min_rows: int = Field(default=1, ge=1)

    @field_validator("relations")
    @classmethod
    def _relations_parse(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            Relation.parse(text)
        return value


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
        "`{static: true, kind: categorical}` or `drop`. A column that is not named is continuous, a boolean "
        "one binary.",
    )
    missing: MissingConfig = MissingConfig()
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
    if not path.is_file():
        raise ConfigError(f"there is no dataset file {path}")
    if path.stat().st_size > MAX_YAML_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_YAML_BYTES:,} bytes: this is no dataset file")
    try:
        tree: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping with at least `source`, got {type(tree).__name__}")
    tree.setdefault("name", path.stem)
    dataset = validated(DatasetConfig, tree, source=str(path))
    return _with_absolute_path(dataset, path.parent)


def _with_absolute_path(dataset: DatasetConfig, folder: Path) -> DatasetConfig:
    source = dataset.source
    if not isinstance(source, FileSource):
        return dataset
    absolute = str((folder / Path(source.path).expanduser()).resolve())
    return dataset.model_copy(update={"source": source.model_copy(update={"path": absolute})})
