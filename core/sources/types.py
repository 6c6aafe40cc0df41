"""The type of a column that shows several as it is read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_UNITS = ("s", "ms", "us", "ns")


def common_schema(seen: pa.Schema, table: pa.Table, *, text: bool) -> pa.Schema:
    """The types that hold all rows of both.

    Args:
        seen: Types of the rows so far.
        table: Further rows, by their own types; names as in `seen`.
        text: Cells are read from text, in which 0 and 1 can be truth values.
    """
    fields = []
    for before, now in zip(seen, table.schema, strict=True):
        kind = common_type(before.type, now.type)
        if text and kind == pa.string() and {before.type, now.type} == {pa.bool_(), pa.int64()}:
            kind = _truth(now.type, table[now.name])
        fields.append((before.name, kind))
    return pa.schema(fields)


def without_misfits(types: pa.Schema, table: pa.Table) -> pa.Schema:
    """The types, but text where a column of the table cannot be cast: stamps too early for nanoseconds."""
    return pa.schema(
        item if _fits(table[item.name], item.type) else item.with_type(pa.string()) for item in types
    )


def _fits(column: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        column.cast(kind)
    except pa.ArrowException:
        return False
    return True


def _truth(now: pa.DataType, column: pa.ChunkedArray) -> pa.DataType:
    if pa.types.is_boolean(now):
        # Whether the whole numbers before were 0 and 1, reading them again will show.
        return pa.bool_()
    ends = pc.min_max(column).as_py()
    return pa.bool_() if {ends["min"], ends["max"]} <= {0, 1, None} else pa.string()


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The narrowest type for cells of both: as if the type had been found from all of them at once."""
    types = pa.types
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if _number(one) and _number(other):
        return _common_number(one, other)
    if types.is_date(one) and types.is_timestamp(other) and other.tz is None:
        return other
    if types.is_date(other) and types.is_timestamp(one) and one.tz is None:
        return one
    if types.is_timestamp(one) and types.is_timestamp(other) and one.tz == other.tz:
        return pa.timestamp(max(one.unit, other.unit, key=_UNITS.index), one.tz)
    return pa.string()


def _number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _common_number(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_floating(one) or pa.types.is_floating(other):
        return pa.float64()
    places = [kind.scale if pa.types.is_decimal(kind) else 0 for kind in (one, other)]
    whole = [kind.precision - kind.scale if pa.types.is_decimal(kind) else 19 for kind in (one, other)]
    precision = max(whole) + max(places)
    return pa.decimal128(precision, max(places)) if precision <= 38 else pa.float64()
