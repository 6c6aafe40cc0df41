"""Which code computes the recurrent layers of a training."""

from __future__ import annotations

import logging
from typing import Any

import torch

from core.generators.module import TorchGenerator
from core.networks.recurrence import choose, prepare
from core.networks.recurrent import RecurrentStack

logger = logging.getLogger(__name__)


def use_recurrence(model: TorchGenerator, options: dict[str, Any], batch: int, device: torch.device) -> None:
    """Let a model's recurrent layers be computed as `training.recurrence` says, and say so in the log.

    Args:
        model: On its device.
        options: Section `training` of the configuration, complete.
        batch: Windows in a batch.
        device: Where to train.

    Raises:
        ConfigError: see `core.networks.recurrence.choose`.
    """
    stacks = [module for module in model.modules() if isinstance(module, RecurrentStack)]
    if not stacks:
        return
    first = stacks[0]
    dtype = next(first.parameters()).dtype
    recurrence = choose(options["recurrence"], device, first.options.cell, first.hidden, dtype)
    logger.info("recurrent layers (%s): %s", first.options.cell, recurrence)
    shape = (batch, model.length, first.hidden, len(first.layers))
    prepare(recurrence, first.options.reset_gate, shape)
    for stack in stacks:
        stack.use(recurrence)
