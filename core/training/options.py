"""Section `training` of the configuration, where it is read without the configuration's models.

What trains must run with torch and the array libraries alone (docs/architecture.md), so the defaults of
`core.config.TrainingConfig` stand here a second time; a test compares them. What one generator alone reads, as
TimeGAN its losses, is not here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

Options = dict[str, Any]
"""A section, nested sections as dictionaries."""

DEFAULTS: Options = {
    "embedding_iterations": 10_000,
    "supervised_iterations": 10_000,
    "joint_iterations": 10_000,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "optimizer": {
        "kind": "adam",
        "betas": (0.9, 0.999),
        "momentum": 0.0,
        "weight_decay": 0.0,
        "groups": {},
    },
    "schedule": {"kind": "constant", "warmup": 0, "floor": 0.0},
    "gradients": {
        "clip_norm": None,
        "clip_value": None,
        "vanishing": 1e-9,
        "exploding": 1e6,
        "patience": 5,
        "action": "warn",
    },
    "l1": {"weight": 0.0, "parameters": ("*",), "method": "proximal"},
    "update": {"parameters": ("*",), "file": None, "rule": "all", "fraction": 0.1},
    "start_from": None,
    "ema": 0.0,
    "selection": {"validation": 0.0, "every": 500, "keep_best": True, "patience": None, "windows": 1000},
    "replicas": 1,
    "cuda_graphs": True,
    "recurrence": None,
    "precision": "float32",
    "deterministic": False,
    "checkpoint_every_seconds": 30.0,
    "keep_checkpoints": 2,
    "log_every": 10,
    "timeout_seconds": None,
    "seed": 0,
}


def training_options(given: Mapping[str, Any]) -> Options:
    """What every training reads: what is given over the defaults.

    Keys and values are not checked again: `core.config` did, before anything was started.

    Args:
        given: The section, or a part of it; sections inside it may be partial, too.
    """
    return _over(DEFAULTS, given)


def _over(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Options:
    merged = copy.deepcopy(dict(defaults))
    for key, value in given.items():
        # `groups` names networks: what is given is the whole of it.
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), dict) and key != "groups"
        merged[key] = _over(merged[key], value) if nested else copy.deepcopy(value)
    return merged
