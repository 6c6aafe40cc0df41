"""Files to be filled in: stamps, series, types and what is told of cells beyond what was learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.catalog import DatasetConfig
from core.errors import ConfigError, DataError
from core.generation.fill import FillConfig, fill_file
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.filling import fill
from core.prepare.channels.layout import Column, Layout, WindowArrays
from tests.unit.test_fill import DIFFERENCED, MIXED, PLAIN, bundle_of

HOURLY = {"calendar": None, "frequency": "h", "timezone": None}


def filled(
    folder: Path,
    data: str | pa.Table,
    bundle: GeneratorBundle | None = None,
    *,
    horizon: int = 0,
    draws: int = 1,
    **dataset: Any,
) -> pa.Table:
    """The output of a file in `folder`."""
    source, output = folder / "in.parquet", folder / "out.parquet"
    if isinstance(data, str):
        source = folder / "in.csv"
        source.write_text(data)
    else:
        pq.write_table(data, source)
    tree = {"name": "rows", "source": {"kind": "file", "path": str(source)}, **dataset}
    job = FillConfig(model="x", output=str(output), horizon=horizon, draws=draws)
    fill_file(bundle or bundle_of(PLAIN), job, DatasetConfig.model_validate(tree), {}, folder)
    return pq.read_table(output)


def timed(time: dict[str, Any] | None, layout: Layout = PLAIN) -> GeneratorBundle:
    return GeneratorBundle(bundle_of(layout).generator, SeriesInfo("made-up", layout, time, "x"))


@pytest.mark.parametrize(
    ("stamps", "further"),
    [
        (["2024-01-02", "2024-01-03"], ["2024-01-04", "2024-01-05"]),
        (["2024/01/02", "2024/01/03"], ["2024/01/04", "2024/01/05"]),
        (["20.02.2024", "21.02.2024"], ["22.02.2024", "23.02.2024"]),
    ],
)
def test_stamps_go_on_as_they_are_written(tmp_path: Path, stamps: list[str], further: list[str]) -> None:
    time = {"column": "Date", "format": "%d.%m.%Y" if "." in stamps[0] else None}
    rows = pa.table({"Date": stamps, "price": [1.0, 2.0], "count": [1.0, None]})
    assert filled(tmp_path, rows, horizon=2, time=time)["Date"].to_pylist() == stamps + further


def test_a_clock_is_written_at_midnight_too(tmp_path: Path) -> None:
    stamps = ["2024-01-02 22:00", "2024-01-02 23:00"]
    rows = pa.table({"Date": stamps, "price": [1.0, 2.0], "count": [1.0, None]})
    found = filled(tmp_path, rows, timed(HOURLY), horizon=1)["Date"].to_pylist()
    assert found == [*stamps, "2024-01-03 00:00"]


def test_stamps_that_cannot_be_continued_are_refused(tmp_path: Path) -> None:
    rows = pa.table({"Date": ["2 Jan 2024", "3 Jan 2024"], "price": [1.0, 2.0], "count": [1.0, None]})
    with pytest.raises(ConfigError, match="'3 Jan 2024', which is not continued: write it as 2024-12-31"):
        filled(tmp_path, rows, horizon=1, time={"column": "Date", "format": "%d %b %Y"})
    assert not (tmp_path / "out.parquet").exists()


def test_a_table_needs_no_time(tmp_path: Path) -> None:
    found = filled(tmp_path, "price,count\n1,2\n,3\n", timed(None), horizon=3)
    assert found.schema.names == ["price", "count"]
    assert len(found) == 5
    assert found.to_pandas().notna().all().all()


def test_empty_rows_of_a_series_are_its_own(tmp_path: Path) -> None:
    rows = pa.table({"who": [None, "a", None], "price": [None, 2.0, None], "count": [1.0, None, 3.0]})
    found = filled(tmp_path, rows, timed(None), horizon=1, series="who")
    assert found["who"].to_pylist() == ["a"] * 4
    with pytest.raises(DataError, match="'who' names 2 series"):
        filled(tmp_path, rows.set_column(0, "who", pa.array(["a", "b", "a"])), timed(None), series="who")
    with pytest.raises(ConfigError, match="no column 'whom'"):
        filled(tmp_path, rows, timed(None), series="whom")


def test_columns_keep_their_types(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "group": ["a", "a"],
            "age": pa.array([30, None], pa.int8()),
            "price": pa.array([0.1, None], pa.float32()),
            "kind": ["in", None],
            "open": [True, None],
            "log": [1.0, None],
        }
    )
    found = filled(tmp_path, rows, timed(None, MIXED), draws=2)
    assert found.drop_columns("draw").schema.types == rows.schema.types
    assert found["price"][0] == rows["price"][0]


def test_what_is_no_number_or_has_a_key_of_filled_rows_is_refused_first(tmp_path: Path) -> None:
    texts = pa.table({"price": ["1.5", None], "count": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"'price', row 1: '1\.5' is text"):
        filled(tmp_path, texts, timed(None))
    layout = Layout((Column("price"), Column("row")))
    with pytest.raises(ConfigError, match="a column 'row', as filled rows have"):
        bundle_of(layout).fill(pd.DataFrame({"price": [1.0, None], "row": 0.5}))


def outside(layout: Layout, frame: pd.DataFrame, horizon: int = 0) -> int:
    return fill(bundle_of(layout).generator, layout, frame, draws=1, seed=0, horizon=horizon).outside


def test_what_lies_beyond_what_was_learnt_is_counted() -> None:
    constant = Layout((Column("price", minimum=2.0, maximum=2.0), Column("count")))
    assert outside(constant, pd.DataFrame({"price": [2.0, None], "count": 0.5}), horizon=10) == 0
    assert outside(constant, pd.DataFrame({"price": [2.0, 3.0], "count": [0.5, 1.5]})) == 2
    mixed = {"group": "a", "price": [1.0, None], "kind": "in", "open": True, "log": 1.0}
    assert [outside(MIXED, pd.DataFrame({**mixed, "age": age})) for age in (30, 10_000, None)] == [0, 1, 0]
    moves = pd.DataFrame({"level": [20.0, 20.5], "price": [10.0, 10.0], "plain": [0.5, None]})
    assert outside(DIFFERENCED, moves) == 0
    assert outside(DIFFERENCED, moves.assign(level=moves["level"] + 1e6)) == 1


def test_of_a_cell_drawn_as_missing_no_value_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(MIXED)
    told: list[WindowArrays] = []
    complete = bundle.generator.complete  # type: ignore[attr-defined]

    def spied(windows: WindowArrays, seed: int) -> WindowArrays:
        told.append(windows)
        made: WindowArrays = complete(windows, seed)
        return made

    monkeypatch.setattr(bundle.generator, "complete", spied)
    frame = pd.DataFrame({"group": "a", "age": 30, "price": [1.0] * 4, "kind": "in", "open": True, "log": 1.0})
    bundle.fill(frame, draws=20, seed=1, horizon=40)
    # The price's presence is the first channel, its value the second.
    missing = np.concatenate([windows.values[windows.values[..., 0] == 0, 1] for windows in told])
    assert len(missing) > 10
    assert np.isnan(missing).all()
