"""What the training of every generator shares: batches, optimisers, noise, and the state they carry."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import ConfigError
from core.generators.base import Phase
from core.generators.module import Margins, TorchGenerator
from core.networks.dropout import give_generator
from core.prepare.channels.layout import WindowArrays
from core.prepare.series import Windows
from core.training.averaging import Average
from core.training.batches import BatchSource
from core.training.gradients import GradientWatch, StepProfile, clip_norm, clip_value, network_norms
from core.training.graphs import CudaRecorder, Graphs
from core.training.masks import MEASURED, EdgeMasks
from core.training.optimizers import Schedule, Standstill, check_groups, make_optimizer, set_rates
from core.training.options import training_options
from core.training.recurrence import use_recurrence
from core.training.replicas import Replicas, check_replicas
from core.training.selection import Selection, hold_out
from core.training.sparsity import L1

logger = logging.getLogger(__name__)

Solvers = Mapping[str, tuple[str, ...]]
"""Optimisers by name, and the networks that each one moves."""


@dataclass
class Notes:
    """What an iteration leaves beside its losses and gradients, on the device."""

    moved: set[str] = field(default_factory=set)
    """Networks that an optimiser stepped."""
    moves: dict[str, Tensor] = field(default_factory=dict)
    """By network: whether it moved, shape () or (R,), where that was decided on the device."""
    before_clipping: dict[str, Tensor] = field(default_factory=dict)
    """Gradient norms by network, where gradients are clipped."""


@dataclass(frozen=True)
class Left:
    """What a captured iteration leaves at the same place each time that it is replayed."""

    losses: dict[str, Tensor]
    notes: Notes
    gradients: list[Tensor | None]
    """Of each parameter, in order."""


class NetworkTraining:
    """Trains a `TorchGenerator` in place. A subclass sets `phases`, whose steps call `moving` and `step`.

    What the configuration's section `training` offers beside the losses is done here, for every generator
    (docs/training.md): a subclass only draws batches, computes losses and says who moves.

    On a GPU an iteration waits for nothing: what is decided by numbers is decided there (`step`, `moves`), and
    where a subclass allows it whole iterations are replayed (`core.training.graphs`).

    Args:
        model: Moved to `device`; learns how long windows are and what is given from `windows`.
        windows: What to learn; part of them is held out if `options` say so.
        options: Section `training` of the configuration, or a part of it.
        device: Where to train.
        solvers: One optimiser each; moments are not shared between them.

    Raises:
        ConfigError: the options name networks or parameters that are not there, or do not fit the device, the
            generator or each other.
    """

    phases: tuple[Phase, ...]
    stacks: ClassVar[bool] = False
    """The steps read `trained` and give losses by replica."""
    captures: ClassVar[bool] = False
    """The steps decide nothing on the host, so that whole iterations can be captured."""

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
        if int(self.options["replicas"]) > 1 and not self.stacks:
            raise ConfigError(
                f"training.replicas: a generator of kind {model.kind} is trained alone; leave it out"
            )
        self.replicas = check_replicas(self.options)
        self.windows, held_out = hold_out(windows, float(self.options["selection"]["validation"]))
        self.model = model.to(device).train()
        self.model.margins = Margins.of(self.windows)
        self.device = device
        self.several = Replicas(model, self.options, device) if self.replicas > 1 else None
        self.trained = model if self.several is None else self.several.trained
        """What is trained: the model, or the replicas' module, of which `model` then gets one."""
        self.parameters = list(self.trained.parameters())
        self.batch_size = self.replicas * int(self.options["batch_size"])
        self.averages = bool(self.options["ema"])
        self.batches = BatchSource(self.windows, self.batch_size, int(self.options["seed"]), device)
        give_generator(self.trained, self.batches.rng)
        self.on_device = device.type != "cpu" or self.replicas > 1
        """Nothing that the device finds out is waited for in a step."""
        use_recurrence(self.trained, self.options, self.batches.size, device)
        self._build_techniques()
        self.solvers = self._build_solvers(solvers)
        self._tell_edges()
        self.graphs = self._new_graphs()
        self.selection = None if held_out is None else Selection(self.windows, held_out, self.options)

    def _build_techniques(self) -> None:
        """What the options ask for; None where they do not, so that a plain step stays plain."""
        options, gradients = self.options, self.options["gradients"]
        self.schedule = Schedule(options["schedule"])
        self.masks = EdgeMasks(self.model, options["update"]) if EdgeMasks.wanted(options["update"]) else None
        self.l1 = L1(self.trained, options["l1"]) if options["l1"]["weight"] else None
        self.average = Average(self.trained, float(options["ema"])) if options["ema"] else None
        self.watch = GradientWatch(gradients, self.model.networks)
        self.steps = StepProfile(self._networks(self.model.networks), self.replicas)
        self.clip_norm: float | None = gradients["clip_norm"]
        self.clip_value: float | None = gradients["clip_value"]
        self.autocast = options["precision"] == "bf16"
        self._notes = Notes()
        """Of the last iteration."""

    def _networks(self, names: Iterable[str]) -> dict[str, nn.Module]:
        """What is trained of these networks."""
        return {name: self.trained.network(name) for name in names}

    def _new_graphs(self) -> Graphs[Left] | None:
        """None where whole iterations are not captured, see the table in `core.training.graphs`."""
        if self.device.type != "cuda" or not self.options["cuda_graphs"]:
            return None
        if not self.captures:
            logger.info("training.cuda_graphs: a generator of kind %s is trained eagerly", self.model.kind)
            return None
        if self.masks and self.masks.undecided:
            logger.info("training.cuda_graphs: eagerly while training.update.rule=gradient decides")
        return Graphs(CudaRecorder(self.device, self.batches.rng))

    def _build_solvers(self, solvers: Solvers) -> dict[str, torch.optim.Optimizer]:
        check_groups(self.options["optimizer"]["groups"], self.model.networks)
        separate = self.watch.action == "lower_rate"
        return {
            solver: make_optimizer(
                {name: list(network.parameters()) for name, network in self._networks(networks).items()},
                self.options,
                separate=separate,
                replicas=self.replicas,
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
        for name, network in self._networks(self.model.networks).items():
            network.requires_grad_(name in networks)
        yield

    def decides_on_device(self, solver: str) -> bool:
        """Whether `step` is told who moves of a solver's networks, instead of being called or not.

        While the masks of some of them are measured it must be known who moved: their gradients are counted.
        """
        return self.on_device and not self._measured(_networks(self.solvers[solver]))

    def _measured(self, networks: Iterable[str]) -> bool:
        """The rule `gradient` has yet to decide on some of these networks' weights."""
        undecided = self.masks.undecided if self.masks else ()
        return not {name.partition(".")[0] for name in undecided}.isdisjoint(networks)

    def step(self, solver: str, loss: Tensor, moves: Tensor | None = None) -> None:
        """Zero the gradients of the solver's networks, go backward from `loss`, and move them.

        Args:
            solver: One of the solvers.
            loss: Shape (), or (R,) of replicas.
            moves: Likewise: where it is False weights and moments keep their bits; True if None.
        """
        optimizer = self.solvers[solver]
        optimizer.zero_grad()
        total = loss.sum() if loss.dim() else loss
        total.backward()  # type: ignore[no-untyped-call]
        self._note_movers(optimizer, moves)
        before = None if moves is None else Standstill(optimizer, self.replicas)
        if self.masks or self.l1:
            self._shape_gradients(optimizer)
        if self.clip_norm is not None or self.clip_value is not None or self.watch.clipping:
            self._clip(optimizer)
        optimizer.step()
        if self.masks or self.l1:
            self._shape_weights(optimizer)
        if before is not None and moves is not None:
            before.keep(moves)
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

    def _note_movers(self, optimizer: torch.optim.Optimizer, moves: Tensor | None) -> None:
        names = _networks(optimizer)
        self._notes.moved.update(names)
        for name in names:
            self._notes.moves.pop(name, None)
        if moves is not None:
            self._notes.moves |= dict.fromkeys(names, moves)
        if self.steps.is_open:
            self.steps.gather(names)

    def _clip(self, optimizer: torch.optim.Optimizer) -> None:
        networks = self._networks(_networks(optimizer))
        parameters = _parameters(optimizer)
        norms = network_norms(networks, self.replicas)
        self._notes.before_clipping |= norms
        if self.clip_value is not None:
            clip_value(parameters, self.clip_value)
            norms = network_norms(networks, self.replicas)
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
        self.steps.norms = {}
        if self.graphs is None or profiled or self._measured(phase.networks):
            losses = self._eagerly(phase, profiled)
        else:
            losses = self._replayed(phase, self.graphs)
            if logged:  # what is read later must outlive the next replay
                losses = {name: loss.clone() for name, loss in losses.items()}
        if self.average:
            self.average.update()
        return losses

    def _eagerly(self, phase: Phase, profiled: bool) -> dict[str, Tensor]:
        self._notes = Notes()
        if profiled:
            self.steps.open()
        try:
            with torch.autocast(self.device.type, torch.bfloat16) if self.autocast else nullcontext():
                losses = phase.step()
        finally:
            self.steps.close()
        return losses if self.several is None else self.several.means(losses)

    def _replayed(self, phase: Phase, graphs: Graphs[Left]) -> dict[str, Tensor]:
        def iteration() -> Left:
            losses = self._eagerly(phase, profiled=False)
            return Left(losses, self._notes, [parameter.grad for parameter in self.parameters])

        left = graphs.run((phase.name, self._norm_bound), iteration)
        self._notes = left.notes
        # An eager iteration in between gave the parameters other gradients than those that a replay writes.
        for parameter, gradient in zip(self.parameters, left.gradients, strict=True):
            parameter.grad = gradient
        return left.losses

    def observe(self, phase: Phase, step: int) -> dict[str, float]:
        """See `core.generators.base.Training`."""
        # One that stood still may hold a gradient of before, but has none after a resume: 0 in the curve.
        norms = self._norms(phase, step)
        self.watch.look(phase.name, step, norms)
        values = {f"gradient/{name}": norms.get(name, 0.0) for name in phase.networks}
        values |= {f"alarms/{name}": float(count) for name, count in self.watch.counted().items()}
        for name, profile in self.profile().items():
            values |= {f"gradient_first_step/{name}": profile[0], f"gradient_last_step/{name}": profile[-1]}
        if self.l1:
            values |= {f"sparsity/{name}": share for name, share in self.l1.zeros().items()}
        if self.several is not None:
            values["replica/diverged"] = float(len(self.several.told))
        return values

    def profile(self) -> dict[str, list[float]]:
        """See `core.generators.base.Training`; of replicas the largest of those that moved and go on."""
        norms = self.steps.norms
        if self.several is not None:
            alive = self.several.alive
            still = {name: ~(alive & self._notes.moves.get(name, alive)) for name in norms}
            norms = {name: norm.masked_fill(still[name], 0).amax(1)[:, None] for name, norm in norms.items()}
        return {name: norm[:, 0].tolist() for name, norm in norms.items()}

    def _norms(self, phase: Phase, step: int) -> dict[str, float]:
        """Gradient norms of networks that moved; of replicas the largest of those that moved and go on.

        A replica whose gradient is not finite has diverged. The profile of what stood still goes.
        """
        notes = self._notes
        steady = [name for name in self.model.networks if name in notes.moved - notes.before_clipping.keys()]
        norms = notes.before_clipping | network_norms(self._networks(steady), self.replicas)
        if not norms:
            return {}
        table = torch.stack([norm.float().reshape(-1) for norm in norms.values()])
        ones = torch.ones(self.replicas, dtype=torch.bool, device=self.device)
        moves = torch.stack([notes.moves.get(name, ones).reshape(-1) for name in norms])
        alive = [True] * self.replicas
        if self.several is not None:
            self.several.drop((table.isfinite() | ~moves).all(0))
            alive = self.several.tell(phase.name, step)
        counted = {
            name: [norm for norm, *both in zip(row, moved, alive, strict=True) if all(both)]
            for name, row, moved in zip(norms, table.tolist(), moves.tolist(), strict=True)
        }
        for name in (name for name, row in counted.items() if not row):
            self.steps.norms.pop(name, None)
        return {name: max(row) for name, row in counted.items() if row}

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None = None) -> WindowArrays:
        """See `core.generators.base.Training`; of replicas `n` windows each, NaN of one that diverged."""
        wanted = [parameter.requires_grad for parameter in self.model.parameters()]
        # Torch rounds by what wants a gradient: a sample must not depend on who moved last.
        self.model.requires_grad_(False)
        try:
            with self._averaged():
                if self.several is None:
                    return self.model.sample(n, seed, condition)
                return self.several.sample(n, seed, condition)
        finally:
            for parameter, wants in zip(self.model.parameters(), wanted, strict=True):
                parameter.requires_grad_(wants)

    def _averaged(self) -> AbstractContextManager[None]:
        """The weights to sample from are in what is trained inside."""
        return self.average.swapped() if self.average else nullcontext()

    def weights(self) -> dict[str, Tensor]:
        """See `core.generators.base.Training`; of replicas the best one's."""
        with self._averaged():
            weights = self.model.state_dict() if self.several is None else self.several.slice(self._chosen)
            return {name: tensor.detach().clone() for name, tensor in weights.items()}

    @property
    def _chosen(self) -> int:
        """The replica that the model gets: the best, else the one that was nearest at the last look."""
        if self.selection is None:
            return 0
        best = self.selection.best
        return self.selection.nearest if best is None else best.replica

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
        if weights is None and (self.average or self.several):
            weights = self.weights()
        if weights is not None:
            self.model.load_state_dict(weights)

    def summary(self) -> dict[str, Any]:
        """See `core.generators.base.Training`."""
        found: dict[str, Any] = {"alarms": self.watch.counted(), "edges": self._edges()}
        if self.l1:
            # Of the weights that are kept, which of replicas are the model's.
            found["sparsity"] = (L1(self.model, self.options["l1"]) if self.several else self.l1).zeros()
        if self.selection:
            found["looks"] = self.selection.counted()
        if self.several:
            found["diverged"] = sorted(self.several.told)
            found["replica"] = self._chosen
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
        tensors = {f"network.{name}": tensor for name, tensor in self.trained.state_dict().items()}
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
        if self.graphs is not None:
            self.graphs.forget()  # loading gives the optimisers other tensors than were captured
        self.trained.load_state_dict(_part(state, "network"))
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
            "replicas": self.several,
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


def _part(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """What stands under `part.`, without it."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
