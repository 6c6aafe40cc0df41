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
from pathlib import Path
from typing import Any

import torch

from core.errors import StorageError

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

    Raises:
        StorageError: the file is missing, truncated or says something impossible of itself.
    """
    try:
        content = path.read_bytes()
        return _unpack(content)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path} is damaged or no safetensors file: {error}") from error


def _unpack(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(_MAX_HEADER, len(content) - 8):
        raise ValueError(f"its header of {size} bytes does not fit its {len(content)} bytes")
    header = json.loads(content[8 : 8 + size].decode("utf-8"))
    metadata = header.pop("__metadata__", {})
    body = memoryview(content)[8 + size :]
    covered = sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in header.values())
    if covered != len(body):
        raise ValueError(f"its tensors take {covered} bytes, its body has {len(body)}")
    return {name: _tensor(name, entry, body) for name, entry in header.items()}, metadata


def _tensor(name: str, entry: dict[str, Any], body: memoryview) -> torch.Tensor:
    dtype, shape = _DTYPES[entry["dtype"]], [int(side) for side in entry["shape"]]
    start, stop = entry["data_offsets"]
    count = math.prod(shape)
    if (
        not 0 <= start <= stop <= len(body)
        or min(shape, default=0) < 0
        or stop - start != count * dtype.itemsize
    ):
        raise ValueError(f"tensor {name!r} of shape {shape} does not fit bytes {start} to {stop}")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(body[start:stop]), dtype=dtype).reshape(shape)
