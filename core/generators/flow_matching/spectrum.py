"""How little windows move, by frequency: the noise moves as little, and the network reads it enlarged."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from core.networks.levels import cosines
from core.prepare.channels.layout import Block, spans, width

FLOOR = 1e-3
"""Least standard deviation of a direction, that of a channel over all steps being 1."""
MOST_NUMBERS = 2048
"""Numbers of a window whose moments are kept whole, at most: the work with them grows with their cube."""


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

    Were windows Gaussian, the moments would say everything, the velocity too: of small movements that is where
    the network begins (`velocity`), and it learns what to add.

    A window of which cells are known is drawn from its moments as they are, which the DCT only nearly
    diagonalises: least well at a window's ends, where series are continued.

    Args:
        length: Steps of a window.
        blocks: Of the channels, in order.
        whole: Keep the moments of all numbers of a window, for `like_windows`, if they are no more than
            `MOST_NUMBERS`.
    """

    directions: Tensor
    moved: Tensor
    cosines: Tensor
    free: Tensor
    root: Tensor

    def __init__(self, length: int, blocks: tuple[Block, ...], whole: bool = False) -> None:
        super().__init__()
        count = width(blocks)
        free = torch.ones(count, dtype=torch.bool)
        for span in spans(blocks):
            free[span.values] = span.block.kind != "continuous" or span.presence is not None
        self.register_buffer("directions", torch.eye(count).repeat(length, 1, 1))
        self.register_buffer("moved", torch.ones(length, count))
        self.whole = whole and length * count <= MOST_NUMBERS
        self.register_buffer("root", torch.eye(length * count) if self.whole else torch.empty(0))
        self.register_buffer("cosines", cosines(length), persistent=False)
        self.register_buffer("free", free, persistent=False)

    @torch.no_grad()
    def fit(self, parts: Iterable[Tensor]) -> None:
        """Learn from windows.

        Args:
            parts: Each of shape (windows, length, channels), whole windows, standardised.
        """
        chosen = torch.nonzero(~self.free.cpu()).flatten()
        steps, channels = len(self.moved), len(chosen)
        total = torch.zeros(steps, channels, channels, dtype=torch.float64)
        whole = torch.zeros(2 * (steps * channels * self.whole,), dtype=torch.float64)
        cosines, count = self.cosines.double().cpu(), 0
        for part in parts:
            x = part.double()[..., chosen]
            found = torch.einsum("kt,btc->kbc", cosines, x)
            total += found.transpose(1, 2) @ found
            if self.whole:
                whole += x.flatten(1).T @ x.flatten(1)
            count += len(part)
        deviations, directions = _eigen(total / max(count, 1))
        self.moved[:, chosen] = deviations.to(self.moved)
        self.directions[:, chosen[:, None], chosen] = directions.to(self.directions)
        if self.whole:
            deviations, directions = _eigen(whole / max(count, 1))
            cells = (torch.arange(steps)[:, None] * len(self.free) + chosen).flatten()
            self.root[cells[:, None], cells] = (directions * deviations @ directions.T).to(self.root)

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

    def weighed(self, x: Tensor) -> Tensor:
        """Errors as the loss counts their squares, shape (batch, length, channels) kept.

        A white error's square has a weight that is proportional to the root of the noise's deviation in its
        direction, 1 on average. If all weighed alike, the many directions in which windows hardly move would be
        nearly all of the loss, and of its gradient's noise; in the columns' own units they would be nothing.
        """
        weights = self.noise.sqrt()
        return self._scaled(x, ((weights / weights.mean()).sqrt() / self.noise)[:, None])

    def like_windows(self, z: Tensor) -> Tensor:
        """Noise that moves just as the windows do, of white noise z, shape (batch, length, channels) kept.

        Of a spectrum that keeps moments whole.
        """
        return (z.flatten(1) @ self.root).view_as(z)

    def velocity(self, slopes: Tensor, x: Tensor, time: Tensor, alone: Tensor | None = None) -> Tensor:
        """`coloured` slopes and, of what moves less than noise may, E[x_1 - x_0 | x_t] were it Gaussian.

        Windows and noise have the same moments there, so it is, in every such direction,

            (2 t - 1) / ((1 - t)^2 + t^2) x_t.

        Of what moves more, and of channels that are left alone, nothing is added: how levels lie is far from
        Gaussian, and a path that begins as if it were must be bent back within a short time.

        Args:
            slopes: White, shape (batch, length, channels).
            x: x_t, of the same shape.
            time: t, shape (batch,), or (1,) for all.
            alone: Shape (batch,): True for windows to whose slopes nothing is added.
        """
        gain = (2 * time - 1) / ((1 - time).square() + time.square())
        if alone is not None:
            gain = gain.expand(len(x)).masked_fill(alone, 0)
        still = ((self.moved < 1) & ~self.free).to(x.dtype)
        return self._back(
            self._along(slopes) * self.noise[:, None] + self._along(x * gain[:, None, None]) * still[:, None]
        )

    def covariance(self) -> Tensor:
        """Of `like_windows`, shape (length channels, length channels), float64."""
        root = self.root.double()
        return root @ root

    def _scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        """Along each direction by `scale`, shape (length, batch or 1, channels)."""
        return self._back(self._along(x) * scale)

    def _along(self, x: Tensor) -> Tensor:
        """Of x, shape (batch, length, channels), along each direction, shape (length, batch, channels)."""
        return (self.cosines @ x).transpose(0, 1) @ self.directions

    def _back(self, found: Tensor) -> Tensor:
        """The inverse of `_along`."""
        return self.cosines.T @ (found @ self.directions.transpose(1, 2)).transpose(0, 1)


def _eigen(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations, `FLOOR` at least, and directions of symmetric matrices, shapes (..., n) and (..., n, n)."""
    variances, directions = torch.linalg.eigh(moments)
    return variances.clamp(min=FLOOR**2).sqrt(), directions
