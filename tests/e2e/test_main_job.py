"""The main job, whole, on `sine`: what it leaves in Prefect, in MLflow and in the lake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.evaluation.judges.paper_scores import discriminative_score
from tests.e2e.conftest import TINY, Place, overrides

STEPS = {"ingest", "validate", "prepare", "train", "evaluate", "register", "promote"}


def test_the_result_says_everything_of_the_contract(first: dict[str, Any]) -> None:
    assert first.keys() >= {
        "flow_run_id",
        "mlflow_run_id",
        "mlflow_experiment",
        "model_name",
        "model_version",
        "alias",
        "digests",
        "scores",
        "seconds",
        "resumed",
        "cached",
    }
    assert (first["model_name"], first["model_version"], first["alias"]) == ("sine-timegan", "1", "champion")
    assert first["mlflow_experiment"] == "sine"
    assert first["cached"] == []
    assert first["resumed"] is False
    assert first["seconds"].keys() == STEPS | {"total"}
    assert 0 <= first["scores"]["discriminative_mean"] <= 0.5
    assert first["scores"]["predictive_mean"] > 0


def test_the_generator_stays_in_range_and_its_losses_fall(place: Place, first: dict[str, Any]) -> None:
    sample = pq.read_table(Path(first["report"]).with_name("synthetic.parquet")).to_pandas()
    manifest = next(place.lake.glob("prepared/sine/*/prepared.json"))
    columns = json.loads(manifest.read_text())["layout"]["temporal"]
    assert [column["name"] for column in columns] == [f"sine_{i}" for i in range(5)]
    for column in columns:
        assert sample[column["name"]].between(column["minimum"], column["maximum"]).all()
    for metric in ("embedding/loss/reconstruction", "supervised/loss/supervised", "joint/loss/generator"):
        history = place.mlflow.get_metric_history(first["mlflow_run_id"], metric)
        values = [point.value for point in sorted(history, key=lambda point: point.step)]
        assert len(values) >= 4
        assert values[-1] < values[0], metric


def test_prefect_shows_every_step_and_links_to_mlflow(place: Place, first: dict[str, Any]) -> None:
    flow_run = first["flow_run_id"]
    assert place.prefect("select state_type from flow_run where id = ?", flow_run) == [("COMPLETED",)]
    tasks = place.prefect("select name, state_type from task_run where flow_run_id = ?", flow_run)
    assert sorted(tasks) == sorted((name, "COMPLETED") for name in STEPS)
    artifacts = dict(place.prefect("select key, data from artifact where flow_run_id = ?", flow_run))
    assert artifacts.keys() >= {
        "mlflow-run",
        "validation-report",
        "validation-page",
        "training-progress",
        "scores",
        "evaluation-report",
        "plot-overlays",
        "plot-distributions",
    }
    assert first["mlflow_run_id"] in artifacts["mlflow-run"]
    assert float(artifacts["training-progress"]) == 100
    assert "discriminative_mean" in artifacts["scores"]


def test_mlflow_holds_configuration_data_curves_and_artifacts(place: Place, first: dict[str, Any]) -> None:
    client = place.mlflow
    run = client.get_run(first["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["prefect.flow_run_id"] == first["flow_run_id"]
    assert first["flow_run_id"] in run.data.tags["prefect.flow_run_url"]
    for key, value in TINY.items():
        assert run.data.params[key] == str(value)
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "sine"
    assert dataset.dataset.digest == first["digests"]["snapshot"][:32]
    assert "sine_0" in dataset.dataset.schema
    metrics = run.data.metrics
    assert {f"seconds/{name}" for name in STEPS} <= metrics.keys()
    assert {f"peak_memory_mib/{name}" for name in STEPS} <= metrics.keys()
    assert metrics["score/discriminative_mean"] == pytest.approx(first["scores"]["discriminative_mean"])
    networks = ("embedder", "recovery", "generator", "supervisor", "discriminator")
    assert {f"joint/gradient/{name}" for name in networks} <= metrics.keys()
    assert any(name.startswith("system/") for name in metrics)
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "joint/loss/generator")]
    assert sorted(steps) == [10, 20, 30, 40]
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert str(model.status) == "READY"
    assert str(place.lake) in model.artifact_location
    assert not (place.lake / "mlruns").exists()
    folders = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert folders >= {"config.yaml", "validation", "prepared", "evaluation"}
    evaluation = {file.path for file in client.list_artifacts(run.info.run_id, "evaluation")}
    assert evaluation >= {f"evaluation/{name}" for name in ("report.html", "synthetic.parquet", "plots")}


def test_a_second_run_reuses_every_step(place: Place, first: dict[str, Any]) -> None:
    second = place.run("sine", *overrides(TINY))
    assert set(second["cached"]) == STEPS
    assert second["digests"] == first["digests"]
    assert second["scores"] == first["scores"]
    assert second["model_version"] == first["model_version"]
    assert second["mlflow_run_id"] != first["mlflow_run_id"]
    states = place.prefect("select name, state_name from task_run where flow_run_id = ?", second["flow_run_id"])
    assert sorted(states) == sorted((name, "Cached") for name in STEPS)
    curve = place.mlflow.get_metric_history(second["mlflow_run_id"], "joint/loss/generator")
    assert sorted(point.step for point in curve) == [10, 20, 30, 40]
    assert len(place.mlflow.search_model_versions("name = 'sine-timegan'")) == 1


def test_a_changed_seed_makes_a_challenger(place: Place, first: dict[str, Any]) -> None:
    never = place.run("sine", *overrides({**TINY, "registry.promote": "never"}), "--seed", "5")
    assert {"ingest", "validate", "prepare"} <= set(never["cached"])
    assert "train" not in never["cached"]
    assert (never["model_version"], never["alias"]) == ("2", "challenger")
    champion = place.mlflow.get_model_version_by_alias("sine-timegan", "champion")
    assert str(champion.version) == first["model_version"]
    assert never["digests"]["generator"] != first["digests"]["generator"]


def test_the_model_loads_where_the_repository_is_not(
    place: Place, first: dict[str, Any], tmp_path: Path
) -> None:
    """In a process where `core`, `tasks` and `flows` are somebody else's packages."""
    for name in ("core", "tasks", "flows"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'somebody else'\n")
    script = (
        "import sys, core, tasks, flows, mlflow\n"
        "assert core.OWNER == tasks.OWNER == flows.OWNER == 'somebody else'\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model('models:/sine-timegan@champion')\n"
        "model.predict(None, params={'n_samples': 3, 'seed': 7}).to_json('rows.json', orient='split')\n"
        "again = model.predict(None, params={'n_samples': 3, 'seed': 7})\n"
        "assert again.equals(model.predict(None, params={'n_samples': 3, 'seed': 7}))\n"
        "assert not again.equals(model.predict(None, params={'n_samples': 3, 'seed': 8}))\n"
        "assert 'core.errors' not in sys.modules\n"
        "for wrong in ({'n_samples': 0}, {'n_samples': 10**9}, {'seed': -1}, {'n_samples': 'x'}):\n"
        "    try:\n"
        "        model.predict(None, params=wrong)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
        "    else:\n"
        "        raise AssertionError(wrong)\n"
    )
    uri = f"sqlite:///{place.lake}/mlflow/mlflow.db"
    environment = {**place.environment, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script, uri], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert rows["columns"] == ["window", "step", *(f"sine_{i}" for i in range(5))]
    assert len(rows["data"]) == 3 * 24
    version = place.mlflow.get_model_version("sine-timegan", first["model_version"])
    assert version.tags["data_digest"] == first["digests"]["prepared"]


@pytest.mark.parametrize(
    "ending",
    ["parquet", pytest.param("csv", marks=pytest.mark.slow), pytest.param("npy", marks=pytest.mark.slow)],
)
def test_generate_repeats_its_bytes(place: Place, first: dict[str, Any], tmp_path: Path, ending: str) -> None:
    files = [tmp_path / f"{name}.{ending}" for name in ("a", "b", "c")]
    for file, seed in zip(files, ("1", "1", "2"), strict=True):
        done = place.call("generate", "sine-timegan@champion", "-n", "7", "-o", str(file), "--seed", seed)
        assert done.code == 0, done.err
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()
    assert first["model_name"] == "sine-timegan"


def test_generate_knows_a_model_by_all_its_names(place: Place, first: dict[str, Any], tmp_path: Path) -> None:
    folder = next(place.lake.glob("training/sine/*/result.json")).parent / "model"
    contents = set()
    names = ("sine-timegan@champion", "sine-timegan/1", first["mlflow_run_id"])
    for name in names:
        place_to = tmp_path / "x.npy"
        assert place.call("generate", name, "-n", "5", "-o", str(place_to), "--scaled").code == 0
        contents.add(place_to.read_bytes())
    assert len(contents) == 1
    scaled = np.load(tmp_path / "x.npy")
    assert scaled.shape == (5, 24, 5)
    assert scaled.min() > 0
    assert scaled.max() < 1
    assert place.call("generate", str(folder), "-n", "5", "-o", str(tmp_path / "y.npy")).code == 0


def test_evaluate_scores_files_of_any_maker(place: Place, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    real, noise = rng.random((200, 12, 3)).cumsum(axis=1), rng.random((150, 12, 3))
    np.save(tmp_path / "real.npy", real)
    np.save(tmp_path / "noise.npy", noise)
    quick = {key: value for key, value in TINY.items() if key.startswith("evaluation.")}
    done = place.call(
        "evaluate",
        str(tmp_path / "real.npy"),
        str(tmp_path / "noise.npy"),
        *overrides(quick | {"evaluation.discriminative_iterations": 2000}),
        "-o",
        str(tmp_path / "report"),
        "--json",
        str(tmp_path / "scores.json"),
    )
    assert done.code == 0, done.err
    scores = json.loads((tmp_path / "scores.json").read_text())
    low, span = real.min(axis=(0, 1)), np.ptp(real, axis=(0, 1))
    ours = discriminative_score((real - low) / span, (noise - low) / span, judges=2)
    assert scores["discriminative_mean"] == pytest.approx(ours.mean, abs=1e-6)
    assert scores["discriminative_mean"] > 0.45
    assert (tmp_path / "report" / "report.html").is_file()
