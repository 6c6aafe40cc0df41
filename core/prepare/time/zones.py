"""Time zones: clocks on the wall to instants, and back."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import ConfigError

PIECE = 500_000
"""Rows worked on at once."""

_OFFSET = re.compile(r"^[+-](?:[01]\d|2[0-3]):[0-5]\d$")
_HALF_DAY = 12 * 3600 * 10**9


def check_zone(name: str | None) -> None:
    """Refuse a time zone that nobody knows; offsets such as +02:00 are taken.

    Raises:
        ConfigError: with the names near it.
    """
    names = zoneinfo.available_timezones()
    if name is None or name in names or _OFFSET.match(name):
        return
    by_lower = {known.lower(): known for known in names}
    by_lower |= {known.rpartition("/")[2].lower(): known for known in sorted(names) if "/" in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    hint = f"; near it: {', '.join(dict.fromkeys(by_lower[text] for text in near))}" if near else ""
    raise ConfigError(f"there is no time zone time.timezone={name!r}{hint}; Europe/Berlin is one")


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different values, ascending."""
    # np.unique goes by hashes, which evenly spaced numbers make collide: a hundred times as slow.
    values = np.sort(values)
    first = np.concatenate([np.ones(min(len(values), 1), dtype=bool), values[1:] != values[:-1]])
    return np.asarray(values[first])


def to_index(ns: NDArray[np.int64], timezone: str | None) -> pd.DatetimeIndex:
    """Nanoseconds as stamps in `timezone`."""
    index = pd.DatetimeIndex(ns.astype("datetime64[ns]"))
    return index if timezone is None else index.tz_localize("UTC").tz_convert(timezone)


def as_ns(index: pd.DatetimeIndex) -> NDArray[np.int64]:
    """Stamps as nanoseconds since 1970, UTC if they have a zone."""
    return np.asarray(index.as_unit("ns").asi8)


def wall_clock(ns: NDArray[np.int64], timezone: str | None) -> NDArray[np.int64]:
    """What the clock on the wall showed at stamps in UTC, as nanoseconds since 1970."""
    return ns if timezone is None else as_ns(to_index(ns, timezone).tz_localize(None))


@dataclass(frozen=True)
class Localised:
    """Instants of clocks on the wall. All arrays of rows ascend."""

    skipped: NDArray[np.int64]
    """Rows whose hour the clocks skip in spring."""
    undecided: NDArray[np.int64]
    """Rows in the repeated hour of autumn that the order of rows does not tell apart."""
    assumed: NDArray[np.int64]
    """Rows in the repeated hour where only one of the two is there: taken as the first, summer time."""


def localise(
    clock: NDArray[np.int64], good: NDArray[np.bool_], timezone: str, codes: NDArray[np.integer] | None
) -> Localised:
    """Turn clocks on the wall into instants, in place.

    The repeated hour: in a series whose rows run oldest first, its rows are summer time until the clock jumps
    back, then winter time; newest first, the other way round.

    Args:
        clock: Shape (rows,): nanoseconds since 1970 by the clock; UTC afterwards.
        good: Shape (rows,): rows that hold a stamp; others stay as they are.
        timezone: Of the clock.
        codes: Shape (rows,): number of the series of each row, or None if there is one.
    """
    skipped, repeated, early, late = [], [], [], []
    for start in range(0, len(clock), PIECE):
        piece = clock[start : start + PIECE]
        index = pd.DatetimeIndex(piece.astype("datetime64[ns]"))
        found = index.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT")
        unknown = np.flatnonzero(found.isna() & good[start : start + PIECE])
        both = [
            index[unknown].tz_localize(timezone, ambiguous=np.full(len(unknown), summer), nonexistent="NaT")
            for summer in (True, False)
        ]
        gone = np.asarray(both[0].isna())
        known = good[start : start + PIECE] & ~np.asarray(found.isna())
        np.copyto(piece, as_ns(found), where=known)
        skipped.append(unknown[gone] + start)
        repeated.append(unknown[~gone] + start)
        early.append(as_ns(both[0][~gone]))
        late.append(as_ns(both[1][~gone]))
    rows = _join(repeated)
    if len(rows) == 0:
        return Localised(_join(skipped), rows, rows)
    usable = good.copy()
    usable[_join(skipped)] = False
    undecided, assumed = _tell_apart(clock, usable, codes, rows, np.stack([_join(early), _join(late)]))
    return Localised(_join(skipped), undecided, assumed)


def _join(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, dtype=np.int64)


def _tell_apart(
    clock: NDArray[np.int64],
    good: NDArray[np.bool_],
    codes: NDArray[np.integer] | None,
    rows: NDArray[np.int64],
    instants: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Set ambiguous `rows` (A,) of `clock` to one of their `instants` (2, A); undecided and assumed rows."""
    walls = clock[rows].copy()
    folds = _folds(instants[0])
    # One value for all rows of the repeated hour: they neither break nor make an order.
    clock[rows] = folds
    series = np.zeros(len(clock), dtype=np.int32) if codes is None else codes
    ways = _directions(clock, good, series)
    order = np.argsort(series[rows], kind="stable")
    way = ways[series[rows][order]]
    same = (np.diff(series[rows][order]) == 0) & (np.diff(folds[order]) == 0)
    run = np.concatenate([[0], np.cumsum(~same)])
    second, undecided, single = _halves(walls[order], run, same, way)
    winter = np.where(way < 0, ~second, second) & ~single
    clock[rows[order]] = np.where(winter, instants[1][order], instants[0][order])
    return np.sort(rows[order][undecided]), np.sort(rows[order][single & ~undecided])


def _folds(early: NDArray[np.int64]) -> NDArray[np.int64]:
    """Shape kept: the first stamp of the same repeated hour."""
    values, inverse = np.unique(early, return_inverse=True)
    first = np.concatenate([[True], np.diff(values) > _HALF_DAY])
    return np.asarray(values[first][np.cumsum(first) - 1][inverse])


def _directions(
    clock: NDArray[np.int64], good: NDArray[np.bool_], series: NDArray[np.integer]
) -> NDArray[np.int64]:
    """By series: 1 oldest first, -1 newest first, 0 neither, or nothing to tell by but a single stamp (1)."""
    count = int(series.max()) + 1
    up, down = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    rows, last = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for start in range(0, len(clock), PIECE):
        piece = np.flatnonzero(good[start : start + PIECE]) + start
        piece = piece[np.argsort(series[piece], kind="stable")]
        numbers, now = series[piece], clock[piece]
        if len(piece) == 0:
            continue
        first = np.concatenate([[True], np.diff(numbers) != 0])
        before = np.concatenate([now[:1], now[:-1]])
        before[first] = np.where(rows[numbers[first]] > 0, last[numbers[first]], now[first])
        up[numbers[now > before]] = True
        down[numbers[now < before]] = True
        last[numbers] = now  # of equal numbers the last one stays
        rows += np.bincount(numbers, minlength=count)
    ways = up.astype(np.int64) - down.astype(np.int64)
    ways[rows == 1] = 1
    return ways


def _halves(
    walls: NDArray[np.int64], run: NDArray[np.int64], same: NDArray[np.bool_], way: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of the repeated hour (A,), grouped in runs: after the jump, undecided, in a run without a jump."""
    steps = np.diff(walls) * way[1:]
    count = int(run[-1]) + 1
    size = np.bincount(run, minlength=count)
    jump = np.concatenate([[False], same & (steps < 0)])
    tie = np.concatenate([[False], same & (steps == 0)])
    # Two rows of the same clock alone are the two hours of an hourly series.
    jump |= tie & (size[run] == 2)
    jumps, ties = np.bincount(run[jump], minlength=count), np.bincount(run[tie], minlength=count)
    before = np.cumsum(jump)
    first = np.concatenate([[True], np.diff(run) != 0])
    after = before > before[first][run]
    doubtful = (jumps > 1) | ((jumps == 0) & (ties > 0))
    return np.asarray(after), np.asarray((way == 0) | doubtful[run]), np.asarray(jumps[run] == 0)
