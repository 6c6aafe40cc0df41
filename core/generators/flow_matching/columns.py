"""Columns of windows in original units from what flows, so that they can be differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError
from core.generators.flow_matching.model import FlowMatching
from core.generators.flow_matching.scales import Scales
from core.prepare.channels.layout import Column, Layout, WindowArrays, spans
from core.prepare.channels.transforms import decode_windows, is_differenced


class Columns(dict[str, Tensor]):
    """Columns in original units, float64, shape (windows, steps) each; static ones the same at every step.

    Only columns of numbers that always have a value are there; asking for another is a ConfigError.

    Args:
        refused: Why a column is not there, by name.
    """

    def __init__(self, refused: dict[str, str]) -> None:
        super().__init__()
        self.refused = refused

    def __missing__(self, name: str) -> Tensor:
        why = self.refused.get(name, "the generator has no such column")
        raise ConfigError(
            f"a guide cannot read {name!r}: {why}; it reads {', '.join(map(repr, self)) or 'none'}"
        )


class Original:
    """From channels to columns.

    Args:
        model: Whose windows.
        layout: What they mean.
    """

    def __init__(self, model: FlowMatching, layout: Layout) -> None:
        self.model, self.layout = model, layout
        own = layout.own
        self.refused = {c.name: why for c in (*own.temporal, *own.static) if (why := _refused(c))}
        for column in (*layout.static, *layout.condition):
            if column.level_of and (why := _refused(column)):
                self.refused[column.level_of] = f"of {column.name!r}, where it starts from, {why}"
        for column in own.condition:
            self.refused[column.name] = "it is a condition, which is given"

    def estimated(self, steps: Tensor, static: Tensor, condition: Tensor) -> Columns:
        """Columns of windows that still flow, without rounding; they end at the border of the training range.

        Args:
            steps: Shape (windows, steps, channels), as they flow.
            static: Shape (windows, static channels), as they flow.
            condition: Shape (windows, condition channels).
        """
        cells = _codes(self.layout.temporal, _channels(self.model.scales, steps))
        constant = _codes(self.layout.static, _channels(self.model.static_scales, static))
        given = _codes(self.layout.condition, condition.double())
        found = Columns(self.refused)
        parts = ((self.layout.static, constant), (self.layout.condition, given))
        levels = {column.level_of: codes[column.name] for columns, codes in parts for column in columns}
        for column in self._read(self.layout.temporal):
            found[column.name] = _values(column, cells[column.name], levels.get(column.name))
        for column in self._read(self.layout.own.static):
            found[column.name] = constant[column.name][:, None].expand(steps.shape[:2])
        return found

    def measured(self, windows: WindowArrays) -> Columns:
        """Columns of finished windows, as they are written."""
        decoded = decode_windows(self.layout, windows)
        found = Columns(self.refused)
        for place, column in enumerate(self.layout.temporal):
            if column.name not in self.refused:
                found[column.name] = torch.from_numpy(np.ascontiguousarray(decoded.temporal[..., place]))
        for place, column in enumerate(self.layout.static):
            if not column.level_of and column.name not in self.refused:
                cells = torch.from_numpy(np.ascontiguousarray(decoded.static[:, place]))
                found[column.name] = cells[:, None].expand(windows.values.shape[:2])
        return found

    def _read(self, columns: Sequence[Column]) -> list[Column]:
        return [column for column in columns if column.name not in self.refused]


class _Inside(torch.autograd.Function):
    """Values within a range; those beyond it have a gradient only where descending it leads back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        ctx.save_for_backward(x < low, x > high)
        return torch.minimum(torch.maximum(x, low), high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        below, above = ctx.saved_tensors
        (gradient,) = gradients
        further = (below & (gradient > 0)) | (above & (gradient < 0))
        return gradient.masked_fill(further, 0), None, None


def _refused(column: Column) -> str:
    """Why a column has no gradient; empty if it has one."""
    if column.kind != "continuous":
        return f"it is {column.kind}, and only numbers have a gradient"
    if column.optional:
        return "its cells may be missing"
    if column.quantiles:
        return "scaler=quantile cannot be differentiated, minmax, standard and robust can"
    return ""


def _channels(scales: Scales, x: Tensor) -> Tensor:
    """Channels of what flows, continuous ones within the training range; shape kept, float64."""
    raw = (x * scales.spread + scales.center).double()
    inside: Tensor = _Inside.apply(raw, scales.low.double(), scales.high.double())  # type: ignore[no-untyped-call]
    return inside


def _codes(columns: Sequence[Column], channels: Tensor) -> dict[str, Tensor]:
    """Codes of columns of numbers, by name, shape (...): `core.prepare.channels.encode.decode`, not rounded."""
    found = {}
    for column, span in zip(columns, spans([column.block for column in columns]), strict=True):
        values = channels[..., span.values.start]
        found[column.name] = values * (column.maximum - column.minimum) + column.minimum
    return found


def _values(column: Column, codes: Tensor, level: Tensor | None) -> Tensor:
    """Original units, shape (windows, steps) kept: `core.prepare.channels.transforms` undone."""
    if is_differenced(column) and level is not None:
        codes = level[:, None] + codes.cumsum(dim=1)
    return codes.exp() if column.transform in ("log", "log_difference") else codes
