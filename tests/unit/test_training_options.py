"""Options where the configuration's models are not imported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from core.catalog import DatasetConfig
from core.config import TrainingConfig, build_job
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.timegan import TimeGAN
from core.prepare.channels.layout import Column, Layout
from core.schema import validated
from core.training.masks import EdgeMasks
from core.training.options import DEFAULTS, training_options


def test_defaults_are_those_of_the_configuration() -> None:
    configured = TrainingConfig().model_dump()
    of_timegan = {name for name in configured if name == "losses" or name.startswith("discriminator_")}
    assert training_options({}) == {name: configured[name] for name in configured.keys() - of_timegan}


def test_partial_sections_keep_the_other_defaults() -> None:
    options = training_options({"gradients": {"clip_norm": 2.0}, "seed": 7})
    assert options["gradients"] == {**DEFAULTS["gradients"], "clip_norm": 2.0}
    assert options["seed"] == 7
    assert options["batch_size"] == DEFAULTS["batch_size"]


def test_what_is_filled_in_is_nobody_elses() -> None:
    training_options({})["optimizer"]["groups"]["generator"] = {"learning_rate": 1.0}
    assert training_options({})["optimizer"]["groups"] == {}
    given = {"optimizer": {"groups": {"critic": {"learning_rate": 0.5}}}}
    training_options(given)["optimizer"]["groups"]["critic"]["learning_rate"] = 0.1
    assert given["optimizer"]["groups"]["critic"]["learning_rate"] == 0.5


PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def examples(language: str) -> list[str]:
    """The page's blocks of code."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_pages_example_is_a_valid_configuration() -> None:
    (text,) = examples("yaml")
    training = validated(TrainingConfig, yaml.safe_load(text)["training"])
    assert training.optimizer.groups["discriminator"].learning_rate == 0.0005


def test_the_pages_options_are_there() -> None:
    """Every `--set training.<key>` that the page shows."""
    keys = re.findall(r"--set (training\.[a-z_.]+)=([^ \n]+)", PAGE.read_text(encoding="utf-8"))
    assert len(keys) >= 6
    dataset = DatasetConfig.model_validate({"name": "x", "source": {"kind": "sine"}})
    build_job(dataset, overrides=[f"{key}={value}" for key, value in keys])


def test_the_pages_masks_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layout = Layout(tuple(Column(f"x{i}") for i in range(2)))
    model = TimeGAN(length=4, channels=layout.channels, hidden=6, layers=1)
    Path("model").mkdir()
    GeneratorBundle(model, SeriesInfo("x", layout, None, "d")).save(Path("model"))
    (code,) = examples("python")
    exec(code, {})
    masks = EdgeMasks(model, {"parameters": ("*",), "file": "masks.safetensors", "rule": "all", "fraction": 1})
    assert masks.moving == {name for name, _ in model.named_parameters() if "weight_hh" in name}
    assert all(int(mask.sum()) == round(0.05 * mask.numel()) for mask in masks.masks.values())
