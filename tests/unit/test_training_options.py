"""Options where the configuration's models are not imported."""

from __future__ import annotations

from core.config import TrainingConfig
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
