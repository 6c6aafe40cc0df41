"""What a registered model answers to good calls and bad ones, loaded as MLflow loads it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from core.errors import StorageError
from tasks.registry.log import EXAMPLE, signature_of
from tasks.registry.packaging import MODEL_SCRIPT, pip_requirements, write_package
from tests.unit.tiny_bundle import LENGTH, tiny_bundle

BUNDLE = tiny_bundle("wavegan", seed=1)
COLUMNS = ["window", "step", "age", "group", "price", "count", "open"]
MAX_CELLS = 100 * LENGTH * len(COLUMNS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as MLflow stores it."""
    place = tmp_path_factory.mktemp("made")
    (place / "generator").mkdir()
    BUNDLE.save(place / "generator")
    package = write_package(place)
    mlflow.pyfunc.save_model(
        place / "model",
        python_model=str(MODEL_SCRIPT),
        artifacts={"generator": str(place / "generator")},
        code_paths=[str(place / package)],
        model_config={"package": package, "max_cells": MAX_CELLS},
        signature=signature_of(BUNDLE),
        input_example=pd.DataFrame([EXAMPLE]),
        pip_requirements=pip_requirements(),
    )
    return place / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> PyFuncModel:
    return mlflow.pyfunc.load_model(str(folder))


def rows(params: dict[str, Any] | None, model: PyFuncModel, data: Any = None) -> pd.DataFrame:
    frame: pd.DataFrame = model.predict(data, params=params)
    return frame


def test_rows_are_those_of_the_generator(model: PyFuncModel) -> None:
    pd.testing.assert_frame_equal(rows({"n_samples": 30, "seed": 3}, model), BUNDLE.sample_frame(30, 3))
    pd.testing.assert_frame_equal(rows(None, model), BUNDLE.sample_frame(1, 0))
    given = rows({"n_samples": 30, "seed": 3, "condition": '{"group": "b"}'}, model)
    pd.testing.assert_frame_equal(given, BUNDLE.sample_frame(30, 3, {"group": "b"}))


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame([{"n_samples": 30, "seed": 3, "condition": '{"group": "b"}'}]),
        {"n_samples": 30, "seed": 3, "condition": {"group": "b"}},
        {"n_samples": np.array(30), "seed": np.int64(3), "condition": {"group": "b"}},
        [{"n_samples": 30, "seed": 3, "condition": {"group": "b"}}],
    ],
)
def test_the_input_may_say_what_params_say(model: PyFuncModel, data: Any) -> None:
    pd.testing.assert_frame_equal(rows(None, model, data), BUNDLE.sample_frame(30, 3, {"group": "b"}))


@pytest.mark.parametrize("empty", [[], {}, [{}], np.array([]), pd.DataFrame(), pd.DataFrame([{}])])
def test_an_empty_input_says_nothing(model: PyFuncModel, empty: Any) -> None:
    pd.testing.assert_frame_equal(rows({"seed": 3}, model, empty), BUNDLE.sample_frame(1, 3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_samples": 0}, "n_samples as a whole number from 1 to 100 .2,800 cells in an answer., got 0"),
        ({"n_samples": -1}, "got -1"),
        ({"n_samples": 101}, "got 101"),
        ({"n_samples": 10**9}, "got 1000000000"),
        ({"n_samples": 2**64}, "from 1 to 100"),
        ({"n_samples": "5"}, "n_samples"),
        ({"n_samples": 1.5}, "n_samples"),
        ({"n_samples": True}, "n_samples"),
        ({"n_samples": None}, "n_samples"),
        ({"n_samples": [5]}, "n_samples"),
        ({"seed": -1}, "seed as a whole number from 0 to 9,223,372,036,854,775,807, got -1"),
        ({"seed": 2**63}, "seed as a whole number"),
        ({"seed": 2**64}, "seed as a whole number"),
        ({"seed": 1.5}, "seed"),
        ({"condition": "group"}, "condition as a JSON object"),
        ({"condition": "[1]"}, "condition as a JSON object"),
        ({"condition": "[" * 100_000}, "condition as a JSON object"),
        ({"condition": "null"}, "condition as a JSON object"),
        ({"condition": "{}"}, "a value for each of group"),
        ({"condition": '{"group": "z"}'}, "group is never 'z'; it is one of 'a', 'b'"),
        ({"condition": '{"group": "a", "age": 3}'}, "there is no 'age'"),
    ],
)
@pytest.mark.parametrize("way", ["params", "input"])
def test_wrong_values_are_refused_with_a_reason(
    model: PyFuncModel, way: str, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlflowException, match=message) as refused:
        rows(wrong, model) if way == "params" else rows(None, model, [wrong])
    assert refused.value.get_http_status_code() == 400


@pytest.mark.parametrize(
    ("data", "params", "message"),
    [
        ([{"n_sample": 5}], {}, "parameters n_samples, seed, condition, got n_sample"),
        (pd.DataFrame({"window": [0]}), {}, "got window"),
        ([{"seed": 1}, {"seed": 2}], {}, "one row of parameters, got 2 rows"),
        ([5], {}, "one row of parameters by name, got 5"),
        (pd.DataFrame([[1, 2]], columns=["seed", "seed"]), {}, "each parameter once, got seed, seed"),
        ([{"seed": 1}], {"seed": 2}, "both in the input .seed. and in params .seed."),
    ],
)
def test_wrong_inputs_are_refused_with_a_reason(
    model: PyFuncModel, data: Any, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(MlflowException, match=message):
        rows(params, model, data)


def test_how_much_one_answer_holds_is_configuration(folder: Path) -> None:
    small = mlflow.pyfunc.load_model(str(folder), model_config={"max_cells": 3 * LENGTH * len(COLUMNS)})
    assert len(rows({"n_samples": 3}, small)) > 0
    with pytest.raises(MlflowException, match="from 1 to 3 "):
        rows({"n_samples": 4}, small)


def test_a_served_answer_has_null_where_a_cell_is_missing(
    model: PyFuncModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows({"n_samples": 30}, model)
    assert 0 < expected["count"].isna().sum() < len(expected)
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    text = json.dumps(rows({"n_samples": 30}, model).to_dict("records"), allow_nan=False)
    pd.testing.assert_frame_equal(pd.DataFrame(json.loads(text)), expected)


def test_the_same_seed_gives_the_same_rows_beside_other_requests(model: PyFuncModel) -> None:
    alone = [rows({"n_samples": 100, "seed": seed}, model) for seed in range(4)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda n: rows({"n_samples": 100, "seed": n % 4}, model), range(40)))
    for number, frame in enumerate(together):
        pd.testing.assert_frame_equal(frame, alone[number % 4])


def test_a_model_whose_files_were_changed_does_not_load(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    weights = tmp_path / "model" / "artifacts" / "generator" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(Exception, match=r"weights\.safetensors is not what was saved") as refused:
        mlflow.pyfunc.load_model(str(tmp_path / "model"))
    # Of the package that the model carries, not of this repository.
    assert type(refused.value).__name__ == StorageError.__name__


# Python tells such hooks of everything that is unpickled, whichever library asks and however.
NOTHING_UNPICKLED = """
import pickle, sys
from pathlib import Path
import cloudpickle, mlflow, mlflow.pyfunc, torch
from core.generators.bundle import GeneratorBundle
folder = sys.argv[1]
def refuse(*words, **more): raise AssertionError("something was unpickled")
def watch(event, arguments):
    if event == "pickle.find_class": refuse()
sys.addaudithook(watch)
for module, names in {pickle: ("load", "loads"), cloudpickle: ("load", "loads"), torch: ("load",)}.items():
    for name in names: setattr(module, name, refuse)
def carried(): return len({name.partition(".")[0] for name in sys.modules if name.startswith("timeloom_")})
rows = GeneratorBundle.load(Path(folder, "artifacts", "generator")).sample_frame(3, 0)
print(len(rows), carried())
rows = mlflow.pyfunc.load_model(folder).predict(None, params={"n_samples": 3})
print(len(rows), carried())
"""


def test_nothing_is_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    script = [sys.executable, "-c", NOTHING_UNPICKLED, str(folder)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = len(BUNDLE.sample_frame(3, 0))
    # Timeloom itself reads the files; only pyfunc runs the code that lies beside them.
    assert done.stdout.splitlines() == [f"{rows} 0", f"{rows} 1"]


def test_a_model_s_folder_holds_text_and_safetensors_alone(folder: Path) -> None:
    for path in (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        if path.suffix == ".safetensors":
            assert path.read_bytes()[8:9] == b"{"
        else:
            assert path.suffix in {".py", ".json", ".yaml", ".txt", ".typed", ""}, path
            path.read_bytes().decode("utf-8")
