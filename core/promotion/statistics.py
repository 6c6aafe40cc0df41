"""Whether one generator is better than another by more than the noise of judging."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from core.errors import ConfigError


@dataclass(frozen=True)
class PairedTest:
    """A one-sided test of `mean gain > least gain`."""

    gain: float
    """Mean over the pairs; positive where the challenger is better."""
    error: float
    """Standard error of the mean, corrected for what the pairs share."""
    low: float
    """One-sided lower confidence bound of the gain, at the level of the test."""
    p_value: float
    """Of gains at least as large if there were no more than the least gain."""
    level: float
    least_gain: float

    @property
    def passed(self) -> bool:
        """The gain is beyond the noise."""
        return self.p_value < self.level


def corrected_resampled_test(
    gains: Sequence[float], tested_by_trained: float, *, level: float = 0.05, least_gain: float = 0.0
) -> PairedTest:
    """The corrected resampled t-test (Nadeau & Bengio 2003, "Inference for the Generalization Error").

    Judges that divide the same windows anew are no independent draws: they share windows, so their spread says
    too little of how the mean would differ on other windows, and a plain t-test finds differences where there
    are none. The variance of the mean of J gains of variance s^2 is taken as `(1/J + tested/trained) s^2`
    instead of `s^2 / J`, with J - 1 degrees of freedom. That is exact where any two gains have the correlation
    `tested / (tested + trained)`. However many judges there are, the test gets no sharper than the windows
    allow.

    Args:
        gains: One a pair of judges, at least 2, positive where the challenger is better.
        tested_by_trained: Windows that test a judge by those that train it, above 0.
        level: Of significance, in (0, 0.5).
        least_gain: Gains up to it count as none.

    Raises:
        ConfigError: fewer than 2 gains, one that is not finite, or a ratio that is not above 0.
    """
    values = np.asarray(gains, dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values).all() or not tested_by_trained > 0:
        raise ConfigError(
            "a paired test needs at least 2 finite gains and a ratio of tested to trained windows above 0, got "
            f"{len(values)} gains ({values.tolist()[:5]}) and {tested_by_trained}"
        )
    mean, freedom = float(values.mean()), len(values) - 1
    # All gains alike: rounding must not make a spread out of it.
    spread = 0.0 if np.ptp(values) == 0 else float(values.std(ddof=1))
    error = math.sqrt(1 / len(values) + tested_by_trained) * spread
    beyond = mean - least_gain
    p_value = float(stdtr(freedom, -beyond / error)) if error > 0 else float(beyond <= 0)
    low = mean - float(stdtrit(freedom, 1 - level)) * error
    return PairedTest(mean, error, low, p_value, level, least_gain)
