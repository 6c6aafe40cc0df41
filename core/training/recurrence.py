"""Which code computes the recurrent layers of a training."""

from __future__ import annotations

import logging
from typing import Any

import torch

from core.errors import ConfigError
from core.generators.module import TorchGenerator
from core.networks.recurrence import Layers, choose, prepare
from core.networks.recurrent import RecurrentStack

logger = logging.getLogger(__name__)

_MEASURED = (128, 24)
"""Windows and steps, at most, of the passes by which a number of threads is chosen."""


def use_recurrence(model: TorchGenerator, options: dict[str, Any], batch: int, device: torch.device) -> None:
    """Let a model's recurrent layers be computed as `training.recurrence` says, and say so in the log.

    With Numba's, torch itself goes on with one thread: what it computes beside them is too little to share.

    Args:
        model: On its device.
        options: Section `training` of the configuration, complete.
        batch: Windows in a batch.
        device: Where to train.

    Raises:
        ConfigError: see `core.networks.recurrence.choose`; or there are no recurrent layers.
    """
    stacks = [module for module in model.modules() if isinstance(module, RecurrentStack)]
    wanted = options["recurrence"]
    if not stacks:
        if wanted in ("numba", "triton"):
            raise ConfigError(
                f"training.recurrence: a generator of kind {model.kind} has no recurrent layers; leave it out"
            )
        return
    widest = max(stacks, key=lambda stack: stack.hidden)
    cell = widest.options
    dtype = next(widest.parameters()).dtype
    recurrence = choose(wanted, Layers(cell.cell, widest.hidden, dtype, cell.recurrent_dropout, device))
    logger.info("recurrent layers (%s): %s", cell.cell, recurrence)
    if recurrence == "numba":
        torch.set_num_threads(1)
        sizes = (min(batch, _MEASURED[0]), min(model.length, _MEASURED[1]), widest.hidden, len(widest.layers))
        prepare(cell.reset_gate, sizes)
    elif recurrence == "triton":
        logger.info("the first iterations compile their kernels: seconds, if they are not in Triton's cache")
    for stack in stacks:
        stack.use(recurrence)
