"""`python -m core.training RUN_DIR`: train what RUN_DIR/job.json orders; SIGTERM stops with a checkpoint."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from core.errors import TimeloomError
from core.lake import write_json
from core.training.job import run_job


def main() -> int:
    """Exit 0 when trained; 1 with `error.json` written when not."""
    run_dir = Path(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    (run_dir / "error.json").unlink(missing_ok=True)
    try:
        run_job(run_dir)
    except TimeloomError as error:
        logging.getLogger(__name__).exception("training ended early")
        write_json(run_dir / "error.json", {"type": type(error).__name__, "message": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
