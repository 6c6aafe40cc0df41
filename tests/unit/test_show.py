from __future__ import annotations

import io

from rich.console import Console

from flows.show import show_scores

SCORES = {"discriminative_mean": 0.2, "distance_wasserstein": 0.05, "holdout_distance_mmd": 0.1}


def shown(found: dict[str, dict[str, float]], *, reported: bool) -> str:
    text = io.StringIO()
    show_scores(Console(file=text, width=200), found, reported=reported)
    return text.getvalue()


def test_what_the_report_explains_is_left_to_it_and_counted():
    text = shown({"value": SCORES}, reported=True)
    assert "discriminative_mean" in text
    assert "wasserstein" not in text
    assert "and 2 more in the report" in text


def test_without_a_report_everything_is_shown_by_column():
    text = shown({"a": SCORES, "b": {"discriminative_mean": 0.4}}, reported=False)
    assert all(name in text for name in SCORES)
    assert "more in the report" not in text
    (line,) = [line for line in text.splitlines() if "discriminative_mean" in line]
    assert "0.2000" in line
    assert "0.4000" in line
