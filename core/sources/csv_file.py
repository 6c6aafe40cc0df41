"""CSV files: delimiter, encoding and column types found out, every odd row named."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from core.errors import ConfigError, DataError

CSV_ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
DELIMITERS = (",", ";", "\t", "|")
MAX_SHOWN = 20
_SAMPLE_BYTES = 65_536
_SAMPLE_LINES = 50
_MAX_BLOCK = 2**31 - 1


@dataclass(frozen=True)
class ParsedCsv:
    """A table and how its text was read."""

    table: pa.Table
    delimiter: str
    notes: tuple[str, ...]


def read_csv(path: Path, delimiter: str | None = None, decimal: str = ".") -> ParsedCsv:
    """Read a CSV file with a header line, packed with gzip or not.

    Types are found from whole columns, not from their beginning: integers, floats, booleans, dates, time
    stamps, else text. Numbers may be quoted and padded with spaces. Empty cells and `NA`, `N/A`, `NaN`,
    `null` are missing values. Stamps with an offset stay text, so that preparing can see their offsets.

    Args:
        path: The file.
        delimiter: What stands between cells; detected if None.
        decimal: Decimal mark.

    Raises:
        DataError: no rows, ragged rows, no header, or not UTF-8.
        ConfigError: the given delimiter leaves one column although another one would split the lines.
    """
    with pa.input_stream(str(path), compression="detect") as stream:
        data = stream.read()
    lines = _first_lines(path, data)
    found = sniff_delimiter(lines, decimal)
    chosen = delimiter or found
    header = next(csv.reader(lines[:1], delimiter=chosen), [])
    if len(header) == 1 and found != chosen and delimiter is not None:
        raise ConfigError(
            f"{path} has one column when split at {delimiter!r}, but splits at {found!r}; "
            "mend `source.delimiter` or leave it out"
        )
    if all(_is_number(name) for name in header):
        raise DataError(f"{path} has no header: its first line is {lines[0][:80]!r}; name the columns there")
    names, notes = _names(header)
    if len(names) == 1:
        # A blank line is a missing value of the only column, not nothing; the end of the file is none.
        data = data.strip(b"\r\n")
    table = _parse(path, data, chosen, decimal, keep_blank=len(names) == 1)
    return ParsedCsv(table.rename_columns(names), chosen, notes)


def sniff_delimiter(lines: list[str], decimal: str = ".") -> str:
    """The delimiter that cuts every line into the same number of cells, the most cells winning.

    If no delimiter does, the one that cuts the header into the most cells; a comma if none cuts it.
    """
    candidates = [mark for mark in DELIMITERS if mark != decimal]
    counts = {mark: [len(row) for row in csv.reader(lines, delimiter=mark) if row] for mark in candidates}
    even = {mark: widths[0] for mark, widths in counts.items() if len(set(widths)) == 1}
    widths = {mark: width for mark, width in even.items() if width > 1}
    if not widths:
        widths = {mark: widths[0] for mark, widths in counts.items() if widths}
    best = max(widths, key=lambda mark: widths[mark], default=",")
    return best if widths.get(best, 1) > 1 else ","


def _first_lines(path: Path, data: bytes) -> list[str]:
    """Up to 50 lines of the beginning, without a byte order mark; the last, perhaps cut, line left out."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path} is UTF-16 text; save it as UTF-8")
    sample = data[:_SAMPLE_BYTES]
    whole = len(data) <= _SAMPLE_BYTES
    try:
        # A character may be cut at the end of the sample.
        text = sample.decode("utf-8-sig", errors="strict" if whole else "ignore")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error
    lines = text.splitlines()
    lines = [line for line in (lines if whole else lines[:-1]) if line.strip()][:_SAMPLE_LINES]
    if not lines:
        raise DataError(f"{path} has 0 rows: the file is empty")
    return lines


def _names(header: list[str]) -> tuple[list[str], tuple[str, ...]]:
    names, notes = [], []
    for position, raw in enumerate(header, start=1):
        name = raw.strip() or f"unnamed_{position}"
        if not raw.strip():
            notes.append(f"column {position} has no name in the header and is called {name!r}.")
        elif name != raw:
            notes.append(f"the spaces around the name of column {name!r} are dropped.")
        names.append(name)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        listed = ", ".join(repr(name) for name in twice)
        raise DataError(f"the header has more than one column named {listed}; give every column its own name")
    return names, tuple(notes)


def _parse(path: Path, data: bytes, delimiter: str, decimal: str, *, keep_blank: bool) -> pa.Table:
    ragged: list[Any] = []

    def keep_ragged(row: Any) -> str:
        ragged.append(row)
        return "skip"

    def parse(types: dict[str, Any]) -> pa.Table:
        return pa_csv.read_csv(
            pa.py_buffer(data),
            # Types are inferred from the first block alone: let it be the file. Row numbers need one thread.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=min(len(data) + 1, _MAX_BLOCK)),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter,
                invalid_row_handler=keep_ragged,
                newlines_in_values=True,
                ignore_empty_lines=not keep_blank,
            ),
            convert_options=pa_csv.ConvertOptions(
                decimal_point=decimal, strings_can_be_null=True, column_types=types
            ),
        )

    try:
        table = parse({})
        _refuse_ragged(path, ragged, delimiter)
        zoned = [f.name for f in table.schema if pa.types.is_timestamp(f.type) and f.type.tz is not None]
        if zoned:
            table = parse(dict.fromkeys(zoned, pa.string()))
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    _refuse_binary(path, table)
    return table


def _refuse_ragged(path: Path, ragged: list[Any], delimiter: str) -> None:
    if ragged:
        shown = "; ".join(
            f"row {row.number - 1} has {row.actual_columns}: {row.text[:60]!r}" for row in ragged[:MAX_SHOWN]
        )
        raise DataError(
            f"{path}: expected {ragged[0].expected_columns} cells in every row (delimiter {delimiter!r}), but "
            f"{len(ragged)} rows differ: {shown}; mend them (rows are counted from 1 below the header)"
        )


def _refuse_binary(path: Path, table: pa.Table) -> None:
    wrong = [field.name for field in table.schema if pa.types.is_binary(field.type)]
    if wrong:
        raise DataError(f"{path} is not UTF-8 text in column {wrong[0]!r}; save it as UTF-8")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
