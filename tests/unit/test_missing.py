from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from core.prepare.rows.missing import Filling, check_fillable, filled

HOUR = 3600 * 10**9


@st.composite
def series(draw):
    """Cells of two columns in segments at uneven times, cut into blocks."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    rows = sum(sizes)
    cells = st.lists(st.floats(-100, 100) | st.just(float("nan")), min_size=rows, max_size=rows)
    values = np.array([draw(cells), draw(cells)]).T
    ns = np.cumsum(np.array(draw(st.lists(st.integers(1, 9), min_size=rows, max_size=rows)), dtype=np.int64))
    stops = np.cumsum(sizes)
    edges = sorted(draw(st.sets(st.integers(1, rows))) | {rows})
    return values, ns * HOUR, np.stack([stops - sizes, stops], axis=1), np.split(values, edges[:-1])


def expected(cells: np.ndarray, ns: np.ndarray, segments: np.ndarray, limit: int, *, straight: bool):
    """Filled by pandas, segment by segment; None where cells stay missing or a run is too long."""
    parts = []
    for start, stop in segments:
        part = pd.Series(cells[start:stop], index=pd.to_datetime(ns[start:stop]))
        absent = part.isna()
        if absent.groupby((~absent).cumsum()).sum().gt(limit).any():
            return None
        whole = part.interpolate("time", limit_area="inside") if straight else part.ffill()
        if whole.isna().any():
            return None
        parts.append(whole.to_numpy())
    return np.concatenate(parts)


@given(series(), st.integers(1, 4), st.booleans())
@settings(deadline=None, max_examples=60)
def test_blocks_are_filled_as_pandas_fills_each_segment_or_are_refused(data, limit, straight):
    values, ns, segments, blocks = data
    wanted, fillings = [], []
    for place in (0, 1):
        cells = values[:, place]
        wanted.append(expected(cells, ns, segments, limit, straight=straight))
        try:
            check_fillable("x", np.isnan(cells), segments, limit, lambda row: row + 1, straight=straight)
        except DataError:
            assert wanted[-1] is None
            return
        assert wanted[-1] is not None
        if np.isnan(cells).any():
            fillings.append(Filling(straight=straight, whole=False, place=place))
    found = np.concatenate(list(filled((block.copy() for block in blocks), fillings, ns)))
    np.testing.assert_allclose(found, np.stack(wanted, axis=1), rtol=1e-12, atol=1e-9)
    once = np.concatenate(list(filled([values.copy()], fillings, ns)))
    np.testing.assert_array_equal(found, once)


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
def test_what_is_done_to_a_block_changes_nothing_in_the_next(rows):
    cells = np.array([[1.0], [np.nan], [np.nan], [4.0], [np.nan], [6.0]])
    for straight, wanted in ((False, [1, 1, 1, 4, 4, 6]), (True, [1, 2, 3, 4, 5, 6])):
        blocks = (cells[start : start + rows].copy() for start in range(0, len(cells), rows))
        found = []
        for block in filled(blocks, [Filling(straight=straight, whole=False)], None):
            found += block[:, 0].tolist()
            block[:] = -99
        assert found == wanted


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
def test_no_value_past_an_end_is_looked_at_from_before_it(rows):
    cells = np.array([[1.0], [np.nan], [3.0], [np.nan], [np.nan], [np.nan], [7.0]])
    ends = np.array([False, False, False, False, True, False, False])
    blocks = (cells[start : start + rows].copy() for start in range(0, len(cells), rows))
    found = np.concatenate(list(filled(blocks, [Filling(straight=True, whole=False)], None, ends)))
    assert found[:, 0].tolist() == [1, 2, 3, 3, 3, 6, 7]


def test_whole_numbers_are_rounded_and_without_time_rows_are_as_far_apart_as_one_another():
    cells = np.array([[0.0], [np.nan], [np.nan], [1.0]])
    straight = [Filling(straight=True, whole=False)]
    np.testing.assert_allclose(
        np.concatenate(list(filled([cells.copy()], straight, None)))[:, 0], [0, 1 / 3, 2 / 3, 1]
    )
    whole = [Filling(straight=True, whole=True)]
    assert np.concatenate(list(filled([cells.copy()], whole, None)))[:, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("cells", "straight", "part"),
    [
        ("x..x", False, r"row 3: more than missing\.limit=1 .*\(1 such cells\)"),
        ("x..x", True, r"row 2: more than missing\.limit=1 .*\(2 such cells\)"),
        (".xx.", True, r"row 1: no value stands before it since the last gap \(2 such cells\)"),
        ("xxx.", True, r"row 4: no value stands after it up to the next gap \(1 such cells\)"),
        ("x.|.x", False, r"row 3: no value stands before it"),
        ("xx|x.|xx", True, r"row 4: no value stands after it"),
    ],
)
def test_the_first_cell_that_cannot_be_filled_is_named_with_how_many(cells, straight, part):
    sizes = [len(piece) for piece in cells.split("|")]
    stops = np.cumsum(sizes)
    segments = np.stack([stops - sizes, stops], axis=1)
    absent = np.array([cell == "." for cell in cells if cell != "|"])
    with pytest.raises(DataError, match=part):
        check_fillable("x", absent, segments, 1, lambda row: row + 1, straight=straight)
