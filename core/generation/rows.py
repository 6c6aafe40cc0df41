"""What is written of encoded windows: rows in a fixed schema, or an array."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import ConfigError, StorageError
from core.generation.target import Kind
from core.generators.bundle import GeneratorBundle
from core.prepare.channels.encode import category_type, joined, joined_names
from core.prepare.channels.layout import Column, WindowArrays

Content = pd.DataFrame | NDArray[Any]
Levels = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Rows:
    """How encoded windows become a part of a file.

    `.parquet` and `.csv` hold one row per step: `window` (of series that are counted `series`, of one neither),
    `step`, `time` if there are stamps, static columns and conditions, then the columns of a step. `.npy` holds
    an array of shape (windows, length, columns), of a series (steps, columns), of series that are counted
    (steps, series, columns): numbers alone, NaN where a cell is missing and past a window's end; of encoded
    channels 0 past a window's end. Series stand side by side: step 0 of each, then step 1, and so on.
    """

    bundle: GeneratorBundle
    kind: Kind
    scaled: bool
    series: bool
    stamps: pd.DatetimeIndex | None
    count: int | None = None
    """Of series side by side."""

    def check(self) -> None:
        """Refuse what cannot be written, before the work.

        Raises:
            ConfigError: an array has no place for a column, or columns have the same name.
        """
        if self.kind == "npy":
            if not self.scaled:
                self.bundle.refuse_numbers()
            if self.stamps is not None:
                raise ConfigError(
                    "an array has no place for stamps: write .parquet or .csv, or leave start out"
                )
            return
        if self.stamps is not None and "time" in self.columns:
            raise ConfigError("the series has a column 'time' of its own: leave the stamps (--start) out")
        names = [*self.keys, *self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            what = "channels" if self.scaled else "columns"
            raise ConfigError(f"several {what} are called {twice[0]!r}: write a .npy file, or no --scaled")

    @property
    def keys(self) -> list[str]:
        """The columns that say where a row stands."""
        number = ("window",) if not self.series else () if self.count is None else ("series",)
        return [*number, "step", *(() if self.stamps is None else ("time",))]

    @cached_property
    def columns(self) -> list[str]:
        """The other columns."""
        return joined_names(self.bundle.series.layout) if self.scaled else [c.name for c in self._own]

    @property
    def _own(self) -> tuple[Column, ...]:
        own = self.bundle.series.layout.own
        return (*own.static, *own.condition, *own.temporal)

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types of the rows; they depend on the layout alone, never on the cells."""
        fields = [pa.field(name, pa.int64()) for name in self.keys if name != "time"]
        if self.stamps is not None:
            fields.append(pa.field("time", pa.Array.from_pandas(pd.Series(self.stamps[:1])).type))
        if self.scaled:
            fields += [pa.field(name, pa.float32()) for name in self.columns]
        else:
            fields += [pa.field(column.name, _type(column)) for column in self._own]
        return pa.schema(fields)

    def content(self, windows: WindowArrays, first: int, levels: Levels | None = None) -> Content:
        """A part.

        Args:
            windows: Encoded; of series one for each, as long as the part.
            first: Number of the part's first window, of a series its first step.
            levels: Where differenced columns of a series start from.
        """
        if self.kind == "npy":
            cells = joined(windows) if self.scaled else self.bundle.numbers(windows, levels)
            return self._abreast(cells) if self.series else cells
        frame = self.bundle.scaled_frame(windows) if self.scaled else self.bundle.frame(windows, levels)
        if self.series:
            frame = frame.drop(columns="window") if self.count is None else _side_by_side(frame)
        frame["step" if self.series else "window"] += first
        if self.stamps is not None:
            frame.insert(self.keys.index("time"), "time", self._shown(self.stamps)[frame["step"].to_numpy()])
        return frame

    def _abreast(self, cells: NDArray[Any]) -> NDArray[Any]:
        return cells[0] if self.count is None else cells.swapaxes(0, 1)

    def _shown(self, stamps: pd.DatetimeIndex) -> pd.Index[Any]:
        """Stamps; of windows as text in a .csv: of a part with midnights alone pandas writes no time."""
        return stamps.astype(str) if self.kind == "csv" and not self.series else stamps

    def preview(self, content: Content, rows: int = 5) -> list[dict[str, str]]:
        """The first rows as texts."""
        if isinstance(content, np.ndarray):
            flat = content.reshape(-1, content.shape[-1])[:rows]
            names = self.columns if self.scaled else list(self.bundle.series.features)
            content = pd.DataFrame(flat, columns=pd.Index(names))
        head = content.head(rows)
        return [{str(name): str(cell) for name, cell in row.items()} for row in head.to_dict("records")]

    def write_part(self, content: Content, path: Path, *, first: bool, lineage: dict[str, Any]) -> None:
        """Write a part as a file of its own: Parquet, or a piece of the bytes of the others.

        Raises:
            StorageError: it cannot be written; the file is removed.
        """
        try:
            if isinstance(content, np.ndarray):
                np.ascontiguousarray(content).tofile(path)
            elif self.kind == "csv":
                content.to_csv(path, index=False, header=first, lineterminator="\n")
            else:
                table = pa.Table.from_pandas(content, schema=self.schema, preserve_index=False)
                pq.write_table(table.replace_schema_metadata(_metadata(lineage)), path)
        except OSError as error:
            free = shutil.disk_usage(path.parent).free
            path.unlink(missing_ok=True)
            raise StorageError(f"could not write {path} ({free:,} bytes free): {error}") from error

    def assemble(self, parts: Sequence[Path], file: IO[bytes], total: int, lineage: dict[str, Any]) -> None:
        """One file out of its parts.

        Args:
            parts: Files of `write_part`, in order.
            file: Where it goes.
            total: Windows of all parts, of a series steps.
            lineage: For the metadata of a Parquet file.
        """
        if self.kind == "parquet":
            sink = pa.PythonFile(file, mode="w")
            with pq.ParquetWriter(sink, self.schema.with_metadata(_metadata(lineage))) as writer:
                for part in parts:
                    with pq.ParquetFile(part) as read:
                        writer.write_table(read.read().replace_schema_metadata(_metadata(lineage)))
            return
        if self.kind == "npy":
            _write_header(file, self._array(total))
        for part in parts:
            with part.open("rb") as read:
                shutil.copyfileobj(read, file, 2**20)

    def _array(self, total: int) -> tuple[np.dtype[Any], tuple[int, ...]]:
        length = self.bundle.generator.length
        columns = len(self.columns if self.scaled else self.bundle.series.features)
        kind = np.dtype(np.float32 if self.scaled else np.float64)
        if not self.series:
            return kind, (total, length, columns)
        return kind, (total, columns) if self.count is None else (total, self.count, columns)

    def of_series(self) -> Rows:
        """The same without the levels before each window."""
        layout = replace(self.bundle.series.layout, static=self.bundle.series.layout.own.static)
        return replace(self, bundle=replace(self.bundle, series=replace(self.bundle.series, layout=layout)))


def _write_header(file: IO[bytes], array: tuple[np.dtype[Any], tuple[int, ...]]) -> None:
    kind, shape = array
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _side_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """By step, then by series."""
    ordered = frame.sort_values("step", kind="stable", ignore_index=True)
    return ordered.rename(columns={"window": "series"})


def _metadata(lineage: dict[str, Any]) -> dict[bytes, bytes]:
    return {b"timeloom": json.dumps(lineage, sort_keys=True).encode()}


def _type(column: Column) -> pa.DataType:
    kind = category_type(column)
    if kind == "integer" and column.optional:
        kind = "number"
    return {"text": pa.string(), "boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64()}[kind]
