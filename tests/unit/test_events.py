"""Simulated events against what their equations state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from core.catalog import EventsSource
from core.config import WindowConfig
from core.prepare.build import prepare
from core.prepare.series import PreparedSeries
from core.quality import validate
from core.sources.events import EVENT_NAMES, GROUPS, events_table, transition_matrix
from core.sources.resolve import resolve_dataset
from core.sources.snapshots import snapshot

CATALOG = Path(__file__).resolve().parents[2] / "data" / "catalog"
SERIES = 4000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    table = events_table(EventsSource(kind="events", series=SERIES, min_length=5, length=20, seed=3))
    frame = table.to_pandas()
    frame["k"] = frame["type"].map({name: place for place, name in enumerate(EVENT_NAMES)})
    return frame


@pytest.mark.parametrize("types", [2, 3, 6, 12])
def test_transition_matrices_are_those_of_the_equation(types):
    for group, first, second in (("forward", 1, 0), ("backward", -1, 0), ("staying", 0, 1)):
        expected = np.full((types, types), 0.1 / types)
        for i in range(types):
            expected[i, (i + first) % types] += 0.7
            expected[i, (i + second) % types] += 0.2
        np.testing.assert_allclose(transition_matrix(group, types), expected)
        np.testing.assert_allclose(expected.sum(axis=1), 1)


def test_types_follow_their_group_s_matrix(frame):
    after = frame.groupby("sequence")["k"].shift(-1)
    for group in GROUPS:
        pairs = frame["group"].eq(group) & after.notna()
        counts = np.zeros((6, 6))
        np.add.at(counts, (frame["k"][pairs].to_numpy(), after[pairs].to_numpy(dtype=int)), 1)
        rows = counts.sum(axis=1, keepdims=True)
        matrix = transition_matrix(group, 6)
        # Five standard deviations of a share of so many draws: 108 entries stay within.
        error = np.abs(counts / rows - matrix)
        assert (error < 5 * np.sqrt(matrix * (1 - matrix) / rows)).all(), group


def test_sequences_have_one_group_and_every_length(frame):
    sequences = frame.groupby("sequence")
    assert (sequences["group"].nunique() == 1).all()
    lengths = sequences.size()
    assert len(lengths) == SERIES
    shares = lengths.value_counts(normalize=True)
    assert set(shares.index) == set(range(5, 21))
    assert (np.abs(shares - 1 / 16) < 5 * np.sqrt(1 / 16 / SERIES)).all()
    firsts = frame.drop_duplicates("sequence")
    for column, values in (("group", GROUPS), ("type", EVENT_NAMES[:6])):
        found = firsts[column].value_counts(normalize=True)
        assert set(found.index) == set(values)
        assert (np.abs(found - 1 / len(values)) < 5 / np.sqrt(SERIES * len(values))).all()


def test_gaps_are_log_normal_by_type(frame):
    assert (frame["gap"] > 0).all()
    for kind, rows in frame.groupby("k"):
        logs = np.log(rows["gap"])
        assert abs(logs.mean() - np.log(2.0**kind / 4)) < 5 * 0.5 / np.sqrt(len(rows))
        assert abs(logs.std() - 0.5) < 0.03


def test_amounts_remember_and_flags_look_at_them(frame):
    frame = frame.assign(e=frame["amount"] - 20 - 10 * frame["k"])
    spread = 2 / np.sqrt(1 - 0.64)
    assert abs(frame["e"].std() - spread) < 0.05
    assert abs(frame.drop_duplicates("sequence")["e"].std() - spread) < 5 * spread / np.sqrt(2 * SERIES)
    before = frame.groupby("sequence")["e"].shift()
    noise = (frame["e"] - 0.8 * before).dropna()
    assert abs(noise.mean()) < 5 * 2 / np.sqrt(len(noise))
    assert abs(noise.std() - 2) < 0.05
    assert abs(np.corrcoef(before[noise.index], noise)[0, 1]) < 0.02
    for above, share in ((True, 0.4), (False, 0.1)):
        flags = frame["flag"][(frame["e"] > 0) == above]
        assert abs(flags.mean() - share) < 5 * np.sqrt(share * (1 - share) / len(flags))


def test_the_seed_decides_and_impossible_lengths_are_refused():
    source = EventsSource(kind="events", series=5, seed=1)
    assert events_table(source).equals(events_table(source))
    other = source.model_copy(update={"seed": 2})
    assert not events_table(source).equals(events_table(other))
    with pytest.raises(ValidationError, match="min_length=9 is more than length=8"):
        EventsSource(kind="events", min_length=9, length=8)


def test_the_catalogue_s_events_become_windows_of_mixed_types(tmp_path):
    dataset = resolve_dataset("events", CATALOG).dataset
    small = dataset.model_copy(update={"source": dataset.source.model_copy(update={"series": 200})})
    taken = snapshot(small, tmp_path)
    report = validate(small, taken, tmp_path)
    assert (report.success, report.warnings) == (True, 0)
    ref = prepare(small, WindowConfig(min_length=8), taken, tmp_path)
    series = PreparedSeries.open(ref.path)
    assert ref.windows == ref.segments == 200
    assert [(column.name, column.kind) for column in series.layout.temporal] == [
        ("type", "categorical"),
        ("flag", "binary"),
        ("gap", "continuous"),
        ("amount", "continuous"),
    ]
    windows = series.windows(24, min_length=8, condition=("group",))
    assert windows.variable
    assert windows.condition.shape == (200, 3)
