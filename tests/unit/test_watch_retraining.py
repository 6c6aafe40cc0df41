"""The job of a retraining: accepted as it comes out of an event, for every kind of generator."""

from __future__ import annotations

import json

import pytest

from core.config import KINDS, JobConfig
from core.errors import ConfigError
from core.schema import validated
from core.watch.options import WatchConfig
from core.watch.retraining import full_job, sparse_job

DATASET = {
    "name": "set",
    "source": {"kind": "file", "path": "x.csv"},
    "columns": {"a": "static"},
    "holdout": 0.1,
}


def job(kind: str = "timegan", **more: object) -> JobConfig:
    tree = {"dataset": DATASET, "preset": "quick", "model": {"kind": kind}, **more}
    return validated(JobConfig, tree)


def through_an_event(made: JobConfig) -> JobConfig:
    return JobConfig.model_validate(json.loads(json.dumps(made.model_dump(mode="json"))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sparse_retraining_moves_a_share_of_the_version_s_weights(kind: str) -> None:
    champion = job(kind, training={"embedding_iterations": 70, "joint_iterations": 900, "seed": 3})
    watch = WatchConfig(dataset=champion.dataset, sparse_fraction=0.05, sparse_iterations=40)
    made = through_an_event(sparse_job(champion, watch, champion.model_name, "7"))
    training = made.training
    assert training.start_from == f"models:/set-{kind}/7"
    assert (training.update.rule, training.update.fraction) == ("magnitude", 0.05)
    assert training.joint_iterations == 40
    assert training.seed == 3
    assert made.model == champion.model
    assert made.model_name == champion.model_name
    if kind in {"timegan", "flow_matching"}:  # with a latent the autoencoder stays, too
        assert training.embedding_iterations == training.supervised_iterations == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_retraining_is_the_first_job_on_what_there_is_now(kind: str) -> None:
    first = job(kind)
    assert through_an_event(full_job(first, first.dataset, first.model_name)) == first


def test_replicas_are_left_out_where_weights_are_masked() -> None:
    training = {"replicas": 2, "selection": {"validation": 0.2}}
    champion = job(training=training)
    made = sparse_job(champion, WatchConfig(dataset=champion.dataset), "set-timegan", "1")
    assert made.training.replicas == 1
    assert made.training.selection.validation == 0.2
    assert full_job(champion, champion.dataset, "set-timegan").training.replicas == 2


def test_the_model_keeps_its_name_where_the_dataset_is_called_otherwise() -> None:
    champion = job()
    other = champion.dataset.model_copy(update={"name": "other"})
    made = full_job(champion, other, "set-timegan")
    assert made.dataset.name == "other"
    assert made.model_name == "set-timegan"


@pytest.mark.parametrize("value", ["soon", "-1h", "0D", "NaT"])
def test_an_age_that_is_no_length_of_time_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"max_age.*such as 3D or 6h"):
        validated(WatchConfig, {"dataset": DATASET, "max_age": value})
