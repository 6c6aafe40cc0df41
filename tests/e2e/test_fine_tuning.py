"""Sparse fine-tuning of the registered champion, with held-out windows, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.tensors import read_tensors
from tests.e2e.conftest import TINY, Place, overrides

TUNING = {
    **TINY,
    "training.embedding_iterations": 0,
    "training.supervised_iterations": 0,
    "training.start_from": "models:/sine-timegan@champion",
    "training.update.parameters": "[generator.*, supervisor.*]",
    "training.update.rule": "magnitude",
    "training.update.fraction": 0.1,
    "training.selection.validation": 0.2,
    "training.selection.every": 10,
    "training.gradients.clip_norm": 1.0,
    "training.ema": 0.9,
    "registry.enabled": "false",  # the champion stays what it is, for the other tests, too
}


def result_of(place: Place, run: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What a run's training told, and its weights."""
    folder = place.lake / "training" / "sine" / run["digests"]["generator"][:16]
    weights = read_tensors(folder / "model" / "weights.safetensors")[0]
    return json.loads((folder / "result.json").read_text()), {
        name: tensor for name, tensor in weights.items() if not name.startswith("margin.")
    }


def test_a_tenth_of_the_champions_generator_is_tuned(place: Place, first: dict[str, Any]) -> None:
    tuned = place.run("sine", *overrides(TUNING))
    _, before = result_of(place, first)
    result, after = result_of(place, tuned)
    assert before.keys() == after.keys()
    moved = {name: int((before[name] != after[name]).sum()) for name in before}
    for name, count in moved.items():
        chosen = name.startswith(("generator.", "supervisor."))
        assert count <= (max(1, round(0.1 * before[name].numel())) if chosen else 0), name
    assert sum(moved.values()) > 0 or result["kept"] == "best"
    assert result["iterations"] == {"joint": 40}
    assert result["looks"]["looks"] == 4
    assert result["edges"]["discriminator"][0] == 0
    files = {file.path for file in place.mlflow.list_artifacts(tuned["mlflow_run_id"], "training")}
    assert files == {"training/result.json", "training/gradients.jsonl"}
    history = place.mlflow.get_metric_history(tuned["mlflow_run_id"], "joint/validation/distance")
    assert len(history) == 4
    # The same again is found in the lake, whatever the champion was downloaded to.
    assert set(place.run("sine", *overrides(TUNING))["cached"]) >= {"train"}


@pytest.mark.slow
def test_what_is_not_there_to_start_from_is_one_block(place: Place, first: dict[str, Any]) -> None:  # noqa: ARG001
    done = place.call(
        "run", "sine", *overrides({**TUNING, "training.start_from": "models:/sine-timegan@nobody"})
    )
    assert done.code == 2
    assert "nobody" in done.err
    other = place.call("run", "sine", *overrides({**TUNING, "model.hidden": 7}))
    assert other.code == 2
    assert "its hidden is 6, not 7" in " ".join(other.err.split())
    assert "Traceback" not in other.err + done.err


def test_masks_of_another_model_are_one_block(place: Place, first: dict[str, Any], tmp_path: Path) -> None:  # noqa: ARG001
    path = tmp_path / "none.safetensors"
    done = place.call("run", "sine", *overrides({**TINY, "training.update.file": path}))
    assert done.code == 2
    assert "none.safetensors" in "".join(done.err.split())
