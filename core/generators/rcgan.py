"""RCGAN: recurrent generator, recurrent discriminator, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from core.generators.adversarial import AdversarialGenerator, NoiseKind
from core.generators.base import Training
from core.networks.context import beside
from core.networks.recurrent import Cell, RecurrentNetwork, RecurrentOptions
from core.networks.sizes import context_width, recurrent_width
from core.networks.straight_through import Gradient
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows


class RCGAN(AdversarialGenerator):
    """Recurrent (conditional) GAN (Esteban, Hyland, Rätsch 2017, section 3).

    The generator turns independent noise at each step, and the condition at each step, into a window; the
    discriminator answers at each step. Both are the paper's. Adapted as in the TimeGAN paper: GRUs of 3 layers
    and 4 times the channels instead of one LSTM of 100 units (`cell`, `layers`, `hidden` give that), and the
    outputs are in [0, 1]. Without conditions it is the paper's RGAN. Both networks have the optimiser of the
    section `training`.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        hidden: Width of the recurrent layers; 4 times the channels if None.
        layers: Recurrent layers of each network.
        cell: See `core.networks.recurrent`.
        noise: Width of the noise at each step; as many as channels if None.
        noise_kind: N(0, 1), as in the paper's code, or U[0, 1).
        bidirectional: The discriminator reads both ways (no, in the paper).
        discriminator_steps: Of the discriminator in one iteration.
        generator_steps: Of the generator in one iteration.
        betas: Of Adam; the section `training`'s if None. Not the paper's, which moves the discriminator by
            plain gradient descent, but usual for adversaries (Radford et al. 2016, section 4).
        one_hot_gradient: See `core.networks.straight_through.one_hot`.
        dropout: Between layers, in training.
        recurrent_dropout: Of recurrent states, in training.
        seed: Fixes the initial weights.
    """

    kind: ClassVar[str] = "rcgan"

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        hidden: int | None = None,
        layers: int = 3,
        cell: Cell = "gru",
        noise: int | None = None,
        noise_kind: NoiseKind = "gaussian",
        bidirectional: bool = False,
        discriminator_steps: int = 1,
        generator_steps: int = 1,
        betas: Sequence[float] | None = (0.5, 0.9),
        one_hot_gradient: Gradient = "soft",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        wide, context = recurrent_width(hidden, channels), context_width(channels)
        options = {
            "hidden": wide,
            "layers": layers,
            "cell": cell,
            "noise": noise or channels.features,
            "noise_kind": noise_kind,
            "bidirectional": bidirectional,
            "discriminator_steps": discriminator_steps,
            "generator_steps": generator_steps,
            "betas": None if betas is None else list(betas),
            "one_hot_gradient": one_hot_gradient,
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
        }
        super().__init__(length, channels, options, wide, one_hot_gradient)

        def recurrent(inputs: int, outputs: int, both: bool) -> RecurrentNetwork:
            built = RecurrentOptions(
                cell=cell, bidirectional=both, dropout=dropout, recurrent_dropout=recurrent_dropout
            )
            return RecurrentNetwork(inputs, wide, outputs, layers, options=built)

        self.generator = recurrent(int(self.options["noise"]) + context, channels.features, both=False)
        self.discriminator = recurrent(channels.features + context, 1, both=bidirectional)
        self.reset_parameters(seed)

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.training.rcgan import RCGANTraining

        return RCGANTraining(self, windows, options, device)

    def raw_windows(self, noise: Tensor, context: Tensor) -> Tensor:
        """See `AdversarialGenerator`."""
        raw: Tensor = self.generator(beside(noise, context))
        return raw

    def discriminate(self, X: Tensor, context: Tensor, lengths: Tensor | None) -> Tensor:
        """Logits of each step, shape (batch, steps, 1)."""
        logits: Tensor = self.discriminator(beside(X, context), lengths)
        return logits

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """Of shape (n, length, noise) and, with static columns, (n, static channels)."""
        return self.draw_noise(self.options["noise_kind"], (n, self.length, self.options["noise"]), rng)
