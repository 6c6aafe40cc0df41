"""Time stamps out of a column, whatever form they come in; what cannot be one is named by row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_LIMIT = 2**63 - 1
_HOUR = 3600 * 10**9
_OFFSET = re.compile(r":\d{2}\S*?\s*(Z|[+-]\d{2}(?::?\d{2})?)$")
# Tried when the first stamp is not ISO 8601; where two fit every row and disagree, the file is refused.
_DATES = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%Y",
    "%b %d, %Y",
    "%d %b %Y",
    "%d-%b-%Y",
)
_TIMES = ("", " %H:%M", " %H:%M:%S")
_OUTSIDE = "outside the years 1677 to 2262"


@dataclass(frozen=True)
class Stamps:
    """A column read as time."""

    ns: NDArray[np.int64]
    """Shape (rows,): nanoseconds since 1970, UTC (or the clock's own, without a zone); 0 where bad."""
    timezone: str | None
    bad: dict[int, str]
    """Why, by row (from 0), for every row that holds no time stamp."""

    @property
    def labels(self) -> pd.DatetimeIndex:
        """Shape (rows,): the stamps in their zone, NaT where bad."""
        return to_index(self.ns, self.timezone, self.bad)


def to_index(ns: NDArray[np.int64], timezone: str | None, bad: Any = ()) -> pd.DatetimeIndex:
    """Nanoseconds as stamps in `timezone`; NaT in the rows `bad`."""
    values = ns.astype("datetime64[ns]")
    values[list(bad)] = np.datetime64("NaT")
    index = pd.DatetimeIndex(values)
    return index if timezone is None else index.tz_localize("UTC").tz_convert(timezone)


def label(ns: int, timezone: str | None) -> str:
    """A stamp to read: the date alone where it is midnight on a clock without a zone."""
    stamp = to_index(np.array([ns], dtype=np.int64), timezone)[0]
    return str(stamp.date()) if timezone is None and stamp == stamp.normalize() else str(stamp)


def read_stamps(column: pa.ChunkedArray) -> Stamps:
    """Read a column as time stamps.

    Taken: date and timestamp types; text in ISO 8601 (also 20190409) or in one of the usual day/month/year
    forms where the column leaves no doubt which; whole numbers of eight digits. Refused, row by row: what is
    missing, unreadable, of another offset than the first, or outside the years 1677 to 2262; and a whole
    column that lies within the first hour of 1970, which is numbers mistaken for nanoseconds.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        found = _from_units(column, kind.unit, kind.tz)
    elif pa.types.is_date(kind):
        found = _from_units(column.cast(pa.timestamp("s")), "s", None)
    elif pa.types.is_integer(kind):
        found = _from_text(column.cast(pa.string()), digits=True)
    elif pa.types.is_string(kind):
        found = _from_text(column)
    else:
        found = Stamps(
            np.zeros(len(column), dtype=np.int64), None, dict.fromkeys(range(len(column)), "no date")
        )
    return _without_1970(found)


def _from_units(column: pa.ChunkedArray, unit: str, timezone: str | None) -> Stamps:
    missing = np.asarray(column.is_null())
    values = np.asarray(column.cast(pa.int64()).fill_null(0))
    factor = _NANOSECONDS[unit]
    outside = np.abs(values) > _LIMIT // factor
    bad = dict.fromkeys(np.flatnonzero(missing).tolist(), "missing")
    bad |= dict.fromkeys(np.flatnonzero(outside).tolist(), _OUTSIDE)
    return Stamps(np.where(outside, 0, values) * factor, timezone, bad)


def _from_text(column: pa.ChunkedArray, *, digits: bool = False) -> Stamps:
    text = pd.Series(column.to_pandas()).astype("str").str.strip()
    missing = np.asarray(column.is_null())
    if digits:
        text = text.where(text.str.fullmatch(r"\d{8}"), "a number")
    offsets = text.str.extract(_OFFSET, expand=False).fillna("")
    parsed, why = _parse(text, missing)
    bad = dict.fromkeys(np.flatnonzero(parsed.isna()).tolist(), why)
    bad |= dict.fromkeys(np.flatnonzero(missing).tolist(), "missing")
    first = next((value for value, gone in zip(offsets, missing, strict=True) if not gone), "")
    mixed = np.flatnonzero((offsets != first).to_numpy() & ~missing)
    bad |= {
        int(row): f"offset {offsets[row] or 'none'}, the first stamp has {first or 'none'}" for row in mixed
    }
    microseconds = parsed.dt.as_unit("us").astype("int64").to_numpy()
    good = ~parsed.isna().to_numpy()
    outside = good & (np.abs(microseconds) > _LIMIT // 1000)
    bad |= dict.fromkeys(np.flatnonzero(outside).tolist(), _OUTSIDE)
    local = _local(first)
    return Stamps(np.where(good & ~outside, microseconds, 0) * 1000, local, dict(sorted(bad.items())))


def _local(offset: str) -> str | None:
    if offset in ("Z", "+00:00", "+0000", "+00"):
        return "UTC"
    digits = offset[1:].replace(":", "").ljust(4, "0")
    return f"{offset[0]}{digits[:2]}:{digits[2:]}" if offset else None


def _parse(text: pd.Series[str], missing: NDArray[np.bool_]) -> tuple[pd.Series[pd.Timestamp], str]:
    """The stamps as UTC, NaT where there is none, and what to say of those."""
    first = text[~missing].head(1)
    parsed = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
    if first.empty or not parsed[first.index].isna().any():
        return parsed, "no date in ISO 8601, as the first is"
    formats = [date + time for date in _DATES for time in _TIMES]
    formats = [form for form in formats if _fits(first, form)]
    if not formats:
        return parsed, "no date in ISO 8601"
    tries = {form: pd.to_datetime(text, format=form, errors="coerce", utc=True) for form in formats}
    fewest = min(tries.values(), key=lambda found: int(found[~missing].isna().sum()))
    rivals = [found for found in tries.values() if not found[~missing].isna().any()]
    if any(not found.equals(rivals[0]) for found in rivals):
        doubt = pd.Series(pd.NaT, index=text.index).dt.tz_localize("UTC")
        return doubt, "day or month first? write dates as YYYY-MM-DD"
    return fewest, "no date of the form of the others"


def _fits(first: pd.Series[str], form: str) -> bool:
    return not pd.to_datetime(first, format=form, errors="coerce", utc=True).isna().any()


def _without_1970(stamps: Stamps) -> Stamps:
    good = np.ones(len(stamps.ns), dtype=bool)
    good[list(stamps.bad)] = False
    ns = stamps.ns[good]
    if len(ns) < 2 or (ns < 0).any() or (ns >= _HOUR).any():
        return stamps
    why = "within the first hour of 1970: a number that was taken for nanoseconds"
    return Stamps(stamps.ns, stamps.timezone, dict.fromkeys(range(len(stamps.ns)), why))
