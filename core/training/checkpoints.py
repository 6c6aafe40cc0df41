"""Checkpoints: complete, atomic, verified; the last few are kept, and the best weights."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import StorageError
from core.lake import file_digest, write_atomically, write_json
from core.tensors import pack_tensors, read_tensors
from core.training.selection import Best

logger = logging.getLogger(__name__)

KEEP = 2
_NUMBERED = "[0-9]*-*.json"


@dataclass(frozen=True)
class Position:
    """Where in a training a checkpoint was taken."""

    phase: int
    """Index of the phase."""
    step: int
    """Iterations of that phase done."""
    seconds: float
    """Spent training so far, over all attempts."""


def save_checkpoint(folder: Path, position: Position, state: dict[str, Tensor], keep: int = KEEP) -> Path:
    """Write a checkpoint and drop all but the last `keep`.

    The description is written after the tensors and holds their digest: a checkpoint without one, or with
    another digest, was cut short and is not loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    description = _save(folder / f"{position.phase}-{position.step:09d}", state, position=asdict(position))
    for old in sorted(folder.glob(_NUMBERED))[:-keep]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return description


def load_latest_checkpoint(folder: Path) -> tuple[Position, dict[str, Tensor]] | None:
    """The newest whole checkpoint; damaged ones are passed over with a warning, cut-short ones removed."""
    for stale in folder.glob(".*.tmp-*"):
        stale.unlink()
    for description in sorted(folder.glob(_NUMBERED), reverse=True):
        try:
            tree, state = _load(description)
            return Position(**tree["position"]), state
        except (StorageError, OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("checkpoint %s is damaged, trying the one before: %s", description, error)
    return None


def save_best(folder: Path, best: Best, weights: dict[str, Tensor]) -> None:
    """Write `best.safetensors` and `best.json` in place of those before.

    The loop writes a checkpoint right after it, which refers to it. A crash between the two leaves it ahead of
    the training; it is written again when the training comes by with the same bits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder / "best", weights, best=asdict(best))


def load_best(folder: Path, best: Best) -> dict[str, Tensor]:
    """The weights that `best` describes.

    Raises:
        StorageError: the file is missing, damaged or of other weights.
    """
    try:
        tree, weights = _load(folder / "best.json")
        found = Best(**tree["best"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"the best weights of this training cannot be read from {folder}: {error}; remove its run folder "
            "and train again"
        ) from error
    if found != best:
        raise StorageError(
            f"{folder / 'best.safetensors'} holds the weights of {found}, not of {best}: remove the run folder "
            "and train again"
        )
    return weights


def _save(path: Path, tensors: dict[str, Tensor], **described: Any) -> Path:
    content = pack_tensors(tensors)
    write_atomically(path.with_suffix(".safetensors"), content)
    description = path.with_suffix(".json")
    write_json(description, {**described, "sha256": hashlib.sha256(content).hexdigest()})
    return description


def _load(description: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tree = json.loads(description.read_text(encoding="utf-8"))
    path = description.with_suffix(".safetensors")
    if file_digest(path) != tree["sha256"]:
        raise StorageError(f"{path} is not what was written: its SHA-256 differs")
    return tree, read_tensors(path)[0]
