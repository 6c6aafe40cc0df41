"""The folder in which a report is kept: a new one takes the place of the old one, and of nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import ConfigError, StorageError

PICTURES = (
    "overlays",
    "distributions",
    "autocorrelations",
    "spectra",
    "paths",
    "correlations",
    "training",
)
"""What `core.evaluation.report.plots` draws."""
COMPARISON = ("comparison.html", "comparison.md")
REPORT = ("scores.json", "report.html", "report.md", *(f"plots/{name}.png" for name in PICTURES))


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """A folder inside `out`, made if missing, to write a report into; `replace_report` moves it to its place.

    Raises:
        ConfigError: `out` or what should be a file or a folder in it is the other of the two.
        StorageError: it cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"-o {out}: expected a folder, this is a file")
    if wrong := [name for name in (*REPORT, *COMPARISON) if (out / name).is_dir()]:
        raise ConfigError(f"-o {out}: {wrong[0]} is a folder there: choose another folder")
    if (plots := out / "plots").exists() and not plots.is_dir():
        raise ConfigError(f"-o {out}: plots is a file there: choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".report-", dir=out)
    except OSError as error:
        raise StorageError(f"could not write into {out}: {error}") from error
    with scratch as folder:
        yield Path(folder)


def replace_report(out: Path, new: Path | None = None) -> None:
    """Put a report into its folder and take away what an earlier report or comparison left there.

    Each file is replaced at once; files that are of no report stay.

    Args:
        out: The folder.
        new: Where the report was written, on the same disk; None if there is none to put there.

    Raises:
        StorageError: a file could not be moved or removed.
    """
    files = [] if new is None else sorted(path for path in new.rglob("*") if path.is_file())
    names = {path.relative_to(new).as_posix(): path for path in files} if new is not None else {}
    try:
        for name, path in names.items():
            (out / name).parent.mkdir(exist_ok=True)
            path.replace(out / name)
        for name in {*REPORT, *COMPARISON} - set(names):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"could not put the report into {out}: {error}") from error
