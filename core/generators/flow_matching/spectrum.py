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

    Of Gaussian windows the moments say everything, the velocity too (`gaussian`); the network learns what to
    add to it.

    Args:
        length: Steps of a window.
        blocks: Of the channels, in order.
    """

    directions: Tensor
    moved: Tensor
    cosines: Tensor
    free: Tensor

    def __init__(self, length: int, blocks: tuple[Block, ...]) -> None:
        super().__init__()
        count = width(blocks)
        free = torch.ones(count, dtype=torch.bool)
        for span in spans(blocks):
            free[span.values] = span.block.kind != "continuous" or span.presence is not None
        self.register_buffer("directions", torch.eye(count).repeat(length, 1, 1))
        self.register_buffer("moved", torch.ones(length, count))
        self.register_buffer("cosines", _cosines(length), persistent=False)
        self.register_buffer("free", free, persistent=False)

    @torch.no_grad()
    def fit(self, parts: Iterable[Tensor]) -> None:
        """Learn from windows.

        Args:
            parts: Each of shape (windows, length, channels), whole windows, standardised.
        """
        chosen = torch.nonzero(~self.free.cpu()).flatten()
        total, count = torch.zeros(len(self.moved), len(chosen), len(chosen), dtype=torch.float64), 0
        cosines = self.cosines.double().cpu()
        for part in parts:
            found = torch.einsum("kt,btc->kbc", cosines, part.double()[..., chosen])
            total += found.transpose(1, 2) @ found
            count += len(part)
        variances, directions = torch.linalg.eigh(total / max(count, 1))
        self.moved[:, chosen] = variances.clamp(min=FLOOR**2).sqrt().to(self.moved)
        self.directions[:, chosen[:, None], chosen] = directions.to(self.directions)

    @property
    def noise(self) -> Tensor:
        """Deviations of the noise by frequency and direction, shape (length, channels)."""
        return self.moved.clamp(max=1)

    def white(self, x: Tensor) -> Tensor:
        """White z of x, shape (batch, length, channels) kept."""
        return self._scaled(x, 1 / self.noise[:, None])

    def coloured(self, z: Tensor) -> Tensor:
        """Coloured x of z, shape (batch, length, channels) kept."""
        return self._scaled(z, self.noise[:, None])

    def like_windows(self, z: Tensor) -> Tensor:
        """Noise that moves just as the windows do, of white noise z, shape (batch, length, channels) kept."""
        return self._scaled(z, self.moved[:, None])

    def gaussian(self, x: Tensor, time: Tensor) -> Tensor:
        """The velocity E[x_1 - x_0 | x_t] of Gaussian windows of these moments, shape of `x` kept.

        In a direction where windows have the deviation s and noise n it is

            (t s^2 - (1 - t) n^2) / ((1 - t)^2 n^2 + t^2 s^2) x_t;

        of channels that are left alone nothing.

        Args:
            x: x_t, shape (batch, length, channels).
            time: t, shape (batch,), or (1,) for all.
        """
        t = time[None, :, None]
        windows, noise = (deviation.square()[:, None] for deviation in (self.moved, self.noise))
        gain = (t * windows - (1 - t) * noise) / ((1 - t).square() * noise + t.square() * windows)
        return self._scaled(x, gain.masked_fill(self.free, 0))

    def covariance(self) -> Tensor:
        """Of `like_windows`, step by step, shape (length channels, length channels), float64."""
        cosines, directions = self.cosines.double(), self.directions.double()
        square = (directions * self.moved.double().square()[:, None]) @ directions.transpose(1, 2)
        whole = torch.einsum("kt,kcd,ks->tcsd", cosines, square, cosines)
        size = whole.shape[0] * whole.shape[1]
        return whole.reshape(size, size)

    def _scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        """Along each direction by `scale`, shape (length, batch or 1, channels)."""
        found = (self.cosines @ x).transpose(0, 1) @ self.directions
        return self.cosines.T @ ((found * scale) @ self.directions.transpose(1, 2)).transpose(0, 1)


def _cosines(length: int) -> Tensor:
    """The orthonormal DCT-II, shape (frequencies, steps)."""
    steps = torch.arange(length, dtype=torch.float64)
    waves = torch.cos(math.pi / length * steps[:, None] * (steps + 0.5)) * math.sqrt(2 / length)
    waves[0] = 1 / math.sqrt(length)
    return waves.float()
