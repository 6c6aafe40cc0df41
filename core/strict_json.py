"""JSON files of unknown origin: read so that what they mean does not depend on who reads them.

This module is carried by registered models: it needs the standard library alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

_MAX_BYTES = 64_000_000


def read_json(path: Path, limit: int = _MAX_BYTES) -> dict[str, Any]:
    """A JSON object in a file: no name twice, no NaN or infinity, and at most `limit` bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none of that.
    """
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path.name} has more than {limit:,} bytes")
    tree = parse_json(content, path.name)
    if not isinstance(tree, dict):
        raise ValueError(f"{path.name} holds no JSON object")  # noqa: TRY004 - the file is wrong, not a type
    return tree


def parse_json(content: bytes, name: str) -> Any:
    """A JSON text whose meaning does not depend on who reads it, see `read_json`.

    Raises:
        ValueError: it is no such text, or nested too deep.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} holds no valid JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError("a name appears twice in an object")
    return tree


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
