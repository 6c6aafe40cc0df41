"""Where a dataset comes from."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema import Section
from core.sources.secrets import refuse_secrets


class YahooFetch(Section):
    """Daily prices from Yahoo Finance, by the package `yfinance` (extra `fetch`)."""

    kind: Literal["yahoo"] = "yahoo"
    symbol: str = Field(pattern=r"^[A-Za-z0-9.^=-]{1,20}$")
    start: date | None = Field(default=None, description="First day; the first there is if empty.")
    end: date | None = Field(default=None, description="Day after the last; today if empty.")


class UrlFetch(Section):
    """A file at its public home."""

    kind: Literal["url"] = "url"
    url: str = Field(pattern=r"^https?://")

    @model_validator(mode="after")
    def _no_secret(self) -> UrlFetch:
        refuse_secrets(self.url, "source.fetch.url")
        return self


Fetch = Annotated[YahooFetch | UrlFetch, Field(discriminator="kind")]


class FileSource(Section):
    """A file, a folder of Parquet files, or either behind a URL."""

    kind: Literal["file"] = "file"
    path: str = Field(
        min_length=1,
        description="A file, or a folder of Parquet files; a relative path starts at the YAML file's folder. "
        "Or http(s)://, s3://, gs:// and whatever else fsspec opens.",
    )
    format: Literal["auto", "csv", "parquet", "feather"] = Field(
        default="auto", description="`auto`: by the ending."
    )
    delimiter: str | None = Field(default=None, min_length=1, max_length=1, description="Detected if empty.")
    decimal: Literal[".", ","] = Field(default=".", description="Decimal mark of a CSV.")
    thousands: Literal[",", ".", " ", "'", "_"] | None = Field(
        default=None, description="Mark between groups of three digits of a CSV."
    )
    encoding: str | None = Field(
        default=None, max_length=40, description="Of a CSV; if empty UTF-8, or what its byte order mark says."
    )
    comment: str | None = Field(
        default=None, min_length=1, max_length=1, description="Lines of a CSV that start with it are left out."
    )
    skip_rows: int = Field(default=0, ge=0, le=10_000, description="Lines of a CSV before its header.")
    missing_values: tuple[str, ...] = Field(
        default=(), description="Texts that mean a missing cell of a CSV, beside the usual ones."
    )
    fetch: Fetch | None = Field(
        default=None, description="Where the file comes from if there is none at `path`."
    )

    @model_validator(mode="after")
    def _no_secret(self) -> FileSource:
        if "://" in self.path:
            refuse_secrets(self.path, "source.path")
        return self

    @model_validator(mode="after")
    def _marks_differ(self) -> FileSource:
        marks = [mark for mark in (self.delimiter, self.decimal, self.thousands, self.comment) if mark]
        if len(set(marks)) < len(marks):
            raise ValueError(
                f"delimiter, decimal, thousands and comment must differ, got {', '.join(map(repr, marks))}"
            )
        return self


class SqlSource(Section):
    """Rows of a query, through SQLAlchemy."""

    kind: Literal["sql"] = "sql"
    url: str = Field(
        min_length=1,
        description="SQLAlchemy URL; `${NAME}` is replaced by that environment variable when it is read. A "
        "password may stand in no other form: this text is logged.",
    )
    query: str = Field(min_length=1, description="SELECT; its order of rows is kept, so give it an ORDER BY.")

    @model_validator(mode="after")
    def _no_secret(self) -> SqlSource:
        # Here and not when it is read: a flow's configuration is logged before.
        refuse_secrets(self.url, "source.url")
        return self


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


class SampleSource(Section):
    """A real table that a package among the dependencies carries."""

    kind: Literal["sample"] = "sample"
    table: Literal["motions", "vowels", "macro"] = Field(
        description="`motions`: a wrist sensor, 80 series of 100 steps, 6 columns (sktime); `vowels`: 640 "
        "utterances of 7 to 29 steps, 12 columns (sktime); `macro`: US economy by quarter, 12 columns "
        "(statsmodels)."
    )


Source = Annotated[
    FileSource | SqlSource | ArchSource | SampleSource | SineSource | EventsSource, Field(discriminator="kind")
]
