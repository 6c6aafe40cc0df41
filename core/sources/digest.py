"""What is in a table, as one number: however it is cut into chunks, or came piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

GROUP_ROWS = 131_072
"""Rows of a link of the chain, and of a Parquet row group of a snapshot."""


def table_digest(table: pa.Table) -> str:
    """SHA-256, in hex, of names, types and cells: the last link of the chain of its groups of rows.

    `H_0` is that of names and types, `H_i = sha256(H_{i-1} + the cells of group i)`.
    """
    digest = schema_digest(table.schema)
    for group in regroup(iter([table])):
        digest = chained(digest, group)
    return digest


def schema_digest(schema: pa.Schema) -> str:
    """`H_0`: of names and types."""
    text = ";".join(f"{field.name!r}:{field.type}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()


def chained(before: str, group: pa.Table) -> str:
    """`H_i`: of the link before and the cells of a group of rows.

    Of each column, which cells are missing, if any are, and the bytes of those that are there: what lies in
    memory below a missing value differs between equal columns.
    """
    digest = hashlib.sha256(f"{before}:{len(group)};".encode())
    for column in group.columns:
        digest.update(f"{column.null_count};".encode())
        if column.null_count:
            for chunk in column.chunks:
                digest.update(np.asarray(chunk.is_null().cast(pa.uint8())).data)
        for part in _cells([chunk.drop_null() for chunk in column.chunks], column.type):
            digest.update(part)
    return digest.hexdigest()


def regroup(tables: Iterator[pa.Table], rows: int = GROUP_ROWS) -> Iterator[pa.Table]:
    """The same rows in tables of `rows`; the last one may be shorter."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        rest = table
        while count + len(rest) >= rows:
            yield pa.concat_tables([*waiting, rest.slice(0, rows - count)])
            rest = rest.slice(rows - count)
            waiting, count = [], 0
        if len(rest):
            waiting.append(rest)
            count += len(rest)
    if waiting:
        yield pa.concat_tables(waiting)


def _cells(chunks: list[pa.Array], kind: pa.DataType) -> Iterator[memoryview | pa.Buffer]:
    if pa.types.is_null(kind):
        return
    if pa.types.is_string(kind):
        yield from (np.asarray(pc.binary_length(chunk)).data for chunk in chunks if len(chunk))
        for chunk in (chunk for chunk in chunks if len(chunk)):
            _, offsets, text = chunk.buffers()
            ends = np.frombuffer(offsets, dtype=np.int32)[[chunk.offset, chunk.offset + len(chunk)]]
            if ends[1] > ends[0]:
                yield text.slice(int(ends[0]), int(ends[1] - ends[0]))
        return
    for chunk in (chunk for chunk in chunks if len(chunk)):
        # Booleans as bytes: they are packed eight to one in memory, from any bit on.
        values = chunk.cast(pa.uint8()) if pa.types.is_boolean(kind) else chunk
        width = values.type.bit_width // 8
        yield values.buffers()[1].slice(values.offset * width, len(values) * width)
