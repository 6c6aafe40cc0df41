"""Our reader and writer against the library of the format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import StorageError
from core.tensors import pack_tensors, read_tensors

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]
tensors = st.dictionaries(
    st.text("abc.0", min_size=1, max_size=8),
    st.builds(
        lambda shape, dtype, seed: (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 10).to(
            dtype
        ),
        st.lists(st.integers(0, 4), max_size=3),
        st.sampled_from(DTYPES),
        st.integers(0, 9),
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(tensors)
def test_the_library_reads_what_we_write(made: dict[str, torch.Tensor]) -> None:
    read = safetensors.torch.load(pack_tensors(made, {"note": "x"}))
    assert read.keys() == made.keys()
    for name, tensor in made.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


@settings(max_examples=60, deadline=None)
@given(tensors)
def test_we_read_what_the_library_writes(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, torch.Tensor]
) -> None:
    path = tmp_path_factory.mktemp("t") / "x.safetensors"
    path.write_bytes(safetensors.torch.save(made, {"note": "x"}))
    read, metadata = read_tensors(path)
    assert metadata == {"note": "x"}
    assert read.keys() == made.keys()
    for name, tensor in made.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_a_view_is_written_as_what_it_shows(tmp_path: Path) -> None:
    view = torch.arange(12).reshape(3, 4).T[1:]
    (tmp_path / "x").write_bytes(pack_tensors({"v": view}))
    assert torch.equal(read_tensors(tmp_path / "x")[0]["v"], view)


def _said(shape: object, *offsets: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": list(offsets)}


def _file(header: object, body: bytes = b"") -> bytes:
    return _text(json.dumps(header).encode(), body)


def _text(text: bytes, body: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + body


WHOLE = pack_tensors({"a": torch.arange(4.0)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        WHOLE[:-1],
        WHOLE + b"\0",
        WHOLE[:20],
        b"\xff" * 16,
        _file([1, 2]),
        _file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
        _file({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
        _file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 4),
        _file({"a": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        _file({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        _file({"a": _said([1], 0, 4), "b": _said([1], 0, 4)}, b"\0" * 8),
        _file({"a": _said([1], 0, 4), "b": _said([2], 0, 8)}, b"\0" * 8),
        _file({"a": _said([1], 4, 8)}, b"\0" * 8),
        _file({"a": _said([1], 0, 4)}, b"\0" * 8),
        _file({"a": _said([3], 0, 12), "b": _said([-1], 12, 8)}, b"\0" * 8),
        _file({"a": _said([10**12], 0, 4 * 10**12)}, b"\0" * 4),
        _file({"a": _said([2**40, 2**40, 0], 0, 0)}),
        _file({"a": _said([1] * 1000, 0, 4)}, b"\0" * 4),
        _file({"a": _said([float("nan")], 0, 4)}, b"\0" * 4),
        _file({"a": _said([float("inf")], 0, 4)}, b"\0" * 4),
        _file({"a": _said([1.0], 0, 4)}, b"\0" * 4),
        _file({"a": _said([True], 0, 4)}, b"\0" * 4),
        _file({"a": _said(["1"], 0, 4)}, b"\0" * 4),
        _file({"a": _said(1, 0, 4)}, b"\0" * 4),
        _file({"a": {**_said([1], 0, 4), "data_offsets": [0, 4, 4]}}, b"\0" * 4),
        _file({"a": {**_said([1], 0, 4), "more": 1}}, b"\0" * 4),
        _file({"a": {"dtype": "F32"}}, b"\0" * 4),
        _file({"a": 4}, b"\0" * 4),
        _file({"__metadata__": [1]}),
        _file({"__metadata__": {"a": 1}}),
        _text(b'{"a": 1, "a": 1}'),
        _text(b"[" * 100_000),
        _text(b'{"\xff": 1}'),
        _text(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}'),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"weights\.safetensors"):
        read_tensors(path)
