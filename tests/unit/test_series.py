"""One long series: its pieces, its levels, its stamps, and whether its seams show."""

from __future__ import annotations

import json
from collections.abc import Iterator
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

from core.errors import ConfigError, DataError
from core.generation import pieces_candidates
from core.generation import series as series_module
from core.generation.options import GenerationConfig
from core.generation.seams import MOST_SEAMS, changes, compare_seams
from core.generation.write import generate
from core.generation.writer import Generated
from core.generators.bundle import GeneratorBundle, SeriesInfo
from core.prepare.channels.layout import Column, Layout, WindowArrays
from tests.unit import fake_generator
from tests.unit.fake_generator import Fake, made

LENGTH = 12
PLAIN = Layout((Column("x", minimum=-5.0, maximum=15.0), Column("y", maximum=2.0)))


def smooth(
    rng: np.random.Generator, n: int, steps: int, columns: int = 2, share: float = 0.99
) -> NDArray[np.float64]:
    """Rows of AR(1) processes about 1/2, from their own distribution: shape (n, steps, columns)."""
    noise = rng.normal(size=(n, steps, columns))
    rows = np.empty_like(noise)
    rows[:, 0] = noise[:, 0]
    for step in range(1, steps):
        rows[:, step] = share * rows[:, step - 1] + np.sqrt(1 - share**2) * noise[:, step]
    return rows / 10 + 0.5


class Smooth(Fake):
    """Windows of these processes."""

    share = 0.99

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None = None) -> WindowArrays:  # noqa: ARG002
        rng = np.random.default_rng(seed)
        values = smooth(rng, n, self.length, self.channels.features, self.share).astype(np.float32)
        none = np.zeros((n, 0), dtype=np.float32)
        return WindowArrays(values, none, none, np.full(n, self.length))


def bundle_of(layout: Layout, kind: type[Fake] = Smooth, time: dict[str, Any] | None = None) -> GeneratorBundle:
    generator = kind(layout, length=LENGTH, whole=True)
    return GeneratorBundle(generator, SeriesInfo("made-up", layout, time, "x"))  # type: ignore[arg-type]


def write(bundle: GeneratorBundle, folder: Path, name: str = "x.npy", **options: Any) -> Generated:
    tree = {"model": "m", "output": f"{folder}/{name}", "form": "series", "steps": 500, "seed": 2, **options}
    return generate(bundle, GenerationConfig.model_validate(tree), {}, folder / "lake")


def pieced(windows: WindowArrays, steps: int, overlap: int, candidates: int) -> NDArray[np.float64]:
    """Continuous columns, piece by piece and step by step, as the documentation says it."""
    groups = windows.values.astype(float).reshape(-1, candidates, *windows.values.shape[1:])
    rows = list(groups[0][0])
    for group in groups[1:]:
        old = np.array(rows[-overlap:])
        gaps = [((window[:overlap] - old) ** 2).mean() for window in group]
        best = group[int(np.argmin(gaps))]
        for j in range(overlap):
            w = (j + 1) / (overlap + 1)
            rows[len(rows) - overlap + j] = (1 - w) * old[j] + w * best[j]
        rows += list(best[overlap:])
    return np.array(rows[:steps])


@pytest.mark.parametrize(
    ("overlap", "candidates", "steps"), [(None, 5, 200), (1, 3, 77), (4, 1, 12), (3, 700, 60)]
)
def test_a_series_is_made_of_the_best_pieces(
    tmp_path: Path, overlap: int | None, candidates: int, steps: int
) -> None:
    bundle = bundle_of(PLAIN)
    write(bundle, tmp_path, steps=steps, overlap=overlap, candidates=candidates, scaled=True)
    shared = overlap or LENGTH // 2
    pieces = 1 + max(0, -(-(steps - LENGTH) // (LENGTH - shared)))
    windows = bundle.sample_encoded(pieces * candidates, 2)
    expected = pieced(windows, steps, shared, candidates)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, atol=1e-6)


@given(st.integers(2, 120), st.integers(1, 6), st.sampled_from([1, 7, 16, 25]), st.integers(1, 3))
@settings(max_examples=8)
def test_a_series_is_the_same_however_it_is_cut(steps: int, overlap: int, candidates: int, cells: int) -> None:
    from core.generation.rows import Rows

    bundle = bundle_of(PLAIN)
    config = GenerationConfig(
        model="m", output="x.npy", form="series", steps=steps, overlap=overlap, candidates=candidates
    )
    parts = series_module.SeriesParts(Rows(bundle, "npy", False, True, None), config)
    whole = np.concatenate([block.content for block in parts.blocks(0, {})])
    assert len(whole) == steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series_module, "PART_CELLS", cells * 2 * (LENGTH - overlap))
        for module in (pieces_candidates, fake_generator):
            patch.setattr(module, "SAMPLE_CHUNK", 16)
        found, state = [], {}
        for part in range(parts.count):
            block = next(parts.blocks(part, json.loads(json.dumps(state))))
            found.append(block.content)
            state = block.state
    np.testing.assert_array_equal(np.concatenate(found), whole)


def test_a_series_that_was_cut_off_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "PART_CELLS", 200)
    time = {"frequency": "h"}
    bundle = bundle_of(PLAIN, time=time)

    class Cut(Smooth):
        def stream(self, *arguments: Any, **more: Any) -> Iterator[WindowArrays]:
            for place, chunk in enumerate(super().stream(*arguments, **more)):
                if place == 3:
                    raise KeyboardInterrupt
                yield chunk

    options = {"name": "x.parquet", "start": "2024-03-31", "steps": 1000}
    with pytest.raises(KeyboardInterrupt):
        write(bundle_of(PLAIN, Cut, time), tmp_path, **options)
    assert write(bundle, tmp_path, **options).resumed > 0
    resumed = (tmp_path / "x.parquet").read_bytes()
    write(bundle, tmp_path, **options)
    assert (tmp_path / "x.parquet").read_bytes() == resumed
    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert list(frame.columns) == ["step", "time", "x", "y"]
    assert frame["step"].tolist() == list(range(1000))
    assert (frame["time"] == pd.date_range("2024-03-31", periods=1000, freq="h")).all()
    lineage = json.loads(pq.read_metadata(tmp_path / "x.parquet").metadata[b"timeloom"])
    assert (lineage["steps"], lineage["overlap"], lineage["candidates"]) == (1000, 6, 64)
    assert lineage["seams"]["judged"]


LEVELS = Layout(
    (
        Column("close", minimum=-0.1, maximum=0.1, transform="log_difference"),
        Column("stock", minimum=-3.0, maximum=3.0, transform="difference", integer=True),
    ),
    (
        Column("close before", minimum=4.0, maximum=5.0, transform="log", level_of="close"),
        Column("stock before", minimum=0.0, maximum=90.0, integer=True, level_of="stock"),
    ),
)


def test_levels_go_on_from_piece_to_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "PART_CELLS", 100)
    bundle = bundle_of(LEVELS, Fake)
    write(bundle, tmp_path, steps=300, candidates=4)
    write(bundle, tmp_path, "scaled.npy", steps=300, candidates=4, scaled=True)
    channels = np.load(tmp_path / "scaled.npy").astype(float)
    assert channels.shape == (300, 2)
    first = bundle.sample_encoded(4 * 49, 2).static[0].astype(float)
    close = np.exp(4 + first[0]) * np.exp(np.cumsum(0.2 * channels[:, 0] - 0.1))
    stock = np.rint(90 * first[1]) + np.cumsum(np.rint(6 * channels[:, 1] - 3))
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), np.stack([close, stock], axis=1), rtol=1e-5)


def test_a_level_that_overflows_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "PART_CELLS", 100)
    layout = Layout((Column("x", minimum=9.0, maximum=10.0, transform="log_difference"),), LEVELS.static[:1])
    layout = replace(layout, static=(replace(layout.static[0], level_of="x"),))
    with pytest.raises(DataError, match="'x' left the range of numbers"):
        write(bundle_of(layout, Fake), tmp_path)
    assert not (tmp_path / "x.npy").exists()


def test_discrete_columns_and_missing_cells_switch_in_the_middle(tmp_path: Path) -> None:
    layout = Layout(
        (
            Column("kind", "categorical", categories=("a", "b", "c")),
            Column("x", maximum=2.0, optional=True),
            Column("flag", "binary", categories=(False, True)),
        )
    )
    bundle = bundle_of(layout, Fake)
    write(bundle, tmp_path, "x.parquet", steps=LENGTH * 2 - 4, overlap=4, candidates=1)
    write(bundle, tmp_path, steps=LENGTH * 2 - 4, overlap=4, candidates=1, scaled=True)
    one, two = bundle.sample_encoded(2, 2).values
    expected = np.concatenate([one[:10], two[2:]])
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), expected)
    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert frame["kind"].tolist() == ["abc"[place] for place in expected[:, :3].argmax(axis=1)]
    assert (frame["x"].isna() == (expected[:, 3] == 0)).all()


def test_conditions_stand_at_every_step(tmp_path: Path) -> None:
    layout = Layout(PLAIN.temporal, (), (Column("group", "categorical", categories=("u", "v")),))
    bundle = bundle_of(layout, Fake)
    write(bundle, tmp_path, "x.csv", steps=50, condition={"group": "v"})
    assert set(pd.read_csv(tmp_path / "x.csv")["group"]) == {"v"}
    with pytest.raises(ConfigError, match="one value of group: give it"):
        write(bundle, tmp_path)


@pytest.mark.parametrize(
    ("layout", "options", "says"),
    [
        (PLAIN, {"overlap": 7}, "overlap from 1 to 6"),
        (Layout(PLAIN.temporal, (Column("vip"),)), {}, "makes up vip anew"),
        (
            LEVELS.conditioned_on(["close before"]),
            {"condition": {"close before": 60}},
            "changes along a series",
        ),
        (
            Layout((replace(LEVELS.temporal[0], optional=True),), LEVELS.static[:1]),
            {},
            "differenced and may be missing",
        ),
        (PLAIN, {"start": "2024-01-01"}, "prepared without time stamps"),
    ],
)
def test_series_that_cannot_be(tmp_path: Path, layout: Layout, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        write(bundle_of(layout, Fake), tmp_path, **options)
    assert not list(tmp_path.rglob("*.npy"))


def test_windows_of_several_lengths_make_no_series(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="differ in length, from 1 to 4 steps"):
        write(made(PLAIN), tmp_path)


@pytest.mark.parametrize(
    ("time", "start", "steps"),
    [
        ({"calendar": "XNYS"}, "2024-01-01", 80_000),
        ({"frequency": "h"}, "soon", 10),
        ({"frequency": "h"}, "today", 10),
        ({"frequency": "h"}, "10:00", 10),
    ],
)
def test_stamps_that_there_are_not(tmp_path: Path, time: dict[str, str], start: str, steps: int) -> None:
    with pytest.raises(ConfigError):
        write(bundle_of(PLAIN, time=time), tmp_path, "x.csv", start=start, steps=steps)
    assert not (tmp_path / "x.csv").exists()


# Seams


def verdict_on(rows: NDArray[np.float64], overlap: int, stride: int) -> dict[str, Any]:
    """Of a series with a seam every `stride` steps; the other stretches lie between the seams."""
    begins = np.arange(stride - 1, len(rows) - 2 * stride, stride)
    steps = np.arange(overlap + 2)
    seams = rows[begins[:, None] + steps]
    inside = np.concatenate([rows[begins[:, None] + later + steps] for later in range(5, stride - 6, 5)])
    columns = [Column(f"c{place}") for place in range(rows.shape[1])]
    return compare_seams(changes(seams, columns), changes(inside, columns), [c.name for c in columns])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_series_without_seams_passes(share: float) -> None:
    rng = np.random.default_rng(0)
    verdicts = [verdict_on(rows, 3, 30) for rows in smooth(rng, 40, 3000, 3, share)]
    assert all(verdict["judged"] for verdict in verdicts)
    assert sum(verdict["visible"] for verdict in verdicts) <= 2


@pytest.mark.parametrize("seams", [15, 60])
def test_windows_that_are_glued_fail(seams: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        rows = smooth(rng, seams, 30).reshape(-1, 2)
        found = verdict_on(rows, 3, 30)
        assert found["visible"]


def test_glued_noise_cannot_be_told_and_mixed_noise_can() -> None:
    rng = np.random.default_rng(2)
    rows = smooth(rng, 1, 6000, 2, 0.0)[0]
    assert not verdict_on(rows, 6, 30)["visible"]
    mixed = rows.copy()
    for begin in range(30, len(rows) - 6, 30):
        share = (np.arange(1, 7) / 7)[:, None]
        mixed[begin : begin + 6] = (1 - share) * rows[begin : begin + 6] + share * rng.permutation(rows)[:6]
    assert verdict_on(mixed, 6, 30)["visible"]


def test_one_seam_is_too_few() -> None:
    rng = np.random.default_rng(3)
    columns = [Column("a")]
    seam, inside = (changes(rng.normal(size=(1, 4, 1)), columns) for _ in range(2))
    assert compare_seams(seam, inside, ["a"])["judged"] is False
    assert compare_seams(seam[:0], inside, ["a"]) == {"visible": False, "judged": False, "seams": 0}


def test_changes_are_those_of_the_definition() -> None:
    columns = [Column("x"), Column("kind", "categorical", categories=("a", "b"))]
    stretch = np.array([[[0.0, 1, 0], [0.5, 1, 0], [0.25, 0, 1]]])
    np.testing.assert_allclose(changes(stretch, columns), [[[0.5, 0.375, 0.75], [1, 0.5, 0]]])
    np.testing.assert_allclose(changes(stretch[:, :2], columns), [[[0.5, 0.5, 0], [0, 0, 0]]])


def test_visible_seams_can_be_refused(tmp_path: Path) -> None:
    bundle = bundle_of(PLAIN)
    options = {"steps": 3000, "overlap": 1, "candidates": 1}
    seams = write(bundle, tmp_path, **options).seams
    assert seams is not None
    assert seams["visible"]
    (tmp_path / "x.npy").unlink()
    for name in ("x.npy", "x/"):
        with pytest.raises(DataError, match=r"seams can be told from other steps.*nothing was written"):
            write(bundle, tmp_path, name, seams="refuse", **options)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == [
        "x.npy.json"
    ]
    assert write(bundle, tmp_path, "y/", **options).seams == seams
    with pytest.raises(DataError, match="seams can be told"):
        write(bundle, tmp_path, "y/", seams="refuse", **options)
    many = write(bundle, tmp_path, **options | {"candidates": 100}).seams
    assert many is not None
    assert many["distance"] < seams["distance"]
    assert many["seams"] <= MOST_SEAMS
