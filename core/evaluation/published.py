"""What the TimeGAN paper reports of itself and its comparison methods (Yoon et al. 2019, table 2)."""

from __future__ import annotations

DATASETS = {"sine": "sines", "sine-paper": "sines", "stocks": "stocks", "energy": "energy"}
"""The paper's dataset by the name that a catalogue gives it; `sine` is what the published code draws, which is
easier than what the paper describes (`sine-paper`)."""

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
    "timegan": {"sines": 0.093, "stocks": 0.038, "energy": 0.273},
    "rcgan": {"sines": 0.097, "stocks": 0.040, "energy": 0.292},
    "crnngan": {"sines": 0.127, "stocks": 0.038, "energy": 0.483},
    "tforcing": {"sines": 0.150, "stocks": 0.038, "energy": 0.315},
    "pforcing": {"sines": 0.116, "stocks": 0.043, "energy": 0.303},
    "wavenet": {"sines": 0.117, "stocks": 0.042, "energy": 0.311},
    "wavegan": {"sines": 0.134, "stocks": 0.041, "energy": 0.307},
}


def published_scores(kind: str, dataset: str) -> tuple[float, float] | None:
    """Discriminative and predictive score of the paper; None for another dataset or generator."""
    column = DATASETS.get(dataset)
    if column is None or kind not in _DISCRIMINATIVE:
        return None
    return _DISCRIMINATIVE[kind][column], _PREDICTIVE[kind][column]
