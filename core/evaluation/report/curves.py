"""What was measured while a generator was trained, for the report."""

from __future__ import annotations

from pathlib import Path

from core.evaluation.report.view import Training
from core.training.metrics import read_points

_SCORES = ("validation/distance", "validation/distance_of_training")


def training_curves(run_dir: Path) -> Training:
    """Curves over the iterations of a training, one phase after the other.

    Args:
        run_dir: Of the training; without its `metrics.jsonl` there are no curves.

    Returns:
        The distance of synthetic windows to held-out ones where the training looked at it
        (`training.selection`), and the losses.
    """
    path = run_dir / "metrics.jsonl"
    curves: dict[str, list[tuple[int, float]]] = {}
    before, phase, step = 0, "", 0
    for point in read_points(path)[0] if path.is_file() else []:
        if point.phase != phase:
            before, phase = before + step, point.phase
        step = point.step
        for name, value in point.values.items():
            if name.startswith("loss/") or name in _SCORES:
                curves.setdefault(name, []).append((before + step, value))
    return curves
