"""Time stamps out of a column, whatever form they come in; what cannot be one is named by row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import TimeConfig
from core.errors import DataError
from core.prepare.time.forms import Form, Parsed, from_units
from core.prepare.time.numbers import find_numbers
from core.prepare.time.text import find_text
from core.prepare.time.zones import PIECE, check_zone, localise, to_index

MAX_REASONS = 1000
"""Bad rows whose reason is kept."""
_HOUR = 3600 * 10**9
_UTC = frozenset({"Z", "z", "+00:00", "+0000", "+00"})


@dataclass(frozen=True)
class Stamps:
    """A column read as time."""

    ns: NDArray[np.int64]
    """Shape (rows,): nanoseconds since 1970, UTC (or the clock's own, without a zone); 0 where bad."""
    timezone: str | None
    bad: dict[int, str]
    """Why, by row (from 0, ascending), for the first 1,000 rows that hold no time stamp."""
    bad_rows: NDArray[np.int64]
    """All rows (from 0, ascending) that hold no time stamp."""
    assumed: int = 0
    """Stamps in an hour that the clocks repeat in autumn, of which only one is there: taken as the first."""

    def labels_at(self, rows: NDArray[np.int64]) -> pd.DatetimeIndex:
        """The stamps of `rows` in their zone, shape kept, NaT where bad."""
        values = self.ns[rows].astype("datetime64[ns]")
        values[np.isin(rows, self.bad_rows)] = np.datetime64("NaT")
        index = pd.DatetimeIndex(values)
        return index if self.timezone is None else index.tz_localize("UTC").tz_convert(self.timezone)


def label(ns: int, timezone: str | None) -> str:
    """A stamp to read: the date alone where it is midnight on a clock without a zone."""
    stamp = to_index(np.array([ns], dtype=np.int64), timezone)[0]
    return str(stamp.date()) if timezone is None and stamp == stamp.normalize() else str(stamp)


def read_stamps(
    column: pa.ChunkedArray, time: TimeConfig | None = None, codes: NDArray[np.integer] | None = None
) -> Stamps:
    """Read a column as time stamps.

    Taken: date and timestamp types; text in ISO 8601 (also 20190409), in one of the usual day/month/year
    forms where the column leaves no doubt which, or as `time.format` says; numbers of eight digits (20190409)
    or ten (2019040917, with the hour), and numbers since 1970 UTC (`time.unit`, else where most stamps lie from
    1990 to 2100 in one unit; floats to the microsecond). Stamps of different offsets become UTC; those without
    one are of `time.timezone`.
    Refused, row by row: what is missing, unreadable, without an offset where others have one, in an hour that
    the clocks skip, or repeat without the order of rows telling which it is, or outside the years 1677 to
    2262; and a whole column that lies within the first hour of 1970, which is numbers mistaken for
    nanoseconds (unless `time.unit` says so).

    Args:
        column: Shape (rows,), in the order of the source.
        time: What the dataset says.
        codes: Shape (rows,): number of the series of each row, or None if there is one.

    Raises:
        ConfigError: an unknown `time.timezone`, or a `time.format` that is none.
        DataError: the column's own time zone is unknown.
    """
    time = time or TimeConfig()
    check_zone(time.timezone)
    draft = _Draft(np.zeros(len(column), dtype=np.int64), np.zeros(len(column), dtype=np.uint8))
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    form = _form(column, time)
    if isinstance(form, str):
        draft.refuse(np.asarray(column.is_null()), "missing")
        draft.refuse(draft.good, form)
    else:
        draft.read(column, form)
    if time.unit is None:
        _refuse_1970(draft)
    if draft.timezone is not None:
        draft.timezone = time.timezone or draft.timezone
    elif time.timezone is not None:
        _localise(draft, time.timezone, codes)
    return draft.finish()


@dataclass
class _Draft:
    """Stamps while they are read."""

    ns: NDArray[np.int64]
    fault: NDArray[np.uint8]
    """Shape (rows,): number in `reasons`, from 1, of what is wrong; 0 where nothing is."""
    timezone: str | None = None
    reasons: list[str] = field(default_factory=list)
    assumed: int = 0

    @property
    def good(self) -> NDArray[np.bool_]:
        """Shape (rows,): rows that nothing is wrong with."""
        return np.asarray(self.fault == 0)

    def refuse(self, where: NDArray[np.bool_] | NDArray[np.int64], why: str, start: int = 0) -> None:
        """Call rows bad that are not yet: a mask of the rows from `start` on, or their numbers."""
        rows = (np.flatnonzero(where) if where.dtype == np.bool_ else where) + start
        rows = rows[self.fault[rows] == 0]
        if len(rows):
            if why not in self.reasons:
                self.reasons.append(why)
            self.fault[rows] = self.reasons.index(why) + 1
            self.ns[rows] = 0

    def read(self, column: pa.ChunkedArray, form: Form) -> None:
        """Read all rows piece by piece."""
        bare = np.zeros(len(column), dtype=bool)
        offsets: set[str] = set()
        for start in range(0, len(column), PIECE):
            parsed = form.parse(column.slice(start, PIECE))
            piece = slice(start, start + len(parsed.ns))
            self.ns[piece] = parsed.ns
            self.refuse(parsed.missing, "missing", start)
            self.refuse(parsed.outside, "outside the years 1677 to 2262", start)
            self.refuse(parsed.unreadable, form.why, start)
            bare[piece] = True if parsed.bare is None else parsed.bare
            offsets |= parsed.offsets
        self.timezone = form.timezone
        if offsets:
            self.refuse(bare, f"offset none, others have one ({', '.join(sorted(offsets)[:3])})")
            zones = {_zone(offset) for offset in offsets}
            self.timezone = zones.pop() if len(zones) == 1 else "UTC"

    def finish(self) -> Stamps:
        """What became of it."""
        rows = np.flatnonzero(self.fault)
        bad = {int(row): self.reasons[self.fault[row] - 1] for row in rows[:MAX_REASONS]}
        return Stamps(self.ns, self.timezone, bad, rows, self.assumed)


def _form(column: pa.ChunkedArray, time: TimeConfig) -> Form | str:
    types, kind = pa.types, column.type
    if types.is_timestamp(kind):
        _check_known(kind.tz)
        return Form(lambda piece: _typed(piece, kind.unit), timezone=kind.tz)
    if types.is_date(kind):
        return Form(lambda piece: _typed(piece.cast(pa.timestamp("s")), "s"))
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if numeric and time.format is None:
        return find_numbers(column, time)
    if numeric or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return find_text(column, time)
    return f"no date, but {kind}"


def _typed(piece: pa.ChunkedArray, unit: str) -> Parsed:
    return from_units(np.asarray(piece.cast(pa.int64()).fill_null(0)), unit, np.asarray(piece.is_null()))


def _check_known(timezone: str | None) -> None:
    try:
        to_index(np.zeros(1, dtype=np.int64), timezone)
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"the time stamps are of a time zone that nobody knows: {timezone!r}") from error


def _zone(offset: str) -> str:
    if offset in _UTC:
        return "UTC"
    digits = offset[1:].replace(":", "").ljust(4, "0")
    return f"{offset[0]}{digits[:2]}:{digits[2:]}"


def _refuse_1970(draft: _Draft) -> None:
    good = draft.good
    if good.sum() >= 2 and draft.ns.min() >= 0 and draft.ns.max() < _HOUR:
        draft.refuse(good, "within the first hour of 1970: a number that was taken for nanoseconds")


def _localise(draft: _Draft, timezone: str, codes: NDArray[np.integer] | None) -> None:
    found = localise(draft.ns, draft.good, timezone, codes)
    draft.timezone = timezone
    draft.assumed = len(found.assumed)
    draft.refuse(found.skipped, f"in an hour that the clocks of {timezone} skip in spring; add offsets")
    draft.refuse(
        found.undecided,
        f"in an hour that the clocks of {timezone} repeat in autumn, and the order of rows does not tell which "
        "it is; sort the rows by time, or add offsets",
    )
