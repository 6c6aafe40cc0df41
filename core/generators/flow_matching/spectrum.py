"""How little windows move, by frequency: the noise moves as little, and the network reads it enlarged."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from core.prepare.channels.layout import Block, spans, width

FLOOR = 1e-3
"""Least standard deviation of a direction, that of a channel over all steps being 1."""


class Spectrum(nn.Module):
    """A symmetric linear map x = B z of white noise z to noise that nowhere moves more than the windows do.

    Most series move a thousand times more from window to window than from step to step, and neighbouring
    columns differ by little. White noise hides such small movements until the very end of the way, and a
    network that is trained on the numbers as they are has no reason to care for them. So the noise is that of a
    Gaussian process (as in Kollovieh et al. 2024, section 3.2, but learnt), and the network works on z, where
    all that moves less than a standardised cell is enlarged to its size. What moves more, the level above all,
    stays as it is: it is then found early on the way, the rest to fit it.

    Along the steps B is diagonal in the orthonormal DCT-II, which nearly diagonalises any stationary series
    (Ahmed, Natarajan and Rao 1974); at each frequency it is the root of the channels' second moments, its
    eigenvalues between `FLOOR` and 1. Before `fit`, and for channels that are discrete or may be missing, it is
    the identity.

    Args:
        length: Steps of a window.
        blocks: Of the channels, in order.
    """

    root: Tensor
    inverse: Tensor
    whole: Tensor
    cosines: Tensor

    def __init__(self, length: int, blocks: tuple[Block, ...]) -> None:
        super().__init__()
        self.smooth = [
            span.values.start
            for span in spans(blocks)
            if span.block.kind == "continuous" and span.presence is None
        ]
        """Channels that it is learnt of."""
        identity = torch.eye(width(blocks)).expand(length, -1, -1)
        self.register_buffer("root", identity.clone())
        self.register_buffer("inverse", identity.clone())
        self.register_buffer("whole", identity.clone())
        self.register_buffer("cosines", _cosines(length), persistent=False)

    @torch.no_grad()
    def fit(self, parts: Iterable[Tensor]) -> None:
        """Learn from windows.

        Args:
            parts: Each of shape (windows, length, channels), whole windows, standardised.
        """
        total, count = torch.zeros(self.root.shape, dtype=torch.float64), 0
        chosen = torch.tensor(self.smooth, dtype=torch.int64)
        cosines = self.cosines.double().cpu()
        for part in parts:
            found = torch.einsum("kt,btc->kbc", cosines, part.double()[..., chosen])
            total[:, chosen[:, None], chosen] += found.transpose(1, 2) @ found
            count += len(part)
        variances, directions = torch.linalg.eigh(total / max(count, 1))
        moved = variances.clamp(min=FLOOR**2).sqrt()[:, None]
        deviations = moved.clamp(max=1)
        free = torch.ones(self.root.shape[-1], dtype=torch.bool)
        free[chosen] = False
        for buffer, scale in ((self.root, deviations), (self.inverse, 1 / deviations), (self.whole, moved)):
            value = (directions * scale) @ directions.transpose(1, 2)
            value[:, free] = value[:, :, free] = 0
            value[:, free, free] = 1
            buffer.copy_(value)

    def like_windows(self, z: Tensor) -> Tensor:
        """Noise that moves just as the windows do, of white noise z, shape (batch, length, channels) kept."""
        return self._mapped(z, self.whole)

    def covariance(self) -> Tensor:
        """Of `like_windows`, step by step, shape (length channels, length channels), float64."""
        cosines, square = self.cosines.double(), (self.whole @ self.whole).double()
        whole = torch.einsum("kt,kcd,ks->tcsd", cosines, square, cosines)
        size = whole.shape[0] * whole.shape[1]
        return whole.reshape(size, size)

    def white(self, x: Tensor) -> Tensor:
        """White z of x, shape (batch, length, channels) kept."""
        return self._mapped(x, self.inverse)

    def coloured(self, z: Tensor) -> Tensor:
        """Coloured x of z, shape (batch, length, channels) kept."""
        return self._mapped(z, self.root)

    def _mapped(self, x: Tensor, by: Tensor) -> Tensor:
        frequencies = (self.cosines @ x).transpose(0, 1)
        return self.cosines.T @ (frequencies @ by).transpose(0, 1)


def _cosines(length: int) -> Tensor:
    """The orthonormal DCT-II, shape (frequencies, steps)."""
    steps = torch.arange(length, dtype=torch.float64)
    waves = torch.cos(math.pi / length * steps[:, None] * (steps + 0.5)) * math.sqrt(2 / length)
    waves[0] = 1 / math.sqrt(length)
    return waves.float()
