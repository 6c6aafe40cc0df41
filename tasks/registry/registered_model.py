"""The registered model itself: MLflow copies this file into the model and runs it wherever it is loaded.

It must work where Timeloom is not installed: the code that it needs travels with it as a package whose name
`tasks.registry.packaging` makes unique.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

DEFAULTS = {"n_samples": 1, "seed": 0, "condition": ""}
MAX_SEED = 2**63 - 1
# MLflow's scoring server sets it. It has no public name.
_SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"


class RegisteredGenerator(PythonModel):  # type: ignore[misc]
    """Draws synthetic windows in original units."""

    def load_context(self, context: PythonModelContext) -> None:
        """Check and read the generator's files: JSON and safetensors, nothing that can execute."""
        package = context.model_config["package"]
        self.bundle = importlib.import_module(f"{package}.generators.bundle").GeneratorBundle.load(
            Path(context.artifacts["generator"])
        )
        self.wrong_call = importlib.import_module(f"{package}.errors").ConfigError
        self.max_cells = int(context.model_config["max_cells"])

    @property
    def max_samples(self) -> int:
        """Windows in one answer, at least 1: bounds what a request to a served model can cost."""
        own = self.bundle.series.layout.own
        columns = 2 + len(own.static) + len(own.condition) + len(own.temporal)
        cells: int = self.bundle.generator.length * columns
        return max(1, self.max_cells // cells)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Synthetic rows.

        Args:
            context: Unused.
            model_input: None or empty; or one row, also as a mapping, that says what `params` would: there a
                name that is none of theirs is refused, while MLflow drops it from `params`.
            params: `n_samples` windows to draw (from 1, default 1, at most `max_samples`), `seed` (from 0 to
                2^63 - 1, default 0) and `condition`, a JSON object with a value for each column that the
                generator is conditioned on (default "": values as often as in the training data).

        Returns:
            One row per step of each window: `window`, `step`, then static columns, conditions and the columns
            of the training data, in original units and types; missing cells NaN or None (in a served answer:
            null).

        Raises:
            MlflowException: a parameter is unknown, of another type or out of range. Served: status 400.
        """
        asked = _asked(model_input, params or {})
        most = self.max_samples
        n = _whole("n_samples", asked["n_samples"], 1, most, f" ({self.max_cells:,} cells in an answer)")
        seed = _whole("seed", asked["seed"], 0, MAX_SEED)
        try:
            frame: pd.DataFrame = self.bundle.sample_frame(n, seed, _condition(asked["condition"]))
        except self.wrong_call as error:
            _refuse(str(error))
        return _with_nulls(frame) if os.environ.get(_SERVING) == "true" else frame


def _asked(model_input: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Every parameter, from the one place that gives any."""
    # MLflow fills the defaults in.
    given = {name: value for name, value in params.items() if value != DEFAULTS.get(name)}
    row = _row(model_input)
    if given and row:
        _refuse(f"parameters came both in the input ({', '.join(row)}) and in params ({', '.join(given)})")
    if unknown := [name for name in {**given, **row} if name not in DEFAULTS]:
        _refuse(f"expected the parameters {', '.join(DEFAULTS)}, got {', '.join(unknown):.200}")
    return {**DEFAULTS, **given, **row}


def _row(model_input: Any) -> dict[str, Any]:
    """The parameters that the input says, {} if it is empty."""
    if isinstance(model_input, pd.DataFrame):
        if not model_input.columns.is_unique:
            _refuse(f"expected each parameter once, got {', '.join(map(str, model_input.columns)):.200}")
        model_input = model_input.to_dict("records")
    if isinstance(model_input, np.ndarray):  # MLflow's of `inputs`
        model_input = model_input.tolist()
    if isinstance(model_input, list):
        if len(model_input) > 1:
            _refuse(f"expected an empty input or one row of parameters, got {len(model_input):,} rows")
        model_input = model_input[0] if model_input else None
    if model_input is None:
        return {}
    if not isinstance(model_input, dict):
        _refuse(f"expected an empty input or one row of parameters by name, got {model_input!r:.200}")
    return {str(name): _plain(value) for name, value in model_input.items()}


def _plain(value: Any) -> Any:
    """What MLflow made an array of."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _whole(name: str, value: Any, low: int, high: int, why: str = "") -> int:
    if type(value) is not int or not low <= value <= high:
        _refuse(f"expected {name} as a whole number from {low:,} to {high:,}{why}, got {value!r:.100}")
    return value


def _condition(given: Any) -> dict[str, Any] | None:
    if isinstance(given, str) and not given:
        return None
    try:
        tree = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        _refuse(f'expected condition as a JSON object such as {{"group": "a"}}, got {given!r:.200}')
    return tree


def _with_nulls(frame: pd.DataFrame) -> pd.DataFrame:
    """Missing cells as None: JSON has no NaN, but MLflow would write one."""
    holes = [str(name) for name in frame if frame[name].isna().any()]
    return frame.assign(**{name: frame[name].astype(object).where(frame[name].notna(), None) for name in holes})


def _refuse(message: str) -> NoReturn:
    # Any other exception is answered with a traceback, and with the server's paths in it.
    raise MlflowException.invalid_parameter_value(message)


mlflow.models.set_model(RegisteredGenerator())
