"""Tables filled in and forecast: their cells stay, the same seed gives the same bytes, errors are readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.errors import ConfigError, DataError
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.timegan import TimeGAN
from core.prepare.channels.layout import Column, Layout, WindowArrays
from flows.cli.common import app
from tests.unit.test_flow_matching import made, stirred

LENGTH = 8
DAYS = {"calendar": None, "frequency": "B", "timezone": None}
PLAIN = Layout((Column("price", minimum=-5.0, maximum=15.0), Column("count", maximum=9.0, integer=True)))
MIXED = Layout(
    (
        Column("price", minimum=-5.0, maximum=15.0, optional=True),
        Column("kind", "categorical", categories=("in", "out", "back")),
        Column("open", "binary", categories=(False, True)),
        Column("log", maximum=3.0, transform="log"),
    ),
    (Column("age", minimum=20.0, maximum=60.0, integer=True),),
    (Column("group", "categorical", categories=("a", "b")),),
)
DIFFERENCED = Layout(
    (
        Column("level", minimum=-1.0, maximum=1.0, transform="difference"),
        Column("price", minimum=-0.1, maximum=0.1, transform="log_difference"),
        Column("plain"),
    ),
    (
        Column("level before", minimum=0.0, maximum=50.0, level_of="level"),
        Column("price before", minimum=0.0, maximum=8.0, transform="log", level_of="price"),
    ),
)


def bundle_of(layout: Layout, **options: Any) -> GeneratorBundle:
    told = {"completion": 0.25, **options}
    model = stirred(made(layout.channels, length=LENGTH, sampling_steps=3, **told))
    return GeneratorBundle(model, SeriesInfo("made-up", layout, DAYS, "x"))


def plain(rows: int, holes: float = 0.3, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"price": rng.normal(5, 2, rows), "count": rng.integers(0, 9, rows).astype("float64")})
    return frame.mask(rng.random(frame.shape) < holes)


@pytest.mark.parametrize("rows", [1, 5, LENGTH, 50])
@pytest.mark.parametrize("horizon", [0, 3, 30])
def test_cells_of_the_table_stay_and_others_are_filled(rows: int, horizon: int) -> None:
    frame = plain(rows)
    found = bundle_of(PLAIN).fill(frame, draws=2, seed=3, horizon=horizon)
    assert list(found.columns) == ["draw", "row", "price", "count"]
    assert found[["draw", "row"]].to_numpy().tolist() == [
        [d, r] for d in range(2) for r in range(rows + horizon)
    ]
    assert not found.isna().any().any()
    assert (found["count"] == found["count"].round()).all()
    assert found["price"].between(-5, 15)[found["row"] >= rows].all()
    for _, version in found.groupby("draw"):
        same = version.reset_index(drop=True).loc[: rows - 1, ["price", "count"]]
        pd.testing.assert_frame_equal(same.where(frame.notna()), frame)
    drawn = np.concatenate([frame.isna().to_numpy().any(axis=1), np.ones(horizon, dtype=bool)])
    first, second = (version.to_numpy()[:, 2:] for _, version in found.groupby("draw"))
    if drawn.any():
        assert (first[drawn] != second[drawn]).any()
    again = bundle_of(PLAIN).fill(frame, draws=2, seed=3, horizon=horizon)
    pd.testing.assert_frame_equal(found, again)


def test_whole_numbers_keep_their_type_and_digits() -> None:
    big = 2**60 + 1
    frame = pd.DataFrame({"price": [1.0, 2.0, None], "count": pd.array([big, None, 3], dtype="Int64")})
    found = bundle_of(PLAIN).fill(frame, horizon=1)
    assert found["count"].dtype == "Int64"
    assert found["count"].iloc[0] == big
    full = frame.fillna(1).astype({"count": "int64"})
    assert bundle_of(PLAIN).fill(full)["count"].dtype == "int64"


def test_mixed_columns_come_out_in_their_own_words() -> None:
    frame = pd.DataFrame(
        {
            "group": ["b"] * 4,
            "age": [31.0, None, None, 31.0],
            "price": [1.0, None, 3.0, None],
            "kind": ["in", None, "back", None],
            "open": [True, None, False, None],
            "log": [1.5, None, 2.5, 20.0],
        }
    )
    found = bundle_of(MIXED).fill(frame, draws=3, seed=1, horizon=40)
    assert set(found["group"]) == {"b"}
    assert set(found["age"]) == {31.0}
    assert set(found["kind"]) <= {"in", "out", "back"}
    assert found["open"].isin([True, False]).all()
    assert (found["log"] > 0).all()
    table = found[found["row"] < 4]
    assert table["price"].notna().all()  # an empty cell of a table is filled in
    assert found["price"].isna().any()  # of further rows the generator says which are missing
    for _, version in table.groupby("draw"):
        assert version["log"].iloc[[0, 2, 3]].tolist() == [1.5, 2.5, 20.0]
        assert version["kind"].iloc[[0, 2]].tolist() == ["in", "back"]


def test_a_static_column_that_is_unknown_is_drawn_once_for_each_version() -> None:
    frame = pd.DataFrame(
        {
            "group": ["a"] * 30,
            "age": None,
            "price": 1.0,
            "kind": "in",
            "open": True,
            "log": 1.0,
        }
    )
    found = bundle_of(MIXED).fill(frame, draws=5, seed=1)
    ages = found.groupby("draw")["age"].nunique()
    assert (ages == 1).all()
    assert found["age"].between(20, 60).all()
    assert found["age"].nunique() > 1


def test_levels_go_on_from_the_last_known_one() -> None:
    frame = pd.DataFrame({"level": np.arange(12.0), "price": 100.0 * 1.01 ** np.arange(12), "plain": 0.5})
    frame.loc[9:, "price"] = np.nan
    frame.loc[3:5, "plain"] = np.nan
    found = bundle_of(DIFFERENCED).fill(frame, draws=2, seed=0, horizon=20)
    for _, version in found.groupby("draw"):
        level, price = version["level"].to_numpy(), version["price"].to_numpy()
        assert level[:12].tolist() == frame["level"].tolist()
        assert (np.abs(np.diff(level[11:])) <= 1 + 1e-6).all()
        assert price[:9].tolist() == frame["price"][:9].tolist()
        assert (np.abs(np.diff(np.log(price[8:]))) <= 0.1 + 1e-6).all()
        assert np.ptp(level[12:]) > 0
    assert found["plain"].notna().all()


def test_a_hole_in_a_level_is_refused() -> None:
    frame = pd.DataFrame({"level": np.arange(5.0), "price": 1.0, "plain": 0.5})
    frame.loc[2, "level"] = np.nan
    with pytest.raises(DataError, match=r"learnt as difference.*row 3 is empty"):
        bundle_of(DIFFERENCED).fill(frame)
    frame = frame.assign(level=1.0, plain=[None, 1, 1, 1, 1])
    with pytest.raises(DataError, match="row 1 of column 'plain'"):
        bundle_of(DIFFERENCED).fill(frame)


def test_each_window_is_told_what_is_known_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a window is told is the table's or was drawn before, and half of it comes before what is drawn."""
    bundle = bundle_of(PLAIN)
    frame = plain(40, holes=0.0)
    frame.loc[[17, 18], "price"] = np.nan
    told: list[WindowArrays] = []
    complete = bundle.generator.complete  # type: ignore[attr-defined]

    def spied(windows: WindowArrays, seed: int) -> WindowArrays:
        told.append(windows)
        made: WindowArrays = complete(windows, seed)
        return made

    monkeypatch.setattr(bundle.generator, "complete", spied)
    bundle.fill(frame, horizon=10)
    unknown = [np.isnan(each.values[0, :, 0]).tolist() for each in told]
    assert unknown[0] == [False] * 4 + [True] * 2 + [False] * 2  # rows 13 to 20: what follows is told, too
    for hidden in unknown[1:]:
        assert hidden == [False] * 4 + [True] * 4 or hidden == [False] * 6 + [True] * 2
    assert len(told) == 1 + 3  # rows between the hole and the end are passed over


@pytest.mark.parametrize(
    ("frame", "error", "says"),
    [
        (pd.DataFrame({"price": [1.0], "count": [1], "more": [1]}), ConfigError, "no column 'more'"),
        (pd.DataFrame({"price": [1.0]}), ConfigError, "no column 'count'"),
        (pd.DataFrame({"price": ["x"], "count": [1]}), DataError, "'price', row 1: 'x' is no number"),
        (pd.DataFrame({"price": [1.0, np.inf], "count": [1, 1]}), DataError, "row 2"),
    ],
)
def test_tables_of_other_columns_are_refused(frame: pd.DataFrame, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        bundle_of(PLAIN).fill(frame)


def test_values_that_no_column_has_are_refused() -> None:
    right = {"group": ["a"], "age": [30], "price": [1.0], "kind": ["in"], "open": [True], "log": [1.0]}
    for wrong, says in (
        ({"kind": ["up"]}, "'kind', row 1: 'up' is none of the categories 'in', 'out', 'back'"),
        ({"log": [-1.0]}, "has no logarithm"),
        ({"group": [None]}, "'group' is given to the generator"),
    ):
        with pytest.raises(DataError, match=says):
            bundle_of(MIXED).fill(pd.DataFrame({**right, **wrong}))
    two = pd.DataFrame({**right}).loc[[0, 0]].assign(age=[30, 31])
    with pytest.raises(DataError, match="one value a series"):
        bundle_of(MIXED).fill(two)


def test_generators_that_never_learnt_it_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.completion above 0"):
        bundle_of(PLAIN, completion=0.0).fill(plain(3))
    timegan = TimeGAN(length=LENGTH, channels=PLAIN.channels, hidden=3, layers=1, seed=0)
    other = GeneratorBundle(timegan, SeriesInfo("made-up", PLAIN, None, "x"))
    with pytest.raises(ConfigError, match="timegan cannot fill in"):
        other.fill(plain(3))
    with pytest.raises(ConfigError, match="timegan cannot be guided"):
        other.sample_guided(2, 0, lambda c: c["price"][:, 0] ** 2)
    for wrong in ({"draws": 0}, {"seed": -1}, {"horizon": -1}, {"horizon": 10**9}):
        with pytest.raises(ConfigError):
            bundle_of(PLAIN).fill(plain(3), **wrong)


def test_guided_windows_begin_with_known_rows() -> None:
    bundle = bundle_of(PLAIN)
    known = plain(3, holes=0.0)
    found = bundle.sample_guided(4, 0, lambda c: (c["price"][:, -1] - 9) ** 2, known=known, steps=10)
    frame = bundle.frame(found.windows)
    for _, window in frame.groupby("window"):
        np.testing.assert_allclose(window["price"].to_numpy()[:3], known["price"], atol=1e-5)
    assert found.after.mean() < found.before.mean()
    with pytest.raises(ConfigError, match="at most 8 rows"):
        bundle.sample_guided(1, 0, lambda c: c["price"][:, 0] ** 2, known=plain(9, holes=0.0))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIMELOOM_HOME", str(tmp_path / "lake"))
    # It sets variables of this process, which other tests would see.
    monkeypatch.setattr("flows.environment.configure", lambda _: None)
    folder = tmp_path / "model"
    folder.mkdir()
    bundle_of(PLAIN).save(folder)
    return folder


def call(*words: object) -> None:
    app([str(word) for word in words], exit_on_error=False, print_error=False, result_action="return_value")


CSV = """Date,price,count
2024-01-02,1.25,3
2024-01-03,,4
2024-01-04,2.75,
2024-01-05,3.125,6
"""


def test_the_command_fills_a_file_and_goes_on_with_its_dates(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text(CSV)
    outputs = [tmp_path / "x.csv", tmp_path / "y.csv", tmp_path / "x.parquet"]
    for output in outputs:
        call("fill", model, data, "-o", output, "--horizon", 3, "--draws", 2, "--json", tmp_path / "r.json")
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    frame = pd.read_csv(outputs[0])
    assert list(frame.columns) == ["draw", "Date", "price", "count"]
    dates = ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-10"]
    assert frame["Date"].tolist() == dates * 2  # weekdays, as the generator's series has them
    assert outputs[0].read_text().splitlines()[1] == "0,2024-01-02,1.25,3"
    assert frame["price"].to_numpy()[[0, 2, 3]].tolist() == [1.25, 2.75, 3.125]
    assert not frame.isna().any().any()
    lineage = json.loads(pq.read_metadata(outputs[2]).metadata[b"timeloom"])
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["lineage"] == lineage
    assert lineage["source"]["name"] == "rows.csv"
    assert (lineage["form"], lineage["draws"], lineage["horizon"], lineage["seed"]) == ("filled", 2, 3, 0)
    assert (result["cells"], result["rows"], result["outside"]) == (2 + 6, 14, 0)
    beside = json.loads((tmp_path / "x.csv.json").read_text())
    assert beside["lineage"] == lineage
    one = tmp_path / "one.csv"
    call("fill", model, data, "-o", one, "--seed", 1)
    assert pd.read_csv(one).columns.tolist() == ["Date", "price", "count"]


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        (CSV, ["-o", "x.npy"], "ending in .parquet or .csv"),
        (CSV.replace("price", "cost"), ["-o", "x.csv"], "no column 'cost'"),
        (CSV.replace("2024-01-03", "2024-01-09"), ["-o", "x.csv"], "row 3 is not after the row before"),
        (CSV, ["-o", "x.csv", "--draws", "0"], "draws"),
    ],
)
def test_the_command_refuses_before_anything_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: list[str], says: str
) -> None:
    data = tmp_path / "rows.csv"
    data.write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, DataError), match=says):
        call("fill", model, data, *words)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != "") == ["rows.csv"]


def test_scenarios_in_words_reach_the_windows(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    call(
        "generate",
        model,
        "-n",
        20,
        "-o",
        out,
        "--scenario",
        "price: to 9 at 7",
        "--scenario",
        "count: to 4 at 2",
    )
    frame = pd.read_parquet(out)
    last = frame[frame["step"] == 7]["price"]
    plain = GeneratorBundle.load(model).sample_frame(20, 0)
    before = plain[plain["step"] == 7]["price"]
    assert (last - 9).abs().mean() < (before - 9).abs().mean() / 2
    lineage = json.loads(pq.read_metadata(out).metadata[b"timeloom"])
    assert lineage["scenario"] == ["price: to 9 at 7", "count: to 4 at 2"]
    assert lineage["reached"][0]["mean"] == pytest.approx(last.mean())
    assert lineage["reached"][0]["least"] == pytest.approx(last.min())


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        ("price falls", "a scenario reads"),
        ("price: -10% in 8", "steps 0 to 7"),
        ("price: -10% in 0", "steps 0 to 7"),
        ("price: to 3 at 8", "steps 0 to 7"),
        ("cost: to 3 at 2", "cannot read 'cost'"),
    ],
)
def test_scenarios_that_make_no_sense_are_refused(
    model: Path, tmp_path: Path, scenario: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        call("generate", model, "-n", 2, "-o", tmp_path / "x.csv", "--scenario", scenario)
    assert not (tmp_path / "x.csv").exists()
