from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from core.prepare.channels.layout import Column, Layout
from core.prepare.series import PreparedSeries

# Shared machines are slow now and then; how long an example takes is no property of the code.
# The same examples in every run, so that a red run means a change; `make search` looks for new ones.
settings.register_profile(
    "timeloom", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "timeloom"))

Write = Callable[..., Path]


def pytest_configure(config: pytest.Config) -> None:
    """Kernels are compiled once, not once for every lake that a test makes."""
    if cache := getattr(config, "cache", None):
        os.environ.setdefault("NUMBA_CACHE_DIR", str(cache.mkdir("kernels")))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a GPU the tests that need one are deselected, and pytest's last line counts them."""
    if torch.cuda.is_available():
        return
    gone = [item for item in items if item.get_closest_marker("gpu")]
    config.hook.pytest_deselected(items=gone)
    items[:] = [item for item in items if item not in gone]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def sines() -> NDArray[np.float32]:
    """Rows of three sine waves in [0, 1], shape (200, 3)."""
    t = np.arange(200)[:, None]
    return (np.sin(t * np.array([0.1, 0.2, 0.3])) / 2 + 0.5).astype(np.float32)


@pytest.fixture
def write_prepared(tmp_path: Path) -> Write:
    """Writes a prepared series by its documented layout, without `core.prepare.build`."""

    def write(values: NDArray[np.float32], segments: list[list[int]] | None = None, **more: Any) -> Path:
        folder = tmp_path / "prepared"
        folder.mkdir(exist_ok=True)
        np.save(folder / "values.npy", values)
        layout = more.pop("layout", None) or Layout(
            tuple(Column(f"x{i}", minimum=-5.0, maximum=15.0) for i in range(values.shape[1]))
        )
        if "static" in more:
            np.save(folder / "static.npy", more.pop("static"))
        manifest = {
            "dataset": "made-up",
            "features": [column.name for column in layout.temporal],
            "layout": layout.to_json(),
            "segments": segments or [[0, len(values)]],
            "time": None,
            **more,
        }
        (folder / "prepared.json").write_text(json.dumps(manifest), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def prepared(write_prepared: Write, sines: NDArray[np.float32]) -> PreparedSeries:
    return PreparedSeries.open(write_prepared(sines))
