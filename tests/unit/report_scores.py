"""Made-up results of an evaluation, as `scores.json` holds them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from core.evaluation.measures import Measure
from core.evaluation.scores import Score, chance_floor


def score(mean: float, *, spread: float = 0.01, **more: Any) -> dict[str, Any]:
    values = (mean - spread, mean, mean + spread)
    one = Score(values)
    detail = {"mean": one.mean, "std": one.std, "median": one.median, "values": list(values)}
    return detail | {"interval": list(one.interval() or ()), **more}


def judged(mean: float, **more: Any) -> dict[str, Any]:
    floor = {"chance_floor": chance_floor(733, 733), "held_out": {"real": 733, "synthetic": 733}}
    return score(mean, auc=0.5 + mean, aucs=[0.5 + mean] * 3, **floor, **more)


def measure(name: str, value: float, reference: float | None, **more: Any) -> dict[str, Any]:
    words = {
        "title": f"title of {name}",
        "group": "marginal",
        "meaning": f"meaning of {name}",
        "source": "paper",
    }
    fields: dict[str, Any] = {"ideal": 0.0, "better": "lower", **words, **more}
    return Measure(name=name, value=value, reference=reference, **fields).to_json()


def small_scores(names: Sequence[str] = ("a", "b"), mean: float = 0.2) -> dict[str, Any]:
    moments = {"mean": 1.0, "std": 2.0}
    return {
        "protocol": {
            "name": "protocol",
            "scaling": "range of the real windows",
            "judges": 3,
            "hidden": 1,
            "discriminative_iterations": 2000,
            "predictive_iterations": 5000,
            "batch_size": 128,
            "seed": 0,
        },
        "windows": {"real": 40, "synthetic": 30, "steps": 6, "features": len(names)},
        "discriminative": judged(mean),
        "predictive": score(0.05, constant=0.2),
        "references": None,
        "features": [
            {"name": name, "constant": False, "real": moments, "synthetic": moments, "outside_real_range": 0.0}
            for name in names
        ],
    }


def full_scores(names: Sequence[str] = ("a", "b"), mean: float = 0.2) -> dict[str, Any]:
    pair = {"synthetic": judged(0.15), "training": judged(0.12)}
    drift = {"synthetic": score(0.06), "training": score(0.05)}
    return small_scores(names, mean) | {
        "references": {"discriminative_real_halves": judged(0.02), "predictive_real": score(0.04)},
        "judges": [judged(0.37, name="cnn", title="1-D CNN", reference={"mean": 0.02, "std": 0.01})],
        "forecasters": [
            {"name": "tcn", "title": "TCN", "synthetic": score(0.03), "real": score(0.02), "constant": 0.2}
        ],
        "distances": [
            measure("near", 0.011, 0.01, by_feature=dict.fromkeys(names, 0.1)),
            measure("far", 0.2, 0.01),
            measure("alone", 0.5, None, group="sample"),
        ],
        "privacy": {
            "measures": [measure("dcr", 0.08, 0.1, ideal=0.1, better="closer", group="privacy")],
            "exact_copies": 0,
            "near_copies": 2,
            "compared": 1234,
            "copies": False,
            "verdict": "As far as unseen windows.",
        },
        "validity": [
            {
                "rule": f"{names[0]} <= 1",
                "kind": "relation",
                "broken": 5,
                "of": 100,
                "share": 0.05,
                "real_share": 0.0,
            }
        ],
        "holdout": {
            "windows": {"training": 30, "holdout": 10},
            "from": "2020-03-01",
            "discriminative": copy.deepcopy(pair),
            "predictive": drift,
            "judges": [{"name": "cnn", "title": "1-D CNN", **copy.deepcopy(pair)}],
            "forecasters": [{"name": "tcn", "title": "TCN", **copy.deepcopy(drift)}],
            "distances": [measure("far", 0.2, 0.1)],
        },
    }
