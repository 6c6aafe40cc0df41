"""A small generator of every kind of column, untrained: what several test files save, damage and serve."""

from __future__ import annotations

from typing import cast

import torch

from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.generators.module import Margins, TorchGenerator
from core.generators.registry import new_generator
from core.prepare.channels.layout import Column, Layout

LAYOUT = Layout(
    (
        Column("price", minimum=-5.0, maximum=15.0),
        Column("count", minimum=0.0, maximum=9.0, integer=True, optional=True),
        Column("open", "binary", categories=(False, True)),
    ),
    static=(Column("age", minimum=20.0, maximum=60.0),),
    condition=(Column("group", "categorical", categories=("a", "b")),),
)
LENGTH = 4
OPTIONS = {
    "timegan": {"hidden": 3, "layers": 1},
    "wavegan": {"width": 2, "kernel": 4, "noise": 3},
    "wavenet": {"residual": 2, "skip": 2, "components": 2, "stacks": 1},
}


def tiny_bundle(kind: str = "timegan", seed: int = 0) -> GeneratorBundle:
    """Windows of 1 to `LENGTH` steps, two conditions; with `wavegan` some cells are missing."""
    options = {"kind": kind, **OPTIONS[kind]}
    generator = new_generator(options, length=LENGTH, channels=LAYOUT.channels, seed=seed)
    margins = Margins(torch.tensor([0, 1, 1, 1, 3]), torch.eye(2), torch.tensor([3, 1]))
    cast(TorchGenerator, generator).margins = margins
    return GeneratorBundle(generator, SeriesInfo("made-up", LAYOUT, None, "x"))
