"""Writing a prepared folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.lake import write_atomically, write_json
from core.prepare.channels.encode import count_outside, encode
from core.prepare.channels.layout import Column, width
from core.prepare.channels.transforms import is_differenced
from core.prepare.report.manifest import Ready, manifest_of
from core.prepare.report.pages import as_html, as_markdown

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]


def write(folder: Path, ready: Ready, snapshot: str, started: float) -> None:
    """Write the arrays, `prepared.json` and the report.

    Args:
        folder: Empty; removed by the caller if this fails.
        ready: What to write.
        snapshot: Digest of the rows.
        started: When the preparation began, `time.monotonic`.
    """
    outside = _write_values(folder, ready)
    own = [column for column in ready.layout.static if not column.level_of]
    if own:
        np.save(folder / "static.npy", encode(own, ready.static), allow_pickle=False)
    if ready.division.ns is not None:
        np.save(folder / "time.npy", ready.division.ns, allow_pickle=False)
    manifest = manifest_of(ready, snapshot, outside)
    manifest["seconds"] = round(time.monotonic() - started, 3)
    write_json(folder / "prepared.json", manifest)
    write_atomically(folder / "report.html", as_html(manifest))
    write_atomically(folder / "report.md", as_markdown(manifest))


def _write_values(folder: Path, ready: Ready) -> tuple[Counts, Counts]:
    """Write `values.npy` and `levels.npy`, counting the cells outside of what generators can make.

    Returns:
        Shape (temporal columns,) each: of the rows to learn from, and of held-out ones.
    """
    division, columns = ready.division, ready.layout.temporal
    levels = [column for column in ready.layout.static if column.level_of]
    rows_of = _may_lie_outside(ready)
    counts = np.zeros(len(columns), dtype=np.int64), np.zeros(len(columns), dtype=np.int64)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(_array(folder / f"{name}.npy", len(division.chronology), part))
            for name, part in (("values", columns), ("levels", levels))
            if part
        }
        for rows, codes, before in ready.coder.blocks(columns, folder):
            values = _encoded(columns, codes)
            files["values"].write(values.data)
            if levels:
                files["levels"].write(_encoded(levels, before).data)
            for count, part in zip(counts, rows_of, strict=True):
                if part is not None and part[rows].any():
                    np.add(count, count_outside(columns, values[part[rows]]), out=count)
    return counts


def _may_lie_outside(ready: Ready) -> tuple[Mask | None, Mask | None]:
    """Shape (rows,): rows to learn from and held-out rows, None where no cell of theirs can be outside."""
    division, held_out = ready.division, ready.division.parts.held_out
    # The least and the largest value of what is learnt are 0 and 1; a cell may be filled from the first row of
    # a stretch, which is not learnt where columns are differenced.
    within = all(column.scaler == "minmax" for column in ready.layout.temporal)
    within = within and not (ready.filled and ready.differenced)
    return None if within else division.learnt, division.inside(held_out) if len(held_out) else None


def _encoded(columns: Sequence[Column], codes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Channels; the first row of a stretch, which is in no window, has channel 0 where it has no difference."""
    for place, column in enumerate(columns):
        if is_differenced(column) or column.level_of:
            cells = codes[:, place]
            cells[np.isnan(cells)] = column.minimum
    return np.ascontiguousarray(encode(columns, codes))


@contextmanager
def _array(path: Path, rows: int, columns: Sequence[Column]) -> Iterator[BinaryIO]:
    """A file of NumPy's format whose rows are written one after the other: nothing of it stays in memory."""
    features = width([column.block for column in columns])
    with path.open("wb") as file:
        header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (rows, features)}
        np.lib.format.write_array_header_1_0(file, header)
        yield file
