"""Are a generator's files whole and the ones that were saved?

`files.json` says the size and SHA-256 of each and is checked before anything in them is read. Whoever can
change a file can change `files.json` with it: so the registry keeps its digest where the files are not.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from core.errors import StorageError
from core.strict_json import read_json

MANIFEST = "files.json"
FILES = ("generator.json", "series.json", "weights.safetensors")
"""Of every generator; other files beside them are not read."""
_MAX_MANIFEST_BYTES = 16_384


def write_manifest(folder: Path) -> None:
    """Write `files.json` beside the `FILES` in a folder: last, so that it vouches for whole files."""
    tree = {name: {"bytes": (folder / name).stat().st_size, "sha256": _digest(folder / name)} for name in FILES}
    text = json.dumps(tree, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def manifest_digest(folder: Path) -> str:
    """SHA-256, in hex, of `files.json`, and so of all files that it vouches for.

    Raises:
        StorageError: it is missing.
    """
    try:
        return _digest(folder / MANIFEST)
    except OSError as error:
        raise _without_manifest(folder) from error


def verify(folder: Path) -> None:
    """Check every file of a generator before anything in it is read.

    Raises:
        StorageError: one is missing, truncated or changed; the message names it.
    """
    if not (folder / MANIFEST).is_file():
        raise _without_manifest(folder)
    try:
        expected = read_json(folder / MANIFEST, _MAX_MANIFEST_BYTES)
        if set(expected) != set(FILES):
            raise ValueError(f"expected {', '.join(FILES)}, got {', '.join(expected) or 'nothing'}")
        for name in FILES:
            _verify_file(folder / name, int(expected[name]["bytes"]), str(expected[name]["sha256"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise StorageError(f"{folder / MANIFEST} is damaged: {error}; {_REMEDY}") from error


_REMEDY = "copy or download the whole folder again, or register the generator again"


def _without_manifest(folder: Path) -> StorageError:
    return StorageError(
        f"{folder} holds no whole trained generator: there is no {MANIFEST} in it; {_REMEDY}. "
        "If an older version made it, train it again, or load it with mlflow.pyfunc, which runs the code that "
        "the model carries"
    )


def _verify_file(path: Path, size: int, digest: str) -> None:
    if not path.is_file():
        raise StorageError(f"{path} is missing; {_REMEDY}")
    if (found := path.stat().st_size) != size:
        raise StorageError(f"{path} is not what was saved: it has {found:,} bytes, not {size:,}; {_REMEDY}")
    if _digest(path) != digest:
        raise StorageError(f"{path} is not what was saved: its SHA-256 differs; {_REMEDY}")


def _digest(path: Path) -> str:
    # Not `core.lake.file_digest`: registered models carry this module but not the lake.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
