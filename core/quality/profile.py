"""A catalogue entry proposed from the data: what `timeloom validate DATASET --profile` writes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from core.catalog import DatasetConfig, FileSource, TimeConfig
from core.errors import ConfigError
from core.prepare.rows.columns import find_time, is_numeric, is_static
from core.prepare.rows.keys import read_series, read_time
from core.prepare.rows.order import arrange, repeated_places
from core.prepare.time.calendars import calendar_sessions
from core.prepare.time.frequency import DAY
from core.quality.checks import shown
from core.quality.relations import find_relations
from core.quality.roles import ProfiledColumns, propose_role, read_columns
from core.quality.scan import Progress
from core.quality.statistics import ColumnStatistics
from core.quality.timing import Timing
from core.schema import validated
from core.sources.stored import StoredRows

_CALENDARS = ("XNYS", "XLON", "XETR", "XTKS", "XHKG", "XSHG")
_SERIES_NAMES = frozenset(
    {
        "series",
        "id",
        "symbol",
        "ticker",
        "instrument",
        "sensor",
        "station",
        "device",
        "entity",
        "unit",
        "subject",
    }
)
_MARGIN = 0.1
_MOST_DROPPED = 0.05
_WEEKDAYS = 5


@dataclass
class Proposal:
    """A catalogue entry in the making, with the reason of each line."""

    dataset: DatasetConfig
    tree: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    """By section of the entry."""

    def say(self, section: str, reason: str) -> None:
        """Note why; what the data bring into it stays on its line."""
        self.reasons.setdefault(section, []).append(shown(reason) if len(reason) < 80 else _line(reason))

    def text(self) -> str:
        """YAML with a comment above each section; read back before it is handed out.

        Raises:
            ConfigError: it says what no dataset may say.
        """
        parts = [
            f"# Proposed from the data by `timeloom validate {self.dataset.name} --profile`: look it over.\n"
        ]
        for section, value in self.tree.items():
            parts += [f"# {reason}\n" for reason in self.reasons.get(section, ())]
            parts.append(yaml.safe_dump({section: value}, sort_keys=False, allow_unicode=True, width=110))
        text = "".join(parts)
        validated(DatasetConfig, yaml.safe_load(text), source="profile")
        return text


def propose(dataset: DatasetConfig, rows: StoredRows, *, progress: Progress | None = None) -> str:
    """A catalogue entry, as commented YAML, that the rows satisfy; what the dataset says already is kept.

    Args:
        dataset: At least the source.
        rows: Its snapshot; read in chunks, a few times.
        progress: Takes rows read, and all rows.

    Raises:
        ConfigError: several time columns and the dataset names none.
        DataError: a row that names no series.
    """
    proposal = Proposal(dataset)
    proposal.tree = {"name": dataset.name, **_description(dataset), "source": _source(dataset)}
    keys = _Keys.read(proposal, rows)
    columns = read_columns(rows, keys.codes, keys.count, progress)
    _time(proposal, keys)
    roles = _roles(proposal, keys, columns)
    proposal.tree |= {"columns": roles} if roles else {}
    _missing(proposal, columns, roles)
    _expect(proposal, rows, keys, columns, roles)
    return proposal.text()


@dataclass(frozen=True)
class _Keys:
    """Time and series of the rows, as found."""

    dataset: DatasetConfig
    """With the time column and the series column that were found."""
    time: str | None
    codes: NDArray[Any] | None
    """Shape (rows,): number of the series; None if there is one."""
    count: int
    timing: Timing | None

    @classmethod
    def read(cls, proposal: Proposal, rows: StoredRows) -> _Keys:
        dataset = proposal.dataset
        apart = {*dataset.columns, *filter(None, (dataset.series,))}
        try:
            time = find_time(rows, dataset.time, apart)
        except ConfigError as error:
            if "no time column" not in str(error):
                raise
            time = None
        stamps = None if time is None else read_time(rows, time, dataset.time)
        ns = None if stamps is None or len(stamps.bad_rows) or not len(stamps.ns) else stamps.ns
        series = dataset.series or _find_series(proposal, rows, time, ns)
        codes, names = read_series(rows, series)
        several = codes if len(names) > 1 else None
        found = dataset.model_copy(update={"series": series})
        if stamps is not None and several is not None and time is not None:
            stamps = read_time(rows, time, dataset.time, several)
        if stamps is None or time is None or len(stamps.bad_rows) or not len(stamps.ns):
            return cls(found, time, several, len(names), None)
        timing = Timing(found, time, stamps.ns, several, stamps.timezone)
        timing.checks(rows)
        return cls(found, time, several, len(names), timing)


def _find_series(
    proposal: Proposal, rows: StoredRows, time: str | None, ns: NDArray[np.int64] | None
) -> str | None:
    """The column that tells apart rows of the same stamp, if one does."""
    if ns is None:
        return None
    order = arrange(ns, None)
    if not len(repeated_places(order.arranged(ns), None)):
        return None
    candidates = [
        each.name
        for each in rows.schema
        if each.name != time and (pa.types.is_string(each.type) or pa.types.is_integer(each.type))
    ]
    for name in sorted(candidates, key=lambda name: name.lower() not in _SERIES_NAMES):
        if any(batch.column(0).null_count for batch in rows.batches([name])):
            continue
        codes, names = read_series(rows, name)
        if not 1 < len(names) <= len(codes) // 2:
            continue
        order = arrange(ns, codes)
        if not len(repeated_places(order.arranged(ns), order.arranged(codes))):
            proposal.say("series", f"stamps occur again, but once for each of its {len(names):,} values")
            return str(name)
    return None


def _description(dataset: DatasetConfig) -> dict[str, str]:
    return {"description": dataset.description} if dataset.description else {}


def _source(dataset: DatasetConfig) -> dict[str, Any]:
    source = dataset.source
    tree = {"kind": source.kind, **source.model_dump(mode="json", exclude_defaults=True)}
    if isinstance(source, FileSource) and "://" not in source.path:
        tree["path"] = str(Path(source.path).expanduser().resolve())
    return tree


def _time(proposal: Proposal, keys: _Keys) -> None:
    time = proposal.dataset.time.model_dump(mode="json", exclude_defaults=True)
    if keys.time is None:
        proposal.tree["time"] = time or {"none": True}
        proposal.say("time", "no column holds time stamps: the order of the rows is the time")
    else:
        proposal.tree["time"] = {"column": keys.time, **time}
        if keys.timing is not None and not {"calendar", "frequency", "max_gap"} & set(time):
            proposal.tree["time"] |= _steps(proposal, keys.timing)
    if keys.dataset.series is not None:
        proposal.tree["series"] = keys.dataset.series


def _steps(proposal: Proposal, timing: Timing) -> dict[str, str]:
    ns, step = timing.ordered, timing.grid.step
    whole = timing.timezone is None and bool((ns % DAY == 0).all())
    if whole and step == DAY and len(ns) > _WEEKDAYS:
        days = pd.DatetimeIndex(np.unique(ns).astype("datetime64[ns]"))
        if (days.dayofweek < _WEEKDAYS).all():
            calendar = _calendar(days)
            if calendar is None:
                proposal.say("time", "weekdays alone, and of no exchange that was tried")
                return {"frequency": "B"}
            proposal.say("time", f"every row on a session of {calendar}")
            return {"calendar": calendar}
    proposal.say("time", "frequency: the most common step")
    return {"frequency": str(timing.grid.frequency)} if timing.grid.frequency else {}


def _calendar(days: pd.DatetimeIndex) -> str | None:
    """The first exchange all of whose days these are, but for a few that may be missing."""
    for name in _CALENDARS:
        try:
            sessions = calendar_sessions(name, days.min(), days.max())
        except ConfigError:  # before the first session that is known of it
            continue
        if days.isin(sessions).all() and len(days) >= 0.95 * len(sessions) and len(days) > 2 * _WEEKDAYS:
            return name
    return None


def _roles(proposal: Proposal, keys: _Keys, columns: ProfiledColumns) -> dict[str, Any]:
    given = proposal.dataset.model_dump(mode="json", exclude_defaults=True).get("columns", {})
    roles: dict[str, Any] = dict(given)
    for name, seen in columns.statistics.items():
        if name in given or name in (keys.time, keys.dataset.series):
            continue
        role, why = propose_role(seen, columns, keys.count)
        if role != "continuous":
            roles[name] = role
            proposal.say("columns", f"{shown(name)}: {why}")
    return roles


def _missing(proposal: Proposal, columns: ProfiledColumns, roles: dict[str, Any]) -> None:
    given = proposal.dataset.missing.model_dump(mode="json", exclude_defaults=True)
    holes = {
        name: seen
        for name, seen in columns.statistics.items()
        if seen.missing and roles.get(name) != "drop" and name not in _key_columns(proposal)
    }
    if given or not holes:
        proposal.tree |= {"missing": given} if given else {}
        return
    most = max(seen.missing / seen.rows for seen in holes.values())
    static = any(is_static(proposal.dataset, name) or roles.get(name) == "static" for name in holes)
    policy = "mask" if static or most > _MOST_DROPPED else "drop_row"
    proposal.say("missing", f"cells are missing in {len(holes)} columns, at most {most:.2%} of one")
    proposal.tree["missing"] = {"policy": policy}


def _key_columns(proposal: Proposal) -> set[str | None]:
    return {proposal.tree["time"].get("column"), proposal.tree.get("series")}


def _expect(
    proposal: Proposal, rows: StoredRows, keys: _Keys, columns: ProfiledColumns, roles: dict[str, Any]
) -> None:
    given = proposal.dataset.expectations.model_dump(mode="json", exclude_defaults=True)
    keyed = _key_columns(proposal)
    kept = [
        seen for name, seen in columns.statistics.items() if roles.get(name) != "drop" and name not in keyed
    ]
    numbers = [seen for seen in kept if _has_range(seen, roles)]
    found: dict[str, Any] = {
        "min_rows": max(1, int(0.9 * len(rows))),
        "types": {seen.name: _type(seen.kind) for seen in kept},
        "ranges": {seen.name: _widened(seen) for seen in numbers},
        "max_missing": {seen.name: _share(seen) for seen in kept if seen.missing},
        "relations": find_relations(rows, numbers, columns.sample),
    }
    gaps = _gaps(proposal, rows, keys)
    if len(gaps):
        found["max_gap_steps"] = int(gaps[:, 1].max())
        proposal.say("expectations", f"max_gap_steps: the longest of {len(gaps):,} gaps")
    proposal.say(
        "expectations", "ranges: what was seen and 10 % of its width to both sides, not below 0 if nothing is"
    )
    proposal.say("expectations", "min_rows: nine tenths of the rows")
    for name, value in given.items():
        found[name] = {**found.get(name, {}), **value} if isinstance(value, dict) else value
    proposal.tree["expectations"] = {name: value for name, value in found.items() if value or name in given}


def _gaps(proposal: Proposal, rows: StoredRows, keys: _Keys) -> NDArray[np.int64]:
    """Gaps by the steps that are proposed, as `Timing.gaps`: a calendar's holidays are none."""
    timing = keys.timing
    if timing is None:
        return np.empty((0, 2), dtype=np.int64)
    time = validated(TimeConfig, proposal.tree["time"], source="profile")
    if (time.calendar, time.frequency) == (None, timing.grid.frequency):
        return timing.gaps
    dataset = keys.dataset.model_copy(update={"time": time})
    proposed = Timing(dataset, timing.time, timing.ns, timing.codes, timing.timezone)
    proposed.checks(rows)
    return proposed.gaps


def _has_range(seen: ColumnStatistics, roles: dict[str, Any]) -> bool:
    number = is_numeric(seen.kind) and not pa.types.is_boolean(seen.kind) and seen.there > 0
    return number and seen.name not in roles and math.isfinite(seen.maximum - seen.minimum)


def _type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if is_numeric(kind) else "text"


def _widened(seen: ColumnStatistics) -> dict[str, float]:
    """Bounds beyond what was seen, rounded outwards to one digit of the margin."""
    margin = _MARGIN * (seen.maximum - seen.minimum) or 1.0
    low, high = seen.minimum - margin, seen.maximum + margin
    digits = -math.floor(math.log10(margin))
    low, high = (round(side, digits) if abs(digits) < 300 else side for side in (low, high))
    return {
        "min": 0.0 if seen.minimum >= 0 and low < 0 else low,
        "max": 0.0 if seen.maximum <= 0 < high else high,
    }


def _share(seen: ColumnStatistics) -> float:
    return min(1.0, math.ceil(1.5e4 * seen.missing / seen.rows) / 1e4)


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
