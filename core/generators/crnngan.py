"""C-RNN-GAN: a generator that reads its own last step, a discriminator that reads both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from core.generators.adversarial import AdversarialGenerator
from core.generators.base import Training
from core.networks.context import beside
from core.networks.recurrent import Cell, RecurrentNetwork, RecurrentOptions
from core.networks.sizes import context_width, recurrent_width
from core.networks.straight_through import Gradient
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows


class CRNNGAN(AdversarialGenerator):
    """Continuous recurrent GAN (Mogren 2016, section 2).

    The generator reads U[0, 1) noise and its own output of the step before; the discriminator is bidirectional,
    answers at each step by a sigmoid, and the mean of the answers is its decision. Both are the paper's, as are
    freezing, feature matching, the L2 penalty and pretraining by squared error (`core.generators.training`).
    Adapted as in the TimeGAN paper: GRUs of 3 layers and 4 times the channels instead of LSTMs of 2 layers and
    350 units; outputs in [0, 1]. The paper prints the generator's loss as log(1 - D(G(z))); its code, and this
    one, minimises -log D(G(z)), without which freezing at a share of the loss would have no meaning. While
    pretraining, the paper lets windows grow; ours are short and stay whole.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        hidden: Width of the recurrent layers; 4 times the channels if None.
        layers: Recurrent layers of each network.
        cell: See `core.networks.recurrent`.
        noise: Width of the noise at each step; as many as channels if None, as in the paper.
        feature_matching: The generator matches the discriminator's last layer on real windows instead of
            minimising -log D; see docs/comparison.md.
        freezing: A network rests while its loss is below this share of the other's (0.7); 0: never.
        l2: Weight of the sum of squared weights of each network (the paper gives no number).
        pretraining: Share of the iterations that pretrain the generator (6 epochs in the paper).
        betas: Of Adam; the section `training`'s if None (the paper has plain gradient descent).
        one_hot_gradient: See `core.networks.straight_through.one_hot`.
        seed: Fixes the initial weights.
    """

    kind: ClassVar[str] = "crnngan"

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        hidden: int | None = None,
        layers: int = 3,
        cell: Cell = "gru",
        noise: int | None = None,
        feature_matching: bool = True,
        freezing: float = 0.7,
        l2: float = 1e-4,
        pretraining: float = 0.1,
        betas: Sequence[float] | None = (0.5, 0.9),
        one_hot_gradient: Gradient = "soft",
        seed: int = 0,
    ) -> None:
        wide, context = recurrent_width(hidden, channels), context_width(channels)
        options = {
            "hidden": wide,
            "layers": layers,
            "cell": cell,
            "noise": noise or channels.features,
            "feature_matching": feature_matching,
            "freezing": freezing,
            "l2": l2,
            "pretraining": pretraining,
            "betas": None if betas is None else list(betas),
            "one_hot_gradient": one_hot_gradient,
        }
        super().__init__(length, channels, options, wide, one_hot_gradient)
        features = channels.features
        inputs = int(self.options["noise"]) + features + context
        self.generator = RecurrentNetwork(inputs, wide, features, layers, options=RecurrentOptions(cell=cell))
        both = RecurrentOptions(cell=cell, bidirectional=True)
        self.discriminator = RecurrentNetwork(features + context, wide, 1, layers, options=both)
        self.reset_parameters(seed)

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.training.crnngan import CRNNGANTraining

        return CRNNGANTraining(self, windows, options, device)

    def raw_windows(self, noise: Tensor, context: Tensor) -> Tensor:
        """See `AdversarialGenerator`."""
        states = self.generator.recurrent.start(len(noise), noise)
        before = noise.new_zeros(len(noise), self.channels.features)
        raws = []
        for step in noise.unbind(1):
            raw, states = self.generator.step(torch.cat([step, before, context], dim=1), states)
            before = self.head(raw)
            raws.append(raw)
        return torch.stack(raws, dim=1)

    def predict(self, noise: Tensor, X: Tensor, context: Tensor) -> Tensor:
        """Windows whose every step follows the real one before, for pretraining."""
        before = torch.cat([torch.zeros_like(X[:, :1]), X[:, :-1]], dim=1)
        predicted: Tensor = self.head(self.generator(beside(torch.cat([noise, before], dim=2), context)))
        return predicted

    def discriminate(self, X: Tensor, context: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits of each step, (batch, steps, 1), and what they were made of, (batch, steps, 2 x hidden)."""
        representation = self.discriminator.recurrent(beside(X, context), lengths)
        return self.discriminator.dense(representation), representation

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """Of shape (n, length, noise) and, with static columns, (n, static channels), U[0, 1)."""
        return self.draw_noise("uniform", (n, self.length, self.options["noise"]), rng)
