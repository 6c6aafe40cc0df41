"""Whether further windows can be compared with real ones that were checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError


def checked_like(
    windows: NDArray[Any], real: NDArray[Any], kind: str, dtype: type[np.floating[Any]] = np.float32
) -> NDArray[Any]:
    """The windows as `dtype`.

    Args:
        windows: Shape (K, T, D).
        real: Shape (N, T, D).
        kind: What an error calls them.
        dtype: Of the result.

    Raises:
        DataError: they are not at least 2, of other steps or features than the real ones, or not finite.
    """
    if windows.shape[1:] != real.shape[1:] or len(windows) < 2:
        raise DataError(
            f"{kind} windows must be at least 2 with the same steps and features as the real ones, shape "
            f"(K, {real.shape[1]}, {real.shape[2]}); got {windows.shape}"
        )
    with np.errstate(over="ignore"):
        converted = windows.astype(dtype)
    bad = int((~np.isfinite(converted)).sum())
    if bad:
        raise DataError(
            f"{kind} windows must be finite, got {bad:,} values that are NaN, infinite or too large for "
            f"{dtype.__name__}: mend or drop those windows"
        )
    return converted
