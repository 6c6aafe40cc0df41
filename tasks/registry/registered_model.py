"""The registered model itself: MLflow copies this file into the model and runs it wherever it is loaded.

It must work where Timeloom is not installed: the code that it needs travels with it as a package whose name
`tasks.registry.packaging` makes unique.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

MAX_SAMPLES = 100_000
"""Windows in one answer: bounds what a request to a served model can cost."""


class RegisteredGenerator(PythonModel):  # type: ignore[misc]
    """Draws synthetic windows in original units."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the generator's files: JSON and safetensors, nothing that can execute."""
        package = context.model_config["package"]
        bundle = importlib.import_module(f"{package}.generators.bundle")
        self.bundle = bundle.GeneratorBundle.load(Path(context.artifacts["generator"]))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,  # noqa: ARG002 - generation takes parameters alone
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Synthetic rows.

        Args:
            context: Unused.
            model_input: Ignored.
            params: `n_samples` windows to draw (1 to 100,000, default 1), `seed` (from 0, default 0) and
                `condition`, a JSON object with a value for each column that the generator is conditioned on
                (default "": values as often as in the training data).

        Returns:
            One row per step of each window: `window`, `step`, then static columns, conditions and the columns
            of the training data, in original units and types; missing cells NaN or None.

        Raises:
            ValueError: a parameter is out of range or no JSON object.
            Exception: the package's `ConfigError`, for a condition that names no such column or value.
        """
        values = params or {}
        n, seed = int(values.get("n_samples", 1)), int(values.get("seed", 0))
        if not 1 <= n <= MAX_SAMPLES or seed < 0:
            raise ValueError(f"expected n_samples from 1 to {MAX_SAMPLES} and seed >= 0, got {n} and {seed}")
        frame: pd.DataFrame = self.bundle.sample_frame(n, seed, _condition(values.get("condition", "")))
        return frame


def _condition(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        return dict(json.loads(text).items())
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f'expected condition as a JSON object such as {{"group": "a"}}, got {text!r}'
        ) from error


mlflow.models.set_model(RegisteredGenerator())
