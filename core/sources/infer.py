"""What a data file says about itself: delimiter, decimal mark, time column, calendar or frequency."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from pathlib import Path, PurePath
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import DatasetConfig, FileSource, TimeConfig
from core.prepare.rows.columns import guess_time, is_numeric, not_numbers, only_decimal_commas
from core.prepare.time.calendars import calendar_sessions
from core.prepare.time.frequency import DAY, infer_frequency, most_common_step
from core.prepare.time.stamps import label, read_stamps
from core.prepare.time.zones import wall_clock
from core.sources.load import ENDINGS, file_rows
from core.sources.remote import is_remote, local_copy
from core.sources.rows import RowSource, TypesChangedError

CALENDAR = "XNYS"
MIN_MATCH = 0.995
HEAD_ROWS = 100_000
_MAX_NAME = 64


def infer_dataset(place: str) -> tuple[DatasetConfig, tuple[str, ...]]:
    """Describe a file, a folder of Parquet files or a URL that no YAML describes, by its first 100,000 rows.

    Nothing is dropped or mended for it.

    Returns:
        The dataset, and one sentence for each inference.

    Raises:
        ConfigError: there is no such file.
        DataError: it cannot be read.
        SourceError: its server could not be reached.
    """
    path = place if is_remote(place) else str(Path(place).expanduser().resolve())
    source = FileSource(path=path)
    dataset = DatasetConfig(name=slug(PurePath(urlsplit(path).path)), source=source)
    notes = [f"The dataset is called {dataset.name!r}, after the file."]
    with local_copy(source, None) as local:
        table, rows = _first_rows(local, source)
        delimiter = rows.reader.get("delimiter")
        if delimiter is not None:
            notes.append(f"Cells are separated by {delimiter!r}.")
            source = source.model_copy(update={"delimiter": delimiter})
        if delimiter not in (None, ",") and only_decimal_commas(table):
            notes.append("The decimal mark is a comma.")
            source = source.model_copy(update={"decimal": ","})
            table, rows = _first_rows(local, source)
    if len(table) >= HEAD_ROWS:
        notes.append(f"What follows is found from the first {len(table):,} rows.")
    time, time_notes = infer_time(table)
    notes += [*(f"In the file, {note}" for note in rows.notes), *time_notes]
    notes += _text_notes(table, time.column)
    return dataset.model_copy(update={"source": source, "time": time}), tuple(notes)


def _first_rows(local: Path, source: FileSource) -> tuple[pa.Table, RowSource]:
    rows = file_rows(local, source)
    while True:
        found, count = [], 0
        with suppress(TypesChangedError):
            for table in rows.chunks():
                found.append(table)
                count += len(table)
                if count >= HEAD_ROWS:
                    break
            return pa.concat_tables(found).slice(0, HEAD_ROWS), rows


def slug(path: PurePath) -> str:
    """A dataset's name made of a file's: lower-case letters, digits, - and _."""
    stem = path.name
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if stem.lower().endswith(ending):
            stem = stem[: -len(ending)]
            break
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")[:_MAX_NAME] or "dataset"


def infer_time(table: pa.Table) -> tuple[TimeConfig, list[str]]:
    """The time column and what counts as a gap, with a sentence for each."""
    name = guess_time(table)
    if name is None:
        note = "No column holds time stamps: the rows are taken as equally spaced, oldest first."
        return TimeConfig(none=True), [note]
    notes = [f"Time is column {name!r}."]
    stamps = read_stamps(table[name])
    if stamps.bad:
        row, why = next(iter(stamps.bad.items()))
        return TimeConfig(column=name), [*notes, f"Its row {row + 1} is no time stamp ({why})."]
    ns = np.sort(stamps.ns)
    clock = wall_clock(ns, stamps.timezone)
    notes.append(f"It runs from {label(int(ns[0]), stamps.timezone)} to {label(int(ns[-1]), stamps.timezone)}.")
    if _weekdays_only(clock):
        time, note = _trading(name, clock)
    else:
        time, note = _regular(name, ns, stamps.timezone)
    return time, [*notes, note]


def _weekdays_only(clock: NDArray[np.int64]) -> bool:
    """Whether the stamps are days, most of them neighbours, and none of them on a weekend."""
    days = pd.DatetimeIndex(clock.astype("datetime64[ns]"))
    daily = bool((clock % DAY == 0).all()) and most_common_step(np.diff(clock)) == DAY
    return daily and len(days) > 5 and bool((days.day_of_week < 5).all())


def _trading(name: str, clock: NDArray[np.int64]) -> tuple[TimeConfig, str]:
    days = pd.DatetimeIndex(np.unique(clock).astype("datetime64[ns]"))
    sessions = calendar_sessions(CALENDAR, days[0], days[-1])
    both = len(days.intersection(sessions))
    match = both / max(len(days.union(sessions)), 1)
    if match >= MIN_MATCH:
        note = (
            f"Its days are {both:,} of the {len(sessions):,} sessions of {CALENDAR} ({match:.2%} in common): "
            "a missing session is a gap."
        )
        return TimeConfig(column=name, calendar=CALENDAR), note
    note = (
        f"Its days leave out weekends but are not those of {CALENDAR} ({match:.1%} in common): more than 5 "
        "days without a row are a gap (`time.max_gap`); name the exchange's calendar with `time.calendar`."
    )
    return TimeConfig(column=name, max_gap="5D"), note


def _regular(name: str, ns: NDArray[np.int64], timezone: str | None) -> tuple[TimeConfig, str]:
    steps = np.diff(ns)
    usual = most_common_step(steps)
    frequency = infer_frequency(ns, usual, timezone)
    positive = steps[steps > 0]
    share = float((positive == usual).mean()) if len(positive) else 0.0
    note = f"Its most common step is {frequency} ({share:.1%} of steps): a longer one is a gap."
    return TimeConfig(column=name, frequency=frequency), note


def _text_notes(table: pa.Table, time: str | None) -> list[str]:
    notes = []
    for field in table.schema:
        if field.name != time and not is_numeric(field.type):
            count = int(not_numbers(table[field.name]).sum())
            notes.append(
                f"Column {field.name!r} holds {count:,} cells that are no numbers, which validation refuses: "
                f"mend them, or write a YAML file with `columns: {{{field.name}: categorical}}` if the texts "
                f"name categories, else `drop` (`time: {{column: {field.name}}}` if it is the time)."
            )
    return notes
