"""`python -m core.training RUN_DIR [PARENT]`: train what RUN_DIR/job.json orders.

SIGTERM, or the end of the process PARENT, stops with a checkpoint.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import torch

from core.errors import StorageError, TimeloomError, TrainingError
from core.lake import write_json
from core.training.job import run_job


def main() -> int:
    """Exit 0 when trained; 1 with `error.json` written when not."""
    run_dir = Path(sys.argv[1])
    parent = int(sys.argv[2]) if len(sys.argv) > 2 else os.getppid()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        run_job(run_dir, parent)
    except (TimeloomError, torch.OutOfMemoryError, MemoryError, OSError) as error:
        logging.getLogger(__name__).exception("training ended early")
        ours = _ours(error)
        write_json(run_dir / "error.json", {"type": type(ours).__name__, "message": str(ours)})
        return 1
    return 0


def _ours(error: Exception) -> TimeloomError:
    if isinstance(error, TimeloomError):
        return error
    if isinstance(error, OSError):
        return StorageError(f"training could not read or write: {error}")
    return TrainingError(f"training ran out of memory: lower training.batch_size or model.hidden ({error})")


if __name__ == "__main__":
    sys.exit(main())
