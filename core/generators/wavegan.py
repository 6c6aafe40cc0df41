"""WaveGAN: strided convolutions against a Wasserstein critic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from core.errors import ConfigError
from core.generators.adversarial import AdversarialGenerator
from core.generators.base import Training
from core.networks.context import beside
from core.networks.convolution import DownsamplingStack, UpsamplingStack
from core.networks.sizes import context_width
from core.networks.straight_through import Gradient
from core.prepare.channels.layout import Channels
from core.prepare.series import Windows


class WaveGAN(AdversarialGenerator):
    """GAN of one-dimensional strided convolutions (Donahue, McAuley, Puckette 2019, section 3).

    The paper's are the transposed convolutions of the generator and the strided ones of the discriminator with
    leaky ReLU 0.2 (tables 3 and 4), phase shuffle (section 3.3), 100 numbers from U(-1, 1) for a whole window,
    and WGAN-GP (Gulrajani et al. 2017): penalty 10, 5 steps of the critic for one of the generator, Adam with
    betas 0.5 and 0.9. Adapted: channels are the columns, outputs lie in [0, 1], there are as many layers as a
    window needs instead of 5 for 16,384 steps, and static values and condition are read by the dense layer of
    the generator and, as channels, by the critic. What is past a window's end is 0 for the critic.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        width: Channels of the critic's first layer (64 in the paper); they double from layer to layer.
        kernel: Steps that a convolution reads (25), at least `stride`.
        stride: Factor of each layer (4).
        layers: Convolutions of each network; as many as leave at most 4 steps if None.
        noise: Width of the noise (100).
        phase_shuffle: Most steps by which the critic's inner layers are moved (2); 0: never.
        critic_steps: Of the critic in one iteration (5).
        gradient_penalty: Its weight (10).
        betas: Of Adam (0.5, 0.9); the section `training`'s if None.
        one_hot_gradient: See `core.networks.straight_through.one_hot`.
        seed: Fixes the initial weights.
    """

    kind: ClassVar[str] = "wavegan"

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        width: int = 64,
        kernel: int = 25,
        stride: int = 4,
        layers: int | None = None,
        noise: int = 100,
        phase_shuffle: int = 2,
        critic_steps: int = 5,
        gradient_penalty: float = 10.0,
        betas: Sequence[float] | None = (0.5, 0.9),
        one_hot_gradient: Gradient = "soft",
        seed: int = 0,
    ) -> None:
        depth = layers or depth_for(length, stride)
        options = {
            "width": width,
            "kernel": kernel,
            "stride": stride,
            "layers": depth,
            "noise": noise,
            "phase_shuffle": phase_shuffle,
            "critic_steps": critic_steps,
            "gradient_penalty": gradient_penalty,
            "betas": None if betas is None else list(betas),
            "one_hot_gradient": one_hot_gradient,
        }
        super().__init__(length, channels, options, width, one_hot_gradient)
        context, features = context_width(channels), channels.features
        self.generator = UpsamplingStack(noise + context, length, features, width, kernel, stride, depth)
        self.discriminator = DownsamplingStack(length, features + context, width, kernel, stride, depth)
        self.reset_parameters(seed)

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.training.wavegan import WaveGANTraining

        return WaveGANTraining(self, windows, options, device)

    def raw_windows(self, noise: Tensor, context: Tensor) -> Tensor:
        """See `AdversarialGenerator`."""
        raw: Tensor = self.generator(torch.cat([2 * noise - 1, context], dim=1))
        return raw

    def criticise(
        self, X: Tensor, context: Tensor, rows: Tensor | None = None, shifts: Tensor | None = None
    ) -> Tensor:
        """Scores of windows, shape (batch, 1): higher is more real.

        Args:
            X: Shape (batch, steps, channels).
            context: Shape (batch, static channels + condition channels).
            rows: Shape (batch, steps, 1): 1 inside the window; all of it if None.
            shifts: See `DownsamplingStack`.
        """
        x = beside(X, context)
        scores: Tensor = self.discriminator(x if rows is None else x * rows, shifts)
        return scores

    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """Of shape (n, noise) and, with static columns, (n, static channels), U[0, 1)."""
        return self.draw_noise("uniform", (n, self.options["noise"]), rng)


def depth_for(length: int, stride: int, rest: int = 4) -> int:
    """Layers, at least one, until at most `rest` steps are left.

    Raises:
        ConfigError: a stride under 2 would never get there.
    """
    if stride < 2:
        raise ConfigError(f"expected a stride of at least 2, got {stride}")
    layers = 1
    while -(-length // stride**layers) > rest:
        layers += 1
    return layers
