"""Champion, challenger and their history in a real MLflow registry (SQLite)."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.config import JobConfig
from core.errors import BusyError, ConfigError, StorageError, TrackingError
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.integrity import manifest_digest
from core.generators.timegan import TimeGAN
from core.handles import EvaluationRef, GeneratorRef, PreparedRef
from core.lake import exclusive
from core.prepare.channels.layout import Column, Layout
from flows.cli import registry
from tasks.events import PROMOTED, REJECTED
from tasks.registry import champions, promotion, versions
from tasks.registry.champions import promote_by_hand, roll_back, set_champion, turn
from tasks.registry.files import FILES_TAG
from tasks.registry.history import Change, history, line_of_champions, record, taken_back, was_champion
from tasks.registry.promotion import promote
from tasks.registry.register import RegisteredRef
from tasks.registry.versions import (
    CHALLENGER,
    CHAMPION,
    KEY_TAG,
    champion_of,
    find_alias,
    list_versions,
    resolve_model,
)
from tasks.tracking import TrackedRun
from tests.unit.report_scores import privacy, small_scores

NAME, LENGTH = "made-up-timegan", 6
LAYOUT = Layout((Column("x`|<script>"), Column("y")))
Add = Callable[..., str]
Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its tables take seconds to make: one for all tests, each with a model of its own."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    return uri


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"{NAME}-{zlib.crc32(request.node.name.encode())}"


@pytest.fixture
def client(database: str, monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[MlflowClient]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", database)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(database)
    client = MlflowClient(tracking_uri=database)
    client.create_registered_model(name)
    yield client
    mlflow.set_tracking_uri(before)


@pytest.fixture
def run(client: MlflowClient, tmp_path: Path, database: str, name: str) -> TrackedRun:
    experiment = client.create_experiment(name, artifact_location=(tmp_path / "artifacts").as_uri())
    made = client.create_run(experiment)
    return TrackedRun(
        tracking_uri=database, experiment=name, experiment_id=experiment, run_id=made.info.run_id, url="x"
    )


@pytest.fixture
def add(client: MlflowClient, run: TrackedRun, tmp_path: Path, name: str) -> Add:
    """Registers a version as `tasks.registry.log` does, of an untrained generator; gives its number."""

    def register(seed: int = 0, length: int = LENGTH) -> str:
        folder = tmp_path / f"generator-{seed}"
        folder.mkdir()
        timegan = TimeGAN(length=length, channels=LAYOUT.channels, hidden=3, layers=1, seed=seed)
        GeneratorBundle(timegan, SeriesInfo("made-up", LAYOUT, None, "x")).save(folder)
        model = client.create_logged_model(run.experiment_id, name="generator", source_run_id=run.run_id)
        client.log_model_artifacts(model.model_id, str(folder), "artifacts/generator")
        tags = {KEY_TAG: f"key {seed}", FILES_TAG: manifest_digest(folder)}
        uri = f"models:/{model.model_id}"
        return str(client.create_model_version(name, uri, run_id=run.run_id, tags=tags).version)

    return register


def champion_number(client: MlflowClient, name: str) -> str | None:
    found = champion_of(client, name)
    return None if found is None else str(found.version)


def test_by_hand_and_back_again_and_again(client: MlflowClient, add: Add, tmp_path: Path, name: str) -> None:
    for seed in range(3):
        add(seed)
    assert promote_by_hand(client, tmp_path, f"{name}/1", "first") == (name, "1", None)
    client.set_registered_model_alias(name, CHALLENGER, "2")
    assert promote_by_hand(client, tmp_path, f"{name}@{CHALLENGER}", "") == (name, "2", "1")
    assert promote_by_hand(client, tmp_path, f"{name}/3", "") == (name, "3", "2")
    assert promote_by_hand(client, tmp_path, f"{name}/3", "") == (name, "3", "3")
    assert roll_back(client, tmp_path, name, None, "odd rows") == ("3", "2")
    assert roll_back(client, tmp_path, name, None, "") == ("2", "1")
    with pytest.raises(ConfigError, match="nothing to roll back to: no version was the champion before 1"):
        roll_back(client, tmp_path, name, None, "")
    assert champion_number(client, name) == "1"
    assert roll_back(client, tmp_path, name, "3", "") == ("1", "3")
    # Coming back by `--to` put 3 on top of 1 again.
    assert roll_back(client, tmp_path, name, None, "") == ("3", "1")
    changes = history(client, name)
    assert [(c.how, c.before, c.after) for c in changes] == [
        ("hand", None, "1"),
        ("hand", "1", "2"),
        ("hand", "2", "3"),
        ("rollback", "3", "2"),
        ("rollback", "2", "1"),
        ("rollback", "1", "3"),
        ("rollback", "3", "1"),
    ]
    assert changes[3].why == "odd rows"
    assert changes[0].who
    assert client.get_model_version(name, "3").tags["previous_champion"] == "2"


@given(st.lists(st.one_of(st.integers(1, 6), st.none()), max_size=12))
@settings(max_examples=40)
def test_the_line_of_champions_is_a_stack(steps: list[int | None]) -> None:
    """Against a plain stack: a number promotes, None rolls back."""
    stack: list[str] = []
    changes: list[Change] = []
    for step in steps:
        top = stack[-1] if stack else None
        if step is not None and str(step) != top:
            stack.append(str(step))
            changes.append(Change(when="", who="", how="gates", before=top, after=str(step), why=""))
        elif step is None and len(stack) > 1:
            stack.pop()
            changes.append(Change(when="", who="", how="rollback", before=top, after=stack[-1], why=""))
        if stack:
            assert line_of_champions(changes)[-1] == stack[-1]
    # Where a version stands twice in the stack, going back may skip what lies between: never the top.
    assert set(line_of_champions(changes)) <= set(stack)


def test_what_somebody_did_past_us_is_in_the_history(
    client: MlflowClient, add: Add, tmp_path: Path, name: str
) -> None:
    for seed in range(3):
        add(seed)
    promote_by_hand(client, tmp_path, f"{name}/1", "")
    client.set_registered_model_alias(name, CHAMPION, "3")  # on MLflow's page
    promote_by_hand(client, tmp_path, f"{name}/2", "")
    changes = [(c.how, c.before, c.after) for c in history(client, name)]
    assert changes == [("hand", None, "1"), ("outside", "1", "3"), ("hand", "3", "2")]
    client.delete_model_version(name, "3")
    assert roll_back(client, tmp_path, name, None, "") == ("2", "1")  # past the deleted one


def test_an_interrupted_change_is_finished_by_the_next_try(client: MlflowClient, add: Add, name: str) -> None:
    add(0), add(1)
    set_champion(client, name, "1", "gates", "first")
    client.set_registered_model_alias(name, CHAMPION, "2")  # and then the process died
    assert set_champion(client, name, "2", "gates", "second") == "1"
    assert set_champion(client, name, "2", "gates", "second") == "2"
    assert [(c.how, c.before, c.after) for c in history(client, name)] == [
        ("gates", None, "1"),
        ("gates", "1", "2"),
    ]


def test_who_was_taken_back_stays_so_until_a_person_says_otherwise(client: MlflowClient, name: str) -> None:
    record(client, name, "gates", None, "1", "")
    record(client, name, "gates", "1", "2", "")
    assert taken_back(history(client, name), "2") is None
    record(client, name, "rollback", "2", "1", "wrong \n units" + "x" * 5000)
    why = taken_back(history(client, name), "2")
    assert why is not None
    assert why.startswith("wrong units")
    assert max(len(value) for value in client.get_registered_model(name).tags.values()) < 5000
    assert was_champion(history(client, name), "2")
    record(client, name, "hand", "1", "2", "")
    assert taken_back(history(client, name), "2") is None
    client.set_registered_model_tag(name, "champion.000009", "{}")
    with pytest.raises(StorageError, match="cannot be read"):
        history(client, name)


@pytest.mark.parametrize("model", ["{}/9", "{}@nobody", "none/1", "{}", "{}/x", "../x/1", "{}/1/2", ""])
def test_versions_that_are_not_there_are_refused(
    client: MlflowClient, tmp_path: Path, name: str, model: str
) -> None:
    with pytest.raises(ConfigError, match=r"there is no model|expected a registered model"):
        promote_by_hand(client, tmp_path, model.format(name), "")


def test_what_cannot_serve_does_not_become_champion(
    client: MlflowClient, add: Add, tmp_path: Path, name: str
) -> None:
    add(0)
    promote_by_hand(client, tmp_path, f"{name}/1", "")
    client.delete_model_version_tag(name, add(1), KEY_TAG)
    with pytest.raises(ConfigError, match="was not registered by Timeloom"):
        promote_by_hand(client, tmp_path, f"{name}/2", "")
    add(2)
    weights = sorted((tmp_path / "artifacts").rglob("weights.safetensors"), key=lambda p: p.stat().st_mtime)[-1]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ConfigError, match="its files cannot be used"):
        promote_by_hand(client, tmp_path, f"{name}/3", "")
    weights.unlink()
    with pytest.raises(ConfigError, match="its files cannot be used"):
        promote_by_hand(client, tmp_path, f"{name}/3", "")
    assert champion_number(client, name) == "1"
    assert len(history(client, name)) == 1


def test_a_registry_that_does_not_answer_is_not_one_without_a_champion(
    client: MlflowClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert champion_of(client, name) is None
    assert find_alias(client, "no-such-model", CHAMPION) is None

    def down(*_: Any) -> None:
        raise MlflowException("connection refused")

    monkeypatch.setattr(client, "get_model_version_by_alias", down)
    with pytest.raises(MlflowException, match="refused"):
        champion_of(client, name)


def test_a_record_that_was_deleted_leaves_a_gap_and_one_that_is_damaged_stops_a_change(
    client: MlflowClient, add: Add, tmp_path: Path, name: str
) -> None:
    add(0), add(1)
    for version in "121":
        promote_by_hand(client, tmp_path, f"{name}/{version}", f"to {version}")
    client.set_registered_model_tag(name, "champion.000002", "{")
    client.set_registered_model_tag(name, "champion.of-hearts", "somebody else's")
    with pytest.raises(StorageError, match=r"its tag champion\.000002"):
        promote_by_hand(client, tmp_path, f"{name}/2", "")
    assert champion_number(client, name) == "1"
    client.delete_registered_model_tag(name, "champion.000002")  # as the error says
    promote_by_hand(client, tmp_path, f"{name}/2", "again")
    assert [change.why for change in history(client, name)] == ["to 1", "to 1", "again"]


def test_a_model_that_is_not_there_is_told_from_a_server_that_is_not(
    client: MlflowClient, add: Add, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(0)
    says = f"`timeloom models {name}` shows .* why .*`timeloom promote {name}/VERSION`"
    with pytest.raises(ConfigError, match=says):
        resolve_model(f"{name}@{CHAMPION}")
    with pytest.raises(ConfigError, match=f"`timeloom models {name}` shows the versions"):
        resolve_model(f"{name}@nobody")
    for absent in (f"nothing@{CHAMPION}", f"{name}/9", "0" * 32):
        with pytest.raises(ConfigError, match="expected name@alias"):
            resolve_model(absent)
    client.set_registered_model_alias(name, CHAMPION, "1")
    stored = resolve_model(f"{name}@{CHAMPION}")
    assert (stored / "weights.safetensors").is_file()
    monkeypatch.setattr(versions, "LocalArtifactRepository", type("Elsewhere", (), {}))
    copy, root = resolve_model(f"{name}@{CHAMPION}"), Path(versions._copies().name)
    assert root in copy.parents
    assert manifest_digest(copy) == manifest_digest(stored)
    versions._copies().cleanup()  # as at the end of the process
    versions._copies.cache_clear()
    assert not root.exists()
    assert stored.exists()

    def down(*_: Any) -> None:
        raise MlflowException("connection refused")

    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", down)
    with pytest.raises(TrackingError, match="connection refused") as refused:
        resolve_model(f"{name}@{CHAMPION}")
    assert refused.value.retryable


def test_versions_are_listed_beside_models_with_quotes_in_their_names(
    client: MlflowClient, add: Add, run: TrackedRun, name: str
) -> None:
    add(0)
    client.create_registered_model(f"{name}'s")
    client.create_model_version(f"{name}'s", "elsewhere", run_id=run.run_id)
    assert {(row["name"], row["version"]) for row in list_versions(client)} >= {(name, "1"), (f"{name}'s", "1")}
    assert [row["name"] for row in list_versions(client, f"{name}'s")] == [f"{name}'s"]


def test_changes_take_turns(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(champions, "TURN_SECONDS", 0.0)
    (tmp_path / "promotions" / name).mkdir(parents=True)
    with exclusive(tmp_path / "promotions" / name / ".turn.lock"), pytest.raises(BusyError):
        turn(tmp_path, name).__enter__()


class Stage:
    """Everything that the task `promote` needs, without a training."""

    def __init__(
        self, folder: Path, run: TrackedRun, name: str, write: Callable[..., Path], rows: Rows
    ) -> None:
        self.folder, self.run, self.name = folder, run, name
        manifest: dict[str, Any] = {
            "snapshot": "s" * 64,
            "rows": len(rows),
            "windows": 700,
            "filled": {},
            "gap_count": 0,
            "outside": {"learnt": {}, "held_out": {}},
            "holdout": {"segments": [[800, len(rows)]], "rows": 400, "from": None},
        }
        self.prepared = write(rows, [[0, 780]], layout=LAYOUT, **manifest)

    def promote(self, version: str, rule: str = "if_better", **sections: Any) -> Any:
        evaluation = self.folder / f"evaluation-{len(list(self.folder.iterdir()))}"
        (evaluation / "plots").mkdir(parents=True)
        scores = small_scores(("x`|<script>", "y")) | {"privacy": privacy()} | sections
        (evaluation / "scores.json").write_text(json.dumps(scores))
        job = JobConfig.model_validate(
            {
                "dataset": DatasetConfig.model_validate({"name": "made-up", "source": {"path": "x.csv"}}),
                "window": {"length": LENGTH},
                "evaluation": {"batch_size": 16, "max_windows": 200},
                "registry": {
                    "name": self.name,
                    "promote": rule,
                    "gates": {"judges": 3, "judge_iterations": 20},
                },
            }
        )
        generator = self.folder / f"generator-{int(version) - 1}"
        return promote.fn(
            job,
            PreparedRef(
                path=self.prepared,
                digest="p" * 64,
                rows=1200,
                features=("x", "y"),
                segments=1,
                windows=700,
                window_length=LENGTH,
            ),
            GeneratorRef(path=generator, digest=f"g{version}", run_dir=generator, seconds=0),
            EvaluationRef(path=evaluation, digest=json.dumps(sections), scores={}),
            RegisteredRef(path=generator, digest="r", name=self.name, version=version),
            self.folder / "lake",
            self.run,
        )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Events and artifacts that would go to Prefect."""
    heard: list[tuple[Any, ...]] = []
    monkeypatch.setattr(promotion, "emit", lambda *event: heard.append(event))
    monkeypatch.setattr(promotion, "show_markdown", lambda key, text, _: heard.append((key, text)))
    return heard


@pytest.fixture
def stage(
    tmp_path: Path, run: TrackedRun, name: str, write_prepared: Callable[..., Path], told: list[Any]
) -> Stage:
    assert told == []
    t = np.arange(1200)[:, None]
    rows = (np.sin(t * np.array([0.1, 0.23])) / 2 + 0.5).astype(np.float32)
    return Stage(tmp_path, run, name, write_prepared, rows)


def data(state: Any) -> Any:
    """A reused step returns a Prefect state around its handle."""
    return getattr(state, "data", state)


def test_the_first_version_needs_no_champion_and_the_next_must_beat_it(
    client: MlflowClient, add: Add, stage: Stage, told: list[tuple[Any, ...]], name: str
) -> None:
    add(0), add(1)
    first = stage.promote("1")
    assert first.alias == CHAMPION
    second = stage.promote("2")  # untrained like the first
    assert second.alias == CHALLENGER
    assert champion_number(client, name) == "1"
    assert str(find_alias(client, name, CHALLENGER).version) == "2"  # type: ignore[union-attr]
    version = client.get_model_version(name, "2")
    assert version.tags["promotion"].startswith("not promoted: did not pass better")
    assert version.tags["gate.better"].startswith("failed: Discriminative score")
    assert version.tags["gate.privacy"].startswith("passed: 0 of 2,000")
    assert version.tags["data_rows"] == "1200"
    assert "Not promoted" in version.description
    assert "<script>" not in version.description
    assert len(version.description) <= promotion.MAX_DESCRIPTION
    events = [(e[0], e[3]["version"]) for e in told if e[0] in (PROMOTED, REJECTED)]
    assert events == [(PROMOTED, "1"), (REJECTED, "2")]
    pages = {e[0]: e[1] for e in told if e[0] in ("promotion", "model-card")}
    assert "| better: better than the champion by more than the noise | failed |" in pages["promotion"]
    files = {file.path for file in client.list_artifacts(stage.run.run_id)}
    assert files >= {"model-card.md", "model-card.html", "promotion"}
    assert client.get_run(stage.run.run_id).data.metrics.keys() >= {"promotion/p_value", "promotion/champion"}
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/2"))
    assert (folder / "model-card.md").read_text().startswith("# ")
    told.clear()
    again = stage.promote("2")
    assert data(again).reused
    assert not [e for e in told if e[0] in (PROMOTED, REJECTED)]
    assert [c.after for c in history(client, name)] == ["1"]


def test_a_copier_is_refused_with_and_without_a_champion(
    client: MlflowClient, add: Add, stage: Stage, name: str
) -> None:
    add(0)
    copies = privacy(exact=1500, verdict=True)
    assert stage.promote("1", privacy=copies).alias == CHALLENGER
    assert champion_number(client, name) is None
    assert client.get_model_version(name, "1").tags["gate.privacy"].startswith("failed: 1,500 of 2,000")
    # By the rule `always` it goes through, and what the gates say of it is kept.
    made = stage.promote("1", "always", privacy=copies)
    assert made.alias == CHAMPION
    assert "the gates would refuse it: privacy" in made.reason
    assert [c.how for c in history(client, name)] == ["always"]


def test_never_and_what_was_not_measured(client: MlflowClient, add: Add, stage: Stage, name: str) -> None:
    add(0)
    assert stage.promote("1", "never").alias == CHALLENGER
    made = stage.promote("1", privacy=None)
    assert made.alias == CHAMPION
    assert "WARNING, not measured: privacy" in made.reason
    assert client.get_model_version(name, "1").tags["gate.privacy"].startswith("not measured")


def test_a_rollback_outlasts_the_next_run_of_the_same_job(
    client: MlflowClient, add: Add, stage: Stage, tmp_path: Path, name: str
) -> None:
    add(0), add(1)
    stage.promote("1")
    assert stage.promote("2", "always").alias == CHAMPION
    roll_back(client, tmp_path / "lake", name, None, "odd rows")
    assert data(stage.promote("2", "always")).alias == CHALLENGER
    refused = stage.promote("2")
    assert refused.alias == CHALLENGER
    assert client.get_model_version(name, "2").tags["gate.rolled_back"].startswith("failed: ")
    assert champion_number(client, name) == "1"


def test_a_champion_that_cannot_be_compared_stays(
    client: MlflowClient, add: Add, stage: Stage, tmp_path: Path, name: str
) -> None:
    add(0, length=LENGTH + 1), add(1), add(2)
    client.set_registered_model_alias(name, CHAMPION, "1")
    assert stage.promote("2").alias == CHALLENGER
    said = client.get_model_version(name, "2").tags["gate.better"]
    assert "the champion makes windows of 7 steps, the challenger of 6" in said
    weights = next(p for p in (tmp_path / "artifacts").rglob("weights.safetensors") if "generator" in str(p))
    for path in (tmp_path / "artifacts").rglob("weights.safetensors"):
        if path.stat().st_mtime <= weights.stat().st_mtime:
            weights = path
    weights.unlink()
    assert stage.promote("3").alias == CHALLENGER
    assert "Not comparable" in client.get_model_version(name, "3").tags["gate.better"]
    assert champion_number(client, name) == "1"


def test_what_somebody_made_champion_past_us_is_not_judged_as_the_first(
    client: MlflowClient, add: Add, stage: Stage, name: str
) -> None:
    add(0), add(1)
    stage.promote("1")
    stage.promote("2")
    client.set_registered_model_alias(name, CHAMPION, "2")  # on MLflow's page
    again = stage.promote("2")
    assert data(again).reused
    assert data(again).alias == CHAMPION
    assert [change.after for change in history(client, name)] == ["1"]
    assert client.get_model_version(name, "2").tags["promotion"].startswith("not promoted: did not pass better")


def test_who_comes_second_is_judged_against_who_came_first(
    client: MlflowClient, add: Add, stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run promotes while this one judges: a stale reading must not win."""
    add(0), add(1), add(2)
    client.set_registered_model_alias(name, CHAMPION, "1")
    judged, real = [], promotion.decide

    def decide(job: Any, challenger: Any, champion: Any, *rest: Any) -> Any:
        judged.append(champion.version)
        if len(judged) == 1:
            other = threading.Thread(target=client.set_registered_model_alias, args=(name, CHAMPION, "2"))
            other.start()
            other.join()
        return real(job, challenger, champion, *rest)

    monkeypatch.setattr(promotion, "decide", decide)
    made = stage.promote("3")
    assert judged == ["1", "2"]
    assert made.alias == CHALLENGER
    assert champion_number(client, name) == "2"
    monkeypatch.setattr(promotion, "_TRIES", 0)
    with pytest.raises(BusyError, match="changed 0 times"):
        stage.promote("3")


def test_the_command_line_promotes_rolls_back_and_shows(
    add: Add,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TIMELOOM_HOME", str(tmp_path / "lake"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr("flows.environment.configure", lambda _: None)
    add(0), add(1)
    registry.promote(f"{name}/1", reason="a start")
    registry.promote(f"{name}/2", json_=tmp_path / "promoted.json")
    assert json.loads((tmp_path / "promoted.json").read_text())["before"] == "1"
    registry.rollback(name, reason="[bold]odd[/bold] rows")
    registry.models(name, json_=tmp_path / "models.json")
    shown = json.loads((tmp_path / "models.json").read_text())
    assert [change["after"] for change in shown["history"]] == ["1", "2", "1"]
    assert {row["version"]: row["aliases"] for row in shown["versions"]} == {"1": ["champion"], "2": []}
    printed = capsys.readouterr()
    assert f"{name} version 1 is the champion again, version 2 was taken back" in printed.out
    assert "no Prefect server runs: no event is emitted" in printed.err
    with pytest.raises(ConfigError, match="nothing to roll back to"):
        registry.rollback(name)
    with pytest.raises(ConfigError, match=r"never was the champion|there is no model"):
        registry.rollback(name, to="9")
    with pytest.raises(ConfigError, match="there is no registered model"):
        registry.models("x' or name like '%")
    with pytest.raises(ConfigError, match="there is no registered model"):
        registry.rollback("nobody")
