"""Streams, parts and resuming: the bytes are the same however the work was cut."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BusyError, ConfigError, StorageError
from core.generation import windows as windows_module
from core.generation.options import GenerationConfig
from core.generation.stage import stage
from core.generation.target import target_of
from core.generation.write import generate
from core.generation.writer import MANIFEST, Generated
from core.generators import module as module_module
from core.generators.bundle import GeneratorBundle
from core.generators.registry import GENERATORS
from core.prepare.channels.encode import joined
from core.prepare.channels.layout import Block, Channels, Column, Layout, WindowArrays, concatenated
from tests.unit import fake_generator
from tests.unit.fake_generator import Fake, made

PLAIN = Layout((Column("x", minimum=-5.0, maximum=15.0), Column("n", minimum=0.0, maximum=9.0, integer=True)))
MIXED = Layout(
    (Column("kind", "categorical", categories=("a", "b")), Column("x", maximum=2.0, optional=True)),
    (Column("vip", "binary", categories=(False, True), optional=True),),
    (Column("group", "categorical", categories=("u", "v")),),
)
CHUNK = 48
WINDOWS = 3 * CHUNK + 17
EVERYTHING = Channels(
    (Block("continuous"), Block("one_hot", 3), Block("binary", 1, optional=True)),
    (Block("continuous"),),
    (Block("one_hot", 2),),
)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk a part, and few windows a chunk."""
    monkeypatch.setattr(windows_module, "PART_CELLS", 1)
    for module in (module_module, windows_module, fake_generator):
        monkeypatch.setattr(module, "SAMPLE_CHUNK", CHUNK)


def job(output: Any, **options: Any) -> GenerationConfig:
    tree = {"model": "m", "output": str(output), "windows": WINDOWS, "seed": 3, **options}
    return GenerationConfig.model_validate(tree)


def write(bundle: GeneratorBundle, lake: Path, output: Any, **options: Any) -> Generated:
    return generate(bundle, job(output, **options), {"generator": "g", "version": "3"}, lake)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


class CutOffError(Exception):
    """What a kill does, as far as files go."""


def cut(bundle: GeneratorBundle, after: int) -> GeneratorBundle:
    """The same generator, whose stream breaks off after so many chunks."""
    whole = bundle.generator

    class Cut(Fake):
        def stream(self, *arguments: Any, **more: Any) -> Iterator[WindowArrays]:
            for place, chunk in enumerate(whole.stream(*arguments, **more)):
                if place == after:
                    raise CutOffError
                yield chunk

    return replace(bundle, generator=Cut(bundle.series.layout))  # type: ignore[arg-type]


# Streams


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_stream_is_the_sample_from_any_chunk_on(kind: str) -> None:
    generator = GENERATORS[kind](length=6, channels=EVERYTHING, seed=1)
    n = 2 * CHUNK + 5
    whole = generator.sample(n, 7)
    for start in range(4):
        chunks = list(generator.stream(n, 7, start=start))
        assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, 5][start:]
        if chunks:
            rest = concatenated(chunks)
            for part in ("values", "static", "condition", "lengths"):
                expected = getattr(whole, part)[start * CHUNK :]
                np.testing.assert_array_equal(getattr(rest, part), expected)


def test_drawing_between_chunks_changes_nothing() -> None:
    generator = GENERATORS["timegan"](length=4, channels=Channels.continuous(2), seed=1)
    expected = generator.sample(CHUNK + 9, 5).values
    generator.train()  # type: ignore[attr-defined]
    found = []
    for chunk in generator.stream(CHUNK + 9, 5):
        assert generator.training  # type: ignore[attr-defined]
        found.append(chunk.values)
        generator.sample(3, 99)
    np.testing.assert_array_equal(np.concatenate(found), expected)


@given(st.integers(1, 3 * CHUNK), st.integers(0, 3))
@settings(max_examples=20)
def test_streams_begin_anywhere(n: int, start: int) -> None:
    generator = GENERATORS["rcgan"](length=3, channels=Channels.continuous(1), seed=2)
    rest = [chunk.values for chunk in generator.stream(n, 11, start=start)]
    expected = generator.sample(n, 11).values[start * CHUNK :]
    np.testing.assert_array_equal(np.concatenate([expected[:0], *rest]), expected)


# Files


def test_parts_make_the_same_csv_as_the_whole_frame(tmp_path: Path) -> None:
    bundle = made(MIXED)
    result = write(bundle, tmp_path / "lake", tmp_path / "x.csv")
    expected = bundle.sample_frame(WINDOWS, 3).to_csv(index=False, lineterminator="\n")
    assert (tmp_path / "x.csv").read_bytes() == expected.encode()
    assert result.rows == expected.count("\n") - 1
    beside = json.loads((tmp_path / "x.csv.json").read_text())
    assert beside["lineage"]["version"] == "3"
    assert beside["sha256"] == result.digest


def test_stamps_are_written_alike_in_every_part(tmp_path: Path) -> None:
    bundle, n = made(PLAIN), CHUNK + 1
    bundle = replace(bundle, series=replace(bundle.series, time={"frequency": "h"}))
    midnight_last = next(seed for seed in range(99) if bundle.sample_encoded(n, seed).lengths[-1] == 1)
    write(bundle, tmp_path / "lake", tmp_path / "x.csv", windows=n, seed=midnight_last, start="2024-03-31")
    frame = bundle.sample_frame(n, midnight_last)
    frame.insert(2, "time", pd.date_range("2024-03-31", periods=4, freq="h")[frame["step"]])
    assert (tmp_path / "x.csv").read_text() == frame.to_csv(index=False, lineterminator="\n")


@pytest.mark.parametrize("scaled", [False, True])
def test_parts_make_the_same_array_as_numpy(tmp_path: Path, scaled: bool) -> None:
    bundle = made(PLAIN)
    write(bundle, tmp_path / "lake", tmp_path / "x.npy", scaled=scaled)
    whole = bundle.sample_encoded(WINDOWS, 3)
    expected = io.BytesIO()
    np.save(expected, joined(whole) if scaled else bundle.numbers(whole))
    assert (tmp_path / "x.npy").read_bytes() == expected.getvalue()


@pytest.mark.parametrize("output", ["x.parquet", "x/"])
def test_parts_make_the_same_rows(tmp_path: Path, output: str) -> None:
    bundle = made(MIXED)
    result = write(bundle, tmp_path / "lake", f"{tmp_path}/{output}", condition={"group": "v"})
    frame = pd.read_parquet(tmp_path / output)
    pd.testing.assert_frame_equal(frame, bundle.sample_frame(WINDOWS, 3, {"group": "v"}))
    assert result.rows == len(frame)
    assert result.preview[0]["group"] == "v"
    assert not list((tmp_path / "lake").rglob("*.parquet")), "nothing is left in the lake"


def test_the_lineage_is_in_every_parquet_file(tmp_path: Path) -> None:
    write(made(PLAIN), tmp_path / "lake", tmp_path / "x.parquet")
    write(made(PLAIN), tmp_path / "lake", f"{tmp_path}/x/")
    files = [tmp_path / "x.parquet", *(tmp_path / "x").glob("*.parquet")]
    assert len(files) == 5
    for file in files:
        lineage = json.loads(pq.read_metadata(file).metadata[b"timeloom"])
        assert lineage["generator"] == "g"
        assert (lineage["seed"], lineage["windows"], lineage["data"]) == (3, WINDOWS, "x")


def test_types_do_not_depend_on_the_cells(tmp_path: Path) -> None:
    layout = Layout((Column("flag", "binary", categories=(False, True), optional=True), Column("x")))
    bundle = made(layout)

    class Nothing(Fake):
        def stream(self, *arguments: Any, **more: Any) -> Iterator[WindowArrays]:
            for chunk in super().stream(*arguments, **more):
                chunk.values[..., :2] = 0
                yield chunk

    empty = replace(bundle, generator=Nothing(layout))  # type: ignore[arg-type]
    schemas = []
    for name, each in (("a", bundle), ("b", empty)):
        write(each, tmp_path / "lake", tmp_path / f"{name}.parquet")
        schemas.append(pq.read_schema(tmp_path / f"{name}.parquet"))
    assert schemas[0].equals(schemas[1])


# Resuming


@pytest.mark.parametrize("output", ["x.parquet", "x.csv", "x.npy", "x/"])
@pytest.mark.parametrize("after", [0, 2])
def test_work_that_was_cut_off_is_gone_on_with(tmp_path: Path, output: str, after: int) -> None:
    bundle, lake = made(PLAIN), tmp_path / "lake"
    undisturbed, resumed = tmp_path / "a", tmp_path / "b"
    with pytest.raises(CutOffError):
        write(cut(bundle, after), lake, f"{resumed}/{output}")
    assert not (resumed / output).is_file()
    assert not (resumed / "x" / MANIFEST).exists()
    result = write(bundle, lake, f"{resumed}/{output}")
    assert result.resumed == after
    write(bundle, lake, f"{undisturbed}/{output}")
    found, expected = content(resumed), content(undisturbed)
    if output == "x/":  # the key knows where it is
        for tree in (found, expected):
            tree[f"x/{MANIFEST}"] = tree[f"x/{MANIFEST}"].split(b'"key"')[0]
    assert found == expected


def test_a_part_that_was_changed_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle, lake, output = made(PLAIN), tmp_path / "lake", f"{tmp_path}/x/"
    with pytest.raises(CutOffError):
        write(cut(bundle, 3), lake, output)
    part = tmp_path / "x" / "windows-000001.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    assert write(bundle, lake, output).resumed == 1
    assert "windows-000001.parquet is missing or has changed" in caplog.text
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x"), bundle.sample_frame(WINDOWS, 3))


def test_a_torn_journal_counts_up_to_its_tear(tmp_path: Path) -> None:
    bundle, lake, output = made(PLAIN), tmp_path / "lake", tmp_path / "x.npy"
    with pytest.raises(CutOffError):
        write(cut(bundle, 3), lake, output)
    (journal,) = lake.rglob("journal.jsonl")
    journal.write_bytes(journal.read_bytes()[:-30])
    assert write(bundle, lake, output).resumed == 2
    np.testing.assert_array_equal(np.load(output), bundle.sample(WINDOWS, 3))


def test_another_seed_takes_up_nothing(tmp_path: Path) -> None:
    bundle, lake, output = made(PLAIN), tmp_path / "lake", f"{tmp_path}/x/"
    with pytest.raises(CutOffError):
        write(cut(bundle, 3), lake, output)
    assert write(bundle, lake, output, seed=4, windows=9).resumed == 0
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x"), bundle.sample_frame(9, 4))
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [MANIFEST, "windows-000000.parquet"]
    assert not list(lake.rglob("journal.jsonl"))


def test_a_whole_folder_is_left_as_it_is(tmp_path: Path) -> None:
    bundle, lake, output = made(PLAIN), tmp_path / "lake", f"{tmp_path}/x/"
    first = write(bundle, lake, output)
    again = write(cut(bundle, 0), lake, output)
    assert again.reused
    assert (again.rows, again.digest, again.preview) == (first.rows, first.digest, first.preview)
    assert list(again.preview[0]) == ["window", "step", "x", "n"]
    (tmp_path / "x" / "windows-000002.parquet").unlink()
    third = write(bundle, lake, output)
    assert not third.reused
    assert third.digest == first.digest
    manifest = tmp_path / "x" / MANIFEST
    tree = json.loads(manifest.read_text())
    for damage in ("[1]", b"\xff", *(json.dumps({**tree, name: None}) for name in ("parts", "preview"))):
        manifest.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
        assert not write(bundle, lake, output).reused
    (tmp_path / "x" / "mine.parquet").write_text("would be read with them")
    with pytest.raises(ConfigError, match=r"mine\.parquet.*empty folder"):
        write(bundle, lake, output)


def test_one_writes_at_a_time(tmp_path: Path) -> None:
    address = target_of(str(tmp_path / "x.npy"), tmp_path).address
    with (
        stage(tmp_path / "lake", address, "k" * 16),
        pytest.raises(BusyError, match=r"x\.npy is being written by another process"),
    ):
        write(made(PLAIN), tmp_path / "lake", tmp_path / "x.npy")


def test_a_file_has_one_writer_whatever_it_is_called_by(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    names = [f"{tmp_path}/{way}/x.npy" for way in ("a", "b", "b/../a", f"../{tmp_path.name}/a")]
    assert {target_of(name, tmp_path).address for name in names} == {f"{tmp_path.resolve()}/a/x.npy"}


def test_what_others_put_into_a_folder_meanwhile_stays(tmp_path: Path) -> None:
    bundle, notes = made(PLAIN), tmp_path / "x" / "notes.txt"

    class Busy(Fake):
        def stream(self, *arguments: Any, **more: Any) -> Iterator[WindowArrays]:
            for place, chunk in enumerate(bundle.generator.stream(*arguments, **more)):
                if place:
                    notes.write_text("precious")
                yield chunk

    write(replace(bundle, generator=Busy(PLAIN)), tmp_path / "lake", f"{tmp_path}/x/")  # type: ignore[arg-type]
    assert notes.read_text() == "precious"


# What cannot be


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("x.txt", "expected an output ending in"),
        ("x", "expected an output ending in"),
        (".parquet", "expected an output ending in"),
        ("a\0b.npy", "NUL"),
        ("memory://x.npy", "names no bucket"),
        ("nowhere://a/x.npy", "nowhere"),
        ("s3://me:pass@b/x.npy", "password"),
        ("s3:///x.npy", "names no bucket"),
        ("https://example.com/a/x.npy?token=abc", "token"),
        ("https://example.com/a/x.npy", "nothing can be written to"),
        ("here.npy", r"here\.npy is a folder"),
        ("x" * 300 + ".npy", "name too long"),
    ],
)
def test_outputs_that_are_none(tmp_path: Path, output: str, says: str) -> None:
    (tmp_path / "here.npy").mkdir()
    place = output if "://" in output else f"{tmp_path}/{output}"
    with pytest.raises(ConfigError, match=says):
        write(cut(made(PLAIN), 0), tmp_path / "lake", place)
    assert [path.name for path in tmp_path.rglob("*")] == ["here.npy"]


def test_a_folder_of_others_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.parquet").write_text("precious")
    with pytest.raises(ConfigError, match=r"mine\.parquet.*empty folder"):
        write(made(PLAIN), tmp_path / "lake", f"{tmp_path}/x/")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["mine.parquet"]


def test_a_path_through_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is no folder"):
        write(cut(made(PLAIN), 0), tmp_path / "lake", tmp_path / "file" / "x.npy")


def test_a_full_disk_leaves_the_old_file_and_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, lake, output = made(PLAIN), tmp_path / "lake", tmp_path / "x.npy"
    beside = tmp_path / "x.npy.json"
    output.write_text("old")
    beside.write_text("of the old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("core.generation.rows.shutil.copyfileobj", full)
        with pytest.raises(StorageError, match=r"x\.npy \(\d+ bytes so far, [\d,]+ free\)"):
            write(bundle, lake, output)
    assert (output.read_text(), beside.read_text()) == ("old", "of the old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "x.npy", "x.npy.json"]
    assert write(bundle, lake, output).resumed == 4


def test_a_table_names_what_an_array_has_no_place_for(tmp_path: Path) -> None:
    for bundle, options, says in (
        (made(MIXED), {}, "no place for the columns kind, vip, group"),
        (made(MIXED), {"scaled": True, "condition": {"group": "w"}}, "group is never 'w'"),
        (made(PLAIN), {"start": "2020-01-01"}, "prepared without time stamps"),
    ):
        with pytest.raises(ConfigError, match=says):
            write(cut(bundle, 0), tmp_path / "lake", tmp_path / "x.npy", **options)


# Behind URLs


def test_files_behind_a_url(tmp_path: Path) -> None:
    bundle = made(PLAIN)
    memory = fsspec.filesystem("memory")
    result = write(bundle, tmp_path / "lake", "memory://bucket/deep/x.npy")
    assert result.address == "memory://bucket/deep/x.npy"
    np.testing.assert_array_equal(
        np.load(io.BytesIO(memory.cat("/bucket/deep/x.npy"))), bundle.sample(WINDOWS, 3)
    )
    with pytest.raises(CutOffError):
        write(cut(bundle, 2), tmp_path / "lake", "memory://bucket/parts/")
    assert len(memory.ls("/bucket/parts", detail=False)) == 2
    assert write(bundle, tmp_path / "lake", "memory://bucket/parts/").resumed == 2
    names = sorted(path.rpartition("/")[2] for path in memory.ls("/bucket/parts", detail=False))
    assert names == [MANIFEST, *(f"windows-{part:06d}.parquet" for part in range(4))]
    frames = [pd.read_parquet(io.BytesIO(memory.cat(f"/bucket/parts/{name}"))) for name in names[1:]]
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), bundle.sample_frame(WINDOWS, 3))
    memory.rm("/bucket", recursive=True)


def test_a_url_shows_nothing_before_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/x.csv", b"old")

    def broken(*_: Any) -> None:
        raise TimeoutError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("core.generation.rows.shutil.copyfileobj", broken)
        with pytest.raises(Exception, match="gone") as caught:
            write(made(PLAIN), tmp_path / "lake", "memory://bucket/x.csv")
    assert getattr(caught.value, "retryable", False)
    assert memory.cat("/bucket/x.csv") == b"old"
    memory.rm("/bucket", recursive=True)
