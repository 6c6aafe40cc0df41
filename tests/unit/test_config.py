"""The configuration: presets, overrides, and errors that a user can act on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.catalog import DatasetConfig, Relation, list_datasets, load_dataset
from core.config import KINDS, PRESETS, JobConfig, build_job, parse_override, with_model
from core.errors import ConfigError
from core.generators.registry import new_generator
from core.prepare.channels.layout import Channels
from core.settings import PROJECT_ROOT, Settings

SP500 = DatasetConfig.model_validate({"name": "sp500", "source": {"kind": "arch", "table": "sp500"}})


def test_paper_is_the_published_size() -> None:
    job = build_job(SP500, preset="paper")
    assert (job.window.length, job.model.hidden, job.model.layers) == (24, 24, 3)
    phases = job.training
    assert phases.embedding_iterations == phases.supervised_iterations == phases.joint_iterations == 10_000
    assert (phases.batch_size, phases.learning_rate, phases.discriminator_threshold) == (128, 1e-3, 0.15)
    assert (job.evaluation.judges, job.evaluation.discriminative_iterations) == (10, 2000)
    assert job.evaluation.predictive_iterations == 5000


def test_later_wins_preset_then_values_then_overrides_then_seed() -> None:
    job = build_job(
        SP500,
        preset="quick",
        values={"model": {"hidden": 30, "layers": 2}, "training": {"seed": 1}},
        overrides=["model.hidden=40", "dataset.expectations.ranges.Low.min=0"],
        seed=9,
    )
    assert (job.model.hidden, job.model.layers) == (40, 2)
    assert job.training.seed == job.evaluation.seed == 9
    assert job.dataset.expectations.ranges["Low"].min == 0
    assert job.training.joint_iterations == PRESETS["quick"]["training"]["joint_iterations"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.bach_size=3", "did you mean training.batch_size"),
        ("windw.length=3", "did you mean window"),
        ("dataset.source.tabel=sp500", "did you mean dataset.source.table"),
        ("dataset.expectations.ranges.Low.mn=2", "did you mean dataset.expectations.ranges.Low.min"),
        ("dataset.source.kind=ftp", "'file', 'sql', 'arch', 'sample', 'sine'"),
        ("window.length=1", "window.length: .* got 1"),
        ("training.learning_rate=fast", "training.learning_rate: .* got 'fast'"),
        ("training.update.parameters=[]", "training.update.parameters: .* at least 1 item"),
        ("training.l1.parameters=[]", "training.l1.parameters: .* at least 1 item"),
        ("training.optimizer.betas=[2,0.9]", "training.optimizer.betas.0: .*less than 1, got 2$"),
        ("training.optimizer.betas=[0.9,-1]", "training.optimizer.betas.1: .*greater than or equal to 0"),
        ("training.gradients.exploding=1e-10", "training.gradients: expected exploding > vanishing, got 1e-10"),
        ("training.selection.patience=3", "selection: patience .* set training.selection.validation"),
        (
            "training.selection={every: 5, keep_best: false}",
            "selection: every, keep_best .* set training.selection.validation",
        ),
        ("training.selection.windows=50", "selection: windows .* set training.selection.validation"),
        ("registry.name=../x", "registry.name: .* got '../x'"),
        ("dataset.name=../x", "dataset.name: "),
        ("training", "expected key=value"),
        ("=3", "expected key=value"),
        ("training.seed=[1", "is no YAML"),
    ],
)
def test_wrong_overrides_name_the_key_and_what_to_do(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_job(SP500, overrides=[override])


def test_overrides_are_read_as_yaml() -> None:
    assert parse_override("a.b=3") == {"a": {"b": 3}}
    assert parse_override("a=null") == {"a": None}
    assert parse_override("a=x=y") == {"a": "x=y"}
    assert parse_override("a=[1, 2]") == {"a": [1, 2]}


def test_a_job_survives_json_and_cannot_change() -> None:
    job = build_job(SP500)
    assert JobConfig.model_validate_json(job.model_dump_json()) == job
    with pytest.raises(ValidationError, match="frozen"):
        job.window.length = 5  # type: ignore[misc]


def test_flat_names_every_leaf() -> None:
    flat = build_job(SP500, overrides=["dataset.expectations.ranges.Low.min=2"]).flat()
    assert flat["dataset.expectations.ranges.Low.min"] == 2
    assert flat["training.timeout_seconds"] is None
    assert flat["dataset.columns"] == {}
    assert not any(isinstance(value, dict) and value for value in flat.values())


def test_the_model_section_is_what_its_generator_takes() -> None:
    job = build_job(SP500, overrides=["model.hidden=5", "model.layers=2", "model.noise=7"])
    channels = Channels.continuous(3)
    generator = new_generator(job.model.model_dump(), length=8, channels=channels, seed=0)
    assert generator.sample(2, 0).values.shape == (2, 8, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_the_configuration_is_a_generator(kind: str) -> None:
    job = with_model(build_job(SP500), kind)
    assert job.model.kind == kind
    generator = new_generator(job.model.model_dump(), length=8, channels=Channels.continuous(3), seed=0)
    assert generator.sample(2, 0).values.shape == (2, 8, 3)


def test_every_catalogue_entry_loads() -> None:
    catalog = Settings().catalog
    names = list_datasets(catalog)
    assert {"sp500", "nasdaq", "sine", "sine-paper"} <= set(names)
    for name in names:
        assert load_dataset(catalog / f"{name}.yaml").name == name


def test_relative_paths_start_at_the_yaml(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("source: {path: data/x.csv}\n")
    source = load_dataset(tmp_path / "mine.yaml").source
    assert source.kind == "file"
    assert source.path == str(tmp_path / "data" / "x.csv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source: {path: x.csv}\nfrequncy: D\n", "unknown key frequncy"),
        ("source: {path: x.csv}\ntime: {calender: XNYS}\n", "did you mean time.calendar"),
        ("- 1\n", "must hold a mapping"),
        ("source: {path: [x\n", "is no YAML"),
        ("source: !!python/object/apply:os.system ['true']\n", "is no YAML"),
        ("source: {path: x.csv}\nexpectations: {relations: ['Low ~ High']}\n", "COLUMN <= COLUMN"),
        ("description: nothing more\n", "source: Field required"),
    ],
)
def test_wrong_dataset_files_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_dataset(path)
    assert "mine.yaml" in str(caught.value)


def test_relations_may_have_names_with_spaces() -> None:
    relation = Relation.parse("Low <= Adj Close")
    assert (relation.left, relation.operator, relation.right) == ("Low", "<=", "Adj Close")


def test_the_configuration_page_is_up_to_date() -> None:
    script = PROJECT_ROOT / "docs" / "make_configuration.py"
    spec = importlib.util.spec_from_file_location("make_configuration", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/make_configuration.py"
