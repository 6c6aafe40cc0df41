"""Gradients kept in bounds and looked at: clipping, vanishing and exploding, and their way through time."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from core.errors import TrainingDivergedError
from core.generators.losses import by_replica
from core.networks.recurrent import RecurrentStack

logger = logging.getLogger(__name__)

PROFILES = 100
"""Iterations of a phase, at most, at which gradients are looked at step by step."""
VANISHING, EXPLODING = "vanishing", "exploding"

_ADVICE = {
    VANISHING: "it learns nothing: look at the losses, shorten window.length, or use model.cell=lstm_ln",
    EXPLODING: "lower training.learning_rate or set training.gradients.clip_norm",
}


def network_norms(networks: Mapping[str, nn.Module], replicas: int = 1) -> dict[str, Tensor]:
    """Euclidean norm of each network's gradient, left on the device; networks without one are left out.

    Args:
        networks: By name.
        replicas: The first axis of every parameter, if more than one.

    Returns:
        Shape (), or (R,) of replicas.
    """
    norms = {}
    for name, network in networks.items():
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if gradients and replicas == 1:
            norms[name] = torch.nn.utils.get_total_norm(gradients, foreach=True)
        elif gradients:
            joined = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
            norms[name] = torch.linalg.vector_norm(joined, dim=1)
    return norms


@torch.no_grad()
def clip_value(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Cut every entry of the gradients to [-largest, largest]."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        torch._foreach_clamp_max_(gradients, largest)
        torch._foreach_clamp_min_(gradients, -largest)


@torch.no_grad()
def clip_norm(parameters: Sequence[nn.Parameter], largest: float, norms: Iterable[Tensor]) -> None:
    """Scale the gradients down to norm `largest` if they are longer (Pascanu, Mikolov and Bengio 2013, alg. 1).

    Args:
        parameters: Of one optimiser.
        largest: The norm of all their gradients together, of each replica's where there are several.
        norms: Of parts of the gradient that make up the whole, see `network_norms`.
    """
    parts = list(norms)
    if not parts:
        return
    total = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    if not total.dim():
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, total, foreach=True)
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    share = (largest / (total + 1e-6)).clamp(max=1.0)  # as torch's, which has one norm for all
    torch._foreach_mul_(gradients, [share.view(-1, *[1] * (g.dim() - 1)) for g in gradients])


class GradientWatch:
    """Counts logged points at which a network's gradient vanished or exploded, and acts.

    After `patience` such points in a row for the same network it says so, counts an alarm and begins anew.
    What it does besides is the option `action`: `stop` raises; `clip` has every optimiser's gradient clipped
    at `exploding` from then on; `lower_rate` halves the network's learning rate. The last two are answers to
    explosion: of a vanishing gradient they only tell.

    Only gradients of the iteration itself count: a network that stood still has none.

    Args:
        options: Section `training.gradients`.
        networks: All names of networks.
    """

    def __init__(self, options: Mapping[str, Any], networks: Sequence[str]) -> None:
        self.bounds = (float(options["vanishing"]), float(options["exploding"]))
        self.patience = int(options["patience"])
        self.action: str = options["action"]
        self.networks = tuple(networks)
        self.rows = dict.fromkeys(((kind, name) for kind in (VANISHING, EXPLODING) for name in networks), 0)
        """Points in a row, by kind and network."""
        self.alarms = dict.fromkeys(self.rows, 0)
        self.clipping = False
        """From now on gradients are clipped at `exploding`."""
        self.lowered: dict[str, float] = {}
        """Share of the learning rate that is left, by network, where it was lowered."""

    def look(self, phase: str, step: int, norms: Mapping[str, float]) -> None:
        """Take the norms of an iteration.

        Raises:
            TrainingDivergedError: the action is `stop` and a network's gradient vanished or exploded.
        """
        for name, norm in norms.items():
            for kind in (VANISHING, EXPLODING):
                wrong = norm < self.bounds[0] if kind == VANISHING else norm > self.bounds[1]
                self.rows[kind, name] = self.rows[kind, name] + 1 if wrong else 0
                if self.rows[kind, name] == self.patience:
                    self.rows[kind, name] = 0
                    self.alarms[kind, name] += 1
                    self._act(kind, name, f"phase {phase}, step {step}", norm)

    def counted(self) -> dict[str, int]:
        """Alarms by `kind/network`, those that came at all."""
        return {f"{kind}/{name}": count for (kind, name), count in self.alarms.items() if count}

    def state(self) -> dict[str, Tensor]:
        """By unique names."""
        lowered = torch.tensor([self.lowered.get(name, 1.0) for name in self.networks], dtype=torch.float64)
        return {
            "rows": torch.tensor(list(self.rows.values())),
            "alarms": torch.tensor(list(self.alarms.values())),
            "clipping": torch.tensor(self.clipping),
            "lowered": lowered,
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""
        self.rows = dict(zip(self.rows, state["rows"].tolist(), strict=True))
        self.alarms = dict(zip(self.alarms, state["alarms"].tolist(), strict=True))
        self.clipping = bool(state["clipping"])
        lowered = zip(self.networks, state["lowered"].tolist(), strict=True)
        self.lowered = {name: share for name, share in lowered if share < 1}

    def _act(self, kind: str, network: str, where: str, norm: float) -> None:
        vanishing, exploding = self.bounds
        bound = f"below {vanishing:g}" if kind == VANISHING else f"above {exploding:g}"
        said = (
            f"{where}: the gradient of network {network} is {kind}: its norm is {norm:.3g}, {bound} at "
            f"{self.patience} logged points in a row"
        )
        if self.action == "stop":
            raise TrainingDivergedError(f"{said}; {_ADVICE[kind]}")
        if kind == EXPLODING and self.action == "clip":
            self.clipping = True
            logger.warning("%s; from now on gradients are clipped at norm %g", said, exploding)
        elif kind == EXPLODING and self.action == "lower_rate":
            self.lowered[network] = self.lowered.get(network, 1.0) / 2
            logger.warning("%s; its learning rate is now %g of what it was", said, self.lowered[network])
        else:
            logger.warning("%s; %s", said, _ADVICE[kind])


class StepProfile:
    """Gradients of a loss with respect to what a recurrent network reads, step by step of the window.

    Where the norm falls off towards the first steps, the loss does not reach back that far (Pascanu, Mikolov
    and Bengio 2013, section 2). For the one iteration that is looked at, hooks let the inputs of networks whose
    weights move want a gradient; neither the forward pass nor the gradients of weights change by a bit, as is
    tested on the CPU. Recurrent networks that are called a step at a time are not seen.

    Args:
        networks: By name; those without a recurrent layer are passed over.
        replicas: Whose rows stand one after the other in what the networks read.
    """

    def __init__(self, networks: Mapping[str, nn.Module], replicas: int = 1) -> None:
        self.replicas = replicas
        self.networks = {
            name: network
            for name, network in networks.items()
            if any(isinstance(module, RecurrentStack | nn.RNNBase) for module in network.modules())
        }
        self.inputs: dict[str, list[Tensor]] = {}
        self.hooks: list[RemovableHandle] = []
        self.norms: dict[str, Tensor] = {}
        """By network, shape (steps, R): of its last loss in the iteration that was looked at."""

    def open(self) -> None:
        """Look at the iteration that begins now."""
        self.norms, self.inputs = {}, {name: [] for name in self.networks}
        for name, network in self.networks.items():
            self.hooks.append(network.register_forward_pre_hook(self._hook(name)))

    def gather(self, names: Iterable[str]) -> None:
        """After a backward pass that was for these networks."""
        for name in names:
            gradients = [x.grad for x in self.inputs.get(name, ()) if x.grad is not None]
            squares = [by_replica(g, self.replicas).square().sum(dim=(1, 3)).T for g in gradients]
            if squares:
                self.norms[name] = nn.utils.rnn.pad_sequence(squares).sum(dim=1).sqrt()
                self.inputs[name] = []

    def close(self) -> None:
        """The iteration is over."""
        for hook in self.hooks:
            hook.remove()
        self.hooks, self.inputs = [], {}

    @property
    def is_open(self) -> bool:
        """It looks at this iteration."""
        return bool(self.hooks)

    def _hook(self, name: str) -> Any:
        def before(network: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
            moves = torch.is_grad_enabled() and any(p.requires_grad for p in network.parameters())
            if not moves or not isinstance(arguments[0], Tensor) or arguments[0].dim() != 3:
                return None
            x = arguments[0]
            if x.requires_grad:
                x.retain_grad()
            else:
                x = x.detach().requires_grad_()
            self.inputs[name].append(x)
            return (x, *arguments[1:])

        return before


def profile_due(step: int, iterations: int, log_every: int) -> bool:
    """Whether gradients are looked at step by step at an iteration: some of the logged ones and the last.

    Args:
        step: Iteration of the phase, from 1.
        iterations: Of the phase.
        log_every: Iterations between two logged points.
    """
    every = math.ceil(iterations / PROFILES / log_every) * log_every
    return step % every == 0 or step == iterations
