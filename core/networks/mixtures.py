"""The distribution of one step of a window given what came before it: its likelihood, and drawing from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.networks import straight_through
from core.prepare.channels.layout import Block, spans

MIN_SCALE = 1e-4
"""Smallest scale of a component; the likelihood of a column that repeats a value would have no bound."""
_START_SCALE = -2.25  # softplus of it is 0.1, a tenth of the range
_TINY = 1e-7


class MixtureHead(nn.Module):
    """A mixture of K products over the channels of a step, whose parameters a network gives (`inputs` numbers).

    p(x) = sum_k w_k prod_blocks p_k(block). A component has for each block

    - continuous: a logistic distribution whose mass below 0 and above 1 lies on 0 and 1,
      F(x) = sigmoid((x - m) / s), as PixelCNN++ has it for pixels (Salimans et al. 2017, section 2.1): its CDF
      is closed, its tails are heavier than a Gaussian's, and it generates nothing outside [0, 1]. Ours is not
      cut into levels, since columns have no common resolution: inside (0, 1) it has a density.
    - binary, and the presence of a cell that may be missing: Bernoulli(sigmoid(l))
    - one-hot: softmax of its logits

    and a missing cell adds nothing but its absence. Columns of one step depend on each other in three ways: by
    the component, which they share (as in Graves 2013, section 4.1); the mean of a continuous column moves
    with the discrete channels of the step (`effect`) and with how far the continuous columns before it came
    out from their means (`innovation`, strictly lower triangular, the linear dependence that PixelCNN++ gives
    the colours of a pixel, section 2.2, here the same at every step):

    m_i = mean_i + sum_d effect_id d + sum_{j<i} innovation_ij (x_j - mean_j)

    It computes in the precision of its weights, mixed precision or not: a narrow density needs it.

    Args:
        blocks: Of the channels, in order.
        components: K, at least 1.
    """

    def __init__(self, blocks: Sequence[Block], components: int) -> None:
        super().__init__()
        self.components = components
        self.spans = tuple(spans(blocks))
        self.channels = sum(span.block.channels for span in self.spans)
        smooth = [span for span in self.spans if span.block.kind == "continuous"]
        self.smooth = [span.values.start for span in smooth]
        """Channels of continuous values."""
        self.presence = [span.presence for span in smooth]
        self.discrete = [channel for channel in range(self.channels) if channel not in self.smooth]
        """The other channels, presence channels among them."""
        self.places = self._places()
        self.inputs = components * (1 + 2 * len(self.smooth) + len(self.discrete))
        """Numbers that the distribution of a step takes."""
        self.noise = components + self.channels
        """Uniform numbers that drawing a step takes."""
        self.location = nn.Parameter(torch.empty(components, len(self.smooth)))
        self.innovation = nn.Parameter(torch.empty(len(self.smooth), len(self.smooth)))
        self.effect = nn.Parameter(torch.empty(len(self.smooth), len(self.discrete)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Components side by side over [0, 1], columns independent."""
        places = (torch.arange(self.components) + 0.5) / self.components
        self.location.copy_(places[:, None].expand_as(self.location))
        self.innovation.zero_()
        self.effect.zero_()

    def log_likelihood(self, raw: Tensor, x: Tensor) -> Tensor:
        """The log p(x), with a density where a continuous cell is inside (0, 1) and a probability elsewhere.

        Args:
            raw: Shape (..., inputs): what the network says.
            x: Shape (..., channels), valid.

        Returns:
            Shape (...).
        """
        with torch.autocast(raw.device.type, enabled=False):
            weights, means, scales, logits = self._split(raw)
            x = x.to(means.dtype)
            cells = self._smooth_terms(means, scales, x).sum(-1) + self._discrete_terms(logits, x)
            return (weights.log_softmax(-1) + cells).logsumexp(-1)

    def draw(self, raw: Tensor, uniform: Tensor) -> Tensor:
        """Valid channels, drawn by the inverse of the distribution; gradients reach `raw` straight through.

        Discrete choices take the largest logit plus Gumbel noise (Jang, Gu and Poole 2017, section 2.1), which
        is a draw from the softmax.

        Args:
            raw: Shape (B, inputs).
            uniform: Shape (B, noise), U[0, 1).

        Returns:
            Shape (B, channels).
        """
        with torch.autocast(raw.device.type, enabled=False):
            weights, means, scales, logits = self._split(raw)
            uniform = uniform.to(means.dtype).clamp(_TINY, 1 - _TINY)
            chosen = straight_through.one_hot(weights + gumbel(uniform[:, : self.components]))[..., None]
            means, scales, logits = ((part * chosen).sum(1) for part in (means, scales, logits))
            own = uniform[:, self.components :]
            hard = self._draw_discrete(logits, own)
            discrete = [hard[channel] for channel in self.discrete]
            if discrete:
                means = means + torch.stack(discrete, dim=1) @ self.effect.T
            values = self._draw_smooth(means, scales, own, hard)
            return torch.stack([(values | hard)[channel] for channel in range(self.channels)], dim=1)

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Component logits (..., K), means and scales (..., K, smooth), logits (..., K, discrete)."""
        smooth, discrete = len(self.smooth), len(self.discrete)
        parts = raw.to(self.location.dtype).reshape(*raw.shape[:-1], self.components, 1 + 2 * smooth + discrete)
        weights, means, scales, logits = torch.split(parts, [1, smooth, smooth, discrete], dim=-1)
        return (
            weights[..., 0],
            means + self.location,
            MIN_SCALE + functional.softplus(scales + _START_SCALE),
            logits,
        )

    def _smooth_terms(self, means: Tensor, scales: Tensor, x: Tensor) -> Tensor:
        value = x[..., self.smooth][..., None, :]
        present = self._present(x)[..., None, :]
        if self.discrete:
            means = means + (x[..., self.discrete] @ self.effect.T)[..., None, :]
        means = means + ((value - means) * present) @ self.innovation.tril(-1).T
        z = (value - means) / scales
        density = -z - 2 * functional.softplus(-z) - scales.log()
        terms = torch.where(value <= 0, functional.logsigmoid(z), density)
        return torch.where(value >= 1, functional.logsigmoid(-z), terms) * present

    def _discrete_terms(self, logits: Tensor, x: Tensor) -> Tensor:
        total = logits.new_zeros(logits.shape[:-1])
        for span, places in zip(self.spans, self.places, strict=True):
            present: Tensor | float = 1.0
            if span.presence is not None:
                present = x[..., None, span.presence]
                total = total + _bernoulli(logits[..., places[0]], present)
            if span.block.kind == "binary":
                total = total + _bernoulli(logits[..., places[-1]], x[..., None, span.values.start]) * present
            elif span.block.kind == "one_hot":
                chosen = logits[..., places[-span.block.width :]].log_softmax(-1)
                total = total + (chosen * x[..., None, span.values]).sum(-1)
        return total

    def _places(self) -> list[list[int]]:
        """For each block, where its channels stand among the discrete ones."""
        order = {channel: place for place, channel in enumerate(self.discrete)}
        firsts = [span.values.start if span.presence is None else span.presence for span in self.spans]
        return [
            [order[channel] for channel in range(first, span.values.stop) if channel in order]
            for first, span in zip(firsts, self.spans, strict=True)
        ]

    def _present(self, x: Tensor) -> Tensor:
        """Shape (..., smooth): 1 where a continuous cell is there."""
        columns = [torch.ones_like(x[..., 0]) if p is None else x[..., p] for p in self.presence]
        return torch.stack(columns, dim=-1) if columns else x[..., :0]

    def _draw_discrete(self, logits: Tensor, uniform: Tensor) -> dict[int, Tensor]:
        drawn: dict[int, Tensor] = {}
        for span, places in zip(self.spans, self.places, strict=True):
            present: Tensor | None = None
            if span.presence is not None:
                present = straight_through.binary(logits[:, places[0]] + uniform[:, span.presence].logit())
                drawn[span.presence] = present
            if span.block.kind == "continuous":
                continue
            own = logits[:, places[-span.block.width :]]
            noise = uniform[:, span.values]
            if span.block.kind == "binary":
                value = straight_through.binary(own + noise.logit())
            else:
                value = straight_through.one_hot(own + gumbel(noise))
            value = value if present is None else value * present[:, None]
            drawn |= {span.values.start + index: column for index, column in enumerate(value.unbind(1))}
        return drawn

    def _draw_smooth(
        self, means: Tensor, scales: Tensor, uniform: Tensor, hard: dict[int, Tensor]
    ) -> dict[int, Tensor]:
        """One column after the other: what a column came out at, on the edge or not, moves the next."""
        noise = scales * uniform[:, self.smooth].logit()
        moved = torch.zeros_like(means)
        innovation = self.innovation.tril(-1)
        drawn: dict[int, Tensor] = {}
        for index, (channel, presence) in enumerate(zip(self.smooth, self.presence, strict=True)):
            value = (means[:, index] + moved[:, index] + noise[:, index]).clamp(0, 1)
            apart = value - means[:, index]
            if presence is not None:
                value, apart = value * hard[presence], apart * hard[presence]
            drawn[channel] = value
            moved = moved + apart[:, None] * innovation[:, index]
        return drawn


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel numbers from uniform ones inside (0, 1)."""
    return -(-uniform.log()).log()


def _bernoulli(logit: Tensor, x: Tensor) -> Tensor:
    """Log-probability of 0 or 1."""
    return logit * x - functional.softplus(logit)
