"""Text of a CSV cut into blocks of whole records, and blocks parsed side by side."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from core.errors import DataError

MAX_RECORD_BYTES = 64 << 20
_PADDING = 16
_QUOTE = b'"'
_SPACES = "[ \u00a0\u202f]"

T = TypeVar("T")
R = TypeVar("R")


class OpenQuoteError(DataError):
    """A quoted cell does not end."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV writes its cells."""

    delimiter: str
    decimal: str = "."
    thousands: str | None = None
    comment: str | None = None
    missing_values: tuple[str, ...] = ()


@dataclass
class Block:
    """A parsed block."""

    table: pa.Table
    ragged: list[Any] = field(default_factory=list)
    """Rows with another number of cells than the header, as pyarrow names them; not in the table."""

    @property
    def rows(self) -> int:
        """Of the text, odd ones included."""
        return len(self.table) + len(self.ragged)


def cut_records(
    chunks: Iterator[bytes], size: int, newline: bytes, comment: str | None, *, keep_blank: bool
) -> Iterator[bytes]:
    """Blocks of whole records, about `size` bytes each; a line end between quotes ends no record.

    Args:
        chunks: The text below the header.
        size: Bytes of a block.
        newline: The byte that ends lines.
        comment: Lines that start with it are left out.
        keep_blank: Blank lines are rows: those at the end of a block go to the next one, and those at the end
            of the text are left out.

    Raises:
        OpenQuoteError: a quote is opened and not closed within 64 MiB.
    """
    rest, enough, limit = b"", size, max(MAX_RECORD_BYTES, 4 * size)
    for data in chunks:
        rest += data
        if len(rest) < enough:
            continue
        ready, rest = _split(rest, newline, comment)
        if keep_blank and ready:
            text = ready.rstrip(b"\r\n")
            end = (text and ready.index(newline, len(text)) + 1) or 0
            ready, rest = ready[:end], ready[end:] + rest
        # What holds no whole record is looked through again when there is twice as much.
        enough = min(max(size, 2 * len(rest)), limit + 1)
        if ready:
            yield ready
        elif len(rest) > limit:
            begin = rest[:80].decode(errors="replace")
            raise OpenQuoteError(
                f'a quote (") is opened and not closed within {MAX_RECORD_BYTES:,} bytes below {begin!r}; mend '
                "the quotes there"
            )
    if comment is not None:
        rest = _without_comments(rest, comment)
    rest = rest.rstrip(b"\r\n") if keep_blank else rest
    if rest.strip(b"\r\n"):
        yield rest


def _split(data: bytes, newline: bytes, comment: str | None) -> tuple[bytes, bytes]:
    """Whole records, and the begun one."""
    end = data.rfind(newline) + 1
    lines, tail = data[:end], data[end:]
    if comment is not None:
        lines = _without_comments(lines, comment)
    end = len(lines)
    if _quotes(lines) % 2:
        # A cell is open at the end: the last record ends where the quotes before are even in number.
        bytes_ = np.frombuffer(lines, dtype=np.uint8)
        ends = np.flatnonzero(bytes_ == newline[0]) + 1
        quotes = np.searchsorted(np.flatnonzero(bytes_ == _QUOTE[0]), ends)
        whole = ends[quotes % 2 == 0]
        end = int(whole[-1]) if len(whole) else 0
    return lines[:end], lines[end:] + tail


def _quotes(data: bytes) -> int:
    if _QUOTE not in data:
        return 0
    return int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == _QUOTE[0]))


def _without_comments(lines: bytes, comment: str) -> bytes:
    """Without the lines that start with the mark, unless they go on with a quoted cell."""
    kept, start, quotes = [], 0, 0
    for match in re.finditer(b"(?m)^" + re.escape(comment.encode()) + rb"[^\r\n]*(\r\n|\r|\n|\Z)", lines):
        before = lines[start : match.start()]
        quotes += _quotes(before)
        if quotes % 2 == 0:
            kept.append(before)
            start = match.end()
        else:
            kept.append(before)
            start = match.start()
    return b"".join([*kept, lines[start:]])


def in_order(work: Callable[[T], R], items: Iterator[T]) -> Iterator[R]:
    """`map(work, items)` by a few threads, no more than one item ahead of each."""
    threads = min(4, pa.cpu_count())
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def parse_block(data: bytes, names: list[str], dialect: Dialect, types: pa.Schema | None) -> Block:
    """The rows of a block, by these types; where they do not fit, or are None, by those that the block shows.

    Integers, floats, booleans, dates, time stamps without a zone, else text. Numbers may be quoted and padded
    with spaces. Stamps with an offset and times of day stay text.

    Raises:
        DataError: the text cannot be split into cells, or is not UTF-8.
    """
    try:
        if types is not None:
            try:
                return _typed(data, names, dialect, types)
            except pa.ArrowInvalid:
                pass
        block = _parse(data, names, dialect, {})
        stays_text = [item.name for item in block.table.schema if _stays_text(item.type)]
        if stays_text:
            block = _parse(data, names, dialect, dict.fromkeys(stays_text, pa.string()))
    except pa.ArrowException as error:
        raise DataError(f"the text cannot be read as CSV: {error}") from error
    for item in block.table.schema:
        if pa.types.is_binary(item.type):
            raise DataError(
                f"column {item.name!r} is not UTF-8 text; say what it is with `source.encoding`, such as "
                "cp1252 or latin-1, or save it as UTF-8"
            )
    return Block(_with_grouped_numbers(block.table, dialect), block.ragged)


def _typed(data: bytes, names: list[str], dialect: Dialect, types: pa.Schema) -> Block:
    wanted = {item.name: item.type for item in types}
    grouped = {name for name, kind in wanted.items() if dialect.thousands and _is_number(kind)}
    text = dict.fromkeys(grouped, pa.string())
    block = _parse(data, names, dialect, {**wanted, **text})
    for position, name in enumerate(names):
        if name in grouped:
            numbers = ungrouped(block.table[name], dialect)
            if numbers is None:
                raise pa.ArrowInvalid(f"column {name!r} holds what is no number")
            # As a number that is not grouped is read: what lies past 2^53 is rounded.
            safe = not pa.types.is_floating(wanted[name])
            block.table = block.table.set_column(position, name, numbers.cast(wanted[name], safe=safe))
    return block


def _with_grouped_numbers(table: pa.Table, dialect: Dialect) -> pa.Table:
    if dialect.thousands is None:
        return table
    for position, item in enumerate(table.schema):
        if pa.types.is_string(item.type):
            numbers = ungrouped(table[item.name], dialect)
            if numbers is not None:
                table = table.set_column(position, item.name, numbers)
    return table


def ungrouped(column: pa.ChunkedArray, dialect: Dialect) -> pa.ChunkedArray | None:
    """Text such as 1,234.5 as numbers; None if some cell is no number."""
    mark, point = dialect.thousands or "", re.escape(dialect.decimal)
    group = _SPACES if mark == " " else re.escape(mark)
    exponent = "([eE][+-]?[0-9]+)?"
    digits = f"([0-9]{{1,3}}({group}[0-9]{{3}})+|[0-9]+)({point}[0-9]*)?|{point}[0-9]+"
    number = rf"(?i)^\s*[+-]?(({digits}){exponent}|inf|infinity|nan)\s*$"
    if not pc.all(pc.match_substring_regex(column, number), min_count=0).as_py():
        return None
    text = pc.replace_substring_regex(column, rf"{group}|\s|\+", "")
    if dialect.decimal != ".":
        text = pc.replace_substring(text, dialect.decimal, ".")
    try:
        return text.cast(pa.int64())
    except pa.ArrowInvalid:
        return text.cast(pa.float64())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _stays_text(kind: pa.DataType) -> bool:
    return pa.types.is_time(kind) or (pa.types.is_timestamp(kind) and kind.tz is not None)


def _padded(text: str) -> Iterator[str]:
    """The text with up to 16 spaces on either side: pyarrow drops them around numbers, not around these."""
    yield text
    for count in range(1, _PADDING + 1):
        yield from (" " * count + text, text + " " * count)


def _parse(data: bytes, names: list[str], dialect: Dialect, types: dict[str, pa.DataType]) -> Block:
    ragged: list[Any] = []

    def keep_ragged(row: Any) -> str:
        ragged.append(row)
        return "skip"

    usual = pa_csv.ConvertOptions().null_values
    table = pa_csv.read_csv(
        pa.py_buffer(data),
        # Types are inferred from the first block alone: let it be everything. Row numbers need one thread.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
        parse_options=pa_csv.ParseOptions(
            delimiter=dialect.delimiter,
            invalid_row_handler=keep_ragged,
            newlines_in_values=True,
            ignore_empty_lines=len(names) > 1,
        ),
        convert_options=pa_csv.ConvertOptions(
            decimal_point=dialect.decimal,
            strings_can_be_null=True,
            null_values=[*usual, *chain.from_iterable(map(_padded, dialect.missing_values))],
            column_types=types,
        ),
    )
    return Block(table, ragged)
