"""Cells to channels and back, and from one layout to another."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from core.prepare.channels.conditions import encode_values
from core.prepare.channels.encode import (
    category_type,
    channel_names,
    count_outside,
    decode,
    encode,
    joined,
    joined_names,
    to_series,
)
from core.prepare.channels.layout import Column, Layout, WindowArrays, width
from core.prepare.channels.recode import recode, recode_windows

PRICE = Column("price", minimum=-10.0, maximum=30.0)
COUNT = Column("count", minimum=0.0, maximum=9.0, integer=True)
KIND = Column("kind", "categorical", categories=("a", "b", "c"))
CODE = Column("code", "categorical", categories=(3, 5, 40))
FLAG = Column("flag", "binary", categories=(False, True))
SEX = Column("sex", "binary", categories=("f", "m"))


def optional(column: Column) -> Column:
    return Column(**{**column.__dict__, "optional": True})


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def columns_with_values(draw: st.DrawFn) -> tuple[list[Column], list[list[object]]]:
    """Columns of every kind and, for each row, a value (or None) of each, in the user's own terms."""
    columns: list[Column] = []
    cells: list[list[object]] = []
    rows = draw(st.integers(1, 12))
    for place in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["continuous", "integer", "binary", "categorical"]))
        may_lack = draw(st.booleans())
        if kind == "continuous":
            low = draw(numbers(-1e6, 1e6))
            high = low + draw(numbers(0, 1e6))
            column = Column(f"c{place}", minimum=low, maximum=high, optional=may_lack)
            value: st.SearchStrategy[object] = numbers(low, high)
        elif kind == "integer":
            low = draw(st.integers(-10_000, 10_000))
            high = low + draw(st.integers(0, 10_000))
            column = Column(
                f"c{place}", minimum=float(low), maximum=float(high), integer=True, optional=may_lack
            )
            value = st.integers(low, high)
        else:
            pool: st.SearchStrategy[object] = draw(
                st.sampled_from([st.text(max_size=5), st.integers(-50, 50), st.floats(-5, 5, width=16)])
            )
            few = {"min_size": 2, "max_size": 2} if kind == "binary" else {"min_size": 1, "max_size": 6}
            categories = tuple(sorted(draw(st.lists(pool, unique=True, **few))))
            column = Column(f"c{place}", kind, categories=categories, optional=may_lack)
            value = st.sampled_from(categories)
        columns.append(column)
        cells.append(draw(st.lists(value | st.none() if may_lack else value, min_size=rows, max_size=rows)))
    return columns, cells


def codes_of(column: Column, cells: list[object]) -> list[float]:
    """By hand, one cell at a time."""
    if column.kind == "continuous":
        return [np.nan if cell is None else float(cell) for cell in cells]
    return [np.nan if cell is None else float(column.categories.index(cell)) for cell in cells]


@given(columns_with_values())
def test_what_is_encoded_comes_back(case):
    columns, cells = case
    codes = np.array([codes_of(column, row) for column, row in zip(columns, cells, strict=True)]).T
    channels = encode(columns, codes)
    assert channels.dtype == np.float32
    assert channels.shape == (len(codes), width([column.block for column in columns]))
    assert channels.min() >= 0
    assert channels.max() <= 1
    back = decode(columns, channels)
    for place, (column, values) in enumerate(zip(columns, cells, strict=True)):
        found = to_series(column, back[:, place])
        missing = [value is None for value in values]
        assert found.isna().tolist() == missing
        there = [(got, value) for got, value in zip(found, values, strict=True) if value is not None]
        for got, value in there:
            if column.kind == "continuous" and not column.integer:
                # float32 has 24 bits for the unit interval.
                assert got == pytest.approx(value, abs=(column.maximum - column.minimum) * 2.0**-23 + 1e-9)
            else:
                assert got == value


def test_channels_by_hand():
    columns = [optional(PRICE), KIND, FLAG, optional(CODE)]
    codes = np.array([[10.0, 2, 1, 0], [np.nan, 0, 0, np.nan]])
    np.testing.assert_array_equal(
        encode(columns, codes),
        [
            # present, price, a, b, c, flag, present, 3, 5, 40
            [1, 0.5, 0, 0, 1, 1, 1, 1, 0, 0],
            [0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        ],
    )
    assert channel_names(columns) == [
        *("price present", "price", "kind=a", "kind=b", "kind=c"),
        *("flag", "code present", "code=3", "code=5", "code=40"),
    ]
    assert channel_names([SEX]) == ["sex=m"]


def test_soft_channels_are_decided_and_whole_numbers_are_whole():
    columns = [optional(FLAG), KIND, COUNT]
    channels = np.array([[0.7, 0.5, 0.2, 0.5, 0.3, 0.5], [0.2, 1, 0.9, 0.1, 0, 0.04]], dtype=np.float32)
    codes = decode(columns, channels)
    np.testing.assert_array_equal(codes, [[1, 1, 4], [np.nan, 0, 0]])


def test_missing_cells_of_a_column_without_any_are_refused():
    with pytest.raises(DataError, match="'price': 1 cells are missing"):
        encode([PRICE], np.array([[1.0], [np.nan]]))


def test_cells_beyond_float32_are_refused():
    tiny = Column("tiny", minimum=0.0, maximum=1e-300)
    for columns in ([tiny], [tiny, KIND]):
        codes = np.array([[1e-301, 0], [1e10, 1]])[:, : len(columns)]
        with pytest.raises(DataError, match=r"'tiny': 1 cells, such as 1e\+10, lie so far outside"):
            encode(columns, codes)


def test_cells_outside_are_counted_by_column():
    columns = [optional(PRICE), KIND, Column("level", minimum=5.0, maximum=5.0), FLAG, COUNT]
    codes = np.array([[np.nan, 0, 5, 0, 9], [31, 1, 5.5, 1, -1], [-11, 2, 4, 1, 10], [30, 2, 5, 1, 0]])
    assert count_outside(columns, encode(columns, codes)).tolist() == [2, 0, 2, 0, 2]
    assert count_outside([], np.empty((3, 0), dtype=np.float32)).tolist() == []


@given(st.integers(0, 6), st.integers(1, 9000))
def test_columns_encoded_at_once_are_those_encoded_one_by_one(count, rows):
    rng = np.random.default_rng(rows)
    columns = [Column(f"c{n}", minimum=-rng.random(), maximum=rng.random() * (n > 0)) for n in range(count)]
    codes = rng.normal(size=(rows, count))
    one_by_one = [
        encode([column, FLAG], np.stack([cells, cells * 0], axis=1))[:, 0]
        for column, cells in zip(columns, codes.T, strict=True)
    ]
    expected = np.stack(one_by_one, axis=1) if columns else np.empty((rows, 0), dtype=np.float32)
    assert encode(columns, codes).tobytes() == expected.tobytes()
    assert encode(columns, np.asfortranarray(codes)).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("column", "plain", "lacking"),
    [
        (PRICE, "float64", "float64"),
        (COUNT, "float64", "float64"),
        (KIND, "str", "str"),
        (CODE, "int64", "float64"),
        (FLAG, "bool", "object"),
        (SEX, "str", "str"),
        (Column("x", "binary", categories=(0.5, 2)), "float64", "float64"),
    ],
)
def test_the_type_of_a_column_does_not_depend_on_its_cells(column, plain, lacking):
    for codes in ([0.0, 1.0], [0.0, 0.0]):
        assert str(to_series(column, np.array(codes)).dtype) == plain
    for codes in ([0.0, np.nan], [0.0, 1.0], [np.nan, np.nan]):
        series = to_series(optional(column), np.array(codes))
        assert str(series.dtype) == lacking
        assert series.isna().tolist() == np.isnan(codes).tolist()
    assert series.tolist()[0] is None if lacking == "object" else True
    assert category_type(FLAG) == "boolean"


@given(columns_with_values())
def test_a_layout_survives_json(case):
    columns, _ = case
    layout = Layout(tuple(columns), tuple(columns[:1]), tuple(columns[1:2]))
    again = Layout.from_json(json.loads(json.dumps(layout.to_json())))
    assert again == layout
    assert [type(c) for column in again.temporal for c in column.categories] == [
        type(c) for column in layout.temporal for c in column.categories
    ]


# Recoding


def random_codes(columns: list[Column], rows: int, rng: np.random.Generator) -> np.ndarray:
    codes = np.empty((rows, len(columns)))
    for place, column in enumerate(columns):
        if column.kind == "continuous":
            codes[:, place] = rng.uniform(column.minimum, column.maximum, rows)
        else:
            codes[:, place] = rng.integers(len(column.categories), size=rows)
        if column.optional:
            codes[rng.random(rows) < 0.3, place] = np.nan
    return codes


def test_recoding_is_what_encoding_by_the_new_layout_would_have_given():
    old = [optional(PRICE), KIND, COUNT, SEX]
    new = [
        Column("price", minimum=-100.0, maximum=20.0, optional=True),
        Column("kind", "categorical", categories=("0", "a", "b", "c", "d"), optional=True),
        Column("count", minimum=-1.0, maximum=99.0),
        Column("sex", "binary", categories=("m", "f")),
    ]
    codes = random_codes(old, 200, np.random.default_rng(0))
    expected = codes.copy()
    expected[:, 1] += 1
    expected[:, 3] = 1 - codes[:, 3]
    found, outside = recode(encode(old, codes), Layout(tuple(old)), Layout(tuple(new)))
    np.testing.assert_allclose(found, encode(new, expected), atol=1e-6)
    assert outside == int((codes[:, 0] > 20).sum()) > 0


def test_recoding_to_the_same_ranges_keeps_every_bit():
    rng = np.random.default_rng(1)
    columns = (optional(PRICE), KIND, COUNT)
    values = encode(columns, random_codes(list(columns), 50, rng))
    same = Layout((optional(PRICE), KIND, Column("count", minimum=0.0, maximum=9.0)))
    found, outside = recode(values, Layout(columns), same)
    assert found.tobytes() == values.tobytes()
    assert outside == 0


def test_values_a_little_beyond_the_range_are_rounding_and_others_are_counted():
    layout = Layout((PRICE,))
    values = np.array([[1.0 + 1e-7], [-1e-7], [1.01], [-0.1], [0.5]], dtype=np.float32)
    assert recode(values, layout, layout)[1] == 2


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (KIND, Column("kind", "categorical", categories=("a", "c")), r"'kind' holds 'b' \(2 cells"),
        (optional(KIND), KIND, "'kind': 1 cells are missing"),
        (KIND, Column("kind", "categorical", categories=("a", "c", "b")), None),
        (KIND, Column("sort", "categorical", categories=("a", "b", "c")), "same columns"),
        (KIND, Column("kind"), "same columns"),
        (optional(KIND), Column("kind", "categorical", categories=("a", "b", "c", "d"), optional=True), None),
    ],
)
def test_what_the_new_layout_does_not_know_is_named(old, new, says):
    codes = np.array([[0.0], [1], [1], [np.nan if old.optional else 2.0]])
    values = encode([old], codes)
    if says is None:
        back = decode([new], recode(values, Layout((old,)), Layout((new,)))[0])
        assert to_series(new, back[:, 0]).tolist()[:3] == ["a", "b", "b"]
        return
    with pytest.raises(DataError, match=says):
        recode(values, Layout((old,)), Layout((new,)))


def test_a_category_that_no_cell_has_needs_no_place():
    fewer = Column("kind", "categorical", categories=("a",))
    values, _ = recode(encode([KIND], np.zeros((3, 1))), Layout((KIND,)), Layout((fewer,)))
    np.testing.assert_array_equal(values, np.ones((3, 1)))


def windows_of(layout: Layout, lengths: list[int], steps: int = 4) -> WindowArrays:
    rng = np.random.default_rng(5)
    rows = len(lengths)
    inside = np.arange(steps) < np.array(lengths)[:, None]
    temporal = encode(layout.temporal, random_codes(list(layout.temporal), rows * steps, rng))
    parts = [encode(part, random_codes(list(part), rows, rng)) for part in (layout.static, layout.condition)]
    values = temporal.reshape(rows, steps, -1) * inside[..., None]
    return WindowArrays(values, *parts, np.array(lengths, dtype=np.int64))


def test_recoded_windows_are_zero_past_their_ends_and_these_are_not_counted():
    old = Layout((PRICE, KIND), (COUNT,), (SEX,))
    # 0 in the old layout is -10, which lies below the new range.
    new = Layout((Column("price", minimum=0.0, maximum=100.0), KIND), (COUNT,), (SEX,))
    windows = windows_of(old, [1, 4, 2])
    found, outside = recode_windows(windows, old, new)
    inside = np.arange(4) < windows.lengths[:, None]
    assert (found.values[~inside] == 0).all()
    assert outside == int((decode(old.temporal, windows.values[inside])[:, 0] < 0).sum())
    np.testing.assert_allclose(
        decode(new.temporal, found.values[inside]), decode(old.temporal, windows.values[inside]), atol=1e-4
    )
    np.testing.assert_array_equal(found.static, windows.static)
    np.testing.assert_array_equal(found.condition, windows.condition)


def test_joined_channels_stand_where_their_names_say():
    layout = Layout((KIND, PRICE), (optional(COUNT),), (SEX,))
    windows = windows_of(layout, [2, 4])
    flat = joined(windows)
    names = joined_names(layout)
    assert names == ["count present", "count", "sex=m", "kind=a", "kind=b", "kind=c", "price"]
    assert flat.shape == (2, 4, len(names))
    np.testing.assert_array_equal(flat[0, :, 0], windows.static[0, 0] * np.array([1, 1, 0, 0]))
    np.testing.assert_array_equal(flat[1, :, 2], np.full(4, windows.condition[1, 0]))
    np.testing.assert_array_equal(flat[..., 3:], windows.values)


# Conditions


@pytest.mark.parametrize(
    ("column", "value", "channels"),
    [
        (KIND, "b", [0, 1, 0]),
        (CODE, 5, [0, 1, 0]),
        (CODE, "5", [0, 1, 0]),
        (CODE, np.int64(40), [0, 0, 1]),
        (FLAG, True, [1]),
        (FLAG, "true", [1]),
        (FLAG, "False", [0]),
        (FLAG, np.bool_(False), [0]),
        (PRICE, 10, [0.5]),
        (PRICE, "30", [1]),
        (optional(PRICE), None, [0, 0]),
        (optional(KIND), "a", [1, 1, 0, 0]),
    ],
)
def test_conditions_are_matched_as_they_are_or_as_they_are_written(column, value, channels):
    np.testing.assert_array_equal(encode_values([column], {column.name: value}), np.float32(channels))


@pytest.mark.parametrize(
    ("columns", "values", "says"),
    [
        ([KIND], {"kind": "B"}, "kind is never 'B'; it is one of 'a', 'b', 'c'"),
        ([KIND], {"kind": None}, "never None"),
        ([CODE], {"code": True}, "never True"),
        ([CODE], {"code": "x"}, "one of 3, 5, 40"),
        ([FLAG], {"flag": 1}, "one of False, True"),
        ([PRICE], {"price": 31}, "from -10 to 30, as in the training data, got 31"),
        ([PRICE], {"price": "nan"}, "from -10 to 30"),
        ([PRICE], {"price": "dear"}, "from -10 to 30"),
        ([PRICE], {"price": 10**400}, "from -10 to 30"),
        ([KIND], {"sort": "a"}, "each of kind: there is no 'sort'"),
        ([KIND, CODE], {"kind": "a"}, "each of kind, code: some are not given"),
        ([], {"kind": "a"}, "takes no condition, got kind"),
    ],
)
def test_conditions_that_never_were_are_refused_with_what_is_known(columns, values, says):
    with pytest.raises(ConfigError, match=says):
        encode_values(columns, values)


def test_text_of_any_kind_is_a_category(tmp_path):
    column = Column("t", "categorical", categories=("", " ", "None", "nan", "é"))
    series = to_series(column, np.arange(5.0))
    assert series.tolist() == list(column.categories)
    pd.DataFrame({"t": series}).to_parquet(tmp_path / "x.parquet")
    assert pd.read_parquet(tmp_path / "x.parquet")["t"].tolist() == list(column.categories)
