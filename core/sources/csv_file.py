"""CSV files: delimiter, encoding and column types found out, every odd row named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

import pyarrow as pa

from core.catalog import FileSource
from core.errors import DataError
from core.sources.blocks import Block, Dialect, OpenQuoteError, cut_records, in_order, parse_block
from core.sources.csv_head import Head, read_head, take_sample
from core.sources.decode import HashedFile, transcoded, unpacked, wrong_format
from core.sources.rows import RowSource, TypesChangedError, refuse_twice
from core.sources.types import common_schema, without_misfits

CSV_ENDINGS = (
    *(f"{end}{pack}" for pack in ("", ".gz", ".zst", ".bz2", ".zip") for end in (".csv", ".tsv", ".txt")),
    ".zip",
)
MAX_SHOWN = 20
BLOCK_BYTES = 2 << 20
_READ_BYTES = 1 << 20


class CsvRows(RowSource):
    """A CSV file with a header line, packed or not.

    Types are found from whole columns, not from their beginning: integers, floats, booleans, dates, time
    stamps, else text. Empty cells and `NA`, `N/A`, `NaN`, `null` are missing values.
    """

    def __init__(self, path: Path, source: FileSource, place: str, block_bytes: int = BLOCK_BYTES) -> None:
        super().__init__(place, total=path.stat().st_size, path=path)
        self._path = path
        self._source = source
        self._block_bytes = block_bytes
        self._types: pa.Schema | None = None
        with ExitStack() as stack:
            self._raw = stack.enter_context(_opened(path, place))
            sample, chunks = take_sample(self._text(stack), source.skip_rows)
            self._head = read_head(sample, source, place, whole=next(chunks, None) is None)
        self._dialect = Dialect(
            self._head.delimiter, source.decimal, source.thousands, source.comment, source.missing_values
        )
        self._names = self._name_columns(self._head)
        self.reader = {"format": "csv", "delimiter": self._dialect.delimiter, "decimal": source.decimal}

    def _name_columns(self, head: Head) -> list[str]:
        names = []
        for position, raw in enumerate(head.names, start=1):
            name = raw.strip() or f"unnamed_{position}"
            if not raw.strip():
                self._found.append(f"column {position} has no name in the header and is called {name!r}.")
            elif name != raw:
                self._found.append(f"the spaces around the name of column {name!r} are dropped.")
            names.append(name)
        refuse_twice(names, f"{self.place}: the header")
        return names

    def _text(self, stack: ExitStack) -> Iterator[bytes]:
        packed = unpacked(self._raw, self._path, min(self._block_bytes, _READ_BYTES), stack)
        return transcoded(packed, self._source.encoding, self.place)

    def _tables(self) -> Iterator[pa.Table]:
        with ExitStack() as stack:
            self._raw = stack.enter_context(_opened(self._path, self.place))
            blocks = self._blocks(stack)
            first: list[Block] = []
            if self._types is None:
                first = [self._parse(data) for data in [next(blocks, None)] if data is not None]
                self._types = first[0].table.schema if first else None
            yield from self._agreeing(chain(first, in_order(self._parse, blocks)))
            self.key = self._raw.sha256()
            self.done = self.total or 0

    def _blocks(self, stack: ExitStack) -> Iterator[bytes]:
        sample, chunks = take_sample(self._text(stack), self._source.skip_rows)
        try:
            yield from cut_records(
                chain([sample[self._head.size :]], chunks),
                self._block_bytes,
                self._head.newline,
                self._dialect.comment,
                keep_blank=len(self._names) == 1,
            )
        except OpenQuoteError as error:
            raise DataError(f"{self.place}: {error}") from error

    def _parse(self, data: bytes) -> Block:
        try:
            return parse_block(data, self._names, self._dialect, self._types)
        except DataError as error:
            raise DataError(f"{self.place}: {error}") from error

    def _agreeing(self, blocks: Iterator[Block]) -> Iterator[pa.Table]:
        """The tables up to the first odd type or row; from there on, only what is odd is sought."""
        types, rows, odd = self._types, 0, 0
        shown: list[str] = []
        for block in blocks:
            self.done = self._raw.file.tell()
            shown += [
                f"row {rows + row.number} has {row.actual_columns}: {row.text[:60]!r}"
                for row in block.ragged[: MAX_SHOWN - len(shown)]
            ]
            odd += len(block.ragged)
            rows += block.rows
            if block.table.schema != self._types:
                wider = common_schema(self._types, block.table, text=True)
                if wider == types:
                    wider = without_misfits(types, block.table)
                if wider == types:
                    raise DataError(f"{self.place}: cells near row {rows} fit no type of a whole column")
                self._types = wider
            elif not odd and self._types == types:
                yield block.table
        if odd:
            raise DataError(
                f"{self.place}: expected {len(self._names)} cells in every row (delimiter "
                f"{self._dialect.delimiter!r}), but {odd} rows differ: {'; '.join(shown)}; mend them (rows are "
                "counted from 1 below the header)"
            )
        if self._types != types:
            raise TypesChangedError


@contextmanager
def _opened(path: Path, place: str) -> Iterator[HashedFile]:
    try:
        with path.open("rb") as file:
            if said := wrong_format(file.read(16)):
                raise DataError(f"{place} is no text but {said}")
            file.seek(0)
            yield HashedFile(file)
    except OSError as error:
        raise DataError(f"{place} cannot be read: {error}; bring an intact copy") from error
