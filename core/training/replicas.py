"""Several seeds trained as one program, the best of which is kept: `training.replicas`.

The replicas live in the batch: every tensor has the rows of all of them, replica by replica, and a parameter
one leading dimension more, an entry for each replica, by which the layers of `core.networks` multiply its rows.
Whatever reduces over a batch reduces over a replica's own rows (`core.generators.losses`), and what is
minimised is the sum of the replicas' losses: so no gradient reaches another replica, and each goes the way that
it would go alone with the same batches and noise, up to rounding.

Replica r starts as a training with the seed `training.seed` + r does. All draw from one random generator, each
its own rows, so its batches are not those of that training.

A replica whose loss is not finite has diverged: it is told, left out of the means that are logged and never
chosen from then on; the others go on. What the configuration offers beside the losses applies to each replica
by itself, and what would tie the replicas together is refused (`check_replicas`):

| option | with replicas |
|---|---|
| `optimizer`, `schedule`, `l1`, `ema`, `precision`, `gradients.clip_value` | element by element |
| `gradients.clip_norm`, TimeGAN's `discriminator_rule` | each replica by itself |
| `gradients.vanishing`, `exploding` | by the largest norm of the replicas, to tell; other actions are refused |
| `selection` | looks at each replica; needed, since it chooses; its `patience` waits for any of them |
| `start_from` | all start from these weights and differ in their batches and noise |
| `update` | refused: its rules would count over all replicas |
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import ConfigError
from core.generators.losses import by_replica
from core.generators.module import TorchGenerator
from core.prepare.channels.layout import WindowArrays
from core.training.masks import EdgeMasks

logger = logging.getLogger(__name__)


def check_replicas(options: Mapping[str, Any]) -> int:
    """How many replicas are trained.

    Args:
        options: Section `training` of the configuration, complete.

    Raises:
        ConfigError: several, with an option that would tie them together or without what chooses one.
    """
    count = int(options["replicas"])
    if count == 1:
        return count
    selection, action = options["selection"], options["gradients"]["action"]
    if not selection["validation"] or not selection["keep_best"]:
        raise ConfigError(
            "training.replicas: the best is chosen by windows that are held out; set "
            "training.selection.validation, as 0.2, and leave training.selection.keep_best on"
        )
    if EdgeMasks.wanted(options["update"]):
        raise ConfigError("training.replicas: training.update is for one replica; leave one of them out")
    if action != "warn":
        raise ConfigError(
            f"training.replicas: training.gradients.action={action} would act on all replicas for the gradient "
            "of one; leave it at warn, and bound gradients with training.gradients.clip_norm"
        )
    return count


def together(parts: Sequence[Tensor], replicas: int) -> Tensor:
    """Batches of the same replicas as one: each of shape (R * B, ...) to (R * parts * B, ...)."""
    return torch.cat([by_replica(part, replicas) for part in parts], dim=1).flatten(0, 1)


def apart(x: Tensor, parts: int, replicas: int) -> list[Tensor]:
    """What `together` put together: shape (R * parts * B, ...) to parts of (R * B, ...)."""
    rows = x.reshape(replicas, parts, len(x) // (replicas * parts), *x.shape[1:])
    return [part.flatten(0, 1) for part in rows.unbind(1)]


class Replicas:
    """The module that is trained, and the way from it to an ordinary model.

    Args:
        model: Ordinary; the first replica starts with its weights.
        options: Section `training` of the configuration, complete.
        device: Where `model` is.
    """

    def __init__(self, model: TorchGenerator, options: Mapping[str, Any], device: torch.device) -> None:
        self.count = int(options["replicas"])
        self.model = model
        models = [model, *self._others(int(options["seed"]), bool(options["start_from"]))]
        self.trained = stacked(models)
        self.alive = torch.ones(self.count, dtype=torch.bool, device=device)
        """Shape (R,): the replica did not diverge."""
        self.told: set[int] = set()
        """Those that the log says diverged."""

    def _others(self, seed: int, same: bool) -> list[TorchGenerator]:
        model = self.model
        if same:
            return [model] * (self.count - 1)
        given: dict[str, Any] = {"length": model.length, "channels": model.channels, **model.options}
        new: Callable[..., TorchGenerator] = type(model)
        return [new(seed=seed + replica, **given) for replica in range(1, self.count)]

    def slice(self, replica: int) -> dict[str, Tensor]:
        """Weights of one replica as its model names them; they share the memory of all."""
        return {name: tensor[replica] for name, tensor in self.trained.state_dict().items()}

    def give(self, replica: int) -> None:
        """Copy the weights of one replica into the ordinary model."""
        self.model.load_state_dict(self.slice(replica))

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None) -> WindowArrays:
        """`n` windows of each replica, replica by replica; their values are NaN where it diverged."""
        drawn: list[WindowArrays] = []
        for replica, lives in enumerate(self.alive.tolist()):
            self.give(replica)
            windows = self.model.sample(n, seed, condition)
            drawn.append(windows if lives else replace(windows, values=np.full_like(windows.values, np.nan)))
        return WindowArrays(
            *(np.concatenate([getattr(part, field.name) for part in drawn]) for field in fields(WindowArrays))
        )

    @torch.no_grad()
    def means(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of shape (R,) as their means over replicas that did not diverge, on the device.

        A replica with a loss that is not finite has diverged from now on. NaN if all have.
        """
        table = torch.stack(list(losses.values()))
        self.drop(table.isfinite().all(0))
        kept = table.masked_fill(~self.alive, 0).sum(1) / self.alive.sum()
        return dict(zip(losses, kept.unbind(), strict=True))

    def drop(self, finite: Tensor) -> None:
        """Those where `finite`, shape (R,), is False have diverged."""
        self.alive.logical_and_(finite)

    def tell(self, phase: str, step: int) -> list[bool]:
        """Which replicas did not diverge; the log is told of each that did, once."""
        alive: list[bool] = self.alive.tolist()
        for replica in (r for r, lives in enumerate(alive) if not lives and r not in self.told):
            logger.warning(
                "phase %s, step %d: replica %d of %d diverged; it is left out from now on",
                phase,
                step,
                replica,
                self.count,
            )
            self.told.add(replica)
        return alive

    def state(self) -> dict[str, Tensor]:
        """By unique names; the weights are the training's."""
        return {"alive": self.alive}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""
        self.alive.copy_(state["alive"])
        self.told = {replica for replica, lives in enumerate(self.alive.tolist()) if not lives}


def stacked(models: Sequence[TorchGenerator]) -> TorchGenerator:
    """A copy of the first model whose parameters hold those of all: shape (...) to (R, ...), names kept."""
    module = copy.deepcopy(models[0])
    for name, first in models[0].named_parameters():
        owner, _, leaf = name.rpartition(".")
        rows = torch.stack([model.get_parameter(name).detach().to(first.device) for model in models])
        setattr(module.get_submodule(owner), leaf, nn.Parameter(rows))
    return module
