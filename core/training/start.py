"""Starting from the weights of a trained generator: fine-tuning, sparse or whole, on old rows or new."""

from __future__ import annotations

import logging
from pathlib import Path

from core.errors import ConfigError
from core.generators.base import Generator
from core.generators.bundle import GeneratorBundle
from core.generators.integrity import FILES
from core.generators.module import TorchGenerator
from core.lake import content_digest, file_digest
from core.prepare.channels.layout import Layout
from core.prepare.series import Windows

logger = logging.getLogger(__name__)


def start_digest(folder: Path) -> str:
    """Of the files that a training starts from, wherever they lie.

    Raises:
        ConfigError: one of them is missing.
    """
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise ConfigError(f"training.start_from: {folder} holds no trained generator, {missing[0]} is missing")
    return content_digest(**{name: file_digest(folder / name) for name in FILES})


class Start:
    """A trained generator to start from.

    The layout of its series stays: new rows are scaled and encoded as the old ones were, because its weights
    know no other. What lies beyond its range is kept, counted and told; no generator makes such values.

    Args:
        folder: What `GeneratorBundle.save` wrote.

    Raises:
        StorageError: the folder holds no whole generator.
    """

    def __init__(self, folder: Path) -> None:
        self.bundle = GeneratorBundle.load(folder)

    @property
    def layout(self) -> Layout:
        """Of the windows that the generator knows."""
        return self.bundle.series.layout

    def encode(self, windows: Windows, layout: Layout) -> Windows:
        """Windows of another layout as this generator knows them.

        Raises:
            DataError: the columns differ, or there are categories or missing cells that it does not know.
        """
        recoded, outside = windows.recoded(layout, self.layout)
        if outside:
            logger.warning(
                "%d of %d values lie beyond the range of the generator that the training starts from, which "
                "cannot make them; train from the start if they matter",
                outside,
                recoded.values.size,
            )
        return recoded

    def give_weights(self, generator: Generator) -> None:
        """Copy the weights into a new generator.

        Raises:
            ConfigError: the generators differ in kind, options or channels; the message names what differs.
        """
        old = self.bundle.generator
        if not isinstance(old, TorchGenerator) or not isinstance(generator, TorchGenerator):
            raise ConfigError(
                f"training.start_from: a generator of kind {old.kind} has no weights to start from"
            )
        if different := _differences(old, generator):
            raise ConfigError(
                "training.start_from: the weights belong to another generator than the configuration's: "
                + "; ".join(different)
            )
        generator.load_state_dict(old.state_dict())


def _differences(old: TorchGenerator, new: TorchGenerator) -> list[str]:
    """What tells two generators apart, in words."""
    if old.kind != new.kind:
        return [f"its kind is {old.kind}, not {new.kind}"]
    before, after = ({"length": g.length, "channels": g.channels, **g.options} for g in (old, new))
    return [
        f"its {name} is {before.get(name)}, not {after.get(name)}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
