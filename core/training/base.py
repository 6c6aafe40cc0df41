"""What the training of every generator shares: batches, optimisers, noise, and the state they carry."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import ConfigError
from core.generators.base import Phase
from core.generators.module import Margins, TorchGenerator
from core.networks.dropout import give_generator
from core.prepare.layout import WindowArrays
from core.prepare.series import Windows
from core.training.averaging import Average
from core.training.batches import BatchSource
from core.training.gradients import GradientWatch, StepProfile, clip_norm, clip_value, network_norms
from core.training.masks import MEASURED, EdgeMasks
from core.training.optimizers import Schedule, check_groups, make_optimizer, set_rates
from core.training.options import training_options
from core.training.selection import Selection, hold_out
from core.training.sparsity import L1

logger = logging.getLogger(__name__)

Solvers = Mapping[str, tuple[str, ...]]
"""Optimisers by name, and the networks that each one moves."""


class NetworkTraining:
    """Trains a `TorchGenerator` in place. A subclass sets `phases`, whose steps call `moving` and `step`.

    What the configuration's section `training` offers beside the losses is done here, for every generator
    (docs/training.md): a subclass only draws batches, computes losses and says who moves.

    Args:
        model: Moved to `device`; learns how long windows are and what is given from `windows`.
        windows: What to learn; part of them is held out if `options` say so.
        options: Section `training` of the configuration, or a part of it.
        device: Where to train.
        solvers: One optimiser each; moments are not shared between them.

    Raises:
        ConfigError: the options name networks or parameters that are not there, or do not fit the device.
    """

    phases: tuple[Phase, ...]

    def __init__(
        self,
        model: TorchGenerator,
        windows: Windows,
        options: Mapping[str, Any],
        device: torch.device,
        solvers: Solvers,
    ) -> None:
        self.options = training_options(options)
        check_precision(self.options, device)
        self.windows, held_out = hold_out(windows, float(self.options["selection"]["validation"]))
        self.model = model.to(device).train()
        self.model.margins = Margins.of(self.windows)
        self.device = device
        self.batch_size = int(self.options["batch_size"])
        self.averages = bool(self.options["ema"])
        self.batches = BatchSource(self.windows, self.batch_size, int(self.options["seed"]), device)
        give_generator(model, self.batches.rng)
        self._build_techniques()
        self.solvers = self._build_solvers(solvers)
        self._tell_edges()
        self.selection = None if held_out is None else Selection(self.windows, held_out, self.options)

    def _build_techniques(self) -> None:
        """What the options ask for; None where they do not, so that a plain step stays plain."""
        options, gradients = self.options, self.options["gradients"]
        self.schedule = Schedule(options["schedule"])
        self.masks = EdgeMasks(self.model, options["update"]) if EdgeMasks.wanted(options["update"]) else None
        self.l1 = L1(self.model, options["l1"]) if options["l1"]["weight"] else None
        self.average = Average(self.model, float(options["ema"])) if options["ema"] else None
        self.watch = GradientWatch(gradients, self.model.networks)
        self.steps = StepProfile({name: self.model.network(name) for name in self.model.networks})
        self.clip_norm: float | None = gradients["clip_norm"]
        self.clip_value: float | None = gradients["clip_value"]
        self.autocast = options["precision"] == "bf16"
        self._moved: set[str] | None = None
        """Networks that an optimiser stepped in this iteration; None while nobody asks."""
        self._before_clipping: dict[str, Tensor] = {}
        """Gradient norms of this iteration by network, where gradients are clipped."""

    def _build_solvers(self, solvers: Solvers) -> dict[str, torch.optim.Optimizer]:
        check_groups(self.options["optimizer"]["groups"], self.model.networks)
        separate = self.watch.action == "lower_rate"
        return {
            solver: make_optimizer(
                {name: list(self.model.network(name).parameters()) for name in networks},
                self.options,
                separate=separate,
            )
            for solver, networks in solvers.items()
        }

    def _tell_edges(self) -> None:
        if self.masks and self.masks.undecided:
            logger.info("each parameter's first %d gradients decide which weights may move", MEASURED)
            return
        for name, (moving, size) in self._edges().items():
            logger.info("network %s: %d of %d weights may move", name, moving, size)

    @contextmanager
    def moving(self, *networks: str) -> Iterator[None]:
        """Gradients for these networks alone: the others' weights cost nothing in the backward pass.

        Every forward pass of a step belongs inside: torch rounds a GRU differently when its weights want no
        gradient, and a resumed training must not depend on what the step before wanted.
        """
        for name in self.model.networks:
            self.model.network(name).requires_grad_(name in networks)
        yield

    def step(self, solver: str, loss: Tensor) -> None:
        """Zero the gradients of the solver's networks, go backward from `loss`, and move them."""
        optimizer = self.solvers[solver]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self._moved is not None:
            self._note_movers(optimizer)
        if self.masks or self.l1:
            self._shape_gradients(optimizer)
        if self.clip_norm is not None or self.clip_value is not None or self.watch.clipping:
            self._clip(optimizer)
        optimizer.step()
        if self.masks or self.l1:
            self._shape_weights(optimizer)
        if self.autocast:
            torch.clear_autocast_cache()  # it holds this network's weights of before the step

    @property
    def _norm_bound(self) -> float | None:
        """What gradients are clipped at now."""
        if not self.watch.clipping:
            return self.clip_norm
        exploding = self.watch.bounds[1]
        return exploding if self.clip_norm is None else min(self.clip_norm, exploding)

    def _shape_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        parameters = _parameters(optimizer)
        if self.l1:
            self.l1.add_subgradient(parameters)
        if self.masks:
            self.masks.restrict(parameters)

    def _note_movers(self, optimizer: torch.optim.Optimizer) -> None:
        names = _networks(optimizer)
        self._moved = {*(self._moved or ()), *names}
        if self.steps.is_open:
            self.steps.gather(names)

    def _clip(self, optimizer: torch.optim.Optimizer) -> None:
        networks = {name: self.model.network(name) for name in _networks(optimizer)}
        parameters = _parameters(optimizer)
        norms = network_norms(networks)
        self._before_clipping |= norms
        if self.clip_value is not None:
            clip_value(parameters, self.clip_value)
            norms = network_norms(networks)
        if (bound := self._norm_bound) is not None:
            clip_norm(parameters, bound, norms.values())

    def _shape_weights(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            if self.l1:
                self.l1.shrink(group["params"], group["lr"])
            if self.masks:
                self.masks.restore(group["params"])

    def uniform(self, *shape: int) -> Tensor:
        """U[0, 1) on the device."""
        return torch.rand(shape, generator=self.batches.rng, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1) on the device."""
        return torch.randn(shape, generator=self.batches.rng, device=self.device)

    def noise(self) -> tuple[Tensor, ...]:
        """The model's noise for a batch, on the device."""
        return self.model.noise(self.batches.size, self.batches.rng)

    def iterate(
        self, phase: Phase, step: int, *, logged: bool = False, profiled: bool = False
    ) -> dict[str, Tensor]:
        """See `core.generators.base.Training`."""
        if not self.schedule.constant or self.watch.lowered:
            share = self.schedule.share(step, phase.iterations)
            set_rates(list(self.solvers.values()), share, self.watch.lowered)
        self._before_clipping.clear()
        self._moved = set() if logged else None
        self.steps.norms = {}
        if profiled:
            self.steps.open()
        try:
            with torch.autocast(self.device.type, torch.bfloat16) if self.autocast else nullcontext():
                losses = phase.step()
        finally:
            self.steps.close()
        if self.average:
            self.average.update()
        return losses

    def observe(self, phase: Phase, step: int) -> dict[str, float]:
        """See `core.generators.base.Training`."""
        moved = self._moved or set()
        # One that stood still may hold a gradient of before, but has none after a resume: 0 in the curve.
        norms = self._norms(moved)
        self.watch.look(phase.name, step, norms)
        values = {f"gradient/{name}": norms.get(name, 0.0) for name in phase.networks}
        values |= {f"alarms/{name}": float(count) for name, count in self.watch.counted().items()}
        for name, profile in self.profile().items():
            values |= {f"gradient_first_step/{name}": profile[0], f"gradient_last_step/{name}": profile[-1]}
        if self.l1:
            values |= {f"sparsity/{name}": share for name, share in self.l1.zeros().items()}
        return values

    def profile(self) -> dict[str, list[float]]:
        """See `core.generators.base.Training`."""
        return {name: norms.tolist() for name, norms in self.steps.norms.items()}

    def _norms(self, names: set[str]) -> dict[str, float]:
        """Of networks that have a gradient, in the model's order."""
        networks = {
            name: self.model.network(name)
            for name in self.model.networks
            if name in names and name not in self._before_clipping
        }
        clipped = {name: norm for name, norm in self._before_clipping.items() if name in names}
        return _floats(clipped | network_norms(networks))

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None = None) -> WindowArrays:
        """See `core.generators.base.Training`."""
        wanted = [parameter.requires_grad for parameter in self.model.parameters()]
        # Torch rounds by what wants a gradient: a sample must not depend on who moved last.
        self.model.requires_grad_(False)
        try:
            with self.average.swapped() if self.average else nullcontext():
                return self.model.sample(n, seed, condition)
        finally:
            for parameter, wants in zip(self.model.parameters(), wanted, strict=True):
                parameter.requires_grad_(wants)

    def weights(self) -> dict[str, Tensor]:
        """See `core.generators.base.Training`."""
        with self.average.swapped() if self.average else nullcontext():
            return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def finish(self, weights: Mapping[str, Tensor] | None = None) -> None:
        """See `core.generators.base.Training`."""
        if self.masks and (still := self.masks.undecided):
            logger.warning(
                "training.update: %d parameters never moved, fewer than %d gradients reached them: %s; train "
                "longer, or choose others with training.update.parameters",
                len(still),
                MEASURED,
                ", ".join(still),
            )
        if weights is not None:
            self.model.load_state_dict(weights)
        elif self.average:
            self.average.apply()

    def summary(self) -> dict[str, Any]:
        """See `core.generators.base.Training`."""
        found: dict[str, Any] = {"alarms": self.watch.counted(), "edges": self._edges()}
        if self.l1:
            found["sparsity"] = self.l1.zeros()
        if self.selection:
            found["looks"] = self.selection.counted()
        return found

    def _edges(self) -> dict[str, list[int]]:
        """By network: weights that may move, and all weights; empty if all may."""
        if not self.masks:
            return {}
        counted: dict[str, list[int]] = {name: [0, 0] for name in self.model.networks}
        for parameter, (moving, size) in self.masks.edges().items():
            network = next((name for name in counted if parameter.startswith(f"{name}.")), None)
            if network is not None:
                counted[network][0] += moving
                counted[network][1] += size
        return counted

    def state(self) -> dict[str, Tensor]:
        """See `core.generators.base.Training`."""
        tensors = {f"network.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for solver, optimizer in self.solvers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                for key, value in moments.items():
                    if isinstance(value, Tensor):
                        tensors[f"solver.{solver}.{index}.{key}"] = value
        tensors["batches"] = self.batches.rng.get_state()
        for part, technique in self._stateful().items():
            tensors |= {f"{part}.{name}": tensor for name, tensor in technique.state().items()}
        return tensors

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """See `core.generators.base.Training`."""
        self.model.load_state_dict(_part(state, "network"))
        moments: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in self.solvers}
        for name, tensor in _part(state, "solver").items():
            solver, index, key = name.split(".")
            moments[solver].setdefault(int(index), {})[key] = tensor
        for solver, optimizer in self.solvers.items():
            optimizer.load_state_dict(
                {"state": moments[solver], "param_groups": optimizer.state_dict()["param_groups"]}
            )
        self.batches.rng.set_state(state["batches"])
        for part, technique in self._stateful().items():
            technique.load_state(_part(state, part))

    def _stateful(self) -> dict[str, Any]:
        techniques = {
            "update": self.masks,
            "average": self.average,
            "watch": self.watch,
            "selection": self.selection,
        }
        return {name: technique for name, technique in techniques.items() if technique is not None}


def check_precision(options: Mapping[str, Any], device: torch.device) -> None:
    """Refuse a precision that the device is not meant for.

    Raises:
        ConfigError: bf16 on a CPU.
    """
    if options.get("precision") == "bf16" and device.type != "cuda":
        raise ConfigError(
            f"training.precision=bf16 needs a GPU, this training runs on {device.type}: use float32, or set "
            "TIMELOOM_DEVICE=cuda where there is one"
        )


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _networks(optimizer: torch.optim.Optimizer) -> list[str]:
    return [name for group in optimizer.param_groups for name in group["networks"]]


def _floats(norms: Mapping[str, Tensor]) -> dict[str, float]:
    """All at once: one wait for the device."""
    if not norms:
        return {}
    return dict(zip(norms, torch.stack([norm.float() for norm in norms.values()]).tolist(), strict=True))


def _part(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """What stands under `part.`, without it."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
