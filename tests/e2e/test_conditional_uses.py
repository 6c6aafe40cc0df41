"""A flow trained through the command line fills a table in, forecasts it, and follows a scenario."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import TINY, Place, overrides

JUDGING = {name: value for name, value in TINY.items() if name.startswith("evaluation.")}
FLOW = {
    **JUDGING,
    "window.length": 8,
    "model.kind": "flow_matching",
    "model.hidden": 16,
    "model.layers": 1,
    "model.heads": 2,
    "model.completion": 0.5,
    "training.batch_size": 64,
    "training.joint_iterations": 300,
    "training.learning_rate": 0.005,
}


@pytest.mark.slow
def test_a_registered_flow_fills_forecasts_and_follows_a_scenario(place: Place) -> None:
    days = pd.date_range("2020-01-01", periods=400, freq="D")
    walk = 100 + np.cumsum(np.random.default_rng(0).standard_normal(400))
    rows = pd.DataFrame({"Date": days, "price": walk.round(2), "twice": (2 * walk).round(2)})
    rows.to_csv(place.lake / "walk.csv", index=False)
    run = place.run(str(place.lake / "walk.csv"), *overrides(FLOW))
    model = f"{run['model_name']}@champion"

    holes = rows.iloc[-30:].copy()
    holes.loc[holes.index[5:9], "price"] = np.nan
    data, filled, result = (str(place.lake / name) for name in ("holes.csv", "filled.parquet", "filled.json"))
    holes.to_csv(data, index=False)
    words = ["fill", model, data, "-o", filled, "--draws", "2", "--horizon", "10", "--json", result]
    done = place.call(*words)
    assert done.code == 0, done.err
    frame = pd.read_parquet(filled)
    assert list(frame.columns) == ["draw", "Date", "price", "twice"]
    assert len(frame) == 2 * 40
    assert not frame.isna().any().any()
    assert str(frame["Date"].iloc[39])[:10] == str(days[-1] + pd.Timedelta(days=10))[:10]
    known = holes["price"].notna().to_numpy()
    for _, version in frame.groupby("draw"):
        assert version["price"].to_numpy()[:30][known].tolist() == holes["price"][known].tolist()
        # Filled in beside a column that says what it is: far nearer than the column's spread.
        error = np.abs(version["price"].to_numpy()[5:9] - rows["price"].to_numpy()[-25:-21])
        assert error.max() < rows["price"].std()
    lineage = json.loads(pq.read_metadata(filled).metadata[b"timeloom"])
    assert (lineage["name"], lineage["version"]) == (run["model_name"], str(run["model_version"]))
    assert json.loads((place.lake / "filled.json").read_text())["lineage"] == lineage

    out = str(place.lake / "falls.parquet")
    done = place.call("generate", model, "-n", "30", "-o", out, "--scenario", "price: -3% in 5 steps")
    assert done.code == 0, done.err
    assert "reached" in done.err
    windows = pd.read_parquet(out)
    first, fifth = (windows[windows["step"] == step]["price"].to_numpy() for step in (0, 5))
    assert np.median(fifth / first - 1) == pytest.approx(-0.03, abs=0.005)

    done = place.call("fill", model, data, "-o", str(place.lake / "x.npy"))
    assert done.code == 2
    assert "expected an output ending in" in done.err
