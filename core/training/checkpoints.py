"""Checkpoints: complete, atomic, verified, the last few kept."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from core.errors import StorageError
from core.lake import file_digest, write_atomically, write_json
from core.tensors import pack_tensors, read_tensors

logger = logging.getLogger(__name__)

KEEP = 2


@dataclass(frozen=True)
class Position:
    """Where in a training a checkpoint was taken."""

    phase: int
    """Index of the phase."""
    step: int
    """Iterations of that phase done."""
    seconds: float
    """Spent training so far, over all attempts."""


def save_checkpoint(folder: Path, position: Position, state: dict[str, Tensor]) -> Path:
    """Write a checkpoint and drop all but the last two.

    The description is written after the tensors and holds their digest: a checkpoint without one, or with
    another digest, was cut short and is not loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{position.phase}-{position.step:09d}"
    content = pack_tensors(state)
    write_atomically(folder / f"{name}.safetensors", content)
    digest = hashlib.sha256(content).hexdigest()
    write_json(folder / f"{name}.json", {"position": asdict(position), "sha256": digest})
    for old in sorted(folder.glob("*.json"))[:-KEEP]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return folder / f"{name}.json"


def load_latest_checkpoint(folder: Path) -> tuple[Position, dict[str, Tensor]] | None:
    """The newest whole checkpoint; damaged ones are passed over with a warning, cut-short ones removed."""
    for stale in folder.glob(".*.tmp-*"):
        stale.unlink()
    for description in sorted(folder.glob("*.json"), reverse=True):
        try:
            return _load(description)
        except (StorageError, OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("checkpoint %s is damaged, trying the one before: %s", description, error)
    return None


def _load(description: Path) -> tuple[Position, dict[str, Tensor]]:
    tree = json.loads(description.read_text(encoding="utf-8"))
    path = description.with_suffix(".safetensors")
    if file_digest(path) != tree["sha256"]:
        raise StorageError(f"{path} is not what was written: its SHA-256 differs")
    return Position(**tree["position"]), read_tensors(path)[0]
