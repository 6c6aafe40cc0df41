"""`mlflow models serve` on a registered model, called as a user's program calls it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from core.config import build_job
from core.errors import ConfigError, StorageError
from core.generators.bundle import GeneratorBundle
from core.handles import EvaluationRef, GeneratorRef
from core.settings import Settings
from core.sources.resolve import resolve_dataset
from flows.server import free_port
from tasks.registry.files import FILES_TAG
from tasks.registry.log import log_version
from tasks.registry.versions import resolve_model
from tasks.tracking import TrackedRun
from tests.unit.tiny_bundle import tiny_bundle

BUNDLE = tiny_bundle("wavegan", seed=1)
NAME = "sine-timegan"
PLACES = ("/site-packages/", str(Path.cwd()), "Traceback")
"""What an answer must not tell of the server."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A database of MLflow's with the generator as champion; its URI and the run's id."""
    folder = tmp_path_factory.mktemp("registry")
    (folder / "generator").mkdir()
    BUNDLE.save(folder / "generator")
    uri, before = f"sqlite:///{folder}/mlflow.db", mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    experiment = client.create_experiment("sine", artifact_location=(folder / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    run = TrackedRun(tracking_uri=uri, experiment="sine", experiment_id=experiment, run_id=run_id, url="")
    job = build_job(resolve_dataset("sine", Settings().catalog).dataset)
    generator = GeneratorRef(path=folder / "generator", digest="g", run_dir=folder, seconds=1)
    scores = EvaluationRef(path=folder, digest="e", scores={"discriminative_mean": 0.1})
    version = log_version(job, generator, scores, run, "key")
    assert version.name == NAME
    client.set_registered_model_alias(NAME, "champion", version.version)
    yield uri, run_id
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def server(registry: tuple[str, str]) -> Iterator[httpx.Client]:
    port = free_port(0)
    scripts = str(Path(sys.executable).parent)  # MLflow calls uvicorn by its name
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": registry[0],
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    command = [f"{scripts}/mlflow", "models", "serve", "-m", f"models:/{NAME}@champion"]
    process = subprocess.Popen(
        [*command, "--env-manager", "local", "-p", str(port)], env=environment, start_new_session=True
    )
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, transport=transport) as client:
        try:
            while not _answers(client):
                assert process.poll() is None, "the server ended"
            yield client
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ping").status_code == 200
    except httpx.TransportError:
        return False


def ask(server: httpx.Client, data: Any = None, **params: Any) -> httpx.Response:
    body = {"inputs": [] if data is None else data} | ({"params": params} if params else {})
    answer = server.post("/invocations", json=body)
    assert not any(place in answer.text for place in PLACES), answer.text
    return answer


same = partial(pd.testing.assert_frame_equal, check_exact=True)


def rows(answer: httpx.Response) -> pd.DataFrame:
    assert answer.status_code == 200, answer.text

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return pd.DataFrame(json.loads(answer.text, parse_constant=refuse)["predictions"])


def test_the_served_champion(server: httpx.Client) -> None:
    """One server for all of it: it takes about twelve seconds to start."""
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    files = GeneratorBundle.load(resolve_model(f"{NAME}@champion"))
    for params in ({}, {"n_samples": 300, "seed": 7}, {"n_samples": 5, "condition": '{"group": "b"}'}):
        served = rows(ask(server, **params))
        same(served, model.predict(None, params=params))
        given = json.loads(params["condition"]) if "condition" in params else None
        ours = files.sample_frame(params.get("n_samples", 1), params.get("seed", 0), given)
        same(served, ours)
    same(rows(ask(server, {"n_samples": 300, "seed": 7})), BUNDLE.sample_frame(300, 7))
    csv = server.post("/invocations", content="n_samples,seed\n300,7\n", headers={"content-type": "text/csv"})
    same(rows(csv), BUNDLE.sample_frame(300, 7))
    example = Path(resolve_model(f"{NAME}@champion")).parents[1] / "serving_input_example.json"
    answer = server.post("/invocations", json=json.loads(example.read_text()))
    same(rows(answer), BUNDLE.sample_frame(2, 0))

    for wrong in (
        *({"n_samples": n} for n in (0, -1, 10**9, "5", 1.5, None, 2**64)),
        *({"seed": seed} for seed in (-1, 2**64, "x")),
        *(
            {"condition": text}
            for text in ("no JSON", "[" * 10_000, '{"colour": 1}', '{"group": "z"}', '{"a": NaN}')
        ),
    ):
        answer = ask(server, **wrong)
        assert answer.status_code == 400, (wrong, answer.text)
        name, message = next(iter(wrong)), answer.json()["message"]
        assert name in message or (name == "condition" and "group" in message), message
    misspelt = ask(server, {"n_sample": 5})
    assert (misspelt.status_code, "got n_sample" in misspelt.json()["message"]) == (400, True)
    for body in ("", "no JSON", "[1]", "{}", '{"inputs": [], "params": 5}'):
        answer = server.post("/invocations", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, (body, answer.text)

    alone = [ask(server, n_samples=200, seed=seed).content for seed in range(3)]
    with ThreadPoolExecutor(6) as threads:
        together = threads.map(lambda n: ask(server, n_samples=200, seed=n % 3).content, range(18))
        assert list(together) == alone * 6
    assert server.get("/health").status_code == 200


def test_a_model_exchanged_in_the_artifact_store_is_noticed(
    registry: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = (f"{NAME}@champion", f"{NAME}/1", registry[1])
    stored = resolve_model(names[0])
    assert {resolve_model(name) for name in names} == {stored}
    shutil.move(stored, tmp_path / "kept")
    stored.mkdir()
    tiny_bundle("wavegan", seed=2).save(stored)
    try:
        GeneratorBundle.load(stored)  # whole in itself
        for name in names:
            with pytest.raises(StorageError, match="not those that were registered"):
                resolve_model(name)
        MlflowClient().delete_model_version_tag(NAME, "1", FILES_TAG)
        assert resolve_model(f"{NAME}/1") == stored
        assert f"has no tag {FILES_TAG}" in caplog.text
    finally:
        shutil.rmtree(stored)
        shutil.move(tmp_path / "kept", stored)
    for name in (NAME, f"{NAME}/latest", f"{NAME}/2", f"{NAME}@nobody", "nothing@champion"):
        with pytest.raises(ConfigError, match="there is no model"):
            resolve_model(name)
