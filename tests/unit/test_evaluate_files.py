from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigError
from core.evaluation.options import JudgingOptions
from flows.evaluate import evaluate_files

BRIEF = JudgingOptions(
    judges=2,
    discriminative_iterations=10,
    predictive_iterations=10,
    batch_size=16,
    references=False,
    stronger_judges=(),
    forecasters=False,
    distances=False,
    plot_windows=20,
    overlays=("pca",),
)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rows = np.random.default_rng(0).normal(size=(300, 2)).cumsum(axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(rows, 6, axis=0).swapaxes(1, 2)
    paths = {name: tmp_path / f"{name}.npy" for name in ("real", "copies", "noise")}
    np.save(paths["real"], windows)
    np.save(paths["copies"], windows[:150])
    np.save(paths["noise"], np.random.default_rng(1).normal(size=(150, 6, 2)))
    return paths


def test_several_files_are_judged_alone_and_compared(tmp_path, files):
    out = tmp_path / "out"
    scores = evaluate_files(
        files["real"], [files["copies"], files["noise"]], options=BRIEF, holdout=0.3, output=out
    )
    assert list(scores) == ["copies", "noise"]
    assert scores["copies"]["privacy_exact_copies"] > 100
    assert scores["noise"]["privacy_exact_copies"] == 0
    assert scores["noise"]["privacy_distance_to_closest_record"] > 0.05
    assert all("holdout_discriminative_training" in found for found in scores.values())
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "copies" in page
    assert "noise" in page
    for name in scores:
        found = json.loads((out / name / "scores.json").read_text())
        # That they overlap at stride 1 is read off them: 210 of 300 rows are learnt, 6 are purged.
        assert found["holdout"]["windows"] == {"training": 210 - 5, "holdout": 90 - 6 - 5}
        assert found["discriminative"]["mean"] == scores[name]["discriminative_mean"]


def test_files_of_one_name_are_refused(tmp_path, files):
    twin = tmp_path / "elsewhere" / "copies.npy"
    twin.parent.mkdir()
    twin.write_bytes(files["copies"].read_bytes())
    with pytest.raises(ConfigError, match="different names, got copies, copies"):
        evaluate_files(files["real"], [files["copies"], twin], options=BRIEF)
