"""Bad input, interruption and missing servers: one clear block, nothing half-made."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.training.checkpoints import load_latest_checkpoint
from core.training.metrics import read_points
from tests.e2e.conftest import TINY, Place, Wait, overrides

FILE_JOB = {key: value for key, value in TINY.items() if not key.startswith("dataset")}


def write_prices(path: Path, rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=rows, freq="h"),
            "price": 100 + rng.normal(size=rows).cumsum(),
            "volume": rng.integers(1, 1000, size=rows),
        }
    )
    frame.to_csv(path, index=False)
    return frame


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "no-such-set"], 2, ["no-such-set", "sp500"]),
        (["run", "sp50"], 2, ["sp50", "sp500"]),
        (["run", "missing.csv"], 2, ["missing.csv"]),
        (["run", "../sp500"], 2, ["../sp500"]),
        (["run", "sine", "--set", "training.bach_size=3"], 2, ["training.bach_size", "training.batch_size"]),
        (["run", "sine", "--set", "window.length=1"], 2, ["window.length", "greater than or equal to 2"]),
        (["run", "sine", "--set", "nonsense"], 2, ["key=value"]),
        (["run", "sine", "--preset", "huge"], 2, ["huge", "quick", "paper"]),
        (["run", "sine", "--seed", "many"], 2, ["--seed"]),
        (["run", "empty.csv"], 1, ["empty.csv"]),
        (["run", "header.csv"], 1, ["header.csv", "0 rows"]),
        (["generate", "sine-timegan@champion", "-n", "0", "-o", "x.npy"], 2, ["-n"]),
        (["generate", "never-made@champion", "-n", "1", "-o", "x.npy"], 2, ["never-made"]),
        (["evaluate", "missing.npy", "missing.npy"], 2, ["missing.npy"]),
        (["dance"], 2, ["dance"]),
    ],
)
def test_wrong_calls_end_in_one_block(fresh: Place, words: list[str], code: int, says: list[str]) -> None:
    (fresh.lake / "empty.csv").write_text("")
    (fresh.lake / "header.csv").write_text("a,b\n")
    done = fresh.call(*words)
    assert done.code == code, done.err
    text = " ".join(done.err.split())
    for part in says:
        assert part in text
    assert "Traceback" not in done.err
    assert not (fresh.lake / "snapshots").exists()
    assert not (fresh.lake / "prefect" / "prefect.db").exists()


@pytest.mark.slow
def test_a_text_column_is_refused_by_name_and_leaves_no_model(fresh: Place) -> None:
    frame = write_prices(fresh.lake / "prices.csv")
    frame["note"] = ["fine"] * len(frame)
    frame.to_csv(fresh.lake / "prices.csv", index=False)
    done = fresh.call("run", "prices.csv", *overrides(FILE_JOB))
    assert done.code == 1
    assert "note" in done.err
    assert "drop" in done.err
    assert "Traceback" not in done.err
    assert fresh.mlflow_states() == ["FAILED"]
    assert fresh.mlflow.search_registered_models() == []
    assert fresh.prefect("select state_type from flow_run") == [("FAILED",)]
    assert not list(fresh.lake.glob("prepared/**/prepared.json"))


@pytest.mark.slow
def test_a_window_longer_than_the_series_is_refused(fresh: Place) -> None:
    write_prices(fresh.lake / "prices.csv", rows=30)
    done = fresh.call("run", "prices.csv", *overrides({**FILE_JOB, "window.length": 31}))
    assert done.code == 2
    text = " ".join(done.err.split())
    assert "window.length=31" in text
    assert "30 rows" in text
    assert "Traceback" not in done.err
    assert fresh.mlflow_states() == ["FAILED"]
    assert not list(fresh.lake.glob("prepared/**/values.npy"))


@pytest.mark.slow
def test_a_csv_without_yaml_becomes_a_generator_of_its_rows(fresh: Place) -> None:
    frame = write_prices(fresh.lake / "prices.csv")
    result = fresh.run("prices.csv", *overrides(FILE_JOB))
    assert result["model_name"] == "prices-timegan"
    done = fresh.call(
        "generate", "prices-timegan@champion", "-n", "4", "-o", "rows.csv", "--start", "2030-05-01 07:00"
    )
    assert done.code == 0, done.err
    rows = pd.read_csv(fresh.lake / "rows.csv", parse_dates=["time"])
    assert list(rows.columns) == ["window", "step", "time", "price", "volume"]
    assert rows["time"][:24].tolist() == pd.date_range("2030-05-01 07:00", periods=24, freq="h").tolist()
    assert rows["price"].between(frame["price"].min(), frame["price"].max()).all()
    assert (rows["volume"] == rows["volume"].round()).all()


def test_ctrl_c_cancels_both_sides_and_the_next_run_resumes(fresh: Place, wait: Wait) -> None:
    job = ["sine", *overrides({**TINY, "training.joint_iterations": 600})]
    process = fresh.start("run", *job)

    def joint_has_begun() -> bool:
        files = list(fresh.lake.glob("training/sine/*/progress.json"))
        return bool(files) and '"joint"' in files[0].read_text()

    wait(joint_has_begun)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: the whole foreground group
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "error: cancelled" in err
    assert "Traceback" not in err
    assert fresh.prefect("select state_type from flow_run") == [("CANCELLED",)]
    assert fresh.mlflow_states() == ["KILLED"]
    run_dir = next(fresh.lake.glob("training/sine/*"))
    found = load_latest_checkpoint(run_dir / "checkpoints")
    assert found is not None
    assert found[0].phase == 2
    assert fresh.mlflow.search_registered_models() == []
    fresh.wait_for_server_to_go()
    result = fresh.run(*job)
    assert result["resumed"] is True
    steps = [(p.phase, p.step) for p in read_points(run_dir / "metrics.jsonl")[0]]
    assert len(steps) == len(set(steps))
    curve = fresh.mlflow.get_metric_history(result["mlflow_run_id"], "joint/loss/generator")
    assert sorted(point.step for point in curve) == list(range(10, 601, 10))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "state"),
    [(signal.SIGKILL, "RUNNING"), (signal.SIGTERM, "KILLED")],
)
def test_a_killed_job_leaves_nothing_running_and_resumes(
    fresh: Place, wait: Wait, number: int, state: str
) -> None:
    job = ["sine", *overrides({**TINY, "training.joint_iterations": 600})]
    process = fresh.start("run", *job)
    wait(lambda: bool(list(fresh.lake.glob("training/sine/*/checkpoints/1-*.json"))))
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    fresh.wait_for_server_to_go()  # the training stops too, with a checkpoint
    assert fresh.mlflow_states() == [state]
    assert fresh.run(*job)["resumed"] is True


def test_a_missing_prefect_api_is_named_at_once(fresh: Place) -> None:
    address = "http://127.0.0.1:9/api"
    place = Place(fresh.lake, {**fresh.environment, "PREFECT_API_URL": address})
    done = place.call("run", "sine", *overrides(TINY))
    assert done.code == 1
    assert address in done.err
    assert not (fresh.lake / "snapshots").exists()


def test_a_missing_mlflow_server_fails_before_any_work(fresh: Place) -> None:
    place = Place(fresh.lake, {**fresh.environment, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    done = place.call("run", "sine", *overrides(TINY))
    assert done.code == 1
    assert "http://127.0.0.1:9" in done.err
    assert not (fresh.lake / "snapshots").exists()
    assert fresh.prefect("select state_type from flow_run") == [("FAILED",)]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_the_pages_show_what_earlier_runs_did(
    place: Place, first: dict[str, str], wait: Wait, number: int, code: int
) -> None:
    process = place.start("ui")
    prefect = f"http://127.0.0.1:{place.environment['TIMELOOM_PREFECT_PORT']}"
    mlflow = f"http://127.0.0.1:{place.environment['TIMELOOM_MLFLOW_PORT']}"

    def answers(url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    wait(lambda: answers(f"{mlflow}/health"))
    with urllib.request.urlopen(f"{prefect}/api/flow_runs/{first['flow_run_id']}") as answer:
        assert b'"COMPLETED"' in answer.read()
    with urllib.request.urlopen(f"{mlflow}/api/2.0/mlflow/runs/get?run_id={first['mlflow_run_id']}") as answer:
        assert b'"FINISHED"' in answer.read()
    assert answers(prefect)
    os.killpg(process.pid, number)
    assert process.wait(timeout=60) == code
    assert not answers(f"{mlflow}/health")
    place.wait_for_server_to_go()


def test_doctor_and_catalog_answer(place: Place, first: dict[str, str]) -> None:
    assert first
    doctor, catalog, models = place.call("doctor"), place.call("catalog"), place.call("models")
    assert doctor.code == catalog.code == models.code == 0, doctor.err
    assert "dataset sp500" in doctor.out
    assert all(name in catalog.out for name in ("sp500", "nasdaq", "sine"))
    assert "sine-timegan" in models.out
