"""Recurrent networks that predict the next step: trained by teacher forcing and by professor forcing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from core.generators.autoregressive import AutoregressiveGenerator, Predictor
from core.generators.base import Training
from core.networks.context import beside
from core.networks.recurrent import Cell, RecurrentNetwork, RecurrentOptions, RecurrentStack, State
from core.networks.sizes import context_width, recurrent_width
from core.prepare.channels.layout import Block, Channels, width
from core.prepare.series import Windows


class RecurrentPredictor(Predictor):
    """h_t = RNN(x_{t-1}, s, c, h_{t-1}); the features of a step are the state of the last layer."""

    def __init__(
        self,
        blocks: tuple[Block, ...],
        context: int,
        hidden: int,
        layers: int,
        components: int,
        options: RecurrentOptions,
    ) -> None:
        super().__init__(hidden, blocks, components)
        self.recurrent = RecurrentStack(width(blocks) + 1 + context, hidden, layers, options)

    def forward(self, before: Tensor, context: Tensor) -> Tensor:
        """See `Predictor`."""
        features: Tensor = self.recurrent(beside(before, context))
        return features

    def start(self, context: Tensor) -> list[State]:
        """See `Predictor`."""
        return self.recurrent.start(len(context), context)

    def step(self, before: Tensor, context: Tensor, state: Sequence[State]) -> tuple[Tensor, list[State]]:
        """See `Predictor`."""
        return self.recurrent.step(torch.cat([before, context], dim=1), state)

    def reset_parameters(self, rng: torch.Generator) -> None:
        """See `Predictor`."""
        self.recurrent.reset_parameters(rng)
        super().reset_parameters(rng)


class RecurrentForcing(AutoregressiveGenerator):
    """What both forcings share: the recurrent predictor and drawing from it.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        options: `hidden` (4 times the channels if None), `layers`, `cell`, `components`, and for
            `generator.json` whatever else the subclass has.
        recurrent: How the recurrent layers are built.
    """

    def __init__(
        self, length: int, channels: Channels, options: dict[str, Any], recurrent: RecurrentOptions
    ) -> None:
        hidden = recurrent_width(options["hidden"], channels)
        predictor = RecurrentPredictor(
            channels.temporal,
            context_width(channels),
            hidden,
            options["layers"],
            options["components"],
            recurrent,
        )
        super().__init__(length, channels, {**options, "hidden": hidden}, hidden, predictor)


class TForcing(RecurrentForcing):
    """A recurrent network that predicts the next step, by maximum likelihood (Graves 2013, sections 2 and 4).

    Trained by teacher forcing: what it reads is the real step before, never its own (Williams and Zipser 1989;
    Sutskever et al. 2011). In the TimeGAN paper (section 5) it is a deterministic predictor of the next vector
    and only its first step is random: it can give one future to each start, which cannot describe a process
    with noise. So we follow Graves, whom the paper cites: the network gives the distribution of the next step,
    a mixture (`core.networks.mixtures`), training maximises its likelihood, and generating draws from it. The
    first step is drawn like every other, after an initial token. Recurrent layers and their width are the
    TimeGAN paper's (3 layers, 4 times the channels).

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        hidden: Width of the recurrent layers; 4 times the channels if None.
        layers: Recurrent layers.
        cell: See `core.networks.recurrent`.
        components: Of the mixture.
        dropout: Between layers, in training.
        recurrent_dropout: Of recurrent states, in training.
        seed: Fixes the initial weights.
    """

    kind: ClassVar[str] = "tforcing"

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        hidden: int | None = None,
        layers: int = 3,
        cell: Cell = "gru",
        components: int = 5,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        options = {
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "components": components,
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
        }
        recurrent = RecurrentOptions(cell=cell, dropout=dropout, recurrent_dropout=recurrent_dropout)
        super().__init__(length, channels, options, recurrent)
        self.reset_parameters(seed)

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.training.likelihood import LikelihoodTraining

        return LikelihoodTraining(self, windows, options, device)


class PForcing(RecurrentForcing):
    """T-Forcing whose network behaves alike when it reads real steps and its own (Lamb et al. 2016).

    A discriminator reads the behaviour of a run, the states of the predictor's last layer and the steps that
    it read out (B of section 2.2), and tells runs on real steps from runs on drawn ones. The predictor is
    trained by likelihood and to make its free runs look like taught ones. The predictor's two runs share all
    weights. Steps are drawn straight through, so that the discriminator's gradient reaches back through them.

    The paper's discriminator is a bidirectional GRU and dense layers for one answer a sequence; here a
    bidirectional network's logits are averaged over the steps of the window. There is no dropout: a free run
    has none, and the discriminator would tell the runs apart by it.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        hidden: Width of all recurrent layers; 4 times the channels if None.
        layers: Recurrent layers of the predictor; the discriminator has one.
        cell: See `core.networks.recurrent`.
        components: Of the mixture.
        adversarial: Weight of the discriminator's answer beside the likelihood (1 in the paper).
        teacher_term: Also make taught runs look like free ones (C_t, eq. 4, optional in the paper).
        discriminator_accuracy: The discriminator rests while it is right more often (0.99 in section 3).
        generator_accuracy: Its gradient reaches the predictor while it is right more often (0.75).
        seed: Fixes the initial weights.
    """

    kind: ClassVar[str] = "pforcing"

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        hidden: int | None = None,
        layers: int = 3,
        cell: Cell = "gru",
        components: int = 5,
        adversarial: float = 1.0,
        teacher_term: bool = False,
        discriminator_accuracy: float = 0.99,
        generator_accuracy: float = 0.75,
        seed: int = 0,
    ) -> None:
        options = {
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "components": components,
            "adversarial": adversarial,
            "teacher_term": teacher_term,
            "discriminator_accuracy": discriminator_accuracy,
            "generator_accuracy": generator_accuracy,
        }
        super().__init__(length, channels, options, RecurrentOptions(cell=cell))
        wide = self.options["hidden"]
        both = RecurrentOptions(cell=cell, bidirectional=True)
        inputs = wide + channels.features + context_width(channels)
        self.discriminator = RecurrentNetwork(inputs, wide, 1, 1, options=both)
        self.networks = (*self.networks, "discriminator")
        self.reset_parameters(seed)

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.training.professor import ProfessorTraining

        return ProfessorTraining(self, windows, options, device)

    def behaviour(self, features: Tensor, X: Tensor, context: Tensor) -> Tensor:
        """What the discriminator reads of a run, shape (batch, steps, width)."""
        return beside(torch.cat([features, X], dim=2), context)

    def judge(self, behaviour: Tensor, lengths: Tensor | None, rows: Tensor | None) -> Tensor:
        """Logits of windows, shape (batch,): positive says that the run was taught."""
        logits = self.discriminator(behaviour, lengths)[..., 0]
        if rows is None:
            return logits.mean(1)  # type: ignore[no-any-return]
        return (logits * rows[..., 0]).sum(1) / rows[..., 0].sum(1)  # type: ignore[no-any-return]
