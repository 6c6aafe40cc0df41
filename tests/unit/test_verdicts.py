from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation.judges.scores import Score, chance_floor
from core.evaluation.report.verdicts import (
    discriminative_verdict,
    drift_sentence,
    fidelity_verdict,
    gap_width,
    holdout_verdict,
    predictive_verdict,
    privacy_verdict,
    summary_cards,
    usefulness_verdict,
    validity_verdict,
)
from tests.unit.report_scores import full_scores, judged, pair, privacy, score, single, small_scores


def detail(values: tuple[float, ...], **more: float) -> dict[str, object]:
    one = Score(values)
    return {"mean": one.mean, "interval": one.interval(), "auc": 0.5 + one.mean, **more}


def test_verdicts_follow_the_scores():
    floor = chance_floor(733, 733)
    said = [
        discriminative_verdict(detail((mean - 0.004, mean + 0.004), chance_floor=floor))
        for mean in (0.012, 0.06, 0.2, 0.35, 0.49)
    ]
    assert [verdict.level for verdict in said] == ["good", "good", "fair", "poor", "poor"]
    assert len({verdict.short for verdict in said}) == 5
    assert "right about 99 times in 100" in said[-1].long
    turned = discriminative_verdict(detail((0.48, 0.5), chance_floor=floor) | {"auc": 0.01})
    assert "wrong about 99 times in 100" in turned.long
    far = discriminative_verdict(detail((0.0240, 0.0241, 0.0242), chance_floor=floor))
    assert far.short != said[0].short

    levels = [predictive_verdict(detail((mean,), constant=0.1), None).level for mean in (0.04, 0.08, 0.12)]
    assert levels == ["good", "fair", "poor"]
    hard = predictive_verdict(detail((0.1,), constant=0.1), {"predictive_real": {"mean": 0.099}})
    assert hard.level == "good"
    assert "9.9 %" in hard.long


def test_a_stronger_judge_can_only_make_the_verdict_worse():
    weak = judged(0.02)
    levels = [fidelity_verdict(weak, [judged(mean, title="CNN")]).level for mean in (0.01, 0.2, 0.45)]
    assert levels == ["good", "fair", "poor"]
    assert fidelity_verdict(judged(0.45), [judged(0.01, title="CNN")]).level == "poor"
    assert "CNN) is right about 95 times" in fidelity_verdict(weak, [judged(0.45, title="CNN")]).long


@pytest.mark.parametrize(("synthetic", "level"), [(0.021, "good"), (0.04, "fair"), (0.3, "poor")])
def test_a_stronger_forecaster_counts_beside_the_papers(synthetic, level):
    row = {"title": "TCN", "synthetic": score(synthetic), "real": score(0.02), "constant": 0.2}
    verdict = usefulness_verdict(score(0.05, constant=0.2), None, [row])
    assert verdict.level == level
    assert f"{100 * synthetic:.1f} % when trained on synthetic windows and by 2.0 %" in verdict.long


def test_what_real_data_do_far_better_is_not_good():
    """Synthetic windows teach four times the error of real ones."""
    references = {"predictive_real": score(0.01)}
    assert predictive_verdict(score(0.04, constant=0.1), references).level == "fair"
    assert predictive_verdict(score(0.04, constant=0.1), None).level == "good"
    assert predictive_verdict(score(0.0124, constant=0.1), references).level == "good"


@given(st.floats(0.001, 0.3), st.floats(0.001, 0.3), st.floats(0.01, 0.3))
def test_both_kinds_of_forecasters_are_measured_alike(synthetic, real, constant):
    paper = predictive_verdict(score(synthetic, constant=constant), {"predictive_real": score(real)})
    row = {"title": "TCN", "synthetic": score(synthetic), "real": score(real), "constant": constant}
    perfect = score(0.0, constant=constant)
    assert usefulness_verdict(perfect, None, [row]).level == paper.level
    # Real data themselves are good, and what is as bad as a constant guess is good only where they are.
    assert predictive_verdict(score(real, constant=constant), {"predictive_real": score(real)}).level == "good"
    if synthetic > max(constant, real + 0.003):
        assert paper.level == "poor"


@pytest.mark.parametrize(
    ("exact", "near", "real", "copied", "level"),
    [
        (0, 0, 0.0, False, "good"),
        (0, 3, 0.0, False, "good"),
        (1, 0, 0.0, False, "fair"),
        (0, 90, 0.0, True, "poor"),
        # Calm or categorical windows repeat themselves.
        (200, 0, 0.1, False, "good"),
        (215, 0, 0.1, False, "good"),
        (300, 0, 0.1, False, "fair"),
        (900, 0, 0.1, True, "poor"),
    ],
)
def test_copies_are_told_beside_what_real_windows_repeat(exact, near, real, copied, level):
    verdict = privacy_verdict(privacy(exact, near, real=real, verdict=copied))
    assert verdict.level == level
    for words in (f"{exact} {'is' if exact == 1 else 'are'} exactly", f"{near} nearly", f"{100 * real:.2f} %"):
        assert words in verdict.long


def test_two_samples_of_one_repeating_series_are_seldom_called_copies():
    """Counts of equal means, as of real windows in the synthetic ones' place."""
    counts = np.random.default_rng(0).binomial(2000, 0.05, size=(400, 2))
    levels = [privacy_verdict(privacy(int(one), real=other / 2000)).level for one, other in counts]
    assert levels.count("good") > 0.93 * len(levels)


def test_copies_among_the_windows_that_were_not_compared_count():
    found = privacy() | {"identical": 3, "synthetic_windows": 9000}
    assert privacy_verdict(found).level == "fair"
    assert "Of all 9,000, 3 are a training window to the last bit" in privacy_verdict(found).long


@pytest.mark.parametrize(
    ("share", "real", "level"),
    [(0.0, 0.0, "good"), (0.05, 0.05, "good"), (0.01, 0.0, "fair"), (0.3, 0.0, "poor"), (0.3, 0.29, "fair")],
)
def test_rules_are_judged_by_what_real_rows_break(share, real, level):
    kept = {"rule": "kept", "broken": 0, "share": 0.0, "real_share": 0.0}
    rule = {"rule": "low <= high", "broken": int(100 * share), "share": share, "real_share": real}
    verdict = validity_verdict([kept, rule])
    assert verdict.level == level
    assert ("low <= high" in verdict.long) == (share > 0)


def later(synthetic: float, training: float, tested: int = 733, **more: object) -> dict:
    """A hold-out judged by the paper's judges alone."""
    drift = {"synthetic": score(0.06), "training": score(0.05)}
    gap = pair(synthetic, training, tested=tested)
    return {"discriminative": gap, "predictive": drift, "judges": [], "forecasters": [], **more}


@pytest.mark.parametrize(
    ("synthetic", "training", "level", "words"),
    [
        (0.15, 0.12, "good", "the 0.03 between them may be chance"),
        (0.11, 0.12, "good", "none of it is the generator's"),
        (0.22, 0.12, "fair", "0.10 is the generator's"),
        (0.45, 0.12, "poor", "0.33 is the generator's"),
        (0.49, 0.47, "fair", "says little about the generator"),
    ],
)
def test_the_gap_to_the_hold_out_is_divided_into_drift_and_the_rest(synthetic, training, level, words):
    assert words in drift_sentence(pair(synthetic, training))
    verdict = holdout_verdict(later(synthetic, training))
    assert verdict.level == level
    assert words in verdict.long


def test_drift_is_said_only_beyond_luck():
    assert "drifts" not in drift_sentence(pair(0.01, 0.01))
    assert "no more than by luck" in drift_sentence(pair(0.01, 0.01))
    assert "because the series drifts" in drift_sentence(pair(0.1, 0.1))
    # The same score on fewer windows is nothing.
    assert "drifts" not in drift_sentence(pair(0.1, 0.1, tested=20))


@pytest.mark.parametrize(
    ("paper", "other", "level"),
    [
        ((0.12, 0.12), (0.14, 0.12), "good"),
        ((0.12, 0.12), (0.22, 0.12), "fair"),
        ((0.12, 0.12), (0.45, 0.12), "poor"),
        ((0.45, 0.12), (0.12, 0.12), "poor"),
        # Drift blinds the stronger judge: nothing is known of what it would find.
        ((0.12, 0.12), (0.49, 0.45), "fair"),
    ],
)
def test_fooling_a_small_judge_of_the_hold_out_is_not_enough(paper, other, level):
    verdict = holdout_verdict(later(*paper, judges=[pair(*other, title="CNN")]))
    assert verdict.level == level
    assert f"(CNN), synthetic windows score {other[0]:.2f} and training windows {other[1]:.2f}" in verdict.long


def test_a_judge_that_drift_blinds_does_not_silence_another():
    judges = [pair(0.49, 0.46, title="ROCKET"), pair(0.4, 0.1, title="CNN"), pair(0.1, 0.1, title="LSTM")]
    verdict = holdout_verdict(later(0.12, 0.12, judges=judges))
    assert verdict.level == "poor"
    assert "CNN" in verdict.long
    assert verdict.short.startswith("To stronger judges: synthetic windows are much further")


@pytest.mark.parametrize("tested", [10, 40, 700])
def test_the_width_of_a_gap_holds_the_chance_of_the_tested_windows(tested):
    """Coins in place of judges, all on the same windows: 95 % of the differences lie within the width."""
    rng = np.random.default_rng(tested)
    hits = rng.binomial(tested, 0.5, size=(4000, 2, 2)) / tested
    scores = hits.mean(axis=2) - 0.5
    width = gap_width(
        {kind: judged(0.0, tested=tested) | score(0.0, spread=0.0) for kind in ("synthetic", "training")}
    )
    share = np.mean(np.abs(scores[:, 0] - scores[:, 1]) <= width)
    assert share == pytest.approx(0.95, abs=0.03) if tested < 400 else share > 0.95


def test_a_hold_out_too_small_to_say_is_not_called_good():
    assert holdout_verdict(later(0.12, 0.10, tested=20)).short == "The hold-out is too small to say"
    assert holdout_verdict(later(0.30, 0.10, tested=20)).level == "fair"
    assert holdout_verdict(later(0.45, 0.05, tested=20)).level == "poor"


def test_a_single_judge_of_the_hold_out_has_no_error_of_its_own():
    floor = {"chance_floor": chance_floor(733, 733), "held_out": {"real": 733, "synthetic": 733}}
    gap = {kind: single(0.1, **floor) for kind in ("synthetic", "training")}
    assert gap_width(gap) == 0.05


def test_later_data_are_forecast_by_what_can_leave_the_range():
    papers = holdout_verdict(later(0.12, 0.12)).long
    assert "off by 6.0 %" in papers
    assert "cannot leave the range" in papers
    stronger = [{"title": "TCN", "synthetic": score(0.03), "training": score(0.02), "constant": 0.2}]
    said = holdout_verdict(later(0.12, 0.12, forecasters=stronger)).long
    assert "off by 3.0 % of the range there when trained on synthetic windows, by 2.0 %" in said
    assert "cannot leave" not in said


def test_the_summary_has_a_card_for_what_was_measured():
    assert [card.kind for card in summary_cards(small_scores())] == ["Fidelity", "Usefulness"]
    cards = {card.kind: card for card in summary_cards(full_scores())}
    assert list(cards)[2:] == ["Memorisation", "Validity", "Later data, never seen"]
    assert cards["Fidelity"].number == "0.200"
    assert cards["Fidelity"].verdict.level == "poor"
    assert cards["Validity"].verdict.level == "poor"


def test_without_rules_nothing_is_said_of_them():
    kinds = [card.kind for card in summary_cards(full_scores() | {"validity": []})]
    assert "Validity" not in kinds
    assert "Memorisation" in kinds


def test_the_summary_tells_a_single_judge():
    alone = small_scores() | {"predictive": single(0.05, constant=0.2)}
    units = [card.unit for card in summary_cards(alone)]
    assert units[0].startswith("± 0.010 ")
    assert units[1].startswith("one judge, ")
