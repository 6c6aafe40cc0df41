"""Tables that need no file, and pandas frames."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from core.catalog import DatasetConfig, SineSource
from core.errors import ConfigError, DataError
from core.sources.digest import table_digest
from core.sources.frame import dataset_from_frame
from core.sources.resolve import resolve_dataset
from tests.unit.source_tables import load_table

CATALOG = Path(__file__).resolve().parents[2] / "data" / "catalog"


@pytest.mark.parametrize("name", ["sp500", "nasdaq"])
def test_arch_tables(name):
    table = load_table(resolve_dataset(name, CATALOG).dataset)
    assert table.column_names == ["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"]
    assert table.num_rows == 5031
    assert pd.Timestamp(table["Date"][0].as_py()) == pd.Timestamp("1999-01-04")


def test_sine_code_variant_is_the_published_loop():
    source = SineSource(variant="code", series=3, length=5, features=2, seed=7)
    table = load_table(DatasetConfig(name="s", source=source))
    rng = np.random.default_rng(7)
    frequency, phase = rng.uniform(0, 0.1, (3, 2)), rng.uniform(0, 0.1, (3, 2))
    for i in range(3):
        for k in range(2):
            for j in range(5):
                expected = (math.sin(frequency[i, k] * j + phase[i, k]) + 1) * 0.5
                assert table[f"sine_{k}"][5 * i + j].as_py() == pytest.approx(expected, abs=1e-15)
    assert table["series"].to_pylist() == [0] * 5 + [1] * 5 + [2] * 5


def test_sine_paper_variant_is_a_sinusoid_of_every_frequency():
    source = SineSource(variant="paper", series=200, length=24, features=1, seed=1)
    waves = np.asarray(load_table(DatasetConfig(name="s", source=source))["sine_0"]).reshape(200, 24)
    # Any sampled sinusoid obeys x[j+1] + x[j-1] = 2 cos(2 pi eta) x[j].
    inner = waves[:, 1:-1]
    cosine = ((waves[:, 2:] + waves[:, :-2]) * inner).sum(axis=1) / (2 * (inner**2).sum(axis=1))
    residual = waves[:, 2:] + waves[:, :-2] - 2 * cosine[:, None] * inner
    assert np.abs(residual).max() < 1e-9
    assert cosine.min() < -0.9
    assert cosine.max() > 0.9
    assert waves.min() < -0.99


def test_sine_depends_on_the_seed_alone():
    def digest(seed: int) -> str:
        return table_digest(
            load_table(DatasetConfig(name="s", source=SineSource(series=2, length=4, features=1, seed=seed)))
        )

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_motions_are_those_of_sktime():
    from sktime.datasets import load_basic_motions

    table = load_table(resolve_dataset("motions", CATALOG).dataset)
    assert table.column_names == ["series", "activity", *(f"dim_{i}" for i in range(6))]
    panels = [load_basic_motions(split=split, return_type="numpy3d") for split in ("train", "test")]
    expected = np.concatenate([values for values, _ in panels]).transpose(0, 2, 1).reshape(-1, 6)
    assert np.array_equal(np.stack([table[f"dim_{i}"] for i in range(6)], axis=1), expected)
    labels = np.concatenate([labels for _, labels in panels])
    assert [text.lower() for text in table["activity"].to_pylist()] == np.repeat(labels, 100).tolist()


def test_vowels_keep_their_lengths():
    from sktime.datasets import load_japanese_vowels

    table = load_table(resolve_dataset("vowels", CATALOG).dataset)
    first, speakers = load_japanese_vowels(split="train")
    lengths = pd.Series(table["series"].to_numpy()).value_counts(sort=False)
    assert len(lengths) == 640
    assert (lengths.min(), lengths.max()) == (7, 29)
    rows = table.filter(pa.compute.equal(table["series"], 100))
    assert np.array_equal(rows["dim_3"], first.iloc[100, 3])
    assert set(rows["speaker"].to_pylist()) == {speakers[100]}


def test_macro_has_the_first_days_of_quarters():
    dataset = resolve_dataset("macro", CATALOG).dataset
    table = load_table(dataset)
    days = pd.DatetimeIndex(table["quarter"].to_pandas())
    assert days.equals(pd.date_range("1959-01-01", periods=203, freq="QS", name=days.name))
    assert table["realgdp"][0].as_py() == 2710.349
    assert dataset.time.column == "quarter"


def test_every_dataset_of_the_catalogue_is_valid():
    for path in CATALOG.glob("*.yaml"):
        assert resolve_dataset(path.stem, CATALOG).dataset.description


def test_a_frame_becomes_a_dataset(tmp_path):
    index = pd.date_range("2024-01-01", periods=3, freq="h")
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0], "k": pd.Categorical(["u", "v", "u"])}, index=index)
    dataset = dataset_from_frame(frame, "mine", tmp_path, columns={"k": "categorical"})
    again = dataset_from_frame(frame.copy(), "mine", tmp_path)
    assert dataset.source == again.source
    assert dataset.columns == {"k": "categorical"}
    table = load_table(dataset)
    assert table["x"].to_pylist() == [1.0, None, 3.0]
    assert table["k"].to_pylist() == ["u", "v", "u"]
    assert pd.DatetimeIndex(table["time"].to_pandas()).equals(index.rename("time"))


@pytest.mark.parametrize(
    ("frame", "options", "error"),
    [
        (pd.DataFrame({"x": [1, "a"]}), {}, DataError),
        (pd.DataFrame({"x": [[1], [2]]}), {}, DataError),
        (pd.DataFrame({0: [1]}), {}, DataError),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, DataError),
        (pd.DataFrame({"x": [1]}), {"columns": {"x": "number"}}, ConfigError),
        (pd.DataFrame({"x": [1]}), {"colour": "red"}, ConfigError),
    ],
)
def test_frames_that_are_no_data_are_refused(tmp_path, frame, options, error):
    with pytest.raises(error):
        dataset_from_frame(frame, "mine", tmp_path, **options)
    assert not list(tmp_path.rglob("*.parquet"))
