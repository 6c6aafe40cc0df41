"""Generated files on S3, by moto's server."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.errors import ConfigError, TargetError
from core.generation import windows as windows_module
from core.generation.options import GenerationConfig
from core.generation.write import generate
from core.generation.writer import MANIFEST, Generated
from core.generators.bundle import GeneratorBundle
from core.generators.module import SAMPLE_CHUNK
from core.prepare.channels.layout import Column, Layout, WindowArrays
from tests.unit.fake_generator import Fake, made

pytestmark = pytest.mark.services

LAYOUT = Layout((Column("x", maximum=3.0), Column("kind", "categorical", categories=("a", "b"))))
WINDOWS = 2 * SAMPLE_CHUNK + 5


def write(bundle: GeneratorBundle, lake: Path, output: str, **options: Any) -> Generated:
    tree = {"model": "m", "output": output, "windows": WINDOWS, "seed": 3, **options}
    return generate(bundle, GenerationConfig.model_validate(tree), {}, lake)


def keys(bucket: str) -> dict[str, bytes]:
    import boto3

    s3, name = boto3.client("s3"), bucket.removeprefix("s3://")
    found = s3.list_objects_v2(Bucket=name).get("Contents", [])
    return {item["Key"]: s3.get_object(Bucket=name, Key=item["Key"])["Body"].read() for item in found}


class Gone(Fake):
    def stream(self, *arguments: Any, **more: Any) -> Iterator[WindowArrays]:
        for place, chunk in enumerate(super().stream(*arguments, **more)):
            if place == 1:
                raise KeyboardInterrupt
            yield chunk


@pytest.mark.parametrize(
    "ending",
    ["parquet", pytest.param("csv", marks=pytest.mark.slow), pytest.param("npy", marks=pytest.mark.slow)],
)
def test_a_single_object(bucket: str, tmp_path: Path, ending: str) -> None:
    bundle = made(Layout(LAYOUT.temporal[:1]))
    for output in (f"{bucket}/deep/x.{ending}", f"{tmp_path}/x.{ending}"):
        write(bundle, tmp_path / "lake", output)
    objects = keys(bucket)
    local = (tmp_path / f"x.{ending}").read_bytes()
    assert len(objects.pop(f"deep/x.{ending}")) == len(local)
    assert sorted(objects) == ([] if ending == "parquet" else [f"deep/x.{ending}.json"])
    frame = bundle.sample_frame(WINDOWS, 3)
    if ending == "parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(f"{bucket}/deep/x.parquet"), frame)


@pytest.mark.slow
def test_many_blocks_make_one_object(bucket: str, tmp_path: Path) -> None:
    bundle = made(Layout(tuple(Column(f"x{place}") for place in range(40))), length=30)
    write(bundle, tmp_path / "lake", f"{bucket}/big.npy", windows=9 * SAMPLE_CHUNK)
    data = keys(bucket)["big.npy"]
    assert len(data) > 80 * 2**20
    np.testing.assert_array_equal(np.load(io.BytesIO(data)), bundle.sample(9 * SAMPLE_CHUNK, 3))


def test_a_folder_is_gone_on_with(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_module, "PART_CELLS", 1)
    bundle = made(LAYOUT)
    with pytest.raises(KeyboardInterrupt):
        write(replace(bundle, generator=Gone(LAYOUT)), tmp_path / "lake", f"{bucket}/set/")  # type: ignore[arg-type]
    assert list(keys(bucket)) == ["set/windows-000000.parquet"]
    assert write(bundle, tmp_path / "lake", f"{bucket}/set/").resumed == 1
    objects = keys(bucket)
    assert sorted(objects) == [f"set/{MANIFEST}", *(f"set/windows-{part:06d}.parquet" for part in range(3))]
    assert json.loads(objects[f"set/{MANIFEST}"])["lineage"]["seed"] == 3
    pd.testing.assert_frame_equal(pd.read_parquet(f"{bucket}/set/"), bundle.sample_frame(WINDOWS, 3))
    assert write(bundle, tmp_path / "lake", f"{bucket}/set/").reused


def test_an_upload_that_breaks_off_shows_nothing(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    def broken(*_: Any) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("core.generation.rows.shutil.copyfileobj", broken)
        with pytest.raises(TargetError, match="the same call later goes on"):
            write(made(LAYOUT), tmp_path / "lake", f"{bucket}/x.csv")
    assert keys(bucket) == {}
    uploads = boto3.client("s3").list_multipart_uploads(Bucket=bucket.removeprefix("s3://"))
    assert not uploads.get("Uploads")
    assert write(made(LAYOUT), tmp_path / "lake", f"{bucket}/x.csv").resumed == 1


def test_a_bucket_that_is_not_there_is_said_before_the_work(bucket: str, tmp_path: Path) -> None:
    bundle = replace(made(LAYOUT), generator=Gone(LAYOUT))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="there is no bucket 'nowhere-at-all'"):
        write(bundle, tmp_path / "lake", "s3://nowhere-at-all/x.parquet")
    assert keys(bucket) == {}
