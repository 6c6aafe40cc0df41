"""What can be checked of a training before there are windows: names of networks and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import ConfigError
from core.generators.module import TorchGenerator
from core.generators.registry import new_generator
from core.prepare.channels.layout import Block, Channels
from core.training.masks import matching
from core.training.optimizers import check_groups
from core.training.options import Options, training_options

_EVERYTHING = Channels(
    (Block("continuous", optional=True), Block("binary"), Block("one_hot", 3)),
    static=(Block("continuous"),),
    condition=(Block("continuous"),),
)
"""A generator of these has every network and parameter that one of fewer blocks has."""


def check_names(model: Mapping[str, Any], training: Mapping[str, Any], *, length: int) -> None:
    """Refuse names of networks and parameters that this kind of generator has for no data.

    Names that it has for other data than the training's pass, and are refused when that starts.

    Args:
        model: Section `model` of the configuration.
        training: Section `training`, or a part of it.
        length: Steps of a window.

    Raises:
        ConfigError: the message begins with the kind.
    """
    options = training_options(training)
    groups, patterns = options["optimizer"]["groups"], _patterns(options)
    if not groups and not patterns:
        return  # nothing is named: no need to build it
    generator = new_generator(model, length=length, channels=_EVERYTHING, seed=0)
    if not isinstance(generator, TorchGenerator):
        return
    names = [name for name, _ in generator.named_parameters()]
    try:
        check_groups(groups, generator.networks)
        for option, chosen in patterns.items():
            matching(names, chosen, option)
    except ConfigError as error:
        raise ConfigError(f"{generator.kind}: {error}") from error


def _patterns(options: Options) -> dict[str, tuple[str, ...]]:
    """By option, where parameters are named at all."""
    update, penalty = options["update"], options["l1"]
    named = {"training.update.parameters": tuple(update["parameters"])}
    if penalty["weight"]:
        named["training.l1.parameters"] = tuple(penalty["parameters"])
    return {option: chosen for option, chosen in named.items() if chosen != ("*",)}
