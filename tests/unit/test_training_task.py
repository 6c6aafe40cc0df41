"""From a configuration to the order that the child gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.catalog import DatasetConfig
from core.config import JobConfig, build_job
from core.handles import PreparedRef
from core.settings import Settings
from tasks import training
from tasks.training import training_job


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedRef:
    return PreparedRef(
        path=tmp_path, digest="d", rows=9, features=("a",), segments=1, windows=5, window_length=4
    )


def job(**options: object) -> JobConfig:
    dataset = DatasetConfig.model_validate({"name": "sine", "source": {"kind": "sine"}})
    return build_job(dataset, values={"training": options, "window": {"length": 4, "min_length": 2}})


@pytest.mark.parametrize("name", ["models:/sine@champion", "sine@champion", "sine/3", "0" * 32])
def test_models_are_found_before_the_child_starts(
    name: str, prepared: PreparedRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(wanted: str) -> Path:
        asked.append(wanted)
        return Path("somewhere/model")

    monkeypatch.setattr(training, "resolve_model", resolve)
    monkeypatch.chdir(tmp_path)
    order = training_job(job(start_from=name), prepared, Settings())
    assert asked == [name.removeprefix("models:/")]
    assert order.start_from == str(tmp_path / "somewhere" / "model")
    assert order.window_min_length == 2


def test_a_mask_file_is_where_the_user_stands(
    prepared: PreparedRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    order = training_job(job(update={"file": "masks.safetensors"}), prepared, Settings())
    assert order.training["update"]["file"] == str(tmp_path / "masks.safetensors")
    assert order.start_from is None
