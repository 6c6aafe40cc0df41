"""Scaling of numbers to about [0, 1] with an exact way back.

The code x of a column becomes the channel

    minmax      (x - minimum) / (maximum - minimum), of the least and the largest value
    standard    likewise, of mean -+ 4 standard deviations (of n values, divided by n)
    robust      likewise, of median -+ 4 interquartile ranges / 1.349 (4 standard deviations of a normal)
    quantile    straight between the points (quantiles[i], i / (n - 1)); a value that several quantiles share
                stands in their middle, and beyond the ends it goes on with the slope of minmax

Nothing is clipped: values beyond the fitted ones, and with `standard` and `robust` outliers among them, become
channels outside [0, 1], which generators whose outputs are sigmoid cannot reach. A constant column becomes 0.

The way back is exact to the rounding of the channel times the range; for `quantile` times n - 1 times the
distance of the quantiles on either side.

This module is carried by registered models: it needs NumPy alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.prepare.channels.layout import Column

Floats = NDArray[np.float64]

DEVIATIONS = 4.0
"""Standard deviations on either side of the middle that become [0, 1]."""
NORMAL_QUARTILES = 1.349
"""Interquartile range of a normal distribution in standard deviations."""
QUANTILES = 1001
"""Most quantiles of a column."""
_GROWTH = 1 << 20


@dataclass(frozen=True)
class MinMaxScaler:
    """`(x - minimum) / (maximum - minimum)` by feature, to [0, 1]; a constant feature becomes 0.

    The published TimeGAN code adds 1e-7 to the divisor on the way in but not on the way back and scales
    twice, so that its output never returns to the original units; here the way back is exact to float64
    rounding.
    """

    minimum: Floats
    """Shape (features,), original units."""
    maximum: Floats
    """Shape (features,), original units."""

    @classmethod
    def fit(cls, values: NDArray[Any]) -> MinMaxScaler:
        """The range of `values`, shape (..., features); it must be finite and not empty."""
        axes = tuple(range(values.ndim - 1))
        return cls(values.min(axis=axes).astype(np.float64), values.max(axis=axes).astype(np.float64))

    @property
    def span(self) -> Floats:
        """Divisor by feature: the range, or 1 where it is zero."""
        width = self.maximum - self.minimum
        return np.where(width > 0, width, 1.0)

    def transform(self, values: NDArray[Any]) -> Floats:
        """Original units to [0, 1] (outside it for values beyond the fitted range), shape kept."""
        scaled: Floats = values - self.minimum
        scaled /= self.span
        return scaled

    def inverse(self, scaled: NDArray[Any]) -> Floats:
        """[0, 1] to original units, shape kept."""
        return scaled.astype(np.float64) * (self.maximum - self.minimum) + self.minimum

    def to_json(self) -> dict[str, list[float]]:
        """Plain lists, read back by `from_json` without loss."""
        return {"minimum": self.minimum.tolist(), "maximum": self.maximum.tolist()}

    @classmethod
    def from_json(cls, tree: dict[str, list[float]]) -> MinMaxScaler:
        """What `to_json` gave."""
        return cls(np.array(tree["minimum"], dtype=np.float64), np.array(tree["maximum"], dtype=np.float64))


def scaled(column: Column, codes: Floats) -> Floats:
    """Channels of a continuous column's codes (NaN stays), shape kept."""
    if not column.quantiles:
        return _linear(column).transform(codes)
    knots, ranks = _knots(column)
    rank = np.interp(codes, knots, ranks)
    if (knots[1:] == knots[:-1]).any():
        # From the other side too: a value with mass stands in the middle of what it spans.
        rank = (rank - np.interp(-codes, -knots[::-1], -ranks[::-1])) / 2
    beyond = codes - np.clip(codes, knots[0], knots[-1])
    return np.asarray(rank + beyond / (knots[-1] - knots[0]))


def unscaled(column: Column, channel: NDArray[np.floating[Any]]) -> Floats:
    """Codes of a continuous column's channel, shape kept: what `scaled` undoes."""
    if not column.quantiles:
        return _linear(column).inverse(channel)
    channel = channel.astype(np.float64)
    knots, ranks = _knots(column)
    beyond = channel - np.clip(channel, 0, 1)
    return np.asarray(np.interp(channel, ranks, knots) + beyond * (knots[-1] - knots[0]))


class ScalerFit:
    """Fits the scaler of a continuous column to values that come in parts.

    Args:
        column: Its `scaler` says which.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        self.count = 0
        self._low, self._high = np.inf, -np.inf
        self._mean = self._squares = 0.0
        self._values = np.empty(0, dtype=np.float64)

    @property
    def needs_all(self) -> bool:
        """All values are kept in memory until `finish`: quantiles are exact."""
        return self.column.scaler in ("robust", "quantile")

    def update(self, values: Floats) -> None:
        """More values: shape (any,), codes without NaN."""
        if not len(values):
            return
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        if self.column.scaler == "standard":
            self._merge(values)
        if self.needs_all:
            self._keep(values)
        self.count += len(values)

    def finish(self) -> Column:
        """The column, fitted. Once: the kept values are given up.

        Raises:
            DataError: there was no value, or the column's range is too wide for float64, or its middle half is
                one value and `robust` has nothing to divide by.
        """
        name = self.column.name
        if not self.count:
            raise DataError(
                f"column {name!r} has no value in the rows to learn from; leave it out: "
                f"`columns: {{{name}: drop}}`"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            low, high, quantiles = self._fitted()
            wide = not np.isfinite(np.float64(high) - low)
        if wide:
            raise DataError(f"the range of column {name!r} is too wide for float64; rescale or drop it")
        return replace(self.column, minimum=low, maximum=high, quantiles=quantiles)

    def _fitted(self) -> tuple[float, float, tuple[float, ...]]:
        """Minimum, maximum and quantiles."""
        low, high = self._low, self._high
        kept, self._values = self._values[: self.count], np.empty(0, dtype=np.float64)
        if self.column.scaler == "minmax" or low == high:
            return low, high, ()
        if self.column.scaler == "quantile":
            return low, high, _quantiles(kept)
        if self.column.scaler == "standard":
            middle, reach = self._mean, DEVIATIONS * float(np.sqrt(self._squares / self.count))
        else:
            first, middle, third = np.quantile(kept, (0.25, 0.5, 0.75), overwrite_input=True).tolist()
            reach = DEVIATIONS * (third - first) / NORMAL_QUARTILES
        if middle - reach == middle + reach:
            raise DataError(
                f"column {self.column.name!r}: its values hardly differ from {middle:g} but for a few, so that "
                f"scaler={self.column.scaler} has nothing to divide by; choose minmax or quantile for it: "
                f"`columns: {{{self.column.name}: {{kind: continuous, scaler: quantile}}}}`"
            )
        return middle - reach, middle + reach, ()

    def _merge(self, values: Floats) -> None:
        """Mean and sum of squared deviations of both parts (Chan, Golub and LeVeque 1983, eq. 2.1)."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            squares = np.square(values - mean)
            total, difference = self.count + len(values), mean - self._mean
            self._mean += difference * (len(values) / total)
            between = difference * difference * self.count * (len(values) / total)
            self._squares += float(squares.sum()) + between

    def _keep(self, values: Floats) -> None:
        needed = self.count + len(values)
        if needed > len(self._values):
            # Moves no memory that is mapped, unlike a list of parts joined at the end, which needs it twice.
            self._values.resize(needed + _GROWTH, refcheck=False)
        self._values[self.count : needed] = values


def _quantiles(values: Floats) -> tuple[float, ...]:
    """At most `QUANTILES` of them, evenly spaced from the least to the largest value."""
    ranks = np.linspace(0, 1, min(QUANTILES, max(len(values), 2)))
    found = np.quantile(values, ranks, overwrite_input=True)
    # Interpolation between equal values may round below them.
    return tuple(np.maximum.accumulate(found).tolist())


def _knots(column: Column) -> tuple[Floats, Floats]:
    """Quantiles of a column and their channels."""
    return np.array(column.quantiles), np.linspace(0, 1, len(column.quantiles))


def _linear(column: Column) -> MinMaxScaler:
    return MinMaxScaler(*(np.array(end, dtype=np.float64) for end in (column.minimum, column.maximum)))
