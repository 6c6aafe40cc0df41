"""Generators by the name that the configuration's `model.kind` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import StorageError
from core.generators.base import Generator
from core.generators.crnngan import CRNNGAN
from core.generators.flow_matching import FlowMatching
from core.generators.forcing import PForcing, TForcing
from core.generators.rcgan import RCGAN
from core.generators.timegan import TimeGAN
from core.generators.wavegan import WaveGAN
from core.generators.wavenet import WaveNet
from core.prepare.channels.layout import Channels
from core.strict_json import read_json

GENERATORS: dict[str, type[Generator]] = {
    generator.kind: generator
    for generator in (TimeGAN, RCGAN, CRNNGAN, TForcing, PForcing, WaveNet, WaveGAN, FlowMatching)
}


def new_generator(options: Mapping[str, Any], *, length: int, channels: Channels, seed: int) -> Generator:
    """An untrained generator from the configuration's section `model`.

    The names of the conditions in it were used when the windows were made: their channels are in `channels`.
    """
    arguments = {name: value for name, value in options.items() if name not in ("kind", "condition")}
    return GENERATORS[options["kind"]](length=length, channels=channels, seed=seed, **arguments)


def load_generator(folder: Path) -> Generator:
    """The generator that was saved in a folder.

    Raises:
        StorageError: the folder holds none, or one of an unknown kind.
    """
    try:
        kind = read_json(folder / "generator.json")["kind"]
        generator = GENERATORS[kind]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{folder} holds no generator that this version knows: {error!r:.300}") from error
    return generator.load(folder)
