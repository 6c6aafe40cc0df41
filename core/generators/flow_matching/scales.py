"""Between the channels of windows and the numbers that flow."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from core.prepare.channels.layout import Block, spans, width


class Scales(torch.nn.Module):
    """Continuous channels standardised, all others -1 or 1.

    Discrete channels flow as analog bits (Chen, Zhang and Hinton 2023) and are decided at the end. Continuous
    ones end within the range of the training windows. It is part of the generator's files.

    Args:
        blocks: Of the channels, in order.
    """

    center: Tensor
    spread: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, blocks: tuple[Block, ...]) -> None:
        super().__init__()
        self.spans = tuple(spans(blocks))
        count = width(blocks)
        for name, value in (("center", 0.5), ("spread", 0.5), ("low", 0.0), ("high", 1.0)):
            self.register_buffer(name, torch.full((count,), value))

    @torch.no_grad()
    def fit(self, parts: Iterable[Tensor]) -> None:
        """Learn centre, spread and range of continuous channels.

        Args:
            parts: Rows, each of shape (rows, channels): looked at one after the other, merged exactly (Chan,
                Golub and LeVeque 1983, eq. 2.1). Missing cells do not count.
        """
        count, mean, square = (torch.zeros(len(self.center), dtype=torch.float64) for _ in range(3))
        low, high = torch.full_like(mean, torch.inf), torch.full_like(mean, -torch.inf)
        for part in parts:
            values = part.double()
            there = self._present(values)
            new = there.sum(0)
            found = (values * there).sum(0) / new.clamp(min=1)
            away = found - mean
            together = (count + new).clamp(min=1)
            square += ((values - found) * there).square().sum(0) + away.square() * count * new / together
            mean += away * new / together
            count += new
            low = torch.minimum(low, values.masked_fill(~there, torch.inf).amin(0))
            high = torch.maximum(high, values.masked_fill(~there, -torch.inf).amax(0))
        deviation = (square / count.clamp(min=1)).sqrt()
        learnt = self._continuous & (count > 0)
        for buffer, value in (
            (self.center, mean),
            (self.spread, torch.where(deviation > 0, deviation, 1.0)),
            (self.low, low),
            (self.high, high),
        ):
            buffer.copy_(torch.where(learnt, value, buffer.double().cpu()))

    def _present(self, values: Tensor) -> Tensor:
        """Shape of `values`: False for the value channels of a missing cell."""
        there = torch.ones_like(values, dtype=torch.bool)
        for span in (span for span in self.spans if span.presence is not None):
            there[:, span.values] = (values[:, span.presence] > 0.5)[:, None]
        return there

    @property
    def _continuous(self) -> Tensor:
        """Shape (channels,)."""
        chosen = torch.zeros(len(self.center), dtype=torch.bool)
        for span in self.spans:
            chosen[span.values] = span.block.kind == "continuous"
        return chosen

    def flowing(self, values: Tensor) -> Tensor:
        """Channels to what flows, shape (..., channels) kept."""
        return (values - self.center) / self.spread

    def channels(self, x: Tensor) -> Tensor:
        """What flowed to valid channels, shape kept."""
        raw = x * self.spread + self.center
        out = torch.empty_like(raw)
        for span in self.spans:
            values = raw[..., span.values]
            if span.block.kind == "continuous":
                values = values.clamp(self.low[span.values], self.high[span.values])
            elif span.block.kind == "binary":
                values = (values > 0.5).to(raw.dtype)
            else:
                values = torch.nn.functional.one_hot(values.argmax(-1), span.block.width).to(raw.dtype)
            if span.presence is not None:
                there = (raw[..., span.presence] > 0.5).to(raw.dtype)
                out[..., span.presence] = there
                values = values * there[..., None]
            out[..., span.values] = values
        return out
