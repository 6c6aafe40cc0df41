"""Champion and challenger on the same windows: what is compared, how it is coded, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.catalog import DatasetConfig
from core.config import JobConfig
from core.errors import DataError
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.prepare.channels.layout import Column, Layout, WindowArrays
from core.prepare.series import PreparedSeries
from core.promotion import paired
from core.promotion.contest import common_layout, contest
from core.promotion.paired import compare
from core.promotion.statistics import corrected_resampled_test
from tests.unit.fake_generator import made

LENGTH = 4
GATES = {"judges": 4, "judge_iterations": 260}
LAYOUT = Layout(tuple(Column(f"x{i}") for i in range(6)))


class Shifted:
    """Cuts windows out of rows and shifts them: as good a generator as the shift is small."""

    length = LENGTH

    def __init__(self, rows: NDArray[np.float32], shift: float) -> None:
        self.rows, self.shift = rows, shift

    def sample(self, n: int, seed: int, _: Any = None) -> WindowArrays:
        rng = np.random.default_rng(seed)
        starts = rng.integers(len(self.rows) - LENGTH, size=n)
        values = self.rows[starts[:, None] + np.arange(LENGTH)]
        values = values + self.shift + rng.normal(0, 0.01, values.shape)
        none = np.empty((n, 0), dtype=np.float32)
        return WindowArrays(values.astype(np.float32), none, none, np.full(n, LENGTH))


def job_of(**gates: Any) -> JobConfig:
    return JobConfig.model_validate(
        {
            "dataset": DatasetConfig.model_validate({"name": "made-up", "source": {"path": "x.csv"}}),
            "window": {"length": LENGTH},
            "evaluation": {"batch_size": 16},
            "registry": {"gates": {**GATES, **gates}},
        }
    )


def bundle(rows: NDArray[np.float32], shift: float, layout: Layout = LAYOUT) -> GeneratorBundle:
    return GeneratorBundle(Shifted(rows, shift), SeriesInfo("made-up", layout, None, "x"))  # type: ignore[arg-type]


@pytest.fixture
def rows() -> NDArray[np.float32]:
    t = np.arange(1200)[:, None]
    return (np.sin(t * np.array([0.1, 0.23, 0.31, 0.05, 0.4, 0.17])) / 2 + 0.5).astype(np.float32)


@pytest.fixture
def series(write_prepared: Callable[..., Path], rows: NDArray[np.float32]) -> PreparedSeries:
    holdout = {"segments": [[800, 1200]], "from": "row 801"}
    return PreparedSeries.open(write_prepared(rows, [[0, 780]], layout=LAYOUT, holdout=holdout))


def test_the_better_one_wins_and_never_against_itself(
    series: PreparedSeries, rows: NDArray[np.float32]
) -> None:
    off, near = bundle(rows, 1.5), bundle(rows, 0.0)
    found = compare(job_of(), series, off, near)
    assert found.held_out
    assert found.since == "row 801"
    assert found.windows == 400 - LENGTH + 1
    assert found.test.passed
    assert found.champion.mean > found.challenger.mean
    # The gain is there, but not as large as could be asked for.
    gains = [a - b for a, b in zip(found.champion.values, found.challenger.values, strict=True)]
    assert not corrected_resampled_test(gains, 0.25, least_gain=0.5).passed
    assert not corrected_resampled_test([-gain for gain in gains], 0.25).passed
    same = compare(job_of(judge_iterations=20), series, off, off)
    assert same.champion == same.challenger
    assert (same.test.gain, same.test.p_value) == (0.0, 1.0)


def test_both_meet_the_same_windows_and_judges_share_no_row(
    series: PreparedSeries, rows: NDArray[np.float32]
) -> None:
    found = contest(job_of(), series, bundle(rows, 0.3), bundle(rows, 0.01))
    assert found.real.shape == found.champion.shape == found.challenger.shape
    assert (float(found.real.min()), float(found.real.max())) == (0.0, 1.0)
    assert len(found.splits) == GATES["judges"]
    for split in found.splits:
        reached = {row for start in split.train_real for row in range(start, start + LENGTH)}
        assert not reached & {row for start in split.test_real for row in range(start, start + LENGTH)}
        assert not set(split.train_fake) & set(split.test_fake)
    assert found.tested_by_trained == pytest.approx(0.25)


def test_without_a_hold_out_that_can_be_divided_the_training_windows_judge(
    write_prepared: Callable[..., Path], rows: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    short = {"segments": [[790, 790 + LENGTH + 1]], "from": None}
    for holdout in (None, short):
        series = PreparedSeries.open(write_prepared(rows, [[0, 780]], layout=LAYOUT, holdout=holdout))
        found = contest(job_of(), series, bundle(rows, 0.3), bundle(rows, 0.01))
        assert not found.held_out
        assert len(found.real) == 780 - LENGTH + 1
    assert "the hold-out cannot tell" in caplog.text


def test_ranges_and_categories_may_differ() -> None:
    now = Layout(
        (Column("x", maximum=2.0), Column("kind", "categorical", categories=("a", "b"))),
        (Column("vip", "binary", categories=(0, 1)),),
    )
    then = Layout(
        (
            Column("x", maximum=1.0, scaler="standard"),
            Column("kind", "categorical", categories=("b", "c"), optional=True),
        ),
        (Column("vip", "binary", categories=(1, 0)),),
    )
    common = common_layout(now, then)
    assert common.temporal[1].categories == ("a", "b", "c")
    assert common.temporal[1].optional
    assert common.temporal[0] == now.temporal[0]
    assert common.static == now.static


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"temporal": (Column("x"),)}, "the temporal columns differ: x, kind .* now, x .* in the champion"),
        ({"static": (Column("vip", "binary", categories=(0, 2)),)}, "'vip' is one of"),
        ({"static": ()}, "the static columns differ"),
    ],
)
def test_other_columns_cannot_be_compared(change: dict[str, Any], says: str) -> None:
    now = Layout(
        (Column("x"), Column("kind", "categorical", categories=("a", "b"))),
        (Column("vip", "binary", categories=(0, 1)),),
    )
    with pytest.raises(DataError, match=says.replace("x, kind .*", r"x \(continuous\), kind \(categorical\)")):
        common_layout(now, replace(now, **change))


def test_windows_of_another_length_or_condition_cannot_be_compared(
    series: PreparedSeries, rows: NDArray[np.float32]
) -> None:
    mine = bundle(rows, 0.1)
    longer = made(LAYOUT, length=LENGTH + 1)
    with pytest.raises(DataError, match="windows of 5 steps, the challenger of 4"):
        contest(job_of(), series, longer, mine)
    given = bundle(rows, 0.1, Layout(LAYOUT.temporal, (), (Column("group", "binary", categories=("a", "b")),)))
    with pytest.raises(DataError, match="conditioned on group, the challenger on nothing"):
        contest(job_of(), series, given, mine)


@pytest.mark.slow
def test_where_the_series_drifted_past_both_the_training_windows_judge(
    write_prepared: Callable[..., Path], rows: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired, "CEILING", 0.3)  # judges that are trained for a moment do not get to 0.49
    later = np.concatenate([rows[:800], rows[800:] + 2])
    holdout = {"segments": [[800, 1200]], "from": "row 801"}
    series = PreparedSeries.open(write_prepared(later, [[0, 780]], layout=LAYOUT, holdout=holdout))
    found = compare(job_of(), series, bundle(rows[:780], 0.5), bundle(rows[:780], 0.0))
    assert found.drifted
    assert not found.held_out
    assert found.windows == 780 - LENGTH + 1
    assert found.test.passed
