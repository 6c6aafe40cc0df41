"""The lake: complete or absent, one builder at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BusyError, StorageError
from core.lake import CORE, build_once, code_digest, content_digest, exclusive, write_atomically, write_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abcd"), json_values))
def test_digests_depend_on_content_not_on_order(parts: dict[str, object]) -> None:
    reordered = dict(reversed(parts.items()))
    assert content_digest(**parts) == content_digest(**reordered)
    assert content_digest(**parts) != content_digest(**parts, e=1)


def test_digest_of_code_changes_with_its_parts() -> None:
    assert code_digest("prepare") != code_digest("training")
    assert code_digest("prepare") == code_digest("prepare")


def test_a_folder_is_built_once(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "x").write_text("1")

    assert build_once(tmp_path / "a" / "b", build) is False
    assert build_once(tmp_path / "a" / "b", build) is True
    assert len(built) == 1
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path / "a", build)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_a_killed_build_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp-12345678").mkdir()
    build_once(tmp_path / "a", lambda folder: (folder / "x").touch())
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["a"]


def test_a_full_disk_is_a_storage_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "kept.json"
    write_json(target, {"old": 1})

    def build(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        build_once(tmp_path / "a", build)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="could not write"):
        write_atomically(tmp_path / "file" / "x", "new")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"new": float("nan")})
    assert target.read_text() == '{\n  "old": 1\n}\n'


def test_a_lock_that_cannot_be_had_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/lock"), exclusive(tmp_path / "file" / "lock"):
        pass

    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("core.lake.fcntl.flock", no_locks)
    with pytest.raises(StorageError, match="No locks available"), exclusive(tmp_path / "new" / "lock"):
        pass
    monkeypatch.undo()
    with pytest.raises(ConnectionError), exclusive(tmp_path / "new" / "lock"):
        raise ConnectionError("what fails in the block stays what it is")


BUILDER = """
import logging, sys, time
from pathlib import Path
from core.lake import build_once

logging.basicConfig(level="INFO", stream=sys.stderr)
folder, marks = Path(sys.argv[1]), Path(sys.argv[2])

def build(temporary):
    (marks / sys.argv[3]).touch()
    deadline = time.monotonic() + 60
    while not (marks / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    (temporary / "by").write_text(sys.argv[3])

print(build_once(folder, build, wait_seconds=float(sys.argv[4])), (folder / "by").read_text())
"""


def test_of_two_processes_one_builds_and_the_other_waits_for_it(tmp_path: Path) -> None:
    def start(name: str, seconds: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tmp_path / "made"), str(tmp_path), name, seconds],
            cwd=CORE.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = start("first", "60")
    while not (tmp_path / "first").exists():
        assert first.poll() is None
    second = start("second", "60")
    assert second.stderr is not None
    assert f"waiting for process {first.pid} on " in second.stderr.readline()
    impatient = start("impatient", "0.3")
    _, said = impatient.communicate(timeout=60)
    assert impatient.returncode == 1
    assert f"BusyError: {tmp_path} is in use by process {first.pid} on " in said
    (tmp_path / "go").touch()
    assert first.communicate(timeout=60)[0] == "False first\n"
    assert second.communicate(timeout=60)[0] == "True first\n"
    assert not (tmp_path / "second").exists()


def test_a_lock_is_held_across_processes_and_freed_by_death(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from core.lake import exclusive\n"
            "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()",
            str(lock),
        ],
        cwd=CORE.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(BusyError, match=f"process {holder.pid}"), exclusive(lock):
        pass
    holder.kill()
    holder.wait()
    with exclusive(lock):
        pass
