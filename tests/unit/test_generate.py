"""`timeloom generate` from a folder: conditions, types and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError
from core.generation.options import GenerationConfig
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.timegan import TimeGAN
from core.prepare.channels.layout import Column, Layout
from core.settings import Settings
from flows.cli.common import app, named_values
from flows.cli.generation import generate
from tasks.generation import find_model

LAYOUT = Layout(
    (
        Column("type", "categorical", categories=("in", "out")),
        Column("n", maximum=9.0, integer=True, optional=True),
    ),
    (Column("vip", "binary", categories=(False, True)),),
    (Column("group", "categorical", categories=("a", "b")), Column("year", "binary", categories=(2019, 2020))),
)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIMELOOM_HOME", str(tmp_path / "lake"))
    # It sets variables of this process, which other tests would see.
    monkeypatch.setattr("flows.environment.configure", lambda _: None)
    folder = tmp_path / "model"
    folder.mkdir()
    timegan = TimeGAN(length=5, channels=LAYOUT.channels, hidden=3, layers=1, seed=0)
    GeneratorBundle(timegan, SeriesInfo("made-up", LAYOUT, None, "x")).save(folder)
    return folder


def test_conditions_reach_the_windows(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    generate(str(model), n=7, output=str(out), seed=1, condition=["group=b", "year=2020"])
    frame = pd.read_parquet(out)
    assert list(frame.columns) == ["window", "step", "vip", "group", "year", "type", "n"]
    assert frame["window"].nunique() == 7
    assert set(frame["group"]) == {"b"}
    assert set(frame["year"]) == {2020}
    assert frame["vip"].dtype == bool
    assert set(frame["type"]) <= {"in", "out"}
    numbers = frame["n"].dropna()
    assert (numbers == np.rint(numbers)).all()
    again = GeneratorBundle.load(model).sample_frame(7, 1, {"group": "b", "year": 2020})
    pd.testing.assert_frame_equal(frame, again)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (["group=c", "year=2020"], "group is never 'c'; it is one of 'a', 'b'"),
        (["group=a"], "each of group, year: some are not given"),
        (["vip=True"], "there is no 'vip'"),
        (["group"], "expected name=value"),
        (["=a"], "expected name=value"),
        (["group=a", "group=b"], "each name once"),
    ],
)
def test_conditions_that_make_no_sense_are_refused(
    model: Path, tmp_path: Path, condition: list[str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        generate(str(model), n=2, output=str(tmp_path / "x.parquet"), condition=condition)
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize(
    "wrong", [{"condition": {"group": "c", "year": 2020}}, {"output": "x.npy"}, {"form": "series", "steps": 9}]
)
def test_the_flow_refuses_before_there_is_an_mlflow_run(
    model: Path, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    right = {"model": str(model), "output": f"{tmp_path}/x.parquet", "condition": {"group": "a", "year": 2020}}
    assert find_model.fn(GenerationConfig.model_validate(right), Settings()).path == model
    with pytest.raises(ConfigError):
        find_model.fn(GenerationConfig.model_validate(right | wrong), Settings())
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_values_may_hold_an_equals_sign() -> None:
    assert named_values(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    assert named_values(None) is None


def test_the_option_is_repeated_on_the_command_line(model: Path, tmp_path: Path) -> None:
    call = ["generate", str(model), "-n", "2", "-o", str(tmp_path / "x.npy"), "--scaled"]
    call += ["--condition", "group=a", "--condition", "year=2019"]
    app(call, exit_on_error=False, print_error=False, result_action="return_value")
    assert np.load(tmp_path / "x.npy")[0, 0, 1:4].tolist() == [1, 0, 0]
