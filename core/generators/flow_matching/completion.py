"""Which cells a window is told while it is learnt, so that the others can be drawn to fit any that are known.

One network learns every use of it at once (as masks do in Tashiro et al. 2021, section 4.3): single cells
(imputation), the first steps (forecasting, continuation), all but a stretch (gaps), whole columns (scenarios).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from core.generators.flow_matching.scales import Scales
from core.generators.flow_matching.solvers import Field
from core.generators.flow_matching.spectrum import Spectrum
from core.networks.transformer import Given
from core.prepare.channels.layout import Block, Channels, WindowArrays

if TYPE_CHECKING:
    from core.training.batches import Batch

MASKS = 8
Uniform = Callable[..., Tensor]
"""U[0, 1) of a shape."""


class Patterns:
    """Draws which cells are told.

    Args:
        channels: Of the windows. The channels of a cell are told together, its presence by itself.
        length: Steps of a window.
        share: Of windows that are told cells.
        device: Where masks are made.
        masks: Different ones in a batch, shared by its windows: each costs `beginning` a factorisation.
    """

    def __init__(
        self, channels: Channels, length: int, share: float, device: torch.device, masks: int = MASKS
    ) -> None:
        self.share = share
        self.masks = masks
        self.steps = torch.arange(length, device=device)
        self.groups, self.groups_static = (
            torch.tensor(_groups(blocks), dtype=torch.int64, device=device)
            for blocks in (channels.temporal, channels.static)
        )

    def draw(self, values: Tensor, static: Tensor, batch: Batch, uniform: Uniform) -> Given:
        """Cells that are told of a batch.

        Args:
            values: Shape (batch, steps, channels), in the numbers that flow.
            static: Shape (batch, static channels), likewise.
            batch: Missing cells, and those past a window's end, are not told.
            uniform: Draws.
        """
        count = len(values)
        told = uniform(count, 1) < self.share
        mask = (uniform(count) * self.masks).long()
        there = self._steps(self.masks, uniform)[mask] & told[..., None]
        there_static = torch.zeros_like(static, dtype=torch.bool)
        if len(self.groups_static):
            columns = uniform(count, int(self.groups_static.max()) + 1) < 0.5
            there_static = columns[:, self.groups_static] & told
        if batch.observed is not None:
            there = there & (batch.observed > 0)
        if batch.observed_static is not None:
            there_static = there_static & (batch.observed_static > 0)
        return Given(values, there.to(values.dtype), static, there_static.to(static.dtype))

    def _steps(self, count: int, uniform: Uniform) -> Tensor:
        """Shape (count, steps, channels): one of the four patterns for each window, each as often."""
        length, columns = len(self.steps), int(self.groups.max()) + 1
        single = uniform(count, length, columns) < uniform(count, 1, 1)
        first = self.steps < 1 + (uniform(count, 1) * (length - 1)).floor()
        ends = (uniform(count, 2) * (length + 1)).floor().sort(dim=1).values
        around = (self.steps < ends[:, :1]) | (self.steps >= ends[:, 1:])
        whole = uniform(count, 1, columns) < 0.5
        pattern = (uniform(count, 1, 1) * 4).floor()
        chosen = torch.where(pattern < 1, single, first[..., None])
        chosen = torch.where(pattern > 1, around[..., None], chosen)
        return torch.where(pattern > 2, whole, chosen)[..., self.groups]


def _groups(blocks: tuple[Block, ...]) -> list[int]:
    """By channel: channels with the same number are told together."""
    groups: list[int] = []
    for block in blocks:
        first = groups[-1] + 1 if groups else 0
        groups += [first] * block.optional + [first + block.optional] * block.width
    return groups


def told(windows: WindowArrays, scales: Scales, static_scales: Scales) -> Given:
    """Windows with NaN for what is unknown, as a network is told of them; nothing is known past their ends."""
    device = scales.center.device
    values, static, lengths = (
        torch.from_numpy(part).to(device) for part in (windows.values, windows.static, windows.lengths)
    )
    inside = torch.arange(values.shape[1], device=device) < lengths[:, None]
    there, there_static = values.isfinite() & inside[..., None], static.isfinite()
    return Given(
        scales.flowing(values.nan_to_num()),
        there.to(values.dtype),
        static_scales.flowing(static.nan_to_num()),
        there_static.to(static.dtype),
    )


def beginning(noise: tuple[Tensor, ...], given: Given, spectrum: Spectrum | None) -> tuple[Tensor, ...]:
    """Where paths begin: known cells at their values, the others of the window in noise that goes with them.

    That is a draw of the Gaussian process with the windows' moments given the known values x_k, made of any
    draw z by Matheron's rule, x_u = z_u + C_uk C_kk^-1 (x_k - z_k). So known cells stay where they are, and the
    others have only so far to go as the known ones leave open (as in Kollovieh et al. 2024, section 3.2): in
    other noise whatever is finer than the windows' level is lost.

    Args:
        noise: White, of steps, shape (batch, length, channels), and of static values.
        given: What is known. Windows of which no step's cell is begin as without it.
        spectrum: Of the windows; noise is white if None.
    """
    there, static = given.there > 0, given.there_static > 0
    x = noise[0]
    if spectrum is not None:
        x = spectrum.coloured(x)
        if spectrum.whole:
            like = spectrum.like_windows(noise[0])
            like = like + _pulled(given.values - like, there, spectrum.covariance())
            x = torch.where(there.flatten(1).any(dim=1)[:, None, None], like, x)
    return torch.where(there, given.values, x), torch.where(static, given.static, noise[1])


def _pulled(gap: Tensor, there: Tensor, covariance: Tensor) -> Tensor:
    """C_uk C_kk^-1 times the gaps at known cells, shape (batch, length, channels) kept; C in float64."""
    flat, shift = gap.flatten(1).double(), torch.zeros_like(gap).flatten(1)
    masks, mask_of = torch.unique(there.flatten(1), dim=0, return_inverse=True)
    for number, known in enumerate(masks):
        if bool(known.any()):
            windows = mask_of == number
            root = torch.linalg.cholesky(covariance[known][:, known])
            weights = torch.cholesky_solve(flat[windows][:, known].T, root)
            shift[windows] = (covariance[:, known] @ weights).T.to(gap.dtype)
    return shift.view_as(gap)


def known_numbers(given: Given) -> Tensor:
    """Shape (batch, numbers): True for the numbers of a state that are known."""
    return torch.cat([given.there.flatten(1), given.there_static], dim=1) > 0


def towards(given: Given, start: Tensor, field: Field) -> Field:
    """The field, where known cells stay: the network never learnt velocities of them."""
    known = known_numbers(given)
    line = torch.cat([given.values.flatten(1), given.static], dim=1) - start
    return lambda state, time: torch.where(known, line, field(state, time))


def kept(known: WindowArrays, values: Tensor, static: Tensor) -> WindowArrays:
    """What is known of windows, bit for bit, and for the rest what was drawn; 0 past their ends.

    Args:
        known: NaN for what is unknown.
        values: Shape (N, length, channels).
        static: Shape (N, static channels).
    """
    inside = np.arange(values.shape[1]) < known.lengths[:, None]
    filled = np.where(np.isfinite(known.values), known.values, values.cpu().numpy()) * inside[..., None]
    filled_static = np.where(np.isfinite(known.static), known.static, static.cpu().numpy())
    return WindowArrays(filled.astype(np.float32), filled_static, known.condition, known.lengths)
