"""Whether sets of windows can be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError


def checked_pair(
    real: NDArray[Any], synthetic: NDArray[Any], dtype: type[np.floating[Any]] = np.float32
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both sets as `dtype`, refused unless they can be compared.

    Raises:
        DataError: they are not two finite sets (N, T, D) and (M, T, D), N and M and T at least 2.
    """
    if real.ndim != 3 or synthetic.ndim != 3 or real.shape[1:] != synthetic.shape[1:]:
        raise DataError(
            "real and synthetic windows must have the same steps and features, shapes (N, T, D) and (M, T, D); "
            f"got {real.shape} and {synthetic.shape}: cut both alike"
        )
    if min(len(real), len(synthetic), real.shape[1]) < 2 or real.shape[2] < 1:
        raise DataError(
            "judging needs at least 2 windows of each kind, 2 steps and 1 feature; "
            f"got real {real.shape} and synthetic {synthetic.shape}: bring more"
        )
    return _finite(real, "real", dtype), _finite(synthetic, "synthetic", dtype)


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
    return _finite(windows, kind, dtype)


def _finite(values: NDArray[Any], name: str, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} windows must be numbers, got {values.dtype}: encode them first")
    with np.errstate(over="ignore"):
        converted = values.astype(dtype)
    bad = ~np.isfinite(converted)
    if bad.any():
        window, step, feature = (int(place) for place in np.argwhere(bad)[0])
        raise DataError(
            f"{name} windows must be finite, got {int(bad.sum()):,} values that are NaN, infinite or too large "
            f"for {dtype.__name__}, the first {values[window, step, feature]} in window {window}, step {step}, "
            f"feature {feature}: mend or drop those windows"
        )
    return converted
