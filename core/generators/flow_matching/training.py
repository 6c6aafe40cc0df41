"""Training flow matching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.generators.base import Phase
from core.generators.flow_matching.completion import Patterns, beginning
from core.generators.flow_matching.losses import Auxiliary, Ends
from core.generators.losses import full, weighted_mean
from core.networks.transformer import Given
from core.prepare.channels.layout import WindowArrays
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.batches import Batch

if TYPE_CHECKING:
    from core.generators.flow_matching.model import FlowMatching

_TIME_SPREAD = 1.2
"""Of the logit of the times: a little more than the usual 1, for what is sharp in how levels lie."""
_EMBEDDED = 10_000
"""Windows, evenly spaced, that the latents' scales are learnt from."""
_AT_ONCE = 1000


class FlowMatchingTraining(NetworkTraining):
    """Regression of the velocity of straight lines from noise to windows (Liu, Gong and Liu 2023, eq. 1).

    Times are logit-normal, more of them in the middle (Esser et al. 2024, section 3.1). With a latent, embedder
    and recovery are trained first, `embedding_iterations` long, and stay as they are from then on.

    Args:
        model: See `NetworkTraining`, as for the others; learns its scales from the windows.
        windows: What to learn.
        options: Section `training` of the configuration; without a latent `joint_iterations` is the whole
            training.
        device: Where to train.
    """

    model: FlowMatching

    def __init__(
        self, model: FlowMatching, windows: Windows, options: Mapping[str, Any], device: torch.device
    ) -> None:
        latent = model.options["latent"] is not None
        solvers = {"embedding": ("embedder", "recovery")} if latent else {}
        super().__init__(model, windows, options, device, solvers | {"velocity": ("velocity",)})
        model.fit_scales(self.windows)
        share = float(model.options["completion"])
        self.patterns = Patterns(model.channels, model.length, share, device) if share else None
        self.auxiliary = Auxiliary(model.channels, model.options, device)
        self.autoencoder = Autoencoder(self) if latent else None
        iterations = int(self.options["joint_iterations"])
        self.phases = (Phase("velocity", iterations, self.velocity_step, ("velocity",)),)
        if self.autoencoder:
            first = int(self.options["embedding_iterations"])
            networks = self.autoencoder.networks
            self.phases = (Phase("embedding", first, self.autoencoder.step, networks, False), *self.phases)

    def velocity_step(self) -> dict[str, Tensor]:
        """One batch of windows, noise and times."""
        if self.autoencoder:
            self.autoencoder.freeze()
        batch = self.batches.draw()
        noise = self.noise()
        time = (_TIME_SPREAD * self.normal(len(batch))).sigmoid()
        known = self.uniform(len(batch)) >= float(self.model.options["condition_dropout"])
        given = None
        if self.patterns:
            ends = (self.model.scales.flowing(batch.X), self.model.static_scales.flowing(batch.static))
            given = self.patterns.draw(*ends, batch, self.uniform)
        with self.moving("velocity"):
            losses = self.losses(batch, noise, time, known, given)
            self.step("velocity", self.auxiliary.total(losses))
        return {name: loss.detach() for name, loss in losses.items()}

    def losses(
        self,
        batch: Batch,
        noise: tuple[Tensor, ...],
        time: Tensor,
        known: Tensor,
        given: Given | None = None,
    ) -> dict[str, Tensor]:
        """By name, unweighted: the velocity's, and those that the options ask for beside it.

        The velocity's is the mean square of v(x_t, t) - (x_1 - x_0) over the cells to be found, static values
        included, weighed by the spectrum. Cells that are missing, and those that are given, do not count.
        """
        model = self.model
        ends = (self._flowing(batch), model.static_scales.flowing(batch.static))
        if given is None:
            noise = (model.coloured(noise[0]), noise[1])
        else:
            noise = beginning(noise, given, model.spectrum)
        t = time[:, None]
        x = (1 - t[..., None]) * noise[0] + t[..., None] * ends[0]
        static = (1 - t) * noise[1] + t * ends[1]
        found = model.slopes(x, static, time, batch.condition, known, _rows(batch), given)
        sought = self._sought(batch, given)
        away = [
            v - (end - start) if seen is None else (v - (end - start)) * seen
            for v, end, start, seen in zip(found, ends, noise, sought, strict=True)
        ]
        errors = [model.weighed(away[0]).square(), away[1].square()]
        counts = [e.numel() if seen is None else seen.sum() for e, seen in zip(errors, sought, strict=True)]
        losses = {"velocity": torch.stack([error.sum() for error in errors]).sum() / sum(counts)}
        if self.auxiliary.weights:
            estimated = (x + (1 - t[..., None]) * found[0], static + (1 - t) * found[1])
            losses |= self.auxiliary(
                *(Ends.of(*parts, time) for parts in zip(estimated, ends, sought, strict=True))
            )
        return losses

    def _flowing(self, batch: Batch) -> Tensor:
        """What flows of a batch's steps, shape (batch, steps, numbers that flow)."""
        if self.autoencoder:
            return self.model.latents.flowing(self.autoencoder.embedded(batch.X, _rows(batch)))
        return self.model.scales.flowing(batch.X)

    def _sought(self, batch: Batch, given: Given | None) -> tuple[Tensor | None, Tensor | None]:
        """1 for a number that is there and not given, 0 for others; None if all are sought."""
        if self.autoencoder:
            # A missing cell is part of a step's latent: that it is missing is told by its presence.
            rows = None if batch.rows is None else batch.rows.expand(-1, -1, self.model.flowing)
            return rows, batch.observed_static
        observed = (batch.observed, batch.observed_static)
        if given is None:
            return observed
        free = (1 - given.there, 1 - given.there_static)
        steps, static = (new if seen is None else seen * new for seen, new in zip(observed, free, strict=True))
        return steps, static

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None = None) -> WindowArrays:
        """See `core.generators.base.Training`."""
        with self._averaged():
            self.model.fit_steps()
        return super().sample(n, seed, condition)

    def finish(self, weights: Mapping[str, Tensor] | None = None) -> None:
        """See `core.generators.base.Training`."""
        super().finish(weights)
        self.model.fit_steps()

    def _stateful(self) -> dict[str, Any]:
        parts = super()._stateful()
        return parts | {"autoencoder": self.autoencoder} if self.autoencoder else parts


class Autoencoder:
    """Embedder and recovery of a training: they learn to reconstruct, and then stay.

    What is reconstructed are the numbers that flow where there is no latent, so recovery's numbers become valid
    channels as those do. The value of a missing cell does not count, its presence does.

    Args:
        training: Whose.
    """

    networks = ("embedder", "recovery")

    def __init__(self, training: FlowMatchingTraining) -> None:
        self.training = training
        self.frozen = False

    def step(self) -> dict[str, Tensor]:
        """One batch of windows, reconstructed."""
        training, model = self.training, self.training.model
        batch = training.batches.draw()
        X, rows = model.scales.flowing(batch.X), _rows(batch)
        with training.moving(*self.networks):
            error = full(model.recovery(model.embedder(X, rows), rows)) - X
            loss = weighted_mean(error.square(), batch.observed)
            training.step("embedding", loss)
        return {"reconstruction": loss.detach()}

    @torch.no_grad()
    def embedded(self, X: Tensor, rows: Tensor | None) -> Tensor:
        """Latents of windows, shape (batch, steps, latent), in 32 bits."""
        return full(self.training.model.embedder(self.training.model.scales.flowing(X), rows))

    def freeze(self) -> None:
        """Before the first step in the latent space: keep averaged weights, if any, learn latents' scales."""
        if self.frozen:
            return
        self._keep_averages()
        self.training.model.latents.fit(self._latents())
        self.frozen = True

    @torch.no_grad()
    def _keep_averages(self) -> None:
        """Weights that are sampled from are those that the latents are made with; the velocity's begin anew."""
        average, model = self.training.average, self.training.model
        if average is None:
            return
        parameters = [p for name in self.networks for p in model.network(name).parameters()]
        with average.swapped():
            kept = [parameter.clone() for parameter in parameters]
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
        average.updates = 0

    def _latents(self) -> Iterator[Tensor]:
        """Of steps inside windows, each of shape (steps, latent), on the CPU."""
        windows, model = self.training.windows, self.training.model
        count = min(len(windows), _EMBEDDED)
        chosen = np.linspace(0, len(windows) - 1, count).round().astype(np.int64)
        for part in np.array_split(chosen, -(-count // _AT_ONCE)):
            drawn = windows.gather(part)
            X, lengths = (torch.from_numpy(x).to(self.training.device) for x in (drawn.values, drawn.lengths))
            rows = model.rows(lengths)
            latents = self.embedded(X, rows)
            yield (latents.flatten(0, 1) if rows is None else latents[rows]).cpu()

    def state(self) -> dict[str, Tensor]:
        """By unique names."""
        return {"frozen": torch.tensor(self.frozen)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """What `state` gave."""
        self.frozen = bool(state["frozen"])


def _rows(batch: Batch) -> Tensor | None:
    """Shape (batch, steps): True for steps inside the window."""
    return None if batch.rows is None else batch.rows[..., 0] > 0
