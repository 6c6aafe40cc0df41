"""Which data a version was made of, as kept in its tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from core.errors import DataError
from core.prepare.series import PreparedSeries


@dataclass(frozen=True)
class DataFacts:
    """The prepared rows behind a version, those held out among them."""

    dataset: str
    digest: str
    """Of the prepared data."""
    rows: int
    start: str | None
    """Time of the first row, ISO in UTC; None where rows carry no time."""
    end: str | None
    """Of the last row."""

    @classmethod
    def of(cls, series: PreparedSeries, digest: str) -> DataFacts:
        """Of a prepared series with this digest."""
        start = end = None
        if series.stamps is not None:
            start, end = (
                pd.Timestamp(int(ns), tz="UTC").isoformat() for ns in (series.stamps.min(), series.stamps.max())
            )
        return cls(series.manifest["dataset"], digest, int(series.manifest["rows"]), start, end)

    def tags(self) -> dict[str, str]:
        """As a version's tags, read back by `from_tags`."""
        times = {"data_start": self.start, "data_end": self.end}
        known = {name: time for name, time in times.items() if time is not None}
        return {"dataset": self.dataset, "data_digest": self.digest, "data_rows": str(self.rows), **known}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> DataFacts | None:
        """What `tags` gave; None of a version that was registered without.

        Raises:
            DataError: somebody changed them into what cannot be read.
        """
        if "data_rows" not in tags:
            return None
        times = tags.get("data_start"), tags.get("data_end")
        try:
            for time in times:
                if time is not None and pd.Timestamp(time).tz is None:
                    raise ValueError(f"{time} has no time zone")
            return cls(tags.get("dataset", ""), tags.get("data_digest", ""), int(tags["data_rows"]), *times)
        except ValueError as error:
            raise DataError(f"the tags data_rows, data_start, data_end cannot be read: {error}") from error
