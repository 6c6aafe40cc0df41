"""Made-up results of an evaluation, as `scores.json` holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.evaluation.judges.scores import Score, chance_floor
from core.evaluation.measures import Measure


def score(mean: float, *, spread: float = 0.01, **more: Any) -> dict[str, Any]:
    return _detail((mean - spread, mean, mean + spread), **more)


def single(mean: float, **more: Any) -> dict[str, Any]:
    """Of one judge."""
    return _detail((mean,), **more) | {"std": None}


def _detail(values: tuple[float, ...], **more: Any) -> dict[str, Any]:
    one, interval = Score(values), Score(values).interval()
    detail = {"mean": one.mean, "std": one.std, "median": one.median, "values": list(values)}
    return detail | {"interval": None if interval is None else list(interval), **more}


def judged(mean: float, *, tested: int = 733, **more: Any) -> dict[str, Any]:
    floor = {
        "chance_floor": chance_floor(tested, tested),
        "held_out": {"real": tested, "synthetic": tested},
    }
    return score(mean, auc=0.5 + mean, aucs=[0.5 + mean] * 3, **floor, **more)


def pair(synthetic: float, training: float, *, tested: int = 733, **more: Any) -> dict[str, Any]:
    """Scores of both kinds of windows against a hold-out."""
    return {
        "synthetic": judged(synthetic, tested=tested),
        "training": judged(training, tested=tested),
        **more,
    }


def measure(name: str, value: float, reference: float | None, **more: Any) -> dict[str, Any]:
    words = {
        "title": f"title of {name}",
        "group": "marginal",
        "meaning": f"meaning of {name}",
        "source": "paper",
    }
    fields: dict[str, Any] = {"ideal": 0.0, "better": "lower", **words, **more}
    return Measure(name=name, value=value, reference=reference, **fields).to_json()


def copies(value: float, reference: float) -> dict[str, Any]:
    return measure("copied_share", value, reference, group="privacy")


def privacy(
    exact: int = 0, near: int = 0, *, compared: int = 2000, real: float = 0.0, verdict: bool = False
) -> dict[str, Any]:
    return {
        "measures": [
            measure("dcr", 0.08, 0.1, ideal=0.1, better="closer", group="privacy"),
            copies((exact + near) / compared, real),
        ],
        "exact_copies": exact,
        "near_copies": near,
        "compared": compared,
        "identical": exact,
        "synthetic_windows": compared,
        "training_windows": 4321,
        "near_distance": 0.001,
        "nearness": 0.8,
        "copies": verdict,
    }


def small_scores(names: Sequence[str] = ("a", "b"), mean: float = 0.2) -> dict[str, Any]:
    moments = {"mean": 1.0, "std": 2.0}
    return {
        "digest": "0" * 64,
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
        "judges": [],
        "forecasters": [],
        "distances": [],
        "privacy": None,
        "validity": [],
        "holdout": None,
    }


def full_scores(names: Sequence[str] = ("a", "b"), mean: float = 0.2) -> dict[str, Any]:
    drift = {"synthetic": score(0.06), "training": score(0.05)}
    return small_scores(names, mean) | {
        "references": {"discriminative_real_halves": judged(0.02), "predictive_real": score(0.04)},
        "judges": [judged(0.37, name="cnn", title="1-D CNN", reference=judged(0.02))],
        "forecasters": [
            {"name": "tcn", "title": "TCN", "synthetic": score(0.03), "real": score(0.02), "constant": 0.2}
        ],
        "distances": [
            measure("near", 0.011, 0.01, by_feature=dict.fromkeys(names, 0.1)),
            measure("far", 0.2, 0.01),
            measure("alone", 0.5, None, group="sample"),
        ],
        "privacy": privacy(0, 2, compared=1234),
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
            "discriminative": pair(0.25, 0.12),
            "predictive": drift,
            "judges": [pair(0.31, 0.14, name="cnn", title="1-D CNN")],
            "forecasters": [
                {
                    "name": "tcn",
                    "title": "TCN",
                    "synthetic": score(0.03),
                    "training": score(0.02),
                    "constant": 0.2,
                }
            ],
            "distances": [measure("far", 0.2, 0.1)],
        },
    }
