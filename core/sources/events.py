"""Simulated event sequences of mixed types: a public stand-in for the private Events data of the TimeGAN paper.

A sequence n has a group g, a length T uniform on min_length .. length, and for each event t = 1 .. T, with K
types numbered k = 0 .. K - 1 in the order of `EVENT_NAMES`:

    type    k_1 uniform; P(k_t = j | k_{t-1} = i) = A_g[i, j], see `transition_matrix`
    gap     log gap_t ~ N(log(2^k_t / 4), 1/4), hours since the event before (of the first: since the start)
    amount  a_t = 20 + 10 k_t + e_t, e_t = 0.8 e_{t-1} + N(0, 4), e_1 ~ N(0, 4 / (1 - 0.64))
    flag    P(flag_t = true) = 0.4 if e_t > 0 else 0.1
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.catalog import EventsSource

GROUPS = ("backward", "forward", "staying")
EVENT_NAMES = (
    "login",
    "search",
    "view",
    "cart",
    "pay",
    "logout",
    "review",
    "share",
    "message",
    "return",
    "setting",
    "help",
)
UNIFORM, PREFERRED, SECOND = 0.1, 0.7, 0.2
"""Shares of a transition: to any type alike, to the group's preferred one, to its second."""
GAP_SIGMA = 0.5
AMOUNT_MEMORY, AMOUNT_NOISE = 0.8, 2.0
FLAG_ABOVE, FLAG_BELOW = 0.4, 0.1
# What the group prefers: how many types on the next event is, first and second choice.
_STEPS = {"backward": (-1, 0), "forward": (1, 0), "staying": (0, 1)}


def transition_matrix(group: str, types: int) -> NDArray[np.float64]:
    """`A_g`: probability of the next event's type by this one's.

    `A_g[i, j] = 0.1 / K + 0.7 [j = i + s mod K] + 0.2 [j = i + r mod K]` with (s, r) = (1, 0) for `forward`,
    (-1, 0) for `backward` and (0, 1) for `staying`.

    Returns:
        Shape (types, types), rows sum to 1.
    """
    first, second = _STEPS[group]
    same = np.eye(types)
    return UNIFORM / types + PREFERRED * np.roll(same, first, axis=1) + SECOND * np.roll(same, second, axis=1)


def events_table(source: EventsSource) -> pa.Table:
    """Simulated sequences, one row per event, below one another; the same source gives the same rows.

    Returns:
        Columns `sequence` (int64), `group` (text, one value a sequence), `type` (text), `flag` (boolean),
        `gap` (float64, hours) and `amount` (float64).
    """
    rng = np.random.default_rng(source.seed)
    group = rng.integers(len(GROUPS), size=source.series)
    lengths = rng.integers(source.min_length, source.length + 1, size=source.series)
    inside = np.arange(source.length) < lengths[:, None]
    kinds = _types(source, group, rng)[inside]
    deviation = _deviations(source, rng)[inside]
    gap = np.exp(np.log(2.0**kinds / 4) + GAP_SIGMA * rng.standard_normal(len(kinds)))
    flag = rng.random(len(kinds)) < np.where(deviation > 0, FLAG_ABOVE, FLAG_BELOW)
    return pa.table(
        {
            "sequence": np.repeat(np.arange(source.series, dtype=np.int64), lengths),
            "group": _texts(np.repeat(group, lengths), GROUPS),
            "type": _texts(kinds, EVENT_NAMES),
            "flag": flag,
            "gap": gap,
            "amount": 20.0 + 10.0 * kinds + deviation,
        }
    )


def _types(source: EventsSource, group: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Markov chains of length `source.length`, shape (series, length)."""
    cumulative = np.stack([transition_matrix(name, source.types).cumsum(axis=1) for name in GROUPS])
    kinds = np.empty((source.series, source.length), dtype=np.int64)
    kinds[:, 0] = rng.integers(source.types, size=source.series)
    for step in range(1, source.length):
        edges = cumulative[group, kinds[:, step - 1]]
        draws = rng.random(source.series)[:, None]
        # The last edge is 1 but for rounding.
        kinds[:, step] = (draws >= edges[:, :-1]).sum(axis=1)
    return kinds


def _texts(numbers: NDArray[np.int64], names: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(numbers, names).cast(pa.string())


def _deviations(source: EventsSource, rng: np.random.Generator) -> NDArray[np.float64]:
    """Stationary autoregressive deviations of the amount, shape (series, length)."""
    noise = AMOUNT_NOISE * rng.standard_normal((source.series, source.length))
    noise[:, 0] /= np.sqrt(1 - AMOUNT_MEMORY**2)
    for step in range(1, source.length):
        noise[:, step] += AMOUNT_MEMORY * noise[:, step - 1]
    return noise
