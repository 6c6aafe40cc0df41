"""Judging a generator of mixed columns: what the judges see, and under which conditions it is drawn."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.config import build_job
from core.errors import DataError
from core.evaluation import generated
from core.evaluation.generated import evaluate_generator, judged_channels, judged_names, paired_windows
from core.handles import GeneratorRef, PreparedRef
from core.prepare.build import prepare
from core.prepare.channels.encode import encode
from core.prepare.channels.layout import Column, Layout
from core.prepare.series import PreparedSeries
from core.sources.resolve import resolve_dataset
from core.sources.snapshots import snapshot
from tests.unit.fake_generator import Fake, made

CATALOG = Path(__file__).resolve().parents[2] / "data" / "catalog"
LAYOUT = Layout(
    (Column("type", "categorical", categories=("in", "out")), Column("x", maximum=10.0)),
    (Column("age", minimum=20.0, maximum=60.0, optional=True),),
    (Column("group", "binary", categories=("a", "b")),),
)


def test_the_last_channel_stays_the_last_column_and_padding_is_zero() -> None:
    windows = Fake(LAYOUT).sample(30, 0)
    names = judged_names(LAYOUT, variable=True)
    assert names == ["row present", "age present", "age", "group=b", "type=in", "type=out", "x"]
    judged = judged_channels(windows, variable=True)
    assert judged.shape == (30, 4, len(names))
    for window, length in enumerate(windows.lengths):
        for step in range(4):
            constant = [1, *windows.static[window], *windows.condition[window]]
            expected = [*constant, *windows.values[window, step]] if step < length else [0] * len(names)
            assert judged[window, step].tolist() == expected
    np.testing.assert_array_equal(judged_channels(windows, variable=False), judged[..., 1:])
    assert judged_names(LAYOUT, variable=False) == names[1:]


def test_plain_windows_are_judged_as_they_are() -> None:
    layout = Layout((Column("x"), Column("y")))
    windows = Fake(layout, whole=True).sample(5, 0)
    assert judged_channels(windows, variable=False).tobytes() == windows.values.tobytes()
    assert judged_names(layout, variable=False) == ["x", "y"]


def test_synthetic_windows_are_drawn_under_the_real_conditions() -> None:
    real = Fake(LAYOUT).sample(50, 0)
    same, synthetic = paired_windows(real, LAYOUT, made(LAYOUT), 9)
    assert same.values.tobytes() == real.values.tobytes()
    np.testing.assert_array_equal(synthetic.condition, real.condition)
    assert not np.array_equal(synthetic.values, real.values)
    assert len(synthetic) == 50


def test_the_generator_s_older_layout_decides_and_what_lies_outside_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The generator knows the groups in another order, one type more, and smaller numbers.
    own = Layout(
        (Column("type", "categorical", categories=("at", "in", "out")), Column("x", maximum=5.0)),
        (Column("age", minimum=20.0, maximum=60.0, optional=True),),
        (Column("group", "binary", categories=("b", "a")),),
    )
    real = Fake(LAYOUT).sample(50, 0)
    with caplog.at_level(logging.WARNING):
        known, synthetic = paired_windows(real, LAYOUT, made(own), 9)
    np.testing.assert_array_equal(known.condition, 1 - real.condition)
    np.testing.assert_array_equal(synthetic.condition, known.condition)
    assert known.values.shape == synthetic.values.shape == (50, 4, 4)
    assert (known.values[..., 0] == 0).all()
    np.testing.assert_allclose(known.values[..., 3], real.values[..., 2] * 2, atol=1e-6)
    assert f"{int((real.values[..., 2] > 0.5 + 1e-6).sum())} real values lie outside" in caplog.text
    fewer = Layout(
        (Column("type", "categorical", categories=("in",)), own.temporal[1]), own.static, own.condition
    )
    with pytest.raises(DataError, match="'type' holds 'out'"):
        paired_windows(real, LAYOUT, made(fewer), 9)


def test_prices_are_judged_in_original_units_whatever_the_transform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = np.exp(np.random.default_rng(0).normal(4, 0.1, 41))
    layout = Layout(
        (Column("close", minimum=-1.0, maximum=1.0, transform="log_difference"),),
        (Column("close before", minimum=3.0, maximum=5.0, transform="log", level_of="close"),),
    )
    np.save(tmp_path / "values.npy", encode(layout.temporal, np.diff(np.log(close))[:, None]))
    np.save(tmp_path / "levels.npy", encode(layout.static, np.log(close[:-1, None])))
    manifest = {"dataset": "sp500", "layout": layout.to_json(), "segments": [[0, 40]], "time": None}
    (tmp_path / "prepared.json").write_text(json.dumps(manifest))
    subjects = []
    monkeypatch.setattr(generated, "evaluate_windows", lambda subject, *_: subjects.append(subject) or {})
    monkeypatch.setattr(generated.GeneratorBundle, "load", lambda _: made(layout, length=5, whole=True))
    job = build_job(resolve_dataset("sp500", CATALOG).dataset, values={"window": {"length": 5}})
    ref = PreparedRef(
        path=tmp_path, digest="p", rows=40, features=("close",), segments=1, windows=36, window_length=5
    )
    generator = GeneratorRef(path=tmp_path, digest="g", run_dir=tmp_path, seconds=0.0)
    evaluate_generator(job, ref, generator, tmp_path)
    (subject,) = subjects
    expected = np.lib.stride_tricks.sliding_window_view(close[1:], 5)
    np.testing.assert_allclose(subject.prices.real[..., 1], expected, rtol=1e-5)
    # A price for each judged channel, or the distances refuse them; a level is the price of no step.
    assert subject.prices.real.shape == subject.real.shape
    assert np.isnan(subject.prices.real[..., 0]).all()
    np.testing.assert_allclose(subject.frames[0]["close"], expected.ravel(), rtol=1e-5)
    assert list(subject.frames[1].columns) == ["window", "step", "close"]
    # The level is judged as a channel, before the step's own.
    assert subject.features == ["close before", "close"]
    np.testing.assert_array_equal(subject.real[..., 0], np.load(tmp_path / "levels.npy")[:36].repeat(5, axis=1))


def test_events_are_judged_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = resolve_dataset("events", CATALOG).dataset
    source = {"kind": "events", "series": 60, "min_length": 3, "length": 6}
    job = build_job(
        dataset,
        values={
            "dataset": {"source": source},
            "window": {"length": 6, "min_length": 3},
            "model": {"condition": ["group"]},
            "evaluation": {
                "judges": 1,
                "discriminative_iterations": 5,
                "predictive_iterations": 5,
                "plot_windows": 10,
                "stronger_judges": [],
                "forecasters": False,
                "distances": False,
                "privacy": False,
                "overlays": ["pca"],
            },
        },
    )
    ref = prepare(job.dataset, job.window, snapshot(job.dataset, tmp_path), tmp_path)
    bundle = made(PreparedSeries.open(ref.path).conditioned(("group",)), length=6)
    monkeypatch.setattr(generated.GeneratorBundle, "load", lambda _: bundle)
    generator = GeneratorRef(path=tmp_path, digest="g", run_dir=tmp_path, seconds=0.0)
    found = evaluate_generator(job, ref, generator, tmp_path)
    scores = json.loads((found.path / "scores.json").read_text())
    names = [row["name"] for row in scores["features"]]
    assert names[:4] == ["row present", "group=backward", "group=forward", "group=staying"]
    assert names[4:] == [
        *(f"type={name}" for name in ("cart", "login", "logout", "pay", "search", "view")),
        *("flag", "gap", "amount"),
    ]
    assert scores["windows"]["real"] == scores["windows"]["synthetic"] == 60
    sample = pd.read_parquet(found.path / "synthetic.parquet")
    assert list(sample.columns) == ["window", "step", "group", "type", "flag", "gap", "amount"]
    assert set(sample["type"]) <= {"cart", "login", "logout", "pay", "search", "view"}
    # The real groups' shares are the synthetic ones': they were given.
    means = {row["name"]: (row["real"]["mean"], row["synthetic"]["mean"]) for row in scores["features"]}
    assert means["row present"][0] > 0.5
