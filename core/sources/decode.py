"""The bytes of a text file as UTF-8, whatever packs or encodes them, in bounded memory."""

from __future__ import annotations

import codecs
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, BinaryIO

import pyarrow as pa

from core.errors import ConfigError, DataError

_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
_ZIP = b"PK\x03\x04"
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_FORMATS = {
    b"PAR1": "a Parquet file: set `source.format: parquet`",
    b"ARROW1": "an Arrow (Feather) file: set `source.format: feather`",
    b"FEA1": "a Feather file of version 1: write it as version 2",
    b"SQLite format 3": "an SQLite database: use a source of `kind: sql`",
    b"%PDF": "a PDF document: bring the data as CSV or Parquet",
    b"\x89HDF": "an HDF5 file: save it as Parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"\xfd7zXZ": "packed with xz: unpack it, or pack it with gzip, zstd, bz2 or zip",
    b"7z\xbc\xaf": "packed with 7-Zip: unpack it, or pack it with gzip, zstd, bz2 or zip",
    b"\x93NUMPY": "a NumPy array: save it as CSV or Parquet",
    b"\x89PNG": "a picture",
}


class HashedFile:
    """A file that is read once from its beginning; knows how far, and the SHA-256 of that."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = 0
        self._digest = hashlib.sha256()

    closed = False

    def close(self) -> None:
        """Do nothing: the file is its opener's, and is read to its end for the digest."""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        data = self.file.read(size)
        self.position += len(data)
        self._digest.update(data)
        return data

    def sha256(self) -> str:
        """Of the whole file, in hex; what was not read yet is read."""
        self.file.seek(self.position)
        while self.read(1 << 20):
            pass
        return self._digest.hexdigest()


def wrong_format(head: bytes) -> str | None:
    """What a file that begins like this is, if it is no text, with what to do."""
    return next((said for magic, said in _FORMATS.items() if head.startswith(magic)), None)


def unpacked(raw: HashedFile, path: Path, size: int, stack: ExitStack) -> Iterator[bytes]:
    """The bytes of a file, unpacked from gzip, zstd, bz2 or a zip of one member, at most `size` at a time.

    Raises:
        DataError: the packing is damaged or cut off, or the zip does not hold exactly one file.
    """
    head = raw.file.read(16)
    raw.file.seek(0)
    if head.startswith(_ZIP):
        # A zip is read from its end, so its bytes go through the digest when it has been read.
        opened: Any = stack.enter_context(open_member(raw.file, path.name))
    else:
        packing = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
        opened = raw
        if packing is not None:
            opened = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), packing)
    try:
        while data := opened.read(size):
            yield data
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, pa.ArrowException) as error:
        raise DataError(
            f"{path.name} ({path.stat().st_size:,} bytes) cannot be read: {error}; bring an intact copy"
        ) from error


def open_member(file: BinaryIO, name: str) -> IO[bytes]:
    """The only file in the zip `file`, opened.

    Raises:
        DataError: the zip is damaged, encrypted, or holds no or several files.
    """
    try:
        archive = zipfile.ZipFile(file)
        names = [item for item in archive.namelist() if not item.endswith("/") and "__MACOSX" not in item]
        if "xl/workbook.xml" in names:
            raise DataError(f"{name} is an Excel workbook: save its sheet as CSV")
        if len(names) != 1:
            listed = ", ".join(map(repr, names[:5])) or "none"
            raise DataError(f"{name} must hold one file, it holds {len(names)}: {listed}")
        return archive.open(names[0])
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{name} is no intact zip: {error}; bring an intact copy") from error


def transcoded(chunks: Iterator[bytes], encoding: str | None, name: str) -> Iterator[bytes]:
    """Text in UTF-8 without byte order mark; UTF-8 itself passes unchecked.

    Args:
        chunks: Of the file.
        encoding: Of the text; if None, what its byte order mark says, else UTF-8.
        name: What messages call it.

    Raises:
        ConfigError: there is no such encoding.
        DataError: the text is not in that encoding, or is no text.
    """
    first = next(chunks, b"")
    while len(first) < 4 and (more := next(chunks, b"")):
        first += more
    chosen = encoding or next((found for mark, found in _BOMS.items() if first.startswith(mark)), "utf-8")
    if chosen.lower().replace("_", "-") in ("utf-8-sig", "utf-8", "utf8"):
        first = first.removeprefix(codecs.BOM_UTF8)
        yield from _without_nul(_then(first, chunks), name)
        return
    decoder = _decoder(chosen)
    try:
        texts = (decoder.decode(data) for data in _then(first, chunks))
        # A mark is left over where the encoding names the order of bytes itself.
        whole = (text.removeprefix("\ufeff") if place == 0 else text for place, text in enumerate(texts))
        yield from _without_nul((text.encode() for text in whole), name)
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise DataError(f"{name} is no text in {chosen}: {error}; mend `source.encoding`") from error


def _then(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        # Refuses what is no encoding of text, such as hex.
        " ".encode(encoding)
        return codecs.getincrementaldecoder(encoding)()
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"source.encoding must be an encoding such as utf-8, utf-16, latin-1 or cp1252, got {encoding!r}"
        ) from error


def _without_nul(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    for data in chunks:
        if b"\0" in data:
            raise DataError(
                f"{name} holds NUL bytes, as no text does: if it is text in UTF-16, set "
                "`source.encoding: utf-16`, else bring a CSV"
            )
        yield data
