"""What adversarial methods ask of their optimisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


def set_betas(solvers: Mapping[str, torch.optim.Optimizer], betas: Sequence[float] | None) -> None:
    """Give Adam's two moments these decays; other optimisers, or None, stay as they are."""
    if betas is None:
        return
    for optimizer in solvers.values():
        for group in optimizer.param_groups:
            if "betas" in group:
                group["betas"] = tuple(betas)
