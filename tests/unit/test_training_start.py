"""Starting from a trained generator's weights, in the layout that it knows."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.generators import registry
from core.generators.bundle import GeneratorBundle
from core.prepare.channels.layout import Column, Layout
from core.training.child import job_key
from core.training.job import TrainingJob, run_job
from core.training.loop import LoopResult
from tests.conftest import Write
from tests.unit.toy_generator import Toy

TRAINING: dict[str, Any] = {"batch_size": 8, "seed": 3, "embedding_iterations": 2, "joint_iterations": 5}


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy among the generators; a training in this process takes the signals, give them back."""
    monkeypatch.setitem(registry.GENERATORS, "toy", Toy)
    held = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in held.items():
        signal.signal(number, handler)


@pytest.fixture
def job(write_prepared: Write, sines: NDArray[np.float32]) -> TrainingJob:
    return TrainingJob(
        prepared=str(write_prepared(sines)),
        digest="data",
        window_length=6,
        window_stride=1,
        window_min_length=None,
        model={"kind": "toy"},
        training=TRAINING,
        device="cpu",
        threads=1,
    )


def trained(job: TrainingJob, run_dir: Path) -> tuple[GeneratorBundle, LoopResult]:
    run_dir.mkdir()
    (run_dir / "job.json").write_text(json.dumps(asdict(job)))
    result = run_job(run_dir, os.getppid())
    return GeneratorBundle.load(run_dir / "model"), result


def weights(bundle: GeneratorBundle) -> dict[str, torch.Tensor]:
    assert isinstance(bundle.generator, Toy)
    return bundle.generator.state_dict()


def test_sparse_fine_tuning_starts_from_the_weights_and_moves_few(job: TrainingJob, tmp_path: Path) -> None:
    """Bit for bit the champion's where nothing moved."""
    before, _ = trained(job, tmp_path / "before")
    update = {"parameters": ["generator.*"], "rule": "magnitude", "fraction": 0.1}
    tuning = replace(
        job, training={**TRAINING, "seed": 9, "update": update}, start_from=str(tmp_path / "before" / "model")
    )
    after, result = trained(tuning, tmp_path / "after")
    old, new = weights(before), weights(after)
    moved = {name: int((old[name] != new[name]).sum()) for name in old}
    assert sum(moved.values()) > 0
    for name, count in moved.items():
        most = max(1, round(0.1 * old[name].numel())) if name.startswith("generator.") else 0
        assert count <= most, name
    assert result.edges["critic"][0] == 0


def test_new_rows_are_scaled_as_the_old_ones(
    job: TrainingJob, write_prepared: Write, sines: NDArray[np.float32], tmp_path: Path, caplog: Any
) -> None:
    """The same values in original units, prepared with other ranges: the training does not differ."""
    before, _ = trained(job, tmp_path / "before")
    start = replace(job, start_from=str(tmp_path / "before" / "model"))
    same, _ = trained(start, tmp_path / "same")
    # x0 ran from -5 to 15 (conftest); in twice that range its values lie in the middle half.
    columns = (Column("x0", minimum=-15.0, maximum=25.0), *before.series.layout.temporal[1:])
    rescaled = sines.copy()
    rescaled[:, 0] = sines[:, 0] / 2 + 0.25
    write_prepared(rescaled, layout=Layout(columns))
    with caplog.at_level(logging.WARNING):
        again, _ = trained(start, tmp_path / "again")
    assert not [m for m in caplog.messages if "beyond the range" in m]
    assert again.series.layout == before.series.layout
    one, other = weights(same), weights(again)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


def test_values_beyond_the_old_range_are_counted(
    job: TrainingJob, write_prepared: Write, sines: NDArray[np.float32], tmp_path: Path, caplog: Any
) -> None:
    trained(job, tmp_path / "before")
    wider = Layout(tuple(Column(f"x{i}", minimum=-5.0, maximum=15.0 if i else 35.0) for i in range(3)))
    write_prepared(sines, layout=wider)  # x0 up to 35: what is above half of the range is new
    with caplog.at_level(logging.WARNING):
        trained(replace(job, start_from=str(tmp_path / "before" / "model")), tmp_path / "after")
    beyond = int((sines[:, 0] > 0.5 + 1e-6).sum())
    assert f"{beyond} of {sines.size} values lie beyond the range" in " ".join(caplog.messages)


def test_another_generator_is_refused_by_what_differs(job: TrainingJob, tmp_path: Path) -> None:
    trained(job, tmp_path / "before")
    start = str(tmp_path / "before" / "model")
    other = replace(job, model={"kind": "toy", "hidden": 7}, start_from=start)
    with pytest.raises(
        ConfigError, match=r"another generator than the configuration's: its hidden is 4, not 7$"
    ):
        trained(other, tmp_path / "hidden")
    with pytest.raises(ConfigError, match="its length is 6, not 5"):
        trained(replace(job, window_length=5, start_from=start), tmp_path / "length")


def test_other_columns_are_refused(
    job: TrainingJob, write_prepared: Write, sines: NDArray[np.float32], tmp_path: Path
) -> None:
    trained(job, tmp_path / "before")
    write_prepared(sines, layout=Layout(tuple(Column(name) for name in ("x0", "x1", "y"))))
    with pytest.raises(DataError, match="y "):
        trained(replace(job, start_from=str(tmp_path / "before" / "model")), tmp_path / "after")


def test_the_key_holds_the_weights_and_masks_not_their_places(job: TrainingJob, tmp_path: Path) -> None:
    trained(job, tmp_path / "before")
    first, second = tmp_path / "before" / "model", tmp_path / "elsewhere"
    shutil.copytree(first, second)
    keys = [job_key(replace(job, start_from=str(folder))) for folder in (first, second)]
    assert keys[0] == keys[1] != job_key(job)
    named = {**TRAINING, "start_from": "models:/x@champion"}
    assert job_key(replace(job, start_from=str(first), training=named)) == keys[0]
    content = bytearray((second / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (second / "weights.safetensors").write_bytes(content)
    assert job_key(replace(job, start_from=str(second))) != keys[0]
    (second / "series.json").unlink()
    with pytest.raises(ConfigError, match=r"holds no trained generator, series\.json is missing"):
        job_key(replace(job, start_from=str(second)))

    def masked(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return job_key(replace(job, training={**TRAINING, "update": {"file": str(tmp_path / name)}}))

    assert masked("a", b"1") == masked("b", b"1") != masked("a", b"2")


def test_logging_more_often_counts_where_it_decides(job: TrainingJob) -> None:
    def key(action: str, log_every: int) -> str:
        gradients = {"action": action}
        return job_key(replace(job, training={**TRAINING, "gradients": gradients, "log_every": log_every}))

    assert key("warn", 5) == key("warn", 10)
    assert key("clip", 5) != key("clip", 10)
    assert key("lower_rate", 5) != key("lower_rate", 10)


@pytest.mark.parametrize("deterministic", [False, True])
def test_torch_is_made_deterministic_where_asked(
    job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    called: list[bool] = []
    monkeypatch.setattr("core.training.job.be_deterministic", lambda: called.append(True))
    trained(replace(job, training={**TRAINING, "deterministic": deterministic}), tmp_path / "run")
    assert called == [True] * deterministic


def test_short_windows_and_conditions_reach_the_generator(
    job: TrainingJob, write_prepared: Write, sines: NDArray[np.float32], tmp_path: Path
) -> None:
    """Three series, one of them shorter than a window, each with a group that the generator is given."""
    group = Column("group", "binary", categories=("a", "b"))
    layout = Layout(tuple(Column(f"x{i}") for i in range(3)), static=(group,))
    static = np.array([[0], [1], [1]], dtype=np.float32)
    write_prepared(sines, [[0, 100], [100, 104], [110, 200]], layout=layout, static=static)
    ordered = replace(job, model={"kind": "toy", "condition": ["group"]}, window_min_length=3)
    bundle, _ = trained(ordered, tmp_path / "run")
    assert bundle.series.layout.condition == (group,)
    assert bundle.series.layout.static == ()
    generator = bundle.generator
    assert isinstance(generator, Toy)
    assert generator.margins.lengths.tolist() == [0, 0, 0, 0, 1, 0, 95 + 85]
    assert generator.margins.conditions.tolist() == [[0.0], [1.0]]
    whole_only, _ = trained(replace(ordered, window_min_length=None), tmp_path / "whole")
    assert isinstance(whole_only.generator, Toy)
    assert whole_only.generator.margins.lengths.tolist() == [0] * 6 + [95 + 85]
    assert job_key(ordered) != job_key(replace(ordered, window_min_length=None))
