"""Files as people have them, and what must become of each: the rows of docs/bad-input.md."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 12

Content = str | bytes | Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """A file, perhaps a YAML for it, and what must become of it."""

    name: str
    """As the page has it."""
    content: Content
    verdict: str
    says: str
    """Pattern: of the error, or of the notes, warnings and repairs."""
    file: str = "data.csv"
    yaml: str | None = None
    """Without `source`; the bare file is used if None."""


def days(count: int = ROWS, *, start: str = "2024-01-01") -> list[str]:
    first = date.fromisoformat(start)
    return [(first + timedelta(days=day)).isoformat() for day in range(count)]


def csv(rows: list[str], header: str = "date,a,b") -> str:
    return "\n".join([header, *rows]) + "\n"


def plain(count: int = ROWS) -> list[str]:
    return [f"{day},{number}.5,{number * number}" for number, day in enumerate(days(count))]


def replaced(row: int, text: str, count: int = ROWS) -> str:
    """Rows with the one number `row` (from 1) exchanged."""
    rows = plain(count)
    rows[row - 1] = text
    return csv(rows)


def with_cell(row: int, cell: str) -> str:
    return replaced(row, f"{days()[row - 1]},{cell},4")


def stamps(texts: list[str], header: str = "date,a,b") -> str:
    return csv([f"{text},{number}.5,{number * number}" for number, text in enumerate(texts)], header)


def hours(texts: list[str]) -> str:
    return stamps(texts, "time,a,b")


def parquet(**columns: Any) -> Callable[[Path], None]:
    return lambda path: pq.write_table(
        pa.table({"date": [date.fromisoformat(d) for d in days()]} | columns), path
    )


def truncated_parquet(path: Path) -> None:
    parquet(a=np.arange(ROWS) * 1.5)(path)
    path.write_bytes(path.read_bytes()[:-40])


def named_otherwise(path: Path) -> None:
    with path.open("wb") as file:
        pq.write_table(pa.table({"a": [1.0, 2.0]}), file)


def nanoseconds(path: Path) -> None:
    table = {"date": pa.array(range(ROWS), pa.timestamp("ns")), "a": np.arange(ROWS) * 1.5}
    pq.write_table(pa.table(table), path)


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)
    return buffer.getvalue()


BERLIN = "time: {column: time, timezone: Europe/Berlin, frequency: h}"
AUTUMN = [f"2024-10-27 {hour:02d}:00:00" for hour in (0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10)]
SPRING = [f"2024-03-31 {hour:02d}:00:00" for hour in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)]
MIXED = [
    f"2024-10-27T{hour:02d}:00:00+0{2 if hour < 3 else 1}:00" for hour in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
]
EPOCH_MS = [str(1_704_067_200_000 + 3_600_000 * hour) for hour in range(ROWS)]
WIDE = csv(
    [f"{day}," + ",".join(f"{n}.{c}" for c in range(500)) for n, day in enumerate(days())],
    "date," + ",".join(f"c{c}" for c in range(500)),
)

CASES = [
    # What is no table
    Case("no such file", lambda _path: None, "refused", "there is no file"),
    Case("an empty file", "", "refused", "0 rows"),
    Case("blank lines alone", "\n\n\n", "refused", "0 rows"),
    Case("a header and no rows", "date,a,b\n", "refused", "0 rows"),
    Case("no header", "1,2.5\n2,3.5\n", "refused", "no header"),
    Case(
        "random bytes",
        bytes(np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8)),
        "refused",
        "data.csv",
    ),
    Case("NUL bytes", b"date,a\n2024-01-01,\x00\x00\x00\n", "refused", "data.csv|numbers"),
    Case("a truncated Parquet file", truncated_parquet, "refused", "bring an intact copy", "data.parquet"),
    Case("an empty Parquet file", b"", "refused", "data.parquet", "data.parquet"),
    Case("a Parquet file called .csv", named_otherwise, "refused", "Parquet"),
    Case("a CSV file called .parquet", csv(plain()), "refused", "data.parquet", "data.parquet"),
    Case(
        "a truncated gzip file",
        gzip.compress(csv(plain(400)).encode())[:-60],
        "refused",
        "data.csv.gz",
        "data.csv.gz",
    ),
    Case(
        "a zip file of several files",
        zipped(one=csv(plain()), two=csv(plain())),
        "refused",
        "one.csv",
        "data.csv.zip",
    ),
    Case(
        "a folder without Parquet files", lambda path: path.mkdir(), "refused", "folder|Parquet", "data", "{}"
    ),
    # Dialects
    Case(
        "semicolons and decimal commas",
        csv([f"{d};{n},5;{n}" for n, d in enumerate(days())], "date;a;b"),
        "accepted",
        "comma",
    ),
    Case("thousands separators, not declared", with_cell(3, '"1,234.5"'), "refused", "thousands"),
    Case(
        "thousands separators, declared",
        with_cell(3, '"1,234.5"'),
        "accepted",
        "",
        yaml="source: {thousands: ','}",
    ),
    Case(
        "numbers in quotes, padded with spaces",
        csv([f'{d},"  {n}.25"," {n}"' for n, d in enumerate(days())]),
        "accepted",
        "",
    ),
    Case("a byte order mark", b"\xef\xbb\xbf" + csv(plain()).encode(), "accepted", ""),
    Case("UTF-16 with a byte order mark", csv(plain()).encode("utf-16"), "accepted", ""),
    Case(
        "another encoding, not declared",
        "date,a,größe\n".encode("latin-1") + "\n".join(plain()).encode(),
        "refused",
        "encoding",
    ),
    Case(
        "another encoding, declared",
        "date,a,größe\n".encode("latin-1") + "\n".join(plain()).encode(),
        "accepted",
        "",
        yaml="source: {encoding: latin-1}",
    ),
    Case("lines that end in CR LF", csv(plain()).replace("\n", "\r\n"), "accepted", ""),
    Case(
        "comment lines, declared",
        "# from the lab\n" + csv(plain()),
        "accepted",
        "",
        yaml="source: {comment: '#'}",
    ),
    Case("gzip", gzip.compress(csv(plain()).encode()), "accepted", "", "data.csv.gz"),
    Case("a zip file of one file", zipped(one=csv(plain())), "accepted", "", "data.csv.zip"),
    Case("a row with too many cells", replaced(3, "2024-01-03,1,2,3"), "refused", "row 3"),
    Case("a row with too few cells", replaced(3, "2024-01-03,1"), "refused", "row 3"),
    Case("a footer with totals", csv([*plain(), "Total,66.5,506"]), "refused", "rows 13 "),
    # Columns
    Case("two columns of one name", csv(plain(), "date,a,a"), "refused", "more than one column named 'a'"),
    Case("a column without a name", csv(plain(), "date,a,"), "repaired", "unnamed_3"),
    Case("spaces around a column's name", csv(plain(), "date, a ,b"), "repaired", "spaces around the name"),
    Case("names that look like paths", csv(plain(), "date,../../etc/passwd,C:\\b"), "accepted", ""),
    Case("a column called <script>", csv(plain(), "date,<script>alert(1)</script>,b"), "accepted", ""),
    Case("a column called window", csv(plain(), "date,window,b"), "refused", "'window'.*rename"),
    Case(
        "a declared column that is not there",
        csv(plain()),
        "refused",
        "the data have date, a, b",
        yaml="columns: {c: drop}",
    ),
    Case("500 columns", WIDE, "accepted", ""),
    Case("one column", csv([row.rsplit(",", 1)[0] for row in plain()], "date,a"), "accepted", ""),
    Case("no column beside the time", csv(days(), "date"), "refused", "no feature columns"),
    Case("lists in a cell", parquet(a=[[1.0, 2.0]] * ROWS), "refused", "column 'a'", "data.parquet"),
    Case("bytes in a cell", parquet(a=[b"\xff\x00"] * ROWS), "refused", "column 'a'", "data.parquet"),
    # Cells
    Case("text among numbers", with_cell(3, "broken"), "refused", "3 .*broken"),
    Case("a unit behind a number", with_cell(3, "12.5 kW"), "refused", "3 .*12.5 kW"),
    Case("empty cells", with_cell(3, ""), "refused", "missing.policy"),
    Case(
        "empty cells, filled", with_cell(3, ""), "repaired", "filled.*1", yaml="missing: {policy: forward_fill}"
    ),
    Case(
        "empty cells, interpolated",
        with_cell(3, "N/A"),
        "repaired",
        "filled.*1",
        yaml="missing: {policy: interpolate}",
    ),
    Case(
        "rows with empty cells, dropped",
        with_cell(6, "NaN"),
        "repaired",
        "dropped_rows.*1",
        yaml="missing: {policy: drop_row}",
    ),
    Case(
        "more empty cells than the limit",
        csv([r if n not in (3, 4) else f"{days()[n]},,4" for n, r in enumerate(plain())]),
        "refused",
        "limit",
        yaml="missing: {policy: forward_fill, limit: 1}",
    ),
    Case("a column without any value", csv([f"{d},{n}.5," for n, d in enumerate(days())]), "refused", "'?b'?"),
    Case("an infinite value", with_cell(3, "inf"), "refused", "infinite"),
    Case(
        "a range beyond float64",
        csv([f"{d},{'-' * (n % 2)}1.7e308,{n}" for n, d in enumerate(days())]),
        "refused",
        "too wide",
    ),
    Case("a constant column", csv([f"{d},{n}.5,7" for n, d in enumerate(days())]), "accepted", "varies"),
    Case(
        "booleans",
        csv([f"{d},{n}.5,{'true' if n % 2 else 'false'}" for n, d in enumerate(days())]),
        "accepted",
        "",
    ),
    Case(
        "integers past 2^53",
        csv([f"{d},{n}.5,{2**53 + n}" for n, d in enumerate(days())]),
        "accepted",
        "exact in float64",
    ),
    Case(
        "text without a role",
        csv([f"{d},{n}.5,{'xy'[n % 2]}" for n, d in enumerate(days())]),
        "refused",
        "categorical",
    ),
    Case(
        "text as categories",
        csv([f"{d},{n}.5,{'xy'[n % 2]}" for n, d in enumerate(days())]),
        "accepted",
        "",
        yaml="columns: {b: categorical}",
    ),
    Case(
        "a category a row",
        csv([f"{d},{n}.5,id{n}" for n, d in enumerate(days(40))]),
        "refused",
        "categories",
        yaml="columns: {b: categorical}",
    ),
    Case(
        "a static column that changes",
        csv([f"{d},{n}.5,{n // 6}" for n, d in enumerate(days())]),
        "refused",
        "series",
        yaml="columns: {b: {static: true, kind: categorical}}",
    ),
    Case(
        "a row that names no series",
        csv([f"{d},{n}.5,{'' if n == 3 else 'x'}" for n, d in enumerate(days())]),
        "refused",
        "series",
        yaml="series: b",
    ),
    Case(
        "decimals and nullable numbers of Parquet",
        parquet(
            a=pa.array([f"{n}.25" for n in range(ROWS)]).cast(pa.decimal128(9, 2)),
            b=pa.array(range(ROWS), pa.int16()),
        ),
        "accepted",
        "",
        "data.parquet",
    ),
    Case(
        "a value outside its range",
        with_cell(3, "-5"),
        "refused",
        "range",
        yaml="expectations: {ranges: {a: {min: 0}}}",
    ),
    Case(
        "a value outside its range, quarantined",
        with_cell(6, "-5"),
        "repaired",
        "quarantined_rows.*1",
        yaml="expectations: {ranges: {a: {min: 0}}, bad_rows: quarantine, max_quarantined: 0.2}",
    ),
    Case(
        "a broken relation",
        with_cell(3, "100"),
        "refused",
        "a <= b.*3 ",
        yaml="expectations: {relations: [a <= b]}\ncolumns: {}",
    ),
    Case(
        "log of a number that is not positive",
        with_cell(3, "-5"),
        "refused",
        "log",
        yaml="scaling: {transform: log}",
    ),
    # Time
    Case(
        "no time column, not declared",
        csv([row.split(",", 1)[1] for row in plain()], "a,b"),
        "refused",
        "no time column",
        yaml="description: x",
    ),
    Case(
        "two time columns and none named",
        csv([f"{d},{d},{n}.5" for n, d in enumerate(days())], "created,updated,a"),
        "refused",
        "created.*updated",
    ),
    Case("an impossible date", replaced(5, "2024-02-30,1.5,2"), "refused", "5 .*2024-02-30"),
    Case("an empty stamp", replaced(5, ",1.5,2"), "refused", "5 "),
    Case(
        "day or month first: in doubt",
        stamps([f"{n:02d}/{n + 1:02d}/2024" for n in range(1, 12)]),
        "refused",
        "day_first",
    ),
    Case("day first", stamps([f"{n:02d}/01/2024" for n in range(10, 22)]), "accepted", ""),
    Case(
        "dates in words",
        stamps([f"Jan {n}, 2024" for n in range(10, 22)]).replace("Jan", '"Jan').replace("2024", '2024"'),
        "accepted",
        "",
    ),
    Case("milliseconds since 1970", hours(EPOCH_MS), "accepted", ""),
    Case("nanoseconds taken for stamps", nanoseconds, "refused", "1970", "data.parquet"),
    Case("offsets that change", hours(MIXED), "accepted", ""),
    Case(
        "a stamp without the others' offset",
        hours([*MIXED[:5], "2024-10-27T05:00:00", *MIXED[6:]]),
        "refused",
        "6 ",
    ),
    Case("the autumn hour twice, zone declared", hours(AUTUMN), "accepted", "", yaml=BERLIN),
    Case("the autumn hour twice, no zone", hours(AUTUMN), "refused", "2024-10-27 02:00"),
    Case("an hour that the spring leaves out", hours(SPRING), "refused", "3 ", yaml=BERLIN),
    Case("rows newest first", csv(plain()[::-1]), "repaired", "flipped"),
    Case("rows in no order", csv([plain()[n] for n in (3, 1, 0, 2, *range(4, ROWS))]), "repaired", "sorted"),
    Case("equal rows twice", csv([*plain()[:6], plain()[5], *plain()[6:]]), "repaired", "repeated_rows.*1"),
    Case(
        "one stamp, two different rows",
        csv([*plain()[:6], "2024-01-06,9.5,9", *plain()[6:]]),
        "refused",
        "2024-01-06",
    ),
    Case("gaps", csv([row for n, row in enumerate(plain(20)) if n not in (8, 9)]), "accepted", "gaps"),
    Case(
        "more gaps than allowed",
        csv([row for n, row in enumerate(plain(20)) if n not in (8, 9)]),
        "refused",
        "gaps",
        yaml="expectations: {max_gaps: 0}",
    ),
    Case(
        "rows on days without trading",
        csv(plain()),
        "accepted",
        "on the calendar",
        yaml="time: {calendar: XNYS}",
    ),
    Case("an unknown calendar", csv(plain()), "refused", "no trading calendar", yaml="time: {calendar: NYSEX}"),
    Case("fewer rows than a window", csv(plain(3)), "refused", "window.length"),
]
