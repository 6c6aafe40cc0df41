"""Comparing generators, and mixed columns with a condition, through the command line."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from tests.e2e.conftest import TINY, Place, overrides


def test_compare_makes_a_row_for_each_generator(place: Place, first: dict[str, Any]) -> None:
    output = place.lake / "comparison.json"
    words = ["compare", "sine", "--models", "timegan,rcgan", "--json", str(output), *overrides(TINY)]
    done = place.call(*words)
    assert done.code == 0, done.err
    rows = json.loads(output.read_text())
    assert [row["model"] for row in rows] == ["timegan", "rcgan"]
    for row, paper in zip(rows, (0.011, 0.022), strict=True):
        assert row["error"] is None
        assert 0 <= row["discriminative"] <= 0.5
        assert row["paper_discriminative"] == paper
        assert row["train_seconds"] > 0
        run = place.mlflow.get_run(row["mlflow_run_id"])
        assert run.data.params["model.kind"] == row["model"]
        assert row["model"] in done.out
    registered = place.mlflow.search_registered_models(f"name like '{first['model_name'].split('-')[0]}-%'")
    assert [model.name for model in registered] == [first["model_name"]]  # comparing registers nothing
    (table,) = place.prefect("select data from artifact where key = 'comparison' order by created desc limit 1")
    assert "rcgan" in table[0]


def test_compare_refuses_an_unknown_generator(place: Place) -> None:
    done = place.call("compare", "sine", "--models", "timegan,nogan", *overrides(TINY))
    assert done.code == 2
    assert "nogan" in done.err
    assert "wavegan" in done.err


EVENTS: dict[str, Any] = {
    "dataset.source.series": 150,
    "window.length": 24,
    "window.min_length": 8,
    "model.condition": "[group]",
    "training.joint_iterations": 20,
}


def test_mixed_columns_come_out_as_they_went_in(place: Place) -> None:
    result = place.run("events", *overrides({**TINY, **EVENTS}))
    made = place.lake / "made.parquet"
    model = f"{result['model_name']}@champion"
    done = place.call("generate", model, "-n", "50", "-o", str(made), "--condition", "group=forward")
    assert done.code == 0, done.err
    frame = pd.read_parquet(made)
    assert set(frame["group"]) == {"forward"}
    snapshot = next(place.lake.glob("snapshots/events/*/data.parquet"))
    real = pd.read_parquet(snapshot)
    assert set(frame["type"]) <= set(real["type"])
    assert frame["flag"].dropna().isin([False, True]).all()
    lengths = frame.groupby("window")["step"].max() + 1
    assert lengths.between(8, 24).all()
    assert lengths.nunique() > 1
