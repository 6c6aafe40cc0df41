"""Three times the rows take no more memory: of each row the three steps keep a few numbers."""

from __future__ import annotations

import pytest

from tests.benchmarks.ingestion import in_a_process, write_csv

FEW, MANY, COLUMNS = 500_000, 1_500_000, 28


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for rows in (FEW, MANY):
        folder = tmp_path / str(rows)
        folder.mkdir()
        write_csv(folder / "series.csv", rows, COLUMNS)
        peaks.append(in_a_process("timeloom", folder / "series.csv")["mib"])
    floats = (MANY - FEW) * COLUMNS * 8 / 2**20
    assert peaks[1] - peaks[0] < floats / 2, peaks
