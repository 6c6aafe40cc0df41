"""WaveNet: dilated causal convolutions instead of a recurrent network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import ConfigError
from core.generators.autoregressive import AutoregressiveGenerator, Predictor
from core.generators.base import Training
from core.networks.convolution import CausalStack, History
from core.networks.recurrent import reset_linear
from core.networks.sizes import context_width
from core.prepare.channels.layout import Block, Channels, width
from core.prepare.series import Windows


class ConvolutionalPredictor(Predictor):
    """A causal stack, ReLU and a dense layer (twice, as in figure 4 of the paper)."""

    def __init__(self, blocks: tuple[Block, ...], components: int, stack: CausalStack, skip: int) -> None:
        super().__init__(skip, blocks, components)
        self.stack = stack
        self.mix = nn.Linear(skip, skip)

    def forward(self, before: Tensor, context: Tensor) -> Tensor:
        """See `Predictor`."""
        return functional.relu(self.mix(self.stack(before, context)))

    def start(self, context: Tensor) -> History:  # noqa: ARG002 - nothing has been read yet
        """See `Predictor`."""
        return self.stack.start()

    def step(self, before: Tensor, context: Tensor, state: History) -> tuple[Tensor, History]:
        """See `Predictor`."""
        return functional.relu(self.mix(self.stack.step(before, context, state))), state

    def reset_parameters(self, rng: torch.Generator) -> None:
        """See `Predictor`."""
        self.stack.reset_parameters(rng)
        reset_linear(self.mix, rng)
        super().reset_parameters(rng)


class WaveNet(AutoregressiveGenerator):
    """Dilated causal convolutions with gated units (van den Oord et al. 2016).

    The paper's are the causal convolutions and their dilations (section 2.1), the gated units (eq. 2), residual
    and skip connections (section 2.4), and global conditioning (eq. 3), which reads static values and the
    condition here; without them generating is unconditional. Adapted: the input is a vector of channels
    instead of one waveform; dilations grow until a stack sees the whole window instead of to 512; and the
    256-way softmax over mu-law levels (section 2.2) gives way to a mixture of logistics
    (`core.networks.mixtures`), as in its successor (Parallel WaveNet, van den Oord et al. 2018, section 2.1).
    A softmax for each channel would be 256 numbers a column, coarse for prices, and would make the columns of
    a step independent of each other.

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        residual: Channels of the residual stream and of the gated units.
        skip: Channels of the skip connections.
        kernel: Steps that a layer reads (2 in the paper).
        stacks: How often the dilations are gone through.
        dilations: Of one stack; 1, 2, 4, ... until it sees the window if None.
        components: Of the mixture.
        seed: Fixes the initial weights.
    """

    kind: ClassVar[str] = "wavenet"

    def __init__(
        self,
        *,
        length: int,
        channels: Channels,
        residual: int = 32,
        skip: int = 64,
        kernel: int = 2,
        stacks: int = 2,
        dilations: Sequence[int] | None = None,
        components: int = 5,
        seed: int = 0,
    ) -> None:
        chosen = list(dilations or doubling(length, kernel))
        options = {
            "residual": residual,
            "skip": skip,
            "kernel": kernel,
            "stacks": stacks,
            "dilations": chosen,
            "components": components,
        }
        inputs, context = width(channels.temporal) + 1, context_width(channels)
        stack = CausalStack(inputs, context, residual, skip, kernel, chosen * stacks)
        predictor = ConvolutionalPredictor(channels.temporal, components, stack, skip)
        super().__init__(length, channels, options, skip, predictor)
        self.reset_parameters(seed)

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.training.likelihood import LikelihoodTraining

        return LikelihoodTraining(self, windows, options, device)


def doubling(length: int, kernel: int) -> list[int]:
    """Dilations 1, 2, 4, ... whose receptive field, 1 + (kernel - 1) times their sum, covers `length` steps.

    Raises:
        ConfigError: a kernel under 2 sees one step for ever.
    """
    if kernel < 2:
        raise ConfigError(f"expected a kernel of at least 2, got {kernel}")
    dilations = [1]
    while 1 + (kernel - 1) * sum(dilations) < length:
        dilations.append(2 * dilations[-1])
    return dilations
