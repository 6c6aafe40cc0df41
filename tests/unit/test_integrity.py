"""Generators' files that somebody damaged, changed or made up."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import StorageError
from core.generators.bundle import GeneratorBundle
from core.generators.integrity import FILES, manifest_digest, write_manifest
from core.tensors import pack_tensors, read_tensors
from tests.unit.tiny_bundle import tiny_bundle

ALL = (*FILES, "files.json")
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tiny_bundle().save(folder)
    return folder


def copied(saved: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(saved, to)
    return to


def test_the_manifest_says_what_sha256sum_says(saved: Path) -> None:
    found = json.loads((saved / "files.json").read_text())
    assert sorted(found) == sorted(path.name for path in saved.iterdir() if path.name != "files.json")
    for name, said in found.items():
        content = (saved / name).read_bytes()
        assert said == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert manifest_digest(saved) == hashlib.sha256((saved / "files.json").read_bytes()).hexdigest()


def test_the_same_generator_has_the_same_digest(saved: Path, tmp_path: Path) -> None:
    GeneratorBundle.load(saved).save(tmp_path)
    assert manifest_digest(tmp_path) == manifest_digest(saved)
    other = tmp_path / "other"
    other.mkdir()
    tiny_bundle(seed=1).save(other)
    assert manifest_digest(other) != manifest_digest(saved)


@settings(max_examples=80)
@given(data=st.data())
def test_no_byte_can_change(saved: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = copied(saved, tmp_path_factory.getbasetemp() / "changed")
    path = folder / data.draw(st.sampled_from(FILES))
    content = bytearray(path.read_bytes())
    match data.draw(st.sampled_from(["change", "cut", "append", "remove"])):
        case "change":
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        case "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        case "append":
            content += data.draw(st.binary(min_size=1, max_size=9))
        case "remove":
            path.unlink()
    if path.exists():
        path.write_bytes(content)
    with pytest.raises(StorageError, match=re.escape(str(path))):
        GeneratorBundle.load(folder)


@settings(max_examples=60)
@given(place=st.integers(0, 10**6), bits=st.integers(1, 255))
def test_a_damaged_manifest_vouches_for_nothing_else(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, place: int, bits: int
) -> None:
    folder = copied(saved, tmp_path_factory.getbasetemp() / "vouched")
    content = bytearray((folder / "files.json").read_bytes())
    content[place % len(content)] ^= bits
    (folder / "files.json").write_bytes(content)
    try:
        GeneratorBundle.load(folder)
    except StorageError:
        return
    # Only what says the same in other words may pass.
    assert json.loads(content) == json.loads((saved / "files.json").read_bytes())


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"generator.json": 1, "series.json": 1, "weights.safetensors": 1}',
        '{"generator.json": {"bytes": 1e999, "sha256": ""}, "series.json": {}, "weights.safetensors": {}}',
        '{"../../secret": {"bytes": 1, "sha256": ""}}',
        '{"a": 1, "a": 1}',
        "[" * 20_000,
        " " * 100_000,
    ],
    ids=["empty", "list", "none", "null", "numbers", "inf", "traversal", "twice", "deep", "long"],
)
def test_impossible_manifests_are_refused(saved: Path, tmp_path: Path, manifest: str) -> None:
    folder = copied(saved, tmp_path / "x")
    (folder / "files.json").write_text(manifest)
    with pytest.raises(StorageError, match=r"files\.json"):
        GeneratorBundle.load(folder)


def test_a_generator_without_manifest_is_refused_with_the_way_out(saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "x")
    (folder / "files.json").unlink()
    with pytest.raises(StorageError, match=r"no files\.json in it.*train it again.*mlflow\.pyfunc"):
        GeneratorBundle.load(folder)
    with pytest.raises(StorageError, match="no whole trained generator"):
        GeneratorBundle.load(tmp_path / "nowhere")


def test_files_beside_a_generator_are_not_its_business(saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "x")
    (folder / "rows.parquet").write_bytes(b"made from it")
    assert GeneratorBundle.load(folder).series == GeneratorBundle.load(saved).series


# Files that a hostile hand made: their manifest fits them


def rewritten(folder: Path, name: str, edit: Edit) -> Path:
    """A file edited and vouched for; `edit` changes the tree, or gives the text to write."""
    tree = json.loads((folder / name).read_text())
    text = edit(tree)
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(tree))
    write_manifest(folder)
    return folder


def options(**changed: Any) -> Edit:
    return lambda tree: tree["options"].update(changed)


def channels(**changed: Any) -> Edit:
    return lambda tree: tree["channels"]["temporal"][0].update(changed)


def top(**changed: Any) -> Edit:
    return lambda tree: tree.update(changed)


GENERATORS: list[tuple[str, Edit]] = [
    ("timegan", top(length=10**12)),
    ("timegan", top(length=-3)),
    ("timegan", top(length="4")),
    ("timegan", top(length=None)),
    ("timegan", top(kind="../../../../tmp/evil")),
    ("timegan", top(kind="os.system")),
    ("timegan", top(kind=["timegan"])),
    ("timegan", top(kind="wavegan")),
    ("timegan", top(channels=[])),
    ("timegan", top(options=7)),
    ("timegan", top(options={"seed": 1})),
    ("timegan", options(hidden=10**12)),
    ("timegan", options(hidden=600)),
    ("timegan", options(hidden=0)),
    ("timegan", options(hidden="3")),
    ("timegan", options(layers=500)),
    ("timegan", options(layers=-1)),
    ("timegan", options(unheard_of=1)),
    ("timegan", channels(width=10**12)),
    ("timegan", channels(width=300)),
    ("timegan", channels(kind="pickle")),
    ("timegan", lambda _: "[" * 100_000),
    ("timegan", lambda tree: json.dumps(tree).replace('"length": 4', '"length": 4, "length": 4')),
    ("timegan", lambda tree: json.dumps(tree).replace('"length": 4', '"length": NaN')),
    ("timegan", lambda tree: json.dumps(tree).replace('"length": 4', f'"length": {"9" * 5000}')),
    ("wavegan", options(stride=1, layers=None)),
    ("wavegan", options(stride=0, layers=None)),
    ("wavegan", options(layers=120)),
    ("wavegan", options(width=100)),
    ("wavenet", options(kernel=1, dilations=None)),
    ("wavenet", options(stacks=10**9)),
    ("wavenet", options(stacks=150)),
    ("wavenet", options(dilations=[1] * 10**6)),
]

# Run by itself: an order of memory that is granted or an endless loop must not take the tests along.
LOADS = """
import resource, sys
from pathlib import Path
from core.errors import StorageError
from core.generators.bundle import GeneratorBundle
import torch
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
torch.set_num_threads(1)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
before = peak()
for folder in sys.argv[1:]:
    try:
        GeneratorBundle.load(Path(folder))
    except StorageError as error:
        assert "emory" not in str(error), (folder, error)
    else:
        raise AssertionError(f"{folder} was loaded")
    assert peak() - before < 100, (folder, peak(), before)
    print("refused")
"""


def test_no_generator_asks_for_more_than_its_files_hold(tmp_path: Path) -> None:
    folders = []
    for number, (kind, edit) in enumerate(GENERATORS):
        folder = tmp_path / str(number)
        folder.mkdir()
        tiny_bundle(kind).save(folder)
        folders.append(str(rewritten(folder, "generator.json", edit)))
    done = subprocess.run([sys.executable, "-c", LOADS, *folders], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"] * len(GENERATORS)


def column(**changed: Any) -> Edit:
    return lambda tree: tree["layout"]["temporal"][0].update(changed)


@pytest.mark.parametrize(
    "edit",
    [
        top(layout=None),
        top(layout={}),
        top(layout={"temporal": [{}]}),
        top(layout={"sideways": []}),
        top(unheard_of=1),
        column(name=5),
        column(name="count"),
        column(kind="pickle"),
        column(kind="binary"),
        column(minimum="0"),
        column(maximum=None),
        column(maximum=10**400),
        column(integer="yes"),
        column(optional=2),
        column(scaler="../x"),
        column(transform=["log"]),
        column(quantiles=["a"]),
        column(quantiles=7),
        column(categories=[{"a": 1}]),
        column(level_of=None),
        column(unheard_of=1),
        lambda tree: json.dumps(tree).replace("15.0", "Infinity"),
        lambda tree: json.dumps(tree).replace("15.0", "1e999"),
        lambda _: "[" * 100_000,
        lambda _: "{}",
        lambda _: "",
    ],
)
def test_impossible_series_are_refused(saved: Path, tmp_path: Path, edit: Edit) -> None:
    folder = rewritten(copied(saved, tmp_path / "x"), "series.json", edit)
    with pytest.raises(StorageError, match="holds no trained generator"):
        GeneratorBundle.load(folder)


def test_a_series_of_another_generator_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "x")
    rewritten(folder, "series.json", lambda tree: tree["layout"]["temporal"].pop())
    with pytest.raises(StorageError, match="another generator's"):
        GeneratorBundle.load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("margin.lengths", torch.ones(10_000, dtype=torch.int64)),
        ("margin.lengths", torch.tensor([0, 0, 0, 0, 0])),
        ("margin.lengths", torch.tensor([0, -1, 0, 0, 5])),
        ("margin.lengths", torch.tensor([5, 0, 0, 0, 0])),
        ("margin.lengths", torch.ones(5)),
        ("margin.conditions", torch.ones(2, 3)),
        ("margin.conditions", torch.full((2, 2), torch.nan)),
        ("margin.counts", torch.tensor([1])),
        ("margin.counts", None),
        ("unheard_of", torch.ones(1)),
        (None, torch.nan),
        (None, torch.inf),
    ],
)
def test_impossible_weights_are_refused(saved: Path, tmp_path: Path, name: str | None, value: Any) -> None:
    folder = copied(saved, tmp_path / "x")
    tensors = read_tensors(folder / "weights.safetensors")[0]
    if name is None:
        next(part for key, part in tensors.items() if not key.startswith("margin.")).view(-1)[0] = value
    elif value is None:
        del tensors[name]
    else:
        tensors[name] = value
    (folder / "weights.safetensors").write_bytes(pack_tensors(tensors))
    write_manifest(folder)
    with pytest.raises(StorageError, match="holds no whole timegan generator"):
        GeneratorBundle.load(folder)


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**13), 10**13),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.just("../../../etc/passwd"),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
)


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at] * bool(at) + [place for key, value in inside for place in places(value, (*at, key))]


@settings(max_examples=80)
@given(data=st.data())
def test_whatever_a_file_says_it_loads_or_is_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = copied(saved, tmp_path_factory.getbasetemp() / "said")
    name = data.draw(st.sampled_from(["generator.json", "series.json"]))
    tree = json.loads((folder / name).read_text())
    *way, last = data.draw(st.sampled_from(places(tree)))
    parent = tree
    for key in way:
        parent = parent[key]
    parent[last] = data.draw(HOSTILE)
    (folder / name).write_text(json.dumps(tree))
    write_manifest(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        bundle = GeneratorBundle.load(folder)
    except StorageError as error:
        assert str(folder) in str(error)  # noqa: PT017 - being refused is one of two ways
    else:
        assert bundle.generator.sample(2, 0).values.shape == (2, 4, 4)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@settings(max_examples=80)
@given(data=st.data())
def test_whatever_bytes_the_weights_have_they_load_or_are_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = copied(saved, tmp_path_factory.getbasetemp() / "bytes")
    content = bytearray((saved / "weights.safetensors").read_bytes())
    header = int.from_bytes(content[:8], "little") + 8
    for place, value in data.draw(
        st.dictionaries(st.integers(0, header + 40), st.integers(0, 255), max_size=4)
    ).items():
        content[place] = value
    (folder / "weights.safetensors").write_bytes(content)
    write_manifest(folder)
    try:
        windows = GeneratorBundle.load(folder).generator.sample(2, 0)
    except StorageError as error:
        assert str(folder) in str(error)  # noqa: PT017 - being refused is one of two ways
    else:
        assert np.isfinite(windows.static).all()
