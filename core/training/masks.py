"""Updates of chosen edges only: masks over parameters that say which weights may move.

A parameter is named as in the generator's weights, e.g. `generator.recurrent.layers.0.weight_hh`, and chosen by
`fnmatch` patterns. Of a chosen parameter all weights move, or those of a mask from a file, or a share of them:
the largest at the start (`magnitude`), or those with the largest gradient at the start (`gradient`: a saliency
as in Lee, Ajanthan and Torr 2019 without the factor of the weight). All others keep their bits, whatever
momentum and weight decay want: their gradient is taken away before the step, and their value put back after it.

With the rule `gradient` a parameter stands still while its first `MEASURED` gradients are summed; the largest
magnitudes of the sum decide, once and for the whole training. A parameter that several solvers move is decided
by the first ones that reach it: of TimeGAN, the embedder by the reconstruction of phase 1, the supervisor by
phase 2, the generator and the discriminator by the adversarial losses. A parameter that fewer gradients reach
stands still to the end; `undecided` names it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import ConfigError, StorageError
from core.lake import file_digest, write_atomically
from core.tensors import pack_tensors, read_tensors

MEASURED = 10
"""Gradients that are summed before the rule `gradient` decides."""
_INDICES = ".indices"


def matching(names: Iterable[str], patterns: Iterable[str], option: str) -> list[str]:
    """The names that some pattern matches, in their own order.

    Raises:
        ConfigError: a pattern matches nothing; `option` is where it came from.
    """
    names = list(names)
    found: set[str] = set()
    for pattern in patterns:
        some = {name for name in names if fnmatchcase(name, pattern)}
        if not some:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
            raise ConfigError(f"{option}: no parameter is named like {pattern!r}; there is {', '.join(near)}")
        found |= some
    return [name for name in names if name in found]


class EdgeMasks:
    """Which weights of a model may move.

    Args:
        model: With its starting weights, on its device.
        options: Section `training.update`.

    Raises:
        ConfigError: a pattern or a name in the file fits no parameter, a mask has another shape, the file is
            no safetensors file, or one is given together with a rule.
    """

    def __init__(self, model: nn.Module, options: Mapping[str, Any]) -> None:
        self.parameters = dict(model.named_parameters())
        chosen = matching(self.parameters, options["parameters"], "training.update.parameters")
        self.fraction = float(options["fraction"])
        self.masks: dict[str, Tensor] = {}
        """Of parameters that move in part: True moves."""
        self.sums: dict[str, Tensor] = {}
        """Gradients so far of parameters that the rule has yet to decide."""
        self.counts: dict[str, int] = {}
        rule: str = options["rule"]
        if options["file"] is not None:
            if rule != "all":
                raise ConfigError(f"training.update: file and rule={rule} exclude each other; leave one out")
            self.masks = _from_file(Path(options["file"]), self.parameters, chosen)
            chosen = list(self.masks)
        elif rule == "magnitude":
            self.masks = {name: largest(self.parameters[name].detach(), self.fraction) for name in chosen}
        elif rule == "gradient":
            self.sums = {name: torch.zeros_like(self.parameters[name]) for name in chosen}
            self.counts = dict.fromkeys(chosen, 0)
        self.moving = frozenset(chosen)
        self.start = {name: self.parameters[name].detach().clone() for name in (*self.masks, *self.sums)}
        self.names = {id(parameter): name for name, parameter in self.parameters.items()}

    @staticmethod
    def wanted(options: Mapping[str, Any]) -> bool:
        """The section `training.update` holds anything still."""
        return bool(
            tuple(options["parameters"]) != ("*",) or options["file"] is not None or options["rule"] != "all"
        )

    def restrict(self, parameters: Iterable[nn.Parameter]) -> None:
        """After the backward pass: no gradient for what stays."""
        for parameter in parameters:
            if parameter.grad is None:
                continue
            name = self.names[id(parameter)]
            if name in self.sums:
                self._measure(name, parameter.grad)
                parameter.grad = None
            elif name not in self.moving:
                parameter.grad = None
            elif (mask := self.masks.get(name)) is not None:
                parameter.grad.masked_fill_(~mask, 0)

    @torch.no_grad()
    def restore(self, parameters: Iterable[nn.Parameter]) -> None:
        """After the step: momentum and weight decay have moved what must stay, put it back."""
        for parameter in parameters:
            if parameter.grad is not None and (mask := self.masks.get(self.names[id(parameter)])) is not None:
                start = self.start[self.names[id(parameter)]]
                parameter.copy_(torch.where(mask, parameter, start))

    def edges(self) -> dict[str, tuple[int, int]]:
        """By parameter: weights that may move by now (none while the rule measures), and all weights."""
        counted = {}
        for name, parameter in self.parameters.items():
            size = parameter.numel()
            if name in self.masks:
                counted[name] = int(self.masks[name].sum()), size
            else:
                counted[name] = (size if name in self.moving and name not in self.sums else 0), size
        return counted

    @property
    def undecided(self) -> tuple[str, ...]:
        """Parameters that the rule has yet to decide: they stand still."""
        return tuple(self.sums)

    def state(self) -> dict[str, Tensor]:
        """Masks and what the rule `gradient` has summed, by unique names."""
        tensors = {f"mask.{name}": mask for name, mask in self.masks.items()}
        for name, total in self.sums.items():
            tensors[f"sum.{name}"] = total
            tensors[f"count.{name}"] = torch.tensor(self.counts[name])
        return tensors

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave; the model holds the weights of that moment, those that stay among them."""
        parts: dict[str, dict[str, Tensor]] = {"mask": {}, "sum": {}, "count": {}}
        for key, tensor in state.items():
            part, _, name = key.partition(".")
            parts[part][name] = tensor.to(self.parameters[name].device)
        self.masks, self.sums = parts["mask"], parts["sum"]
        self.start = {name: self.parameters[name].detach().clone() for name in self.start}
        self.counts = {name: int(count) for name, count in parts["count"].items()}

    def _measure(self, name: str, gradient: Tensor) -> None:
        self.sums[name] += gradient
        self.counts[name] += 1
        if self.counts[name] == MEASURED:
            self.masks[name] = largest(self.sums.pop(name), self.fraction)
            del self.counts[name]


def share_of(size: int, fraction: float) -> int:
    """How many of `size` weights a share is: at least one."""
    return max(1, round(fraction * size))


def largest(values: Tensor, fraction: float) -> Tensor:
    """True at the share of the entries with the largest magnitude; of equal ones the first count as larger.

    Args:
        values: Any shape.
        fraction: In (0, 1].
    """
    flat = values.abs().flatten()
    # A stable sort, on the CPU: the same edges on every device.
    order = torch.argsort(flat.cpu(), descending=True, stable=True)[: share_of(flat.numel(), fraction)]
    mask = torch.zeros(flat.shape, dtype=torch.bool)
    mask[order] = True
    return mask.reshape(values.shape).to(values.device)


def save_masks(path: Path, masks: Mapping[str, Tensor], *, sparse: bool = False) -> None:
    """Write masks for `training.update.file`.

    Args:
        path: A safetensors file.
        masks: By parameter name, of the parameter's shape; True (or not 0) moves.
        sparse: As coordinates of the moving weights (COO): smaller where few move.
    """
    tensors = {}
    for name, mask in masks.items():
        if sparse:
            tensors[f"{name}{_INDICES}"] = mask.bool().nonzero().T.contiguous()
        else:
            tensors[name] = mask.bool()
    write_atomically(path, pack_tensors(tensors))


def masks_digest(path: Path) -> str:
    """Of the file's content.

    Raises:
        ConfigError: there is no such file.
    """
    if not path.is_file():
        raise _no_file(path)
    return file_digest(path)


def _no_file(path: Path) -> ConfigError:
    return ConfigError(f"training.update.file: there is no file {path}")


def _from_file(path: Path, parameters: Mapping[str, Tensor], chosen: list[str]) -> dict[str, Tensor]:
    """Masks of the chosen parameters; one that the file does not name does not move."""
    if not path.is_file():
        raise _no_file(path)
    masks: dict[str, Tensor] = {}
    try:
        tensors = read_tensors(path)[0]
    except StorageError as error:
        raise ConfigError(f"training.update.file: {error}") from error
    for key, tensor in tensors.items():
        name = key.removesuffix(_INDICES)
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=3) or list(parameters)[:3]
            raise ConfigError(f"{path}: the model has no parameter {name!r}; there is {', '.join(near)}")
        if name in masks:
            raise ConfigError(f"{path}: {name} is there twice, dense and as indices; keep one")
        read = _sparse if key.endswith(_INDICES) else _dense
        masks[name] = read(f"{path}: {key}", tensor, parameters[name])
    masks = {name: mask for name, mask in masks.items() if name in chosen}
    if not any(mask.any() for mask in masks.values()):
        raise ConfigError(f"{path}: no weight of training.update.parameters may move; nothing would be trained")
    return masks


def _dense(place: str, mask: Tensor, parameter: Tensor) -> Tensor:
    if mask.shape != parameter.shape:
        raise ConfigError(f"{place} has shape {tuple(mask.shape)}, the parameter {tuple(parameter.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ConfigError(f"{place} holds values other than 0 and 1: a mask says which weights move")
    return mask.bool().to(parameter.device)


def _sparse(place: str, indices: Tensor, parameter: Tensor) -> Tensor:
    if indices.dtype != torch.int64 or indices.dim() != 2 or len(indices) != parameter.dim():
        raise ConfigError(
            f"{place} must be int64 of shape ({parameter.dim()}, edges), a column for each weight that moves; "
            f"got {str(indices.dtype).removeprefix('torch.')} of shape {tuple(indices.shape)}"
        )
    sides = torch.tensor(parameter.shape)[:, None]
    if ((indices < 0) | (indices >= sides)).any():
        raise ConfigError(f"{place} points beyond the parameter's shape {tuple(parameter.shape)}")
    mask = torch.zeros(parameter.shape, dtype=torch.bool)
    mask[tuple(indices)] = True
    return mask.to(parameter.device)
