"""What the TimeGAN paper reports of itself and its comparison methods (Yoon et al. 2019, table 2)."""

from __future__ import annotations

DATASETS = {"sine": "sines", "sine-paper": "sines", "stocks": "stocks", "energy": "energy"}
"""The paper's dataset by the name that a catalogue gives it; `sine` is what the published code draws, which is
easier than what the paper describes (`sine-paper`)."""
Published = tuple[float, float | None]
"""Discriminative and predictive score; None: it does not compare, see `OTHER_SCALE`."""
OTHER_SCALE = (
    "predictive on another scale and left out: the published code does not scale its sines by their minimum "
    "and maximum"
)
"""The published sines fill the upper half of [0, 1] only, so their forecasts are about half as far off."""

_DISCRIMINATIVE = {
    "timegan": {"sines": 0.011, "stocks": 0.102, "energy": 0.236},
    "rcgan": {"sines": 0.022, "stocks": 0.196, "energy": 0.336},
    "crnngan": {"sines": 0.229, "stocks": 0.399, "energy": 0.499},
    "tforcing": {"sines": 0.495, "stocks": 0.226, "energy": 0.483},
    "pforcing": {"sines": 0.430, "stocks": 0.257, "energy": 0.412},
    "wavenet": {"sines": 0.158, "stocks": 0.232, "energy": 0.397},
    "wavegan": {"sines": 0.277, "stocks": 0.217, "energy": 0.363},
}
_PREDICTIVE = {
    "timegan": {"stocks": 0.038, "energy": 0.273},
    "rcgan": {"stocks": 0.040, "energy": 0.292},
    "crnngan": {"stocks": 0.038, "energy": 0.483},
    "tforcing": {"stocks": 0.038, "energy": 0.315},
    "pforcing": {"stocks": 0.043, "energy": 0.303},
    "wavenet": {"stocks": 0.042, "energy": 0.311},
    "wavegan": {"stocks": 0.041, "energy": 0.307},
}


def published_scores(kind: str, dataset: str) -> Published | None:
    """Scores of the paper; None for another dataset or generator."""
    column = DATASETS.get(dataset)
    if column is None or kind not in _DISCRIMINATIVE:
        return None
    return _DISCRIMINATIVE[kind][column], _PREDICTIVE[kind].get(column)


def published_text(pair: Published) -> str:
    """Published scores in words."""
    discriminative, predictive = pair
    known = OTHER_SCALE if predictive is None else f"predictive {predictive}"
    return f"discriminative {discriminative}, {known}"
