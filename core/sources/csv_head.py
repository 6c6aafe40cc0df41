"""The beginning of a CSV: where its rows start, what separates cells, and the names of its columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.catalog import FileSource
from core.errors import ConfigError, DataError

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_BYTES = 65_536
_SAMPLE_LINES = 50
_MAX_HEADER_BYTES = 16 << 20
_STAMP = re.compile(r"\s*\d{1,4}([-/.]\d{1,4}){2}([T ]\d{1,2}(:\d{2}){1,2}[\d.,:+Z-]*)?\s*$")


@dataclass(frozen=True)
class Head:
    """What the first lines say."""

    names: tuple[str, ...]
    """Of the columns, as written."""
    delimiter: str
    size: int
    """Bytes up to the first row."""
    newline: bytes
    """The byte that ends lines."""


def take_sample(chunks: Iterator[bytes], skip_rows: int) -> tuple[bytes, Iterator[bytes]]:
    """64 KiB or more of the beginning, header included, and what follows."""
    sample = b""
    for data in chunks:
        sample += data
        lines = max(sample.count(b"\n"), sample.count(b"\r"))
        if (len(sample) >= _SAMPLE_BYTES and lines > skip_rows + 1) or len(sample) > _MAX_HEADER_BYTES:
            break
    return sample, chunks


def read_head(sample: bytes, source: FileSource, place: str, *, whole: bool) -> Head:
    """The header and the delimiter.

    Args:
        sample: Of the text, UTF-8.
        source: What is known of it.
        place: What messages call it.
        whole: The sample is all.

    Raises:
        DataError: there is nothing, no header, or no UTF-8.
        ConfigError: the given delimiter leaves one column although another one would split the lines.
    """
    try:
        # A character may be cut at the end of the sample.
        text = codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place} is not UTF-8 text: {error}; say what it is with `source.encoding`, such as cp1252 or "
            "latin-1, or save it as UTF-8"
        ) from error
    lines = list(io.StringIO(text, newline=""))
    above = _lines_above(lines, source)
    below = _complete(lines[above:], source, whole=whole)
    if not below:
        raise DataError(f"{place} has 0 rows: the file is empty")
    marks = (source.decimal, source.thousands)
    try:
        found = sniff_delimiter(below, exclude=marks)
        reader = csv.reader(lines[above:], delimiter=source.delimiter or found)
        names = tuple(next(reader))
    except csv.Error as error:
        raise DataError(f"{place} has no readable header: {error}") from error
    _check(names, source.delimiter, found, place, below[0])
    size = len("".join(lines[: above + reader.line_num]).encode())
    return Head(names, source.delimiter or found, size, b"\n" if "\n" in text else b"\r")


def sniff_delimiter(lines: list[str], exclude: tuple[str | None, ...] = (".",)) -> str:
    """The delimiter that cuts every line into the same number of cells, the most cells winning.

    If no delimiter does, the one that cuts the header into the most cells; a comma if none cuts it.
    """
    candidates = [mark for mark in DELIMITERS if mark not in exclude]
    counts = {mark: [len(row) for row in csv.reader(lines, delimiter=mark) if row] for mark in candidates}
    even = {mark: widths[0] for mark, widths in counts.items() if len(set(widths)) == 1}
    widths = {mark: width for mark, width in even.items() if width > 1}
    if not widths:
        widths = {mark: widths[0] for mark, widths in counts.items() if widths}
    best = max(widths, key=lambda mark: widths[mark], default=",")
    return best if widths.get(best, 1) > 1 else ","


def _lines_above(lines: list[str], source: FileSource) -> int:
    """Lines before the header: those to skip, comments and blank ones."""
    above = min(source.skip_rows, len(lines))
    while above < len(lines) and (not lines[above].strip() or _is_comment(lines[above], source)):
        above += 1
    return above


def _complete(lines: list[str], source: FileSource, *, whole: bool) -> list[str]:
    complete = lines if whole or len(lines) == 1 else lines[:-1]
    return [line for line in complete if line.strip() and not _is_comment(line, source)][:_SAMPLE_LINES]


def _is_comment(line: str, source: FileSource) -> bool:
    return source.comment is not None and line.startswith(source.comment)


def _check(names: tuple[str, ...], given: str | None, found: str, place: str, line: str) -> None:
    if len(names) == 1 and given is not None and found != given:
        raise ConfigError(
            f"{place} has one column when split at {given!r}, but splits at {found!r}; mend "
            "`source.delimiter` or leave it out"
        )
    if all(_is_value(name) for name in names):
        raise DataError(
            f"{place} has no header: its first line is {line.strip()[:80]!r}; name the columns there"
        )


def _is_value(text: str) -> bool:
    """Whether it is a number, or a stamp in figures, as no column is called."""
    try:
        float(text)
    except ValueError:
        return _STAMP.match(text) is not None
    return True
