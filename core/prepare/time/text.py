"""Time stamps written as text: which form a column has, and the instants of a piece of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.catalog import TimeConfig
from core.errors import ConfigError
from core.prepare.time.forms import Form, Parsed, from_units
from core.prepare.time.numbers import find_numbers, is_epoch
from core.prepare.time.zones import PIECE

_OFFSET = r":\d{2}[^\s+-]*\s*(?P<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)$"
# Tried when the first stamp is not ISO 8601; where two fit every row and disagree, the column is refused.
_DAY_FIRST = ("%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%d %b %Y", "%d-%b-%Y")
_MONTH_FIRST = ("%m/%d/%Y", "%m-%d-%Y", "%b %d, %Y")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_YEARS = ("%Y", "%y", "%G", "%c", "%x")
# Arrow reads these as pandas does, thirty times as fast, but for days that a month does not have.
_ARROW = re.compile(r"^(?:%[dmYHMSIpbB]|[^%])*$")


def find_text(column: pa.ChunkedArray, time: TimeConfig) -> Form | str:
    """How to read a column of text, or why it cannot be read.

    Raises:
        ConfigError: `time.format` is none.
    """
    if time.format is not None:
        return _configured(time.format)
    first = _first(column)
    if time.unit is not None or (len(first) and is_epoch(first[0].as_py())):
        return find_numbers(column, time)
    if not _iso(first).unreadable.any():
        return Form(_with_offsets(_iso), "no date in ISO 8601, as the first is")
    allowed = {None: (*_DAY_FIRST, *_MONTH_FIRST), True: _DAY_FIRST, False: _MONTH_FIRST}[time.day_first]
    formats = [date + clock for date in allowed for clock in _TIMES]
    formats = [form for form in formats if not _strptime(first, form).unreadable.any()]
    return _choose(column, formats) if formats else "no date in ISO 8601; say how it is written: `time.format`"


def _configured(form: str) -> Form:
    if not any(year in form for year in _YEARS):
        raise ConfigError(f"time.format={form!r} holds no year, such as %Y")
    try:
        pd.to_datetime(["x"], format=form, errors="coerce")
    except ValueError as error:
        raise ConfigError(f"time.format={form!r} is no form of strptime: {error}") from error

    def parse(text: pa.StringArray) -> Parsed:
        return _strptime(text, form)

    why = f"not written as time.format={form!r} says"
    return Form(_with_offsets(parse) if "%z" in form else lambda piece: parse(_text(piece)), why)


def _text(piece: pa.ChunkedArray) -> pa.StringArray:
    """Without the space around it; empty text is missing."""
    text = pc.utf8_trim_whitespace(piece.cast(pa.string()).combine_chunks())
    return pc.if_else(pc.equal(text, ""), None, text)


def _first(column: pa.ChunkedArray) -> pa.StringArray:
    """The first text that is there, shape (1,), or (0,) if there is none."""
    for start in range(0, len(column), PIECE):
        text = _text(column.slice(start, PIECE)).drop_null()
        if len(text):
            return text[:1]
    return pa.array([], pa.string())


def _choose(column: pa.ChunkedArray, formats: list[str]) -> Form | str:
    """The form that the most stamps have; none where two fit all of them and disagree."""
    failures = dict.fromkeys(formats, 0)
    differ = False
    for start in range(0, len(column) if len(formats) > 1 else 0, PIECE):
        text = _text(column.slice(start, PIECE))
        found = {form: _strptime(text, form) for form in formats}
        for form, parsed in found.items():
            failures[form] += int(parsed.unreadable.sum())
        stamps = [parsed.ns for parsed in found.values()]
        differ |= any(not np.array_equal(ns, stamps[0]) for ns in stamps[1:])
    rivals = [form for form in formats if failures[form] == 0]
    if len(rivals) > 1 and differ:
        return "day or month first? say `time: {day_first: true}` (or false), or write dates as YYYY-MM-DD"
    fewest = min(formats, key=lambda form: failures[form])
    return Form(lambda piece: _strptime(_text(piece), fewest), "no date of the form of the others")


def _with_offsets(parse: Callable[[pa.StringArray], Parsed]) -> Callable[[pa.ChunkedArray], Parsed]:
    def read(piece: pa.ChunkedArray) -> Parsed:
        text = _text(piece)
        parsed = parse(text)
        offsets = pc.struct_field(pc.extract_regex(text, _OFFSET), "offset")
        if offsets.null_count == len(offsets):
            return parsed
        found = frozenset(map(str, offsets.drop_null().unique().to_pylist()))
        return replace(parsed, bare=np.asarray(offsets.is_null()), offsets=found)

    return read


def _iso(text: pa.StringArray) -> Parsed:
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return _from_arrow(text.cast(kind), text)
        except pa.ArrowInvalid:
            continue
    return _from_pandas(text, "ISO8601")


def _strptime(text: pa.StringArray, form: str) -> Parsed:
    if not _ARROW.match(form):
        return _from_pandas(text, form)
    found = pc.strptime(text, format=form, unit="s", error_is_null=True)
    parsed = _from_arrow(found.cast(pa.timestamp("us")), text)
    # Arrow takes 31 February for 3 March: what lies in the first days of a month and was not written so is
    # read again.
    early = np.flatnonzero(np.asarray(pc.less_equal(pc.day(found), 3).fill_null(False)))
    written = pc.strftime(found.take(pa.array(early)), format=form)
    doubtful = early[np.asarray(pc.not_equal(written, text.take(pa.array(early))))]
    if len(doubtful):
        again = _from_pandas(text.take(pa.array(doubtful)), form)
        parsed.ns[doubtful] = again.ns
        parsed.unreadable[doubtful] = again.unreadable
        parsed.outside[doubtful] = again.outside
    # %Y is a year of four digits.
    return replace(parsed, unreadable=parsed.unreadable | parsed.outside)


def _from_pandas(text: pa.StringArray, form: str) -> Parsed:
    stamps = pd.to_datetime(pd.Series(text.to_pandas()), format=form, errors="coerce", utc=True)
    if stamps.dt.unit != "ns":
        return _from_arrow(pa.array(stamps.dt.as_unit("us"), from_pandas=True), text)
    missing, unreadable = np.asarray(text.is_null()), np.asarray(stamps.isna())
    return from_units(np.asarray(stamps.astype("int64")), "ns", missing, unreadable)


def _from_arrow(stamps: pa.TimestampArray, text: pa.StringArray) -> Parsed:
    values: NDArray[np.int64] = np.asarray(stamps.cast(pa.int64()).fill_null(0))
    return from_units(values, "us", np.asarray(text.is_null()), np.asarray(stamps.is_null()))
