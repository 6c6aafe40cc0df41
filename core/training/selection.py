"""Holding out the latest windows, and choosing weights by how well their windows fit those.

TimeGAN's losses do not say when to stop: they are a balance of networks, and the last weights are rarely the
best ones.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.errors import ConfigError
from core.prepare.channels.layout import WindowArrays
from core.prepare.series import Windows
from core.training.distance import HeldOutDistance, Look

logger = logging.getLogger(__name__)

Sampler = Callable[[int, int, NDArray[np.float32] | None], WindowArrays]
"""Draws windows: how many (of each replica), the seed, what is given."""


def hold_out(windows: Windows, share: float) -> tuple[Windows, Windows | None]:
    """Windows to train on, and those of the latest rows.

    The last `share` of the rows that windows cover are kept, in the order of the data: of one series its latest
    rows, of many series the last series. A window that reaches across the border is in neither part, so no row
    of a training window is in a held-out one.

    Args:
        windows: In the order of their rows.
        share: In [0, 1); 0 holds out nothing.

    Raises:
        ConfigError: fewer than two windows are left on a side.
    """
    if not share:
        return windows, None
    stops = windows.starts + windows.lengths
    first, last = int(windows.starts.min()), int(stops.max())
    border = last - max(1, round(share * (last - first)))
    training, held_out = np.flatnonzero(stops <= border), np.flatnonzero(windows.starts >= border)
    if min(len(training), len(held_out)) < 2:
        raise ConfigError(
            f"training.selection.validation={share:g} leaves {len(training)} windows to train on and "
            f"{len(held_out)} to validate; choose another share, shorter windows or a longer series"
        )
    return windows.only(training), windows.only(held_out)


@dataclass(frozen=True)
class Best:
    """Where the best weights were found."""

    phase: int
    """Index of the phase."""
    step: int
    """Iterations of that phase done."""
    distance: float
    """Of their windows to the held-out ones."""
    replica: int = 0
    """Whose they are, if several are trained."""


class Selection:
    """Looks at synthetic windows now and then, remembers the best, and says when to stop.

    A candidate is the best if its distance is the smallest so far and no guard trips: its windows neither
    collapsed to nearly the same nor copy training windows. Looks draw from a seed of their own and leave the
    training's random state alone. Of several replicas each is a candidate.

    Args:
        training: Windows that are trained on.
        held_out: Windows that are not.
        options: Section `training` of the configuration.
    """

    def __init__(self, training: Windows, held_out: Windows, options: Mapping[str, Any]) -> None:
        chosen = options["selection"]
        self.seed = int(options["seed"])
        self.every = int(chosen["every"])
        self.keep_best: bool = chosen["keep_best"]
        self.patience: int | None = chosen["patience"]
        self.distance = HeldOutDistance(training, held_out, int(chosen["windows"]), self.seed)
        self.replicas = int(options["replicas"])
        self.best: Best | None = None
        self.nearest = 0
        """The replica that was nearest at the last look, if one passed the guards one of those."""
        self.waited = 0
        """Times of this phase that nothing was better than before."""
        self.looks = self.collapsed = self.memorised = 0

    def due(self, step: int, iterations: int) -> bool:
        """Whether to look after this iteration of a phase."""
        return step % self.every == 0 or step == iterations

    @property
    def over(self) -> bool:
        """The phase may end: nothing got better for `patience` looks."""
        return self.patience is not None and self.waited >= self.patience

    def begin_phase(self) -> None:
        """Patience begins anew."""
        self.waited = 0

    def look(self, phase: int, step: int, sample: Sampler) -> tuple[dict[str, float], bool]:
        """Draw windows and judge them.

        Args:
            phase: Index of the phase.
            step: Iterations of it done.
            sample: Draws windows; of several replicas that many of each, replica by replica.

        Returns:
            Metrics, and whether these weights are the best so far.
        """
        drawn = sample(self.distance.count, self.seed, self.distance.condition)
        looks = [self.distance.look(windows) for windows in _parts(drawn, self.replicas)]
        self.looks += len(looks)
        self.collapsed += sum(look.collapsed for look in looks)
        self.memorised += sum(look.memorised for look in looks)
        self.nearest = min(range(self.replicas), key=lambda replica: _rank(looks[replica]))
        look = looks[self.nearest]
        better = not _barred(look) and (self.best is None or look.distance < self.best.distance)
        if better:
            self.best, self.waited = Best(phase, step, look.distance, self.nearest), 0
        else:
            self.waited += 1
        _tell(look, step, better)
        return self._metrics(look) | self._distances(looks), better

    def counted(self) -> dict[str, int]:
        """Looks, one at each replica, and how many of them tripped each guard."""
        return {"looks": self.looks, "collapsed": self.collapsed, "memorised": self.memorised}

    def state(self) -> dict[str, Tensor]:
        """By unique names."""
        counts = [self.waited, self.looks, self.collapsed, self.memorised, self.nearest]
        tensors = {"counts": torch.tensor(counts)}
        if self.best is not None:
            best = [self.best.phase, self.best.step, self.best.distance, self.best.replica]
            tensors["best"] = torch.tensor(best, dtype=torch.float64)
        return tensors

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""
        self.waited, self.looks, self.collapsed, self.memorised, self.nearest = state["counts"].tolist()
        if "best" in state:
            phase, step, distance, replica = state["best"].tolist()
            self.best = Best(int(phase), int(step), distance, int(replica))

    def _metrics(self, look: Look) -> dict[str, float]:
        metrics = {
            "distance": look.distance,
            "distance_of_training": look.reference,
            "spread": look.spread,
            "nearness": look.nearness,
            "collapsed": float(look.collapsed),
            "memorised": float(look.memorised),
        }
        if self.best is not None:
            metrics["best"] = self.best.distance
        return {f"validation/{name}": value for name, value in metrics.items()}

    def _distances(self, looks: Sequence[Look]) -> dict[str, float]:
        """Of each of several replicas that did not diverge."""
        if self.replicas == 1:
            return {}
        distances = {f"replica/{replica}/distance": look.distance for replica, look in enumerate(looks)}
        return {name: distance for name, distance in distances.items() if math.isfinite(distance)}


def _parts(drawn: WindowArrays, replicas: int) -> list[WindowArrays]:
    """Windows by replica."""
    parts = [
        np.split(field, replicas) for field in (drawn.values, drawn.static, drawn.condition, drawn.lengths)
    ]
    return [WindowArrays(*fields) for fields in zip(*parts, strict=True)]


def _barred(look: Look) -> bool:
    """These weights cannot be the best."""
    return look.collapsed or look.memorised or not math.isfinite(look.distance)


def _rank(look: Look) -> tuple[bool, float]:
    """The smallest is the best candidate."""
    return _barred(look), look.distance if math.isfinite(look.distance) else math.inf


def _tell(look: Look, step: int, better: bool) -> None:
    logger.info(
        "step %d: synthetic windows are at distance %.4f from the held-out ones, training windows at %.4f%s",
        step,
        look.distance,
        look.reference,
        ": the best so far" if better else "",
    )
    if look.collapsed:
        logger.warning("step %d: the windows collapsed, their spread is %.3g of the real", step, look.spread)
    if look.memorised:
        logger.warning(
            "step %d: the windows copy training windows, they are %.3g times as near as real ones",
            step,
            look.nearness,
        )
