"""Named tensors in one file: the safetensors format, read and written with torch alone.

The library of that name is not imported because registered models and training machines must work where
it is not installed; the tests check both directions against it. The format: eight bytes with the length of
a JSON header (little-endian), the header (`{name: {dtype, shape, data_offsets}, "__metadata__": {str: str}}`),
then the raw little-endian buffers. Nothing in such a file can execute code.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.errors import StorageError
from core.strict_json import parse_json

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER = 100_000_000  # the format's own limit
_MAX_SIDES = 16
_MAX_SIZE = 2**48

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("core.tensors reads and writes little-endian buffers only")


def pack_tensors(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file; tensors of any device, made contiguous."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    buffers: list[bytes] = []
    offset = 0
    # Widest items first, as the reference does: every buffer then starts aligned.
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        flat = tensor.detach().cpu().contiguous().flatten()
        raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        buffers.append(raw)
        offset += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *buffers])


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata of a safetensors file.

    What the file says of itself is not trusted: it must account for each of its bytes once.

    Raises:
        StorageError: the file is missing, truncated or says something impossible of itself.
    """
    try:
        content = path.read_bytes()
        return _unpack(content)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise StorageError(f"{path} is damaged or no safetensors file: {error}") from error


@dataclass(frozen=True)
class _Entry:
    """A tensor in the header, checked by itself."""

    name: str
    dtype: torch.dtype
    shape: list[int]
    start: int
    stop: int

    @classmethod
    def of(cls, name: str, said: Any) -> _Entry:
        if not isinstance(said, dict) or said.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"tensor {name!r:.80} is not described by dtype, shape and data_offsets")
        kind, shape, offsets = said["dtype"], said["shape"], said["data_offsets"]
        if not isinstance(kind, str) or kind not in _DTYPES:
            raise ValueError(f"tensor {name!r:.80} has the unknown dtype {kind!r:.80}")
        if not _are_sizes(shape) or len(shape) > _MAX_SIDES or not _are_sizes(offsets) or len(offsets) != 2:
            raise ValueError(f"tensor {name!r:.80} has no shape and offsets of whole numbers from 0")
        entry = cls(name, _DTYPES[kind], shape, *offsets)
        if (
            math.prod(side or 1 for side in shape) >= _MAX_SIZE
            or entry.stop - entry.start != math.prod(shape) * entry.dtype.itemsize
        ):
            raise ValueError(
                f"tensor {name!r:.80} of shape {shape} does not fit bytes {entry.start} to {entry.stop}"
            )
        return entry


def _unpack(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(_MAX_HEADER, len(content) - 8):
        raise ValueError(f"its header of {size} bytes does not fit its {len(content)} bytes")
    header = parse_json(content[8 : 8 + size], "its header")
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")  # noqa: TRY004 - the file is wrong, not a type
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts by name")
    body = memoryview(content)[8 + size :]
    entries = [_Entry.of(name, said) for name, said in header.items()]
    _check_covered(entries, len(body))
    return {entry.name: _tensor(entry, body) for entry in entries}, metadata


def _check_covered(entries: list[_Entry], size: int) -> None:
    """Tensors follow each other without holes: then no two of them share bytes."""
    end = 0
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.stop)):
        if entry.start != end:
            raise ValueError(f"tensor {entry.name!r:.80} starts at byte {entry.start}, expected {end}")
        end = entry.stop
    if end != size:
        raise ValueError(f"its tensors take {end} bytes, its body has {size}")


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < _MAX_SIZE for value in values)


def _tensor(entry: _Entry, body: memoryview) -> torch.Tensor:
    if entry.start == entry.stop:
        return torch.empty(entry.shape, dtype=entry.dtype)
    raw = bytearray(body[entry.start : entry.stop])
    return torch.frombuffer(raw, dtype=entry.dtype).reshape(entry.shape)
