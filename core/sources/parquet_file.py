"""Parquet files, folders of them, and Arrow (Feather) files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import ConfigError, DataError
from core.lake import content_digest, file_digest
from core.sources.decode import wrong_format
from core.sources.rows import RowSource, plain_schema

PARQUET_ENDINGS = (".parquet", ".pq")
FEATHER_ENDINGS = (".feather", ".arrow", ".ipc")
_BATCH_ROWS = 65_536
_BUFFER_BYTES = 1 << 20
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


class ParquetRows(RowSource):
    """A Parquet file, or all those in a folder, in the order of their paths.

    Parts of a path below the folder that are like `year=2020` become columns.
    """

    def __init__(self, path: Path, place: str) -> None:
        self._files, others = _parquet_files(path, place)
        super().__init__(place, total=sum(file.stat().st_size for file in self._files), path=path)
        if others:
            self._found.append(f"{others:,} files in the folder are no Parquet and are left out.")
        self._partitions = _partitions(path, self._files, place)
        self.reader = {"format": "parquet", "files": len(self._files)}
        with _reading(self._files[0], place, "parquet"):
            self.key = _key(path, self._files)

    def _tables(self) -> Iterator[pa.Table]:
        expected: pa.Schema | None = None
        before = 0
        for path, values in zip(self._files, self._partitions, strict=True):
            with _reading(path, self.place, "parquet"), pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
                size = path.stat().st_size
                schema = plain_schema(file.schema_arrow, str(path))
                expected = expected or schema
                _check_schema(path, schema, self._files[0], expected, set(values))
                rows, read = max(file.metadata.num_rows, 1), 0
                # ParquetFile, not read_table: the latter makes columns out of every folder such as `a=1`.
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    read += len(batch)
                    self.done = before + size * read // rows
                    yield _with_columns(pa.Table.from_batches([batch]), values)
            before += size


class FeatherRows(RowSource):
    """An Arrow file in the IPC format, which Feather is."""

    def __init__(self, path: Path, place: str) -> None:
        with _reading(path, place, "feather"):
            super().__init__(place, total=path.stat().st_size, path=path)
            self.key = file_digest(path)
        self._path = path
        self.reader = {"format": "feather"}

    def _tables(self) -> Iterator[pa.Table]:
        # Not a memory map: a file that is cut off while it is read would kill the process.
        with _reading(self._path, self.place, "feather"), pa.OSFile(str(self._path)) as file:
            yield from self._batches(pa.ipc.open_file(file))

    def _batches(self, reader: Any) -> Iterator[pa.Table]:
        # Names that are not UTF-8 fail when they are read, so read them where that is a damaged file.
        plain_schema(reader.schema, self.place)
        for position in range(reader.num_record_batches):
            batch = reader.get_batch(position)
            # Damaged offsets would be read as addresses.
            batch.validate(full=True)
            self.done = (self.total or 0) * (position + 1) // reader.num_record_batches
            for start in range(0, len(batch), _BATCH_ROWS):
                yield pa.Table.from_batches([batch.slice(start, _BATCH_ROWS)])


def _parquet_files(path: Path, place: str) -> tuple[list[Path], int]:
    """The Parquet files in order, and how many others lie beside them."""
    if not path.is_dir():
        return [path], 0
    inside = [
        file
        for file in sorted(path.rglob("*"), key=lambda file: file.relative_to(path).parts)
        if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    ]
    files = [file for file in inside if file.name.lower().endswith(PARQUET_ENDINGS)]
    if not files:
        endings = " or ".join(PARQUET_ENDINGS)
        raise ConfigError(
            f"the folder {place} holds no file that ends in {endings}; name a file, or put some there"
        )
    return files, len(inside) - len(files)


def _partitions(path: Path, files: list[Path], place: str) -> list[dict[str, pa.Scalar]]:
    """Columns that the names of folders give, for each file: whole numbers, else text."""
    if not path.is_dir():
        return [{}]
    texts = [
        dict(part.split("=", 1) for part in file.relative_to(path).parts[:-1] if "=" in part) for file in files
    ]
    for file, found in zip(files, texts, strict=True):
        if found.keys() != texts[0].keys():
            raise DataError(
                f"{place}: {file} lies in folders that give the columns {sorted(found)}, {files[0]} in those "
                f"that give {sorted(texts[0])}; lay all files out alike"
            )
    columns = {name: _values([unquote(found[name]) for found in texts]) for name in texts[0]}
    return [{name: values[row] for name, values in columns.items()} for row in range(len(files))]


def _values(texts: list[str]) -> pa.Array:
    array = pa.array([None if text == _NO_VALUE else text for text in texts], pa.string())
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:
        return array


def _with_columns(table: pa.Table, values: dict[str, pa.Scalar]) -> pa.Table:
    for name, value in values.items():
        table = table.append_column(name, pa.repeat(value, len(table)))
    return table


def _check_schema(path: Path, found: pa.Schema, first: Path, expected: pa.Schema, given: set[str]) -> None:
    if clash := given & set(found.names):
        raise DataError(f"{path}: column {min(clash)!r} is in the file and in the name of its folder, too")
    if found != expected:
        ours, theirs = ({f"{item.name} {item.type}" for item in schema} for schema in (found, expected))
        only = "; ".join(
            f"{where} {', '.join(sorted(what))}"
            for where, what in (("only here:", ours - theirs), ("only there:", theirs - ours))
            if what
        )
        raise DataError(
            f"{path} has other columns than {first} ({only or 'in another order'}); files of one folder must "
            "have the same columns"
        )


def _key(path: Path, files: list[Path]) -> str:
    """SHA-256 of a file, or of the names and digests of those in a folder."""
    if not path.is_dir():
        return file_digest(path)
    return content_digest(files=[[file.relative_to(path).as_posix(), file_digest(file)] for file in files])


@contextmanager
def _reading(path: Path, place: str, form: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        try:
            with path.open("rb") as file:
                said = wrong_format(file.read(16))
                size = path.stat().st_size
        except OSError as unopened:
            raise DataError(f"{path} cannot be read: {unopened}; mend its permissions") from error
        is_other = said and "source.format" in said and form not in said
        mend = f"it is {said}" if is_other else "bring an intact copy"
        name = place if path.name in place else str(path)
        raise DataError(f"{name} ({size:,} bytes) cannot be read: {error}; {mend}") from error
