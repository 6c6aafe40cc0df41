"""Series that a generator continues by completing windows, and several series side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import ConfigError
from core.generation import pieces_candidates
from core.generation import series as series_module
from core.generation.options import GenerationConfig
from core.generation.pieces_completion import piece_seed
from core.generation.rows import Rows
from core.generation.series import SeriesParts
from core.generators.bundle import GeneratorBundle
from core.generators.flow_matching import FlowMatching
from core.prepare.channels.layout import Column, Layout, WindowArrays
from tests.unit import fake_generator
from tests.unit.fake_generator import Fake
from tests.unit.test_flow_matching import stirred
from tests.unit.test_series import LENGTH, PLAIN, Smooth, bundle_of, write


class Continuing(Smooth):
    """Draws of AR(1) processes about 1/2, gone on with from their last known step by their own law."""

    share = 0.8
    options: dict[str, Any] = {"completion": 0.25}  # noqa: RUF012 - a fake's

    def __init__(self, layout: Layout, length: int = LENGTH, *, whole: bool = True) -> None:
        super().__init__(layout, length, whole=whole)
        self.asked: list[tuple[WindowArrays, int]] = []

    def complete(self, windows: WindowArrays, seed: int) -> WindowArrays:
        self.asked.append((windows, seed))
        noise = np.random.default_rng(seed).normal(size=windows.values.shape)
        values = windows.values.copy()
        for step in np.flatnonzero(np.isnan(values).any(axis=(0, 2))):
            values[:, step] = self.next(values[:, step - 2], values[:, step - 1], noise[:, step])
        return replace(windows, values=values)

    def next(self, before: Any, last: Any, noise: Any) -> Any:  # noqa: ARG002 - of others
        return 0.5 + self.share * (last - 0.5) + np.sqrt(1 - self.share**2) * noise / 10


def ar_errors(phi: float, n: int, lags: tuple[int, ...]) -> tuple[float, list[float]]:
    """Monte-Carlo errors of the variance, as a share of it, and of autocorrelations of n steps of an AR(1).

    Bartlett's formulas (Brockwell and Davis 1991, sections 7.2 and 7.3): for phi^k the variance is
    ((1 + phi^2) (1 - phi^2k) / (1 - phi^2) - 2 k phi^2k) / n, for the variance 2 (1 + phi^2) / (1 - phi^2) / n.
    """
    square = phi**2
    variance = 2 * (1 + square) / (1 - square) / n
    bartlett = [((1 + square) * (1 - square**k) / (1 - square) - 2 * k * square**k) / n for k in lags]
    return float(np.sqrt(variance)), np.sqrt(bartlett).tolist()


def autocorrelation(x: NDArray[np.float64], lag: int) -> float:
    """Along the first axis, over all others."""
    away = x - x.mean()
    return float((away[lag:] * away[:-lag]).mean() / away.var())


def test_a_continued_series_is_a_draw_of_the_process_where_candidates_are_none(tmp_path: Path) -> None:
    """The exact conditional law gives the process' own variance and autocorrelations, and no seams."""
    steps, phi, lags = 20_000, 0.8, (1, 5)
    layout = Layout((Column("x"),))
    made = write(bundle_of(layout, Continuing), tmp_path, steps=steps)
    x = np.load(tmp_path / "x.npy")[:, 0]
    spread, errors = ar_errors(phi, steps, lags)
    assert abs(x.var() / 0.01 - 1) < 4 * spread
    for lag, error in zip(lags, errors, strict=True):
        assert abs(autocorrelation(x, lag) - phi**lag) < 4 * error
    assert made.seams is not None
    assert made.seams["judged"]
    assert not made.seams["visible"]

    class Choosing(Smooth):
        share = phi

    pieced = write(bundle_of(layout, Choosing), tmp_path, steps=steps).seams
    assert pieced is not None
    assert pieced["visible"]


@pytest.mark.parametrize(("overlap", "steps", "count"), [(None, 200, None), (1, 77, 3), (9, 60, 2), (4, 5, 1)])
def test_each_window_goes_on_from_the_last_steps(
    tmp_path: Path, overlap: int | None, steps: int, count: int | None
) -> None:
    """Piece by piece as the documentation says it, from the generator alone."""
    bundle = bundle_of(PLAIN, Continuing)
    made = write(bundle, tmp_path, steps=steps, overlap=overlap, series=count, scaled=True)
    shared, generator = overlap or LENGTH // 2, Continuing(PLAIN)
    first = bundle.sample_encoded(count or 1, 2)
    rows = first.values
    for number in range(1, 1000):
        if rows.shape[1] >= steps:
            break
        told = np.full_like(first.values, np.nan)
        told[:, :shared] = rows[:, -shared:]
        drawn = generator.complete(replace(first, values=told), piece_seed(2, number)).values
        rows = np.concatenate([rows, drawn[:, shared:]], axis=1)
    expected = rows[:, :steps].swapaxes(0, 1)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), expected[:, 0] if count is None else expected)
    assert made.lineage["completion"]
    assert "candidates" not in made.lineage
    assert made.rows == steps * (count or 1)


def test_seeds_of_pieces_differ() -> None:
    seeds = {piece_seed(seed, number) for seed in (0, 1, 2**62) for number in range(1000)}
    assert len(seeds) == 3000
    assert 0 <= min(seeds) <= max(seeds) < 2**63


@given(
    st.sampled_from([Continuing, Smooth]),
    st.integers(2, 90),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(1, 5)),
    st.integers(1, 3),
)
@settings(max_examples=10)
def test_series_are_the_same_however_they_are_cut(
    kind: type[Fake], steps: int, overlap: int, count: int | None, cells: int
) -> None:
    tree = {
        "model": "m",
        "output": "x.npy",
        "form": "series",
        "steps": steps,
        "overlap": overlap,
        "series": count,
    }
    bundle, config = bundle_of(PLAIN, kind), GenerationConfig.model_validate(tree)
    parts = SeriesParts(Rows(bundle, "npy", False, True, None, count), config)
    whole = [block.content for block in parts.blocks(0, {})]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series_module, "PART_CELLS", cells * 2 * (LENGTH - overlap) * (count or 1))
        for module in (pieces_candidates, fake_generator):
            patch.setattr(module, "SAMPLE_CHUNK", 16)
        found, state = [], {}
        for part in range(parts.count):
            block = next(parts.blocks(part, json.loads(json.dumps(state))))
            found.append(block.content)
            state = block.state
        assert parts.size <= cells
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(whole))
    assert np.concatenate(found).shape == ((steps, 2) if count is None else (steps, count, 2))


MIXED = Layout(
    (
        Column("close", minimum=-0.1, maximum=0.1, transform="log_difference"),
        Column("kind", "categorical", categories=("a", "b", "c")),
        Column("x", maximum=2.0, optional=True),
    ),
    (
        Column("vip", "binary", categories=(False, True)),
        Column("age", maximum=90.0, optional=True),
        Column("close before", minimum=4.0, maximum=5.0, transform="log", level_of="close"),
    ),
    (Column("group", "categorical", categories=("u", "v")),),
)


class Told(Fake):
    """Draws whatever; keeps what it was told."""

    options: dict[str, Any] = {"completion": 1.0}  # noqa: RUF012 - a fake's

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.asked: list[WindowArrays] = []

    def complete(self, windows: WindowArrays, seed: int) -> WindowArrays:
        self.asked.append(windows)
        drawn = self.sample(len(windows), seed, windows.condition)
        return replace(drawn, values=np.where(np.isnan(windows.values), drawn.values, windows.values))


def test_what_is_told_of_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first windows' static columns and conditions, missing cells as such, and the level as it is then."""
    monkeypatch.setattr(series_module, "PART_CELLS", 600)  # several parts
    bundle = bundle_of(MIXED, Told)
    options = {"steps": 90, "series": 4, "overlap": 5}
    write(bundle, tmp_path, "x.parquet", **options)
    asked = bundle.generator.asked  # type: ignore[attr-defined]
    write(bundle, tmp_path, **options, scaled=True)
    first = bundle.sample_encoded(4, 2)
    channels = np.load(tmp_path / "x.npy")
    kept = channels[..., :5]  # vip, age present, age, u, v
    np.testing.assert_array_equal(
        kept, np.broadcast_to(np.hstack([first.static[:, :3], first.condition]), kept.shape)
    )

    values, stride = channels[..., 5:].swapaxes(0, 1), LENGTH - 5
    levels = 4 + first.static[:, 3] + np.cumsum(0.2 * values[..., 0].astype(float) - 0.1, axis=1).T
    for number, windows in enumerate(asked[:12], 1):
        begin = number * stride
        tail = values[:, begin : begin + 5].copy()
        tail[tail[..., 4] == 0, 5] = np.nan
        np.testing.assert_array_equal(windows.values[:, :5], tail)
        assert np.isnan(windows.values[:, 5:]).all()
        np.testing.assert_array_equal(windows.condition, first.condition)
        known = first.static[:, :3].copy()
        known[known[:, 1] == 0, 2] = np.nan
        np.testing.assert_array_equal(windows.static[:, :3], known)
        np.testing.assert_allclose(windows.static[:, 3], np.clip(levels[begin - 1] - 4, 0, 1), atol=1e-5)

    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert list(frame.columns) == ["series", "step", "vip", "age", "group", "close", "kind", "x"]
    assert frame["step"].tolist() == np.repeat(np.arange(90), 4).tolist()
    assert frame["series"].tolist() == list(range(4)) * 90
    assert (frame.groupby("series")[["vip", "age", "group"]].nunique(dropna=False) == 1).all(axis=None)
    np.testing.assert_allclose(np.log(frame["close"]), levels.ravel(), rtol=1e-5)


def test_series_side_by_side_of_any_generator(tmp_path: Path) -> None:
    """Each is pieced from its own windows; `--series` 1 has the column, too."""
    time = {"frequency": "h"}
    bundle = bundle_of(PLAIN, Smooth, time)
    options = {"steps": 100, "candidates": 5, "start": "2024-03-30"}
    assert write(bundle, tmp_path, "many.csv", series=3, **options).rows == 300
    write(bundle, tmp_path, "one.csv", series=1, **options)
    write(bundle, tmp_path, "plain.csv", **options)
    many, one, plain = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("many", "one", "plain"))
    assert list(many.columns) == ["series", "step", "time", "x", "y"]
    assert all(times.tolist() == plain["time"].tolist() for _, times in many.groupby("series")["time"])
    pd.testing.assert_frame_equal(one.drop(columns="series"), plain)
    ends = many.groupby("series")["x"].agg(list)
    assert len({tuple(values) for values in ends}) == 3


class Jumping(Continuing):
    """Forgets where it was told to begin."""

    share = 0.99

    def complete(self, windows: WindowArrays, seed: int) -> WindowArrays:
        values = self.sample(len(windows), seed).values
        return replace(windows, values=np.where(np.isnan(windows.values), values, windows.values))


class Waves(Continuing):
    """Slow waves of chance phases, that are noticed by their turns alone."""

    kink = 1.0

    def sample(self, n: int, seed: int, condition: Any = None) -> WindowArrays:  # noqa: ARG002
        phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, (n, 1, 1))
        values = np.sin(0.3 * np.arange(self.length)[:, None] + phase).repeat(self.channels.features, axis=2)
        none = np.zeros((n, 0), dtype=np.float32)
        return WindowArrays(values.astype(np.float32), none, none, np.full(n, self.length))

    def next(self, before: Any, last: Any, noise: Any) -> Any:  # noqa: ARG002
        """Of a wave x[t + 1] = 2 cos(0.3) x[t] - x[t - 1]."""
        return 2 * np.cos(0.3) * last - before


class Kinked(Waves):
    """Turns back where it goes on: the change has the right size and the wrong sign."""

    def complete(self, windows: WindowArrays, seed: int) -> WindowArrays:
        known = int(np.isfinite(windows.values[0, :, 0]).sum())
        turned = windows.values.copy()
        turned[:, known - 2] = self.next(turned[:, known - 2], turned[:, known - 1], 0)
        drawn = super().complete(replace(windows, values=turned), seed).values
        return replace(windows, values=np.where(np.isnan(windows.values), drawn, windows.values))


@pytest.mark.parametrize(
    ("kind", "measure"),
    [(Jumping, "largest change"), (Kinked, "largest turn"), (Waves, None), (Continuing, None)],
)
def test_seams_of_a_generator_that_continues_badly_show(
    tmp_path: Path, kind: type[Fake], measure: str | None
) -> None:
    seams = write(bundle_of(PLAIN, kind), tmp_path, steps=3000).seams
    assert seams is not None
    assert seams["judged"]
    assert seams["visible"] == (measure is not None)
    assert measure in (None, seams["measure"])


def test_series_that_move_with_their_level_have_no_seams(tmp_path: Path) -> None:
    """Changes in proportion to a level that walks slowly: other windows differ, the seam's own does not."""

    class Prices(Continuing):
        def sample(self, n: int, seed: int, condition: Any = None) -> WindowArrays:
            whole = super().sample(n, seed, condition)
            return replace(whole, values=(10 * np.exp(whole.values - 0.5)).astype(np.float32))

        def next(self, before: Any, last: Any, noise: Any) -> Any:  # noqa: ARG002
            return last * np.exp(0.01 * noise)

    seams = write(bundle_of(PLAIN, Prices), tmp_path, steps=3000).seams
    assert seams is not None
    assert not seams["visible"]


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (Continuing, {"candidates": 8}, "completes windows.*leave candidates out"),
        (Continuing, {"overlap": 10}, "overlap from 1 to 9"),
        (Smooth, {"overlap": 7}, "overlap from 1 to 6"),
        (
            Continuing,
            {"series": 30},
            "30 series of this generator are too many side by side: expected at most 20",
        ),
    ],
)
def test_series_that_cannot_be(
    tmp_path: Path, kind: type[Fake], options: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_module, "PART_CELLS", 20 * 2 * LENGTH * 2)
    with pytest.raises(ConfigError, match=says):
        write(bundle_of(PLAIN, kind), tmp_path, **options)
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize("name", ["steps", "overlap", "series", "candidates"])
def test_windows_take_no_options_of_series(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is of form `series`"):
        GenerationConfig.model_validate({"model": "m", "output": "x.npy", name: 3})


def test_a_generator_that_never_learnt_to_complete_takes_candidates(tmp_path: Path) -> None:
    class Unable(Continuing):
        options = {"completion": 0.0}  # noqa: RUF012 - a fake's

    assert write(bundle_of(PLAIN, Unable), tmp_path, candidates=3).lineage["candidates"] == 3


class CutOffError(Exception):
    """The machine died."""


def network(folder: Path) -> GeneratorBundle:
    """Untrained, but with weights that do something, from its files."""
    model = FlowMatching(
        length=8, channels=MIXED.channels, hidden=8, layers=1, heads=2, sampling_steps=3, completion=0.5, seed=1
    )
    saved = replace(bundle_of(MIXED, Fake), generator=stirred(model))  # type: ignore[arg-type]
    if not folder.exists():
        folder.mkdir()
        saved.save(folder)
    return GeneratorBundle.load(folder)


@pytest.mark.parametrize("name", ["x.parquet", "x/"])
def test_series_that_were_cut_off_are_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By a network: the same bytes, and no more of the past in memory than the last part's."""
    monkeypatch.setattr(series_module, "PART_CELLS", 700)
    bundle = network(tmp_path / "model")
    options = {"steps": 150, "series": 4, "condition": {"group": "v"}}
    undisturbed, cut = tmp_path / "undisturbed", tmp_path / "cut"
    for folder in (undisturbed, cut):
        folder.mkdir()
    write(bundle, undisturbed, name, **options)
    complete, calls = FlowMatching.complete, iter(range(20))

    def dying(self: FlowMatching, windows: WindowArrays, seed: int) -> WindowArrays:
        if next(calls) == 19:
            raise CutOffError
        return complete(self, windows, seed)

    monkeypatch.setattr(FlowMatching, "complete", dying)
    with pytest.raises(CutOffError):
        write(bundle, cut, name, **options)
    monkeypatch.setattr(FlowMatching, "complete", complete)
    assert write(bundle, cut, name, **options).resumed > 1
    for path in (path for path in undisturbed.rglob("*.parquet") if "lake" not in path.parts):
        assert (cut / path.relative_to(undisturbed)).read_bytes() == path.read_bytes()
    frame = pd.read_parquet(cut / name)
    assert len(frame) == 600
    assert set(frame["group"]) == {"v"}


def test_fewer_series_are_the_first_of_more(tmp_path: Path) -> None:
    """Up to the rounding of a batch of another size, which a network of random weights does not enlarge."""
    bundle = network(tmp_path / "model")
    for count in (2, 5):
        write(bundle, tmp_path, f"{count}.npy", steps=40, series=count, scaled=True)
    few, more = (np.load(tmp_path / f"{count}.npy") for count in (2, 5))
    np.testing.assert_allclose(few, more[:, :2], atol=1e-4)


def test_only_the_last_part_is_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the others were gone on from would fill the memory."""
    from core.generation.writer import Writer

    monkeypatch.setattr(series_module, "PART_CELLS", 500)
    seen: list[int] = []
    written = Writer._written

    def spy(self: Writer, number: int, block: Any) -> Any:
        seen.append(sum(bool(part.state) for part in self.journal.parts))
        return written(self, number, block)

    monkeypatch.setattr(Writer, "_written", spy)
    write(bundle_of(PLAIN, Continuing), tmp_path, "x.parquet", steps=2000, series=4)
    assert len(seen) > 10
    assert max(seen) == 1
    lineage = json.loads(pq.read_metadata(tmp_path / "x.parquet").metadata[b"timeloom"])
    assert (lineage["series"], lineage["overlap"], lineage["completion"]) == (4, 6, True)


def test_the_command_line_writes_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli.generation import generate

    monkeypatch.setenv("TIMELOOM_HOME", str(tmp_path / "lake"))
    monkeypatch.setattr("flows.environment.configure", lambda _: None)
    network(tmp_path / "model")
    generate(str(tmp_path / "model"), output=str(tmp_path / "x.csv"), steps=60, series=3, seed=2)
    assert "3 series, 180 rows x 6 columns" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "x.csv").groupby("series")["step"].max().tolist() == [59, 59, 59]
    with pytest.raises(ConfigError, match="series is of form `series`"):
        generate(str(tmp_path / "model"), output=str(tmp_path / "x.csv"), n=60, series=3)
