"""Time stamps that are numbers: since 1970, or eight or ten digits such as 20190409 and 2019040917."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.catalog import TimeConfig
from core.prepare.time.forms import LIMIT, NANOSECONDS, Form, Parsed, from_units
from core.prepare.time.zones import PIECE

_HOUR = 3600 * 10**9
_DAY = 24 * _HOUR
# Of the years 1990 and 2100, in seconds since 1970. The ranges of the four units have nothing in common.
_FIRST, _LAST = 631_152_000, 4_102_444_800
_EIGHT, _TEN = "YYYYMMDD", "YYYYMMDDHH"
Values = NDArray[np.int64] | NDArray[np.float64]
_NUMBER = r"^[+-]?\d{1,19}(\.\d*)?([eE][+-]?\d+)?$"


def find_numbers(column: pa.ChunkedArray, time: TimeConfig) -> Form | str:
    """How to read a column of numbers (or of text that holds numbers), or why it cannot be."""
    if time.unit is not None:
        unit = time.unit
        return Form(lambda piece: _since_1970(piece, unit), f"no number, as time.unit={unit} expects", "UTC")
    kind = _usual_kind(column)
    if kind is None:
        return "a number: say what it is with `time.unit` or `time.format`"
    if kind == _EIGHT:
        return Form(_eight_digits, "no date of eight digits, as most are (20190409)")
    if kind == _TEN:
        return Form(_ten_digits, "no date and hour (00 to 23) of ten digits, as most are (2019040917)")
    why = f"not from 1990 to 2100 in {kind} since 1970, as most are; say `time.unit` if it is right"
    return Form(lambda piece: _recent(piece, kind), why, "UTC")


def is_epoch(text: str) -> bool:
    """Whether a text is a number of seconds, ms, us or ns from 1970 to a stamp from 1990 to 2100."""
    values, _, unreadable = _numbers(pa.chunked_array([[text]]))
    return not unreadable[0] and any(_within(values, unit)[0] for unit in NANOSECONDS)


def _usual_kind(column: pa.ChunkedArray) -> str | None:
    """The kind that more than half of the cells that are there have."""
    counts = dict.fromkeys((_EIGHT, _TEN, *NANOSECONDS), 0)
    there = 0
    for piece in _pieces(column):
        values, missing, _ = _numbers(piece)
        there += int((~missing).sum())
        counts[_EIGHT] += int((~missing & _is_eight(values)).sum())
        counts[_TEN] += int((~missing & _is_ten(values)).sum())
        for unit in NANOSECONDS:
            counts[unit] += int((~missing & _within(values, unit)).sum())
    if 2 * counts[_TEN] > there:
        # As seconds these would be from 2030 to 2036, hardly one in a hundred of which reads as a date too.
        return _TEN
    kind = max(counts, key=lambda name: counts[name])
    return kind if 2 * counts[kind] > there else None


def _pieces(column: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    for start in range(0, len(column), PIECE):
        yield column.slice(start, PIECE)


def _numbers(
    piece: pa.ChunkedArray,
) -> tuple[Values, NDArray[np.bool_], NDArray[np.bool_]]:
    """Values (0 where there are none), missing cells, unreadable cells; shape (rows,)."""
    kind = piece.type
    unreadable = np.zeros(len(piece), dtype=bool)
    if pa.types.is_integer(kind):
        missing = np.asarray(piece.is_null())
        return np.asarray(piece.fill_null(0).cast(pa.int64(), safe=False)), missing, unreadable
    if not (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        text = pc.utf8_trim_whitespace(piece.cast(pa.string()))
        piece = pc.if_else(pc.equal(text, ""), None, text)
        unreadable = ~np.asarray(pc.match_substring_regex(piece, _NUMBER).fill_null(True))
        piece = pc.if_else(pa.array(unreadable), "0", piece)
        if not pc.any(pc.match_substring_regex(piece, r"[.eE]|\d{19}")).as_py():
            return np.asarray(piece.cast(pa.int64()).fill_null(0)), np.asarray(piece.is_null()), unreadable
    values = np.asarray(piece.cast(pa.float64(), safe=False).fill_null(np.nan))
    return np.nan_to_num(values, nan=0.0, posinf=1e300, neginf=-1e300), np.isnan(values), unreadable


def _within(values: Values, unit: str) -> NDArray[np.bool_]:
    scale = NANOSECONDS["s"] // NANOSECONDS[unit]
    return np.asarray((values >= _FIRST * scale) & (values < _LAST * scale))


def _is_eight(values: Values) -> NDArray[np.bool_]:
    return np.asarray((values >= 10_000_000) & (values < 100_000_000) & (values == np.floor(values)))


def _is_ten(values: Values) -> NDArray[np.bool_]:
    """Whether month, day and hour of YYYYMMDDHH, from 1900 to 2099, are possible, shape kept."""
    inside = (values >= 1_900_000_000) & (values < 2_100_000_000) & (values == np.floor(values))
    digits = np.where(inside, values, 0).astype(np.int64)
    month, day, hour = digits // 10_000 % 100, digits // 100 % 100, digits % 100
    return np.asarray((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (hour < 24))


def _since_1970(piece: pa.ChunkedArray, unit: str) -> Parsed:
    values, missing, unreadable = _numbers(piece)
    if values.dtype == np.int64:
        return from_units(values.astype(np.int64), unit, missing, unreadable)
    factor = NANOSECONDS[unit]
    outside = np.abs(values) > LIMIT // factor
    values = np.where(outside, 0.0, values)
    whole = np.floor(values)
    # A float of today's time is no finer than a microsecond.
    fraction = np.rint((values - whole) * (factor // 1000)).astype(np.int64) * 1000
    parsed = from_units(whole.astype(np.int64), unit, missing, unreadable)
    there = ~(missing | unreadable | outside)
    return replace(parsed, ns=np.where(there, parsed.ns + fraction, 0), outside=outside)


def _recent(piece: pa.ChunkedArray, unit: str) -> Parsed:
    parsed = _since_1970(piece, unit)
    far = ~parsed.missing & ~_within(_numbers(piece)[0], unit)
    return replace(parsed, unreadable=far, outside=np.zeros(len(far), dtype=bool))


def _eight_digits(piece: pa.ChunkedArray) -> Parsed:
    return _days(*_numbers(piece))


def _ten_digits(piece: pa.ChunkedArray) -> Parsed:
    values, missing, unreadable = _numbers(piece)
    there = _is_ten(values) & ~missing & ~unreadable
    whole = np.where(there, values, 0).astype(np.int64)
    parsed = _days(whole // 100, missing, unreadable)
    good = there & ~parsed.unreadable & ~parsed.outside
    return replace(parsed, ns=parsed.ns + np.where(good, whole % 100, 0) * _HOUR)


def _days(values: Values, missing: NDArray[np.bool_], unreadable: NDArray[np.bool_]) -> Parsed:
    """Numbers of eight digits, shape (rows,), as midnights."""
    eight = _is_eight(values)
    digits = np.where(eight, values, 19_700_101).astype(np.int64)
    month, day = digits // 100 % 100, digits % 100
    eight &= (month >= 1) & (month <= 12)
    first = ((digits // 10_000 - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("M8[M]")
    days = first.astype("M8[D]").astype(np.int64) + day - 1
    following = (first + 1).astype("M8[D]").astype(np.int64)
    eight &= (day >= 1) & (days < following)
    outside = eight & (np.abs(days) > LIMIT // _DAY)
    good = eight & ~outside & ~missing & ~unreadable
    return Parsed(np.where(good, days, 0) * _DAY, missing, ~eight & ~missing, outside & ~missing)
